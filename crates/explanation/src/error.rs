//! What can be wrong with a question, with a model's answers, or with the time of asking.

use crate::{MAX_BACKGROUND_ROWS, MAX_BATCH_ROWS, MAX_COALITIONS, MAX_FEATURES, MAX_GROUPS, MAX_OUTPUTS};

/// Why something can't be explained. Each fits "failed to explain: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A row of no features, or of too many.
    #[error("a row has {0} features: it has to have 1 to {MAX_FEATURES}")]
    Features(usize),
    /// No background, one that isn't whole rows, or too many rows.
    #[error(
        "a background of {values} values for rows of {features}: it has to be 1 to {MAX_BACKGROUND_ROWS} whole rows"
    )]
    Background {
        /// Values there are.
        values: usize,
        /// Features of a row.
        features: usize,
    },
    /// No outputs, or too many.
    #[error("{0} outputs: there have to be 1 to {MAX_OUTPUTS}")]
    Outputs(usize),
    /// No groups, or too many.
    #[error("{0} groups: there have to be 1 to {MAX_GROUPS}; put features that belong together into one")]
    Groups(usize),
    /// A group's number was left out: groups are numbered from 0 without a gap.
    #[error("group {0} has no features")]
    EmptyGroup(usize),
    /// Groups of rows with another number of features.
    #[error("groups share out {grouped} features, and a row has {features}")]
    GroupedFeatures {
        /// Features that the groups share out.
        grouped: usize,
        /// Features of a row.
        features: usize,
    },
    /// Features can't be shared out evenly among that many, or by that many.
    #[error("{features} features can't be shared out by {by}")]
    Uneven {
        /// Features of a row.
        features: usize,
        /// A group's width, or how many groups.
        by: usize,
    },
    /// Too few coalitions or too many.
    #[error("{0} coalitions: there have to be 2 to {MAX_COALITIONS}")]
    Coalitions(usize),
    /// Batches of no rows, or of too many.
    #[error("batches of {0} rows: they have to be of 1 to {MAX_BATCH_ROWS}")]
    BatchRows(usize),
    /// Outputs came before a batch was asked for.
    #[error("outputs were given without a batch")]
    NoBatch,
    /// A batch's outputs aren't as many as its rows times the outputs of a row.
    #[error("{actual} outputs where {expected} were expected: a value for each output of each row")]
    OutputCount {
        /// Rows of the batch times outputs.
        expected: usize,
        /// Values that were given.
        actual: usize,
    },
    /// The model gave NaN or infinity, or its outputs add up to that: nothing can be attributed then.
    #[error("output {output} of evaluation {evaluation} is {value}: only finite outputs can be explained")]
    NotFinite {
        /// Which output, from 0.
        output: usize,
        /// Which row of all that were asked for, from 0: row 0 is the one to explain.
        evaluation: usize,
        /// `NaN`, `inf` or `-inf`.
        value: &'static str,
    },
    /// Outputs are finite, and so large that their differences aren't.
    #[error("output {0} is too large for differences to be computed")]
    Overflow(usize),
    /// The end came before the row itself, or the background by itself, was evaluated.
    #[error("{taken} evaluations were done: an estimate takes {needed} at least")]
    TooEarly {
        /// Evaluations without which there is no estimate.
        needed: usize,
        /// Evaluations whose outputs were taken.
        taken: usize,
    },
}

impl Error {
    /// What [`Error::NotFinite`] calls a value.
    pub(crate) fn name_of(value: f64) -> &'static str {
        if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        }
    }
}
