//! For tests: how often a monitor alarms, without drift and with it, through the plugin as the component runs it.

use crate::{Monitor, Phase, Tensor, monitor::Instance, testing};
use std::collections::BTreeSet;

/// Samples a reference is made of.
pub const REFERENCE: usize = 10_000;

/// Shifts at which a monitor's power is looked at, in standard deviations.
const SHIFTS: [f64; 3] = [0.25, 0.5, 1.0];

/// Samples of an everyday run for each length of window, without drift and with each shift. `FLOORHAND_SIMULATION_FACTOR`
/// in the environment makes them more.
const SAMPLES: usize = 100_000;

/// For each window's length the share of windows that alarm at each of the shifts.
pub type Powers<'a> = &'a [(usize, [f64; 3])];

/// [`check_shifted`] for numbers with a standard deviation of 1 that `draw` gives.
///
/// # Panics
///
/// As there.
pub fn check<P: Monitor>(
    stated: f64,
    powers: Powers<'_>,
    mut draw: impl FnMut() -> f64,
    configure: impl FnMut(u64, &[f64]) -> Instance<P>,
) {
    check_shifted(stated, powers, |shift| draw() + shift, configure);
}

/// Holds a monitor against its stated share of false alarms and its powers, and prints what it found. `draw` gives
/// values at a shift of so many standard deviations.
///
/// # Panics
///
/// If there are more alarms without drift than the share explains, or a power is off by more than chance explains and two
/// hundredths.
pub fn check_shifted<P: Monitor>(
    stated: f64,
    powers: Powers<'_>,
    draw: impl FnMut(f64) -> f64,
    configure: impl FnMut(u64, &[f64]) -> Instance<P>,
) {
    check_tensors(stated, powers, draw, column, configure);
}

/// The same for a monitor that takes other tensors than the one column `x`.
///
/// # Panics
///
/// As there.
#[expect(clippy::print_stdout, reason = "what a test was run for")]
pub fn check_tensors<P: Monitor>(
    stated: f64,
    powers: Powers<'_>,
    mut draw: impl FnMut(f64) -> f64,
    tensor: impl Fn(&[f32]) -> Tensor,
    mut configure: impl FnMut(u64, &[f64]) -> Instance<P>,
) {
    for &(window, powers) in powers {
        let windows = (SAMPLES * factor() / window) as u32;
        let mut simulate = |shift| {
            let plan = Plan { window, windows, shift };
            drifted(plan, &mut draw, &tensor, |reference| {
                configure(window as u64, reference)
            })
        };
        let alarms = simulate(0.0);
        println!("window {window}: {alarms} of {windows} alarm without drift");
        assert!(
            alarms <= most(stated, windows),
            "window {window}: {alarms} of {windows} alarm"
        );
        for (shift, power) in SHIFTS.into_iter().zip(powers) {
            let found = f64::from(simulate(shift)) / f64::from(windows);
            println!("window {window}, shift {shift}: {found:.3}");
            let chance = 4.0 * (power * (1.0 - power) / f64::from(windows)).sqrt() + 0.02;
            assert!(
                (found - power).abs() <= chance,
                "window {window}, shift {shift}: {found} and not {power}"
            );
        }
    }
}

/// The FP32 tensor `x` with these values as its only column.
#[must_use]
pub fn column(values: &[f32]) -> Tensor {
    Tensor::from_f32("x", vec![values.len() as u64, 1], values)
}

fn factor() -> usize {
    let factor = std::env::var("FLOORHAND_SIMULATION_FACTOR").unwrap_or_default();
    factor.parse().unwrap_or(1)
}

/// What to simulate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Samples in a window.
    pub window: usize,
    /// Windows.
    pub windows: u32,
    /// By how many standard deviations the windows' distribution has moved.
    pub shift: f64,
}

/// How many of the windows the monitor took for drift. `draw` gives independent numbers at a shift, `configure` a monitor of
/// one field with a reference of those at none. Whenever windows have used up twice as many as there
/// are in a reference a new one is drawn, for the luck of one would be in all windows.
pub fn drifted<P: Monitor>(
    plan: Plan,
    mut draw: impl FnMut(f64) -> f64,
    tensor: impl Fn(&[f32]) -> Tensor,
    mut configure: impl FnMut(&[f64]) -> Instance<P>,
) -> u32 {
    let per_reference = (2 * REFERENCE / plan.window).max(1) as u32;
    let (mut drifted, mut left) = (0, plan.windows);
    while left > 0 {
        let reference: Vec<f64> = (0..REFERENCE).map(|_| draw(0.0)).collect();
        let mut monitor = configure(&reference);
        let mut lasting = BTreeSet::new();
        for _ in 0..left.min(per_reference) {
            let values: Vec<f32> = (0..plan.window).map(|_| draw(plan.shift) as f32).collect();
            observe(&mut monitor, tensor(&values), &mut lasting);
            drifted += u32::from(!lasting.is_empty());
        }
        left -= left.min(per_reference);
    }
    drifted
}

/// Hands over a window, and keeps the subjects whose last window was drift.
fn observe<P: Monitor>(monitor: &mut Instance<P>, window: Tensor, lasting: &mut BTreeSet<String>) {
    for finding in monitor.observe(testing::context(0), vec![window]).unwrap_or_default() {
        match finding.phase {
            Phase::Raised => drop(lasting.insert(finding.subject)),
            Phase::Cleared => drop(lasting.remove(&finding.subject)),
            Phase::Once => {}
        }
    }
}

/// The most alarms that `windows` windows may come to where a share `stated` is: four standard deviations and three more.
#[must_use]
pub fn most(stated: f64, windows: u32) -> u32 {
    let expected = stated * f64::from(windows);
    (expected + 4.0 * expected.sqrt() + 3.0) as u32
}
