//! An explanation for people: what pushed the output where it is, as a table.

use serde_json::Value;
use std::fmt::Write as _;

/// The longest bar, in characters.
const BAR: f64 = 24.0;
/// Characters of a name; the JSON has the whole.
const MAX_NAME: usize = 40;

/// An explanation as [`explanation_json`](super::explanation_json) writes it, in lines. Fields that aren't there are left out.
#[must_use]
pub fn explanation_text(explanation: &Value) -> String {
    let text = |key: &str| explanation.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| explanation.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let count = |key: &str| explanation.get(key).and_then(Value::as_u64).unwrap_or_default();
    let is = |key: &str| explanation.get(key).and_then(Value::as_bool).unwrap_or_default();
    let what = match explanation.get("element").and_then(Value::as_u64) {
        Some(element) => format!("{}[{element}]", text("output")),
        None => format!("the reconstruction error of {}", text("output")),
    };
    let mut lines = format!(
        "sample {}: {} is {}, and {} for the background\n",
        count("sample"),
        visible(&what),
        short(number("prediction")),
        short(number("base")),
    );
    let features = explanation.get("features").and_then(Value::as_array);
    let rows: Vec<Row> = features.into_iter().flatten().map(Row::of).collect();
    let largest = rows.iter().map(|row| row.contribution.abs()).fold(0.0, f64::max);
    let width = rows
        .iter()
        .map(|row| row.name.chars().count())
        .max()
        .unwrap_or_default();
    for row in &rows {
        let bar = "#".repeat((row.contribution.abs() / largest * BAR).round() as usize);
        let line = format!(
            "  {:>10}  {:<width$}  {:<12}  {bar}",
            signed(row.contribution),
            row.name,
            row.value
        );
        let _ = writeln!(lines, "{}", line.trim_end());
    }
    if count("other_features") > 0 {
        let _ = writeln!(
            lines,
            "  {:>10}  {} others",
            signed(number("others")),
            count("other_features")
        );
    }
    if text("method") == "occlusion" {
        let _ = writeln!(
            lines,
            "  {:>10}  {}",
            signed(number("residual")),
            if is("complete") {
                "what they do only together"
            } else {
                "what they do only together, and those that time was too short for"
            }
        );
    }
    let how = match (is("complete"), is("exact")) {
        (false, _) => format!(
            "cut short after {} of {} coalitions",
            count("evaluations"),
            count("planned")
        ),
        (true, true) => "exact".to_owned(),
        (true, false) => format!("{} coalitions", count("evaluations")),
    };
    let _ = write!(
        lines,
        "  {}, {how}; {} runs of the model in {:.0} ms",
        text("method"),
        count("runs"),
        number("took_ms"),
    );
    lines
}

struct Row {
    name: String,
    value: String,
    contribution: f64,
}

impl Row {
    fn of(feature: &Value) -> Self {
        let value = match feature.get("given").or_else(|| feature.get("value")) {
            Some(Value::String(text)) => visible(text),
            Some(Value::Number(number)) => format!("= {}", short(number.as_f64().unwrap_or(f64::NAN))),
            Some(Value::Null) => "missing".to_owned(),
            _ => String::new(),
        };
        let name = feature.get("feature").and_then(Value::as_str).unwrap_or_default();
        Self {
            name: visible(name).chars().take(MAX_NAME).collect(),
            value,
            contribution: feature.get("contribution").and_then(Value::as_f64).unwrap_or(f64::NAN),
        }
    }
}

/// Without what a terminal would take for commands.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Four digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e6).contains(&size) => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 6);
            format!("{value:.*}", usize::try_from(digits).unwrap_or_default())
        }
        _ => format!("{value:.3e}"),
    }
}

fn signed(value: f64) -> String {
    let text = short(value);
    if value > 0.0 { format!("+{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_says_what_pushed_where() {
        let mut explanation = json!({
            "sample": 7, "output": "scores", "element": 1, "base": 0.25, "prediction": 0.9312,
            "features": [
                {"feature": "flow", "value": -0.5, "given": 31.25, "contribution": 0.75},
                {"feature": "kind\u{1b}", "value": "old", "contribution": -0.08},
                {"feature": "window", "contribution": 0.0},
            ],
            "other_features": 3, "others": 0.0112, "residual": 1e-17, "method": "kernel-shap", "evaluations": 256,
            "planned": 256, "runs": 8226, "exact": false, "complete": true, "took_ms": 12.4,
        });
        let expected = [
            "sample 7: scores[1] is 0.9312, and 0.2500 for the background",
            "     +0.7500  flow    = 31.25       ########################",
            "    -0.08000  kind\u{fffd}  old           ###",
            "           0  window",
            "    +0.01120  3 others",
            "  kernel-shap, 256 coalitions; 8226 runs of the model in 12 ms",
        ];
        assert_eq!(
            explanation_text(&explanation),
            expected.join("\n").replace("kind\u{fffd}  ", "kind\u{fffd}   ")
        );
        explanation["complete"] = json!(false);
        assert!(explanation_text(&explanation).contains("cut short after 256 of 256 coalitions"));
        explanation["method"] = json!("occlusion");
        let residual = |explanation: &Value| {
            let text = explanation_text(explanation);
            text.lines()
                .find(|line| line.contains("together"))
                .unwrap()
                .trim()
                .to_owned()
        };
        assert!(residual(&explanation).ends_with("together, and those that time was too short for"));
        explanation["complete"] = json!(true);
        assert_eq!(residual(&explanation), "+1.000e-17  what they do only together");
    }
}
