//! The list of ONNX's cases that are refused: docs/onnx-refusals.md.

use crate::cases::Case;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What stands above the list.
const HEAD: &str = "\
# What is refused of ONNX

ONNX's own tests of single operators (`onnx` 1.23.2, `onnx.backend.test.case.node`), loaded and run as a bundle's
model is. Each either gives what ONNX expects of it or is refused; none gives anything else. What is refused is refused
when the bundle is packed, and again on the device, with the reason that stands here.

The tests give a node everything as an input, also what exporters store in a model: axes, shapes, scales, weights. So
each is run twice, the second time with all but the first input stored. Where tract's own words stand here, the message goes
on with what to do: store shapes and axes in the model, or let the bundle ask for the engine `onnxruntime`.

This file is written by `FLOORHAND_UPDATE=1 cargo test -p floorhand-inference --test proof node_tests`, and held against
what happens by the same command without the variable.
";

/// How the second run of a test ends its name.
const STORED: &str = "-constants";

/// Letters of a reason. What is longer prints data.
const LONGEST: usize = 120;

/// Why a test is refused as it is, and with its inputs stored; none where it passes, or where there is no such run.
#[derive(Debug, Default)]
struct Test {
    operator: String,
    plain: Option<String>,
    /// Absent: it has no other inputs, or they can't be stored.
    stored: Option<Option<String>>,
}

/// Tests by their names, with those that pass.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    tests: BTreeMap<String, Test>,
}

/// Operator, then reason, then the tests' names.
type Groups<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a str>>>;

impl Refusals {
    /// Takes in a run; without a reason it passes.
    pub(crate) fn add(&mut self, case: &Case, reason: Option<&str>) {
        let name = case.name.trim_start_matches("test_");
        let (name, is_stored) = name.strip_suffix(STORED).map_or((name, false), |name| (name, true));
        let test = self.tests.entry(name.to_owned()).or_default();
        test.operator.clone_from(&case.operator);
        let reason = reason.map(in_short);
        if is_stored {
            test.stored = Some(reason);
        } else {
            test.plain = reason;
        }
    }

    /// What is refused however its inputs are given, and what is refused only unless they are stored.
    fn groups(&self) -> (Groups<'_>, Groups<'_>) {
        let (mut refused, mut unless_stored) = (Groups::new(), Groups::new());
        for (name, test) in &self.tests {
            let (groups, reason) = match (&test.plain, &test.stored) {
                (None, None | Some(None)) => continue,
                (Some(reason), Some(None)) => (&mut unless_stored, reason),
                (Some(reason), None) | (_, Some(Some(reason))) => (&mut refused, reason),
            };
            let reasons = groups.entry(&test.operator).or_default();
            reasons.entry(reason).or_default().push(name);
        }
        (refused, unless_stored)
    }

    pub(crate) fn summary(&self) -> String {
        let (refused, unless_stored) = self.groups();
        let (all, refused, unless_stored) = (self.tests.len(), count(&refused), count(&unless_stored));
        let passed = all - refused - unless_stored;
        format!("of {all} tests {passed} pass, {unless_stored} pass with inputs stored, {refused} are refused")
    }

    pub(crate) fn text(&self) -> String {
        let (refused, unless_stored) = self.groups();
        let mut text = format!("{HEAD}\nIn short: {}.\n\n# Refused\n", self.summary());
        list(&refused, &mut text);
        text.push_str("\n# Refused unless inputs are stored\n");
        list(&unless_stored, &mut text);
        text
    }
}

fn count(groups: &Groups<'_>) -> usize {
    groups.values().flat_map(BTreeMap::values).map(Vec::len).sum()
}

fn list(groups: &Groups<'_>, text: &mut String) {
    for (operator, reasons) in groups {
        write!(text, "\n## {operator}\n").unwrap();
        for (reason, names) in reasons {
            write!(text, "\n{}: {reason}\n\n- `{}`\n", names.len(), names.join("`, `")).unwrap();
        }
    }
}

/// A reason without what differs from case to case: the names of nodes and tensors, their numbers, dimensions.
fn in_short(reason: &str) -> String {
    // What to do about them is the same for many, and stands above the list.
    let advices = ["; store shapes, axes", "; export it with other operators, or let"];
    let ends = advices.iter().filter_map(|advice| reason.find(advice));
    let reason = &reason[..ends.min().unwrap_or(reason.len())];
    if let Some((_, rest)) = reason.split_once(" needs operator ") {
        let operator = rest.split(',').next().unwrap_or(rest);
        return format!("operator {operator} is not supported");
    }
    for mark in [
        "elem_type: ",
        "Unknown DatumType ",
        "unknown ONNX TensorProto.DataType (",
    ] {
        if let Some((_, rest)) = reason.split_once(mark) {
            let element = rest.split([',', ' ', ')']).next().unwrap_or(rest);
            return format!("there are no tensors of type {}", type_name(element));
        }
    }
    // What stands before these tells where; the operator is told already.
    let places = [
        "ToTypedTranslator: ",
        "Infering facts: ",
        "output_facts invocation for ",
    ];
    let last = places
        .iter()
        .filter_map(|place| Some(reason.rfind(place)? + place.len()));
    let mut plain = reason[last.max().unwrap_or(0)..].to_owned();
    for (open, close) in [('"', '"'), ('[', ']'), ('`', '`')] {
        plain = without(&plain, open, close);
    }
    let words = plain.split_whitespace().filter(|word| !word.starts_with('#'));
    let mut short = words.collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = short.char_indices().nth(LONGEST) {
        short.truncate(cut);
        short.push('…');
    }
    short
}

/// ONNX's name of a type for which tract has the number alone.
fn type_name(element: &str) -> &str {
    match element {
        "24" => "Float8e8m0",
        "25" => "Uint2",
        "26" => "Int2",
        named => named,
    }
}

/// A text without what stands between two marks.
fn without(text: &str, open: char, close: char) -> String {
    let mut inside = false;
    let keep = |letter: &char| {
        let was_inside = inside;
        inside = if inside { *letter != close } else { *letter == open };
        !was_inside && !inside
    };
    text.chars().filter(keep).collect()
}
