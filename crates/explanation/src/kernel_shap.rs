//! KernelSHAP: Shapley values of the game in which a coalition of features shows its true values, and the others the
//! background's.
//!
//! Owns the explainer and what it gives. v(S) is the mean of the model's outputs over the background rows, each with the
//! columns of S replaced by the row's own ("interventional" expectations; Janzing, Minorics and Blöbaum 2020, "Feature
//! relevance quantification in explainable AI", AISTATS). Exact where all coalitions were evaluated, an estimate otherwise.

use crate::{
    Batch, Error, Explainer, MAX_BATCH_ROWS, MAX_COALITIONS, Question, coalition::Coalition, exact::Table, plan::Plan,
    regression::Regression, walk::Walk,
};

/// How much may be spent, and how it is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most coalitions to evaluate beside the empty and the full one, 2 to [`MAX_COALITIONS`]; an odd one isn't used. Up
    /// to [`EXACT_PLAYERS`](crate::EXACT_PLAYERS) groups that differ from the background take all of theirs, 1,022 at
    /// most, whatever stands here. Below 2.5 for each group, estimates are drawn towards each other; take four for each.
    pub coalitions: usize,
    /// Which coalitions are drawn. The same seed gives the same explanation, to the bit.
    pub seed: u64,
    /// Rows of a batch, 1 to [`MAX_BATCH_ROWS`]; fewer where rows are long (see
    /// [`MAX_BATCH_VALUES`](crate::MAX_BATCH_VALUES)). Time is looked at between batches.
    pub batch_rows: usize,
}

impl Default for Options {
    /// 256 coalitions, seed 0, batches of 256 rows.
    fn default() -> Self {
        Self {
            coalitions: 256,
            seed: 0,
            batch_rows: 256,
        }
    }
}

impl Options {
    /// The most evaluations of a row of the model that an explanation of so many groups against so many background rows
    /// takes: 1 + `background_rows` (1 + coalitions).
    #[must_use]
    pub fn max_evaluations(&self, groups: usize, background_rows: usize) -> usize {
        // Fewer groups may play than there are, and they may take more coalitions then: those of ten players.
        let most = (0..=groups.min(crate::EXACT_PLAYERS + 1)).map(|players| Plan::bound(players, self.coalitions));
        let coalitions = most.max().unwrap_or_default();
        background_rows
            .saturating_mul(coalitions.saturating_add(1))
            .saturating_add(1)
    }

    fn check(&self) -> Result<(), Error> {
        if !(2..=MAX_COALITIONS).contains(&self.coalitions) {
            return Err(Error::Coalitions(self.coalitions));
        }
        check_batch_rows(self.batch_rows)
    }
}

pub(crate) fn check_batch_rows(rows: usize) -> Result<(), Error> {
    if (1..=MAX_BATCH_ROWS).contains(&rows) {
        Ok(())
    } else {
        Err(Error::BatchRows(rows))
    }
}

/// What a question's answer is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// For each output of the model, in order.
    pub outputs: Vec<Attributions>,
    /// Coalitions that were evaluated, without the empty and the full one.
    pub coalitions: usize,
    /// Whether they were all there are: then these are the Shapley values, up to rounding.
    pub exact: bool,
}

/// One output, shared out among the groups: `base` and all of `attributions` add up to `prediction`, up to rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributions {
    /// The mean output over the background, in the output's unit.
    pub base: f64,
    /// The output for the row that was explained.
    pub prediction: f64,
    /// Each group's part of the difference, in the output's unit, in the groups' order.
    pub attributions: Vec<f64>,
}

/// Explains a row: gives out batches of rows to evaluate and takes the outputs. See [`Explainer`].
#[derive(Debug, Clone)]
pub struct KernelShap {
    walk: Walk,
    /// All coalitions are in the plan.
    complete: bool,
    /// Coalitions of the plan, without the empty one.
    planned: usize,
}

