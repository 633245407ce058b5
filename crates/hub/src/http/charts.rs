//! A drift statistic over time as SVG, drawn on the server. Pure: points in, markup out.

use maud::{Markup, html};

/// The drawing's height in its own units; the page scales it.
const HEIGHT: f64 = 150.0;
/// Room for the axes' labels.
const LEFT: f64 = 40.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;
/// More points than this can't be told apart at that width.
const MAX_POINTS: usize = 280;

/// Below this a drift statistic is noise, and is drawn as such.
const LEAST_TOP: f64 = 0.1;

/// How much room a drawing has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Size {
    /// One among others.
    Card,
    /// The width of the page.
    Page,
}

impl Size {
    /// The drawing's width in its own units.
    const fn width(self) -> f64 {
        match self {
            Self::Card => 420.0,
            Self::Page => 1000.0,
        }
    }
}

/// One gauge over time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// The gauge's name.
    pub(crate) name: String,
    /// Time in milliseconds and value, by rising time.
    pub(crate) points: Vec<(u64, f64)>,
}

/// Gauges that belong together, and the limit they are held against.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// The gauge that stands out, with its newest value highest, comes first.
    pub(crate) lines: Vec<Line>,
    /// The limit, where it is known.
    pub(crate) threshold: Option<f64>,
}

/// Where times and values go.
struct Scale {
    right: f64,
    first_ms: u64,
    span_ms: f64,
    top: f64,
}

impl Scale {
    fn of(chart: &Chart, size: Size) -> Option<Self> {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let first_ms = points().map(|(time_ms, _)| *time_ms).min()?;
        let last_ms = points().map(|(time_ms, _)| *time_ms).max()?;
        let highest = points()
            .map(|(_, value)| *value)
            .chain(chart.threshold)
            .fold(0.0, f64::max);
        let span_ms = (last_ms - first_ms).max(1) as f64;
        Some(Self {
            right: size.width() - RIGHT,
            first_ms,
            span_ms,
            top: nice_above((highest * 1.08).max(LEAST_TOP)),
        })
    }

    fn x(&self, time_ms: u64) -> f64 {
        LEFT + time_ms.saturating_sub(self.first_ms) as f64 / self.span_ms * (self.right - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Draws the chart; a sentence where there is nothing to draw.
pub(crate) fn draw(chart: &Chart, size: Size) -> Markup {
    let Some(scale) = Scale::of(chart, size) else {
        return html! { p.empty { "No values so far." } };
    };
    let minutes = scale.span_ms / 60_000.0;
    let span = if minutes < 2.0 {
        format!("{:.0} s", scale.span_ms / 1000.0)
    } else {
        format!("{minutes:.0} min")
    };
    let (bottom, width, right) = (HEIGHT - BOTTOM, size.width(), scale.right);
    html! {
        svg.chart viewBox=(format!("0 0 {width} {HEIGHT}")) role="img" aria-label="values over time" {
            @for share in [0.0, 0.5, 1.0] {
                @let y = scale.y(scale.top * share);
                line.grid x1=(LEFT) x2=(right) y1=(point(y)) y2=(point(y)) {}
                text.tick x=(LEFT - 6.0) y=(point(y + 3.5)) text-anchor="end" { (label(scale.top * share)) }
            }
            text.tick x=(LEFT) y=(point(bottom + 15.0)) { (span) " ago" }
            text.tick x=(right) y=(point(bottom + 15.0)) text-anchor="end" { "newest" }
            @for (index, line) in chart.lines.iter().enumerate().rev() {
                polyline.line.other[index > 0] points=(path(&line.points, &scale)) {
                    title { (line.name) }
                }
            }
            @if let Some(threshold) = chart.threshold {
                @let y = scale.y(threshold);
                line.threshold x1=(LEFT) x2=(right) y1=(point(y)) y2=(point(y)) {}
                text.limit x=(LEFT + 4.0) y=(point(y - 4.0)) { "limit " (label(threshold)) }
            }
        }
    }
}

/// The line's corners; of more points than can be told apart the highest of each stretch, since peaks are what matters.
fn path(points: &[(u64, f64)], scale: &Scale) -> String {
    let stretch = points.len().div_ceil(MAX_POINTS).max(1);
    points
        .chunks(stretch)
        .filter_map(|stretch| stretch.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)))
        .map(|(time_ms, value)| format!("{},{}", point(scale.x(time_ms)), point(scale.y(value))))
        .collect::<Vec<_>>()
        .join(" ")
}

fn point(value: f64) -> String {
    format!("{value:.1}")
}

/// A number with about three digits that matter.
pub(crate) fn label(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (0.01..100.0).contains(&size) {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else if (100.0..1e6).contains(&size) {
        format!("{value:.0}")
    } else {
        format!("{value:.1e}")
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `value`.
fn nice_above(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let magnitude = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * magnitude)
        .find(|nice| *nice >= value)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(u64, f64)>, threshold: Option<f64>) -> String {
        let line = Line {
            name: "psi/<rms>".to_owned(),
            points,
        };
        draw(
            &Chart {
                lines: vec![line],
                threshold,
            },
            Size::Card,
        )
        .into_string()
    }

    #[test]
    fn lines_and_limit_are_drawn_to_one_scale() {
        let svg = chart(vec![(0, 0.0), (1000, 0.5)], Some(0.25));
        assert!(svg.contains(r#"points="40.0,128.0 412.0,69.0""#), "{svg}");
        assert!(svg.contains(r#"y1="98.5""#) && svg.contains("limit 0.25"), "{svg}");
        assert!(svg.contains("psi/&lt;rms&gt;"), "names are escaped");
    }

    #[test]
    fn odd_input_draws_something() {
        assert!(chart(vec![], Some(1.0)).contains("No values"));
        for points in [
            vec![(5, 0.0)],
            vec![(5, -1.0), (5, 3.0)],
            vec![(0, 1e300), (u64::MAX, 1e-300)],
        ] {
            let svg = chart(points, None);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn many_points_keep_their_peaks() {
        let mut points: Vec<(u64, f64)> = (0..10_000).map(|at| (at, 0.1)).collect();
        points[5003].1 = 0.9;
        let svg = chart(points, None);
        assert!(svg.matches(',').count() <= MAX_POINTS + 1);
        assert!(
            svg.contains(&format!(",{}", point(HEIGHT - BOTTOM - 0.9 * (HEIGHT - TOP - BOTTOM)))),
            "{svg}"
        );
    }

    #[test]
    fn labels_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.2, "0.2"),
            (1.5, "1.5"),
            (1234.5, "1234"),
            (0.0001, "1.0e-4"),
        ] {
            assert_eq!(label(value), expected);
        }
        assert_eq!([0.3, 1.0, 7.0, 0.0].map(nice_above), [0.5, 1.0, 10.0, 1.0]);
    }
}
