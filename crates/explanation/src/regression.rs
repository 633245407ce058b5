//! Shapley values estimated from some of the coalitions: KernelSHAP's weighted least squares.
//!
//! Minimised is the sum over the coalitions S of w(S) (v(S) - v(none) - sum over i in S of phi_i)², under the constraint that
//! the phi add up to D = v(all) - v(none) (Lundberg and Lee 2017, "A unified approach to interpreting model predictions",
//! theorem 2). The weight of a class of coalitions (see [`Class`]) is shared evenly by those that were evaluated, whether
//! drawn or all; so the estimate is the right one after any number of them.
//!
//! The constraint is solved exactly, and no player is singled out to be eliminated. With phi_i = D / M + psi_i, and z_S the
//! coalition's 0/1 vector less its mean |S| / M, what remains is least squares of v(S) - v(none) - D |S| / M against z_S, with
//! psi adding up to 0. The matrix A = sum of w z zᵀ maps (1, ..., 1) to 0, and the right side is perpendicular to it, so adding
//! k/M to every element of A, k being the mean of its other eigenvalues, makes A regular and leaves psi as it is. When every
//! coalition is known, A is then k times the unit matrix. A difference in the sum that rounding leaves is given to all
//! players evenly.
//!
//! # Too few coalitions
//!
//! A coalition and its complement tell the same of A, so M players need M - 1 pairs. Close to that the estimate interpolates
//! and its errors grow without bound; below, A is singular. With fewer than 1.25 M pairs, k / 100 is added to A's diagonal,
//! which draws psi towards 0: what isn't known is shared evenly. At 128 players and 128 pairs that took the error from 1.0
//! and 0.75 to 0.25 and 0.23 of the values' length, for a tree ensemble and an autoencoder; at 80 pairs for 64 players it
//! would have made it larger. The same is done when A has a pivot that is only rounding.

use crate::{
    coalition::Coalition,
    plan::Class,
    solver::{Factors, Symmetric},
};

/// Pairs for each player below which A's diagonal is raised.
const ENOUGH_PAIRS: f64 = 1.25;

/// By how much, of the mean eigenvalue.
const RIDGE: f64 = 0.01;

/// The equations for a set of coalitions; every output has its own right side.
#[derive(Debug)]
pub(crate) struct Regression {
    players: usize,
    /// z of each coalition.
    centred: Vec<Vec<f64>>,
    weights: Vec<f64>,
    /// |S| / M of each coalition.
    shares: Vec<f64>,
    /// `None` without coalitions: everybody gets the same.
    factors: Option<Factors>,
}

impl Regression {
    /// For coalitions of so many players, neither empty nor full.
    pub(crate) fn new(players: usize, coalitions: &[Coalition]) -> Self {
        let shares: Vec<f64> = coalitions
            .iter()
            .map(|set| set.size() as f64 / players as f64)
            .collect();
        let sets = coalitions.iter().zip(&shares);
        let centred: Vec<Vec<f64>> = sets.map(|(set, share)| centre(set, *share, players)).collect();
        let weights = weights(players, coalitions);
        let factors = factors(players, &centred, &weights);
        Self {
            players,
            centred,
            weights,
            shares,
            factors,
        }
    }

    /// The players' values. `gains` are v(S) - v(none) in the coalitions' order, `total` is v(all) - v(none).
    pub(crate) fn solve(&self, gains: &[f64], total: f64) -> Vec<f64> {
        let right = self.right_side(gains, total);
        let mut values = match &self.factors {
            Some(factors) => factors.solve(&right),
            None => right,
        };
        // Not `total` less the sum of all: psi is small beside it.
        let rest = values.iter().sum::<f64>() / self.players as f64;
        for value in &mut values {
            *value += total / self.players as f64 - rest;
        }
        values
    }

    fn right_side(&self, gains: &[f64], total: f64) -> Vec<f64> {
        let mut right = vec![0.0; self.players];
        let sets = self.centred.iter().zip(&self.weights).zip(&self.shares);
        for (((centred, weight), share), gain) in sets.zip(gains) {
            let scaled = weight * (gain - share * total);
            for (sum, element) in right.iter_mut().zip(centred) {
                *sum += scaled * element;
            }
        }
        right
    }
}

