//! Why a model gave what it gave: how much of an output each feature, or group of features, accounts for.
//!
//! - [`KernelShap`]: Shapley values, exact for ten groups and fewer, estimated within a budget of evaluations for more.
//!   Additive: the mean output over a background and all attributions add up to the output, also when it ended early.
//! - [`Occlusion`]: what an output loses when a group is replaced by the background's mean. One evaluation a group.
//!
//! Owns formulas and the order of evaluations, and nothing else. It knows no model: rows to evaluate come out, outputs go in. No
//! threads, no files, no clock, no randomness but that of a seed. The same question, seed and outputs give the same bits on every
//! machine.
//!
//! # A tutorial
//!
//! A pump's power depends on its flow times its pressure, and a little on its temperature. Why is it that high now?
//!
//! ```
//! use floorhand_explanation::{Groups, KernelShap, Options, Question, explain};
//!
//! let model = |rows: &[f32], _count: usize| {
//!     let power = |row: &[f32]| match row {
//!         [flow, pressure, temperature] => flow * pressure + 0.1 * temperature,
//!         _ => f32::NAN,
//!     };
//!     Ok::<Vec<f32>, std::convert::Infallible>(rows.chunks(3).map(power).collect())
//! };
//! // Two ordinary rows, one after the other: what to compare with.
//! let background = [1.0, 2.0, 20.0, 3.0, 2.0, 20.0];
//! let question = Question::new(Groups::single(3)?, &[4.0, 5.0, 20.0], &background, 1)?;
//! let mut explainer = KernelShap::new(question, &Options::default())?;
//! let explanation = explain(&mut explainer, model, || true)?;
//!
//! assert!(explanation.exact);
//! let power = &explanation.outputs[0];
//! assert!((power.base - 6.0).abs() < 1e-6);
//! assert!((power.prediction - 22.0).abs() < 1e-6);
//! // Flow alone adds 4, pressure alone 6, and the 6 that only both together add are shared evenly. The temperature is what
//! // it always is.
//! assert!((power.attributions[0] - 7.0).abs() < 1e-6);
//! assert!((power.attributions[1] - 9.0).abs() < 1e-6);
//! assert_eq!(power.attributions[2], 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Groups.** Features that mean something only together are one player: [`Groups::consecutive`] for one sensor's window after
//! the other, [`Groups::interleaved`] for all sensors' values at one time after those at another, [`Groups::from_labels`] for
//! anything else. 640 values of ten sensors become an exact explanation of ten attributions that way.
//!
//! **Outputs.** A model that gives several values for a row, as a classifier its scores, is explained for all of them at once,
//! with the same evaluations. A score is best explained as the model gives it; probabilities saturate.
//!
//! **What it costs** is known in advance: [`Options::max_evaluations`] before there is a question, [`Explainer::evaluations`] for
//! one. Each coalition is evaluated with every background row: 256 coalitions and 20 rows are 5,141 evaluations. A group that
//! is the same in all background rows and in the row itself costs nothing and gets 0.
//!
//! **Between samples.** [`explain`] is a loop over three calls. Who has other things to do makes them one at a time, and stops
//! when time is up:
//!
//! ```
//! use floorhand_explanation::{Explainer, Groups, KernelShap, Options, Question};
//!
//! let row = [1.0; 30];
//! let background = [0.0; 30];
//! let question = Question::new(Groups::single(30)?, &row, &background, 1)?;
//! let mut explainer = KernelShap::new(question, &Options { seed: 7, batch_rows: 16, ..Options::default() })?;
//! assert_eq!(explainer.evaluations(), 258, "the row, one background row, 256 coalitions");
//!
//! let mut steps = 0;
//! while steps < 10 {
//!     let Some(batch) = explainer.next_batch() else { break };
//!     let outputs: Vec<f32> = batch.rows.chunks(30).map(|row| row.iter().map(|x| x * x).sum()).collect();
//!     explainer.take(&outputs)?;
//!     steps += 1;
//! }
//! let explanation = explainer.finish()?;
//! assert!(!explanation.exact);
//! assert_eq!(explanation.coalitions, 158);
//! let output = &explanation.outputs[0];
//! let sum: f64 = output.attributions.iter().sum();
//! assert!((output.base + sum - output.prediction).abs() < 1e-12);
//! # Ok::<(), floorhand_explanation::Error>(())
//! ```
//!
//! **The background** decides what is asked: rows of ordinary operation ask "why not as usual?". Shapley values of a background
//! are the mean of those of its rows, so their number costs time and buys steadiness; 10 to 50 that were drawn at random from
//! training data do for most. [`MAX_BACKGROUND_ROWS`] is the most.
//!
//! # Errors
//!
//! Everything that doesn't fit is refused when it comes in, by name ([`Error`]). A model's NaN is an [`Error::NotFinite`] that
//! tells output and evaluation; an attribution is never NaN.
//!
//! # Testing
//!
//! An explainer is data: feed it made-up outputs, of any model or none, and look at what it gives; stop it wherever you like.
//! `tests/cases/oracle.json` has small models (trees, a linear one, an autoencoder's reconstruction error) with the values that
//! the `shap` package gives for them, written by `tests/oracle.py`; `tests/oracle.rs` evaluates the models and compares: exact
//! values to 1e-6 relative, estimates to a stated bound and to the error of `shap.KernelExplainer` with as many evaluations.
//! `tests/properties.rs` has what holds for every model: additivity wherever it ends, symmetry, dummies, the same bits again.
//! README.md has the measured errors.

mod coalition;
mod error;
mod exact;
mod explainer;
mod groups;
mod kernel_shap;
mod occlusion;
mod plan;
mod question;
mod random;
mod regression;
mod solver;
mod walk;

pub use error::Error;
pub use explainer::{Batch, ExplainError, Explainer, explain};
pub use groups::Groups;
pub use kernel_shap::{Attributions, Explanation, KernelShap, Options};
pub use occlusion::{Occlusion, Occlusions, OutputOcclusions};
pub use plan::EXACT_PLAYERS;
pub use question::Question;

/// Columns of a row: a picture of 256 by 256, or 16 sensors' windows of 4,096.
pub const MAX_FEATURES: usize = 65_536;

/// More attributions than this nobody reads; a multiple of 64. Solving takes 3 million operations for so many.
pub const MAX_GROUPS: usize = 256;

/// Evaluations go up with the background, what is learned of it with its square root.
pub const MAX_BACKGROUND_ROWS: usize = 100;

/// Values of a row that are explained at once; their means are kept for every coalition (8 MiB at both limits).
pub const MAX_OUTPUTS: usize = 256;

/// All coalitions of twelve players, and 16 for each of [`MAX_GROUPS`]: enough for any use between samples.
pub const MAX_COALITIONS: usize = 4_096;

/// Rows of a batch: more don't make a model faster.
pub const MAX_BATCH_ROWS: usize = 4_096;

/// Values of a batch, 16 MiB: batches of long rows have fewer of them, one at least.
pub const MAX_BATCH_VALUES: usize = 4_194_304;