impl KernelShap {
    /// Plans the evaluations: the row itself, the background by itself, then the coalitions.
    pub fn new(question: Question, options: &Options) -> Result<Self, Error> {
        options.check()?;
        let plan = Plan::new(question.players().len(), options.coalitions, options.seed);
        let planned = plan.coalitions.len();
        let mut coalitions = vec![Coalition::EMPTY];
        coalitions.extend(plan.coalitions);
        Ok(Self {
            walk: Walk::new(question, coalitions, options.batch_rows),
            complete: plan.complete,
            planned,
        })
    }

    /// Coalitions that are planned, without the empty and the full one.
    #[must_use]
    pub fn planned_coalitions(&self) -> usize {
        self.planned
    }

    /// The players' values for one output, of what is known of the coalitions.
    fn players_values(&self, output: usize, regression: Option<&Regression>) -> Option<Attributions> {
        let prediction = *self.walk.prediction()?.get(output)?;
        let mut known = self
            .walk
            .known()
            .filter_map(|(set, means)| Some((set, *means.get(output)?)));
        let (_, base) = known.next()?;
        let players = self.walk.players().len();
        let values = match regression {
            Some(regression) => {
                let gains: Vec<f64> = known.map(|(_, value)| value - base).collect();
                regression.solve(&gains, prediction - base)
            }
            None => {
                let ends = [(Coalition::EMPTY, base), (Coalition::of(0..players), prediction)];
                let ends = ends.into_iter().take(1 + players.min(1));
                Table::new(players, ends.chain(known)).shapley()
            }
        };
        Some(Attributions {
            base,
            prediction,
            attributions: self.spread(&values),
        })
    }

    /// Players' values in the groups' order; who doesn't play gets 0.
    fn spread(&self, values: &[f64]) -> Vec<f64> {
        let mut attributions = vec![0.0; self.walk.question().groups().count()];
        for (&group, &value) in self.walk.players().iter().zip(values) {
            if let Some(place) = attributions.get_mut(group) {
                *place = value;
            }
        }
        attributions
    }
}

impl Explainer for KernelShap {
    type Explanation = Explanation;

    fn next_batch(&mut self) -> Option<Batch<'_>> {
        self.walk.next_batch()
    }

    fn take<T: Copy + Into<f64>>(&mut self, outputs: &[T]) -> Result<(), Error> {
        self.walk.take(outputs)
    }

    fn evaluations(&self) -> usize {
        self.walk.evaluations()
    }

    fn needed(&self) -> usize {
        self.walk.needed_for(1)
    }

    fn taken(&self) -> usize {
        self.walk.taken()
    }

    /// The Shapley values if all coalitions are evaluated, else the best estimate of those that are; without any, the
    /// difference is shared out evenly. Additive in every case. Takes M² / 2 operations for each coalition and M³ / 6 more
    /// for M players, once for all outputs, and the model isn't called.
    fn finish(&self) -> Result<Explanation, Error> {
        let known: Vec<Coalition> = self.walk.known().skip(1).map(|(set, _)| set).collect();
        let exact = self.complete && known.len() == self.planned;
        let regression = (!exact).then(|| Regression::new(self.walk.players().len(), &known));
        let too_early = Error::TooEarly {
            needed: self.needed(),
            taken: self.taken(),
        };
        let outputs = 0..self.walk.question().outputs();
        let outputs: Option<Vec<Attributions>> = outputs
            .map(|output| self.players_values(output, regression.as_ref()))
            .collect();
        let outputs = outputs.ok_or(too_early)?;
        if let Some(output) = outputs.iter().position(|output| !output.is_finite()) {
            return Err(Error::Overflow(output));
        }
        Ok(Explanation {
            outputs,
            coalitions: known.len(),
            exact,
        })
    }
}

impl Attributions {
    fn is_finite(&self) -> bool {
        self.base.is_finite() && self.attributions.iter().all(|value| value.is_finite())
    }
}