fn centre(set: &Coalition, share: f64, players: usize) -> Vec<f64> {
    let shown = (0..players).map(|player| f64::from(set.contains(player)));
    shown.map(|shown| shown - share).collect()
}

/// Each coalition's part of its class's weight.
fn weights(players: usize, coalitions: &[Coalition]) -> Vec<f64> {
    let classes: Vec<Class> = coalitions.iter().map(|set| Class::of(set.size(), players)).collect();
    let mut evaluated = vec![0.0; players];
    for class in &classes {
        if let Some(count) = evaluated.get_mut(class.size) {
            *count += 1.0;
        }
    }
    let part = |class: &Class| class.weight() / evaluated.get(class.size).unwrap_or(&1.0);
    classes.iter().map(part).collect()
}

fn factors(players: usize, centred: &[Vec<f64>], weights: &[f64]) -> Option<Factors> {
    let mut matrix = Symmetric::zeros(players);
    for (vector, weight) in centred.iter().zip(weights) {
        matrix.add_outer(*weight, vector);
    }
    let mean_eigenvalue = matrix.trace() / (players as f64 - 1.0);
    matrix.add_everywhere(mean_eigenvalue / players as f64);
    let pairs = centred.len().div_ceil(2) as f64;
    let is_enough = pairs >= ENOUGH_PAIRS * players as f64;
    let regular = is_enough.then(|| matrix.factor()).flatten();
    regular.or_else(|| {
        matrix.add_diagonal(RIDGE * mean_eigenvalue);
        matrix.factor()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exact::Table, plan::Plan, random::SplitMix64};

    /// A game in which nothing is regular: every coalition's value is random.
    fn game(players: usize, seed: u64) -> Vec<f64> {
        let mut random = SplitMix64::new(seed);
        (0..1 << players).map(|_| random.below(1000) as f64 / 100.0).collect()
    }

    #[test]
    fn all_coalitions_give_the_exact_values() {
        for players in 4..=9 {
            let values = game(players, players as u64);
            let plan = Plan::new(players, 2, 0);
            let gains: Vec<f64> = plan
                .coalitions
                .iter()
                .map(|set| values[set.index()] - values[0])
                .collect();
            let estimate =
                Regression::new(players, &plan.coalitions).solve(&gains, values[values.len() - 1] - values[0]);
            let all =
                (0..values.len()).map(|index| Coalition::of((0..players).filter(|player| index >> player & 1 == 1)));
            let exact = Table::new(players, all.zip(values.iter().copied())).shapley();
            for (estimate, exact) in estimate.iter().zip(&exact) {
                assert!(
                    (estimate - exact).abs() < 1e-12,
                    "{players}: {estimate} and not {exact}"
                );
            }
        }
    }

    #[test]
    fn an_additive_game_is_recovered_from_part_of_its_coalitions() {
        let worth: Vec<f64> = (0..30).map(|player| f64::from(player) - 7.5).collect();
        let plan = Plan::new(30, 80, 1);
        let gain = |set: &Coalition| {
            (0..30)
                .filter(|&player| set.contains(player))
                .map(|player| worth[player])
                .sum()
        };
        let gains: Vec<f64> = plan.coalitions.iter().map(gain).collect();
        let values = Regression::new(30, &plan.coalitions).solve(&gains, worth.iter().sum());
        for (value, worth) in values.iter().zip(&worth) {
            assert!((value - worth).abs() < 1e-10, "{value} and not {worth}");
        }
    }

    #[test]
    fn the_sum_is_the_total_however_few_coalitions_there_are() {
        let plan = Plan::new(20, 60, 2);
        let gains: Vec<f64> = (0..60).map(|index| f64::from(index % 7)).collect();
        for count in 0..=60 {
            let values = Regression::new(20, &plan.coalitions[..count]).solve(&gains[..count], 12.5);
            let sum: f64 = values.iter().sum();
            assert!((sum - 12.5).abs() < 1e-12, "{count} coalitions: {sum}");
        }
    }

    #[test]
    fn nothing_known_is_shared_evenly() {
        assert_eq!(Regression::new(4, &[]).solve(&[], 2.0), [0.5; 4]);
    }
}
