//! Which coalitions are evaluated, in which order.
//!
//! Coalitions come in pairs, a set of players and the others (Covert and Lee 2021, "Improving KernelSHAP", AISTATS): the even
//! part of a game cancels out of the estimate. A class is all coalitions of s or M - s of the M players, 1 <= s <= M / 2.
//!
//! - If the budget holds all coalitions, or there are at most [`EXACT_PLAYERS`] players, all are in the plan.
//! - Otherwise classes are taken in whole as long as a class would get as many draws as it has members, were they drawn by
//!   the kernel's weights: singles and their complements first, which carry the largest weights (as the `shap` package
//!   does). What is left of the budget is drawn at random, without repetition, from the classes that remain, each class as
//!   often as any other. That is close to drawing by leverage scores (Musco and Witter 2025, "Provably accurate Shapley value
//!   estimation via leverage score sampling", ICLR), and closer to the truth than drawing by the kernel's weights: README.md
//!   has the figures.
//!
//! Whole classes are shuffled, and draws go round the classes, so that any beginning of the plan is a fair one.

use crate::{coalition::Coalition, random::SplitMix64};
use std::collections::BTreeSet;

/// Up to so many players all coalitions are evaluated, 1,022 beside the empty and the full one, whatever the budget.
pub const EXACT_PLAYERS: usize = 10;

/// Draws that may hit a pair that is already there before its class is given up for this round.
const TRIES: usize = 64;

/// Coalitions in the order of their evaluation, without the empty and the full one.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) coalitions: Vec<Coalition>,
    /// Whether they are all there are.
    pub(crate) complete: bool,
}

impl Plan {
    /// At most `budget` coalitions of `players`; all of them for few players.
    pub(crate) fn new(players: usize, budget: usize, seed: u64) -> Self {
        let classes: Vec<Class> = (1..=players / 2).map(|size| Class { players, size }).collect();
        let all = classes
            .iter()
            .fold(0_u64, |sum, class| sum.saturating_add(class.pairs()));
        let mut builder = Builder {
            random: SplitMix64::new(seed),
            coalitions: Vec::new(),
        };
        let complete = players <= EXACT_PLAYERS || all <= budget as u64 / 2;
        if complete {
            classes.iter().for_each(|class| builder.take_whole(*class));
        } else {
            builder.take_some(&classes, budget / 2);
        }
        Self {
            coalitions: builder.coalitions,
            complete,
        }
    }

    /// The most coalitions that a plan for so many players and this budget has.
    pub(crate) fn bound(players: usize, budget: usize) -> usize {
        if players <= EXACT_PLAYERS {
            (1_usize << players).saturating_sub(2)
        } else {
            budget
        }
    }
}

/// The coalitions of `size` players and their complements; `size` is at most half of the players.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class {
    pub(crate) players: usize,
    pub(crate) size: usize,
}

impl Class {
    /// The class that a coalition of this size belongs to.
    pub(crate) fn of(size: usize, players: usize) -> Self {
        let size = size.min(players.saturating_sub(size));
        Self { players, size }
    }

    /// Shapley's kernel over the whole class, up to a factor that all classes share: (M - 1) / (s (M - s)) for each of its
    /// two sizes (Lundberg and Lee 2017, theorem 2, times the number of coalitions of that size).
    pub(crate) fn weight(self) -> f64 {
        let (players, size) = (self.players as f64, self.size as f64);
        let sizes = if self.is_half() { 1.0 } else { 2.0 };
        sizes * (players - 1.0) / (size * (players - size))
    }

    /// Complements are of the same size.
    fn is_half(self) -> bool {
        2 * self.size == self.players
    }

    /// How many pairs the class has; as many as 64 bits can say if there are more.
    fn pairs(self) -> u64 {
        let subsets = binomial(self.players as u64, self.size as u64);
        if self.is_half() { subsets / 2 } else { subsets }
    }
}

/// n over k, or the largest number.
fn binomial(n: u64, k: u64) -> u64 {
    let product = (1..=k).try_fold(1_u128, |product, factor| {
        // Divisible at every step: it is `n - k + factor` over `factor`.
        Some(product.checked_mul(u128::from(n - k + factor))? / u128::from(factor))
    });
    product.map_or(u64::MAX, |product| u64::try_from(product).unwrap_or(u64::MAX))
}

#[derive(Debug)]
struct Builder {
    random: SplitMix64,
    coalitions: Vec<Coalition>,
}

impl Builder {
    fn take_some(&mut self, classes: &[Class], mut pairs: usize) {
        let mut rest = classes;
        while let Some((class, others)) = rest.split_first() {
            let weight: f64 = rest.iter().map(|class| class.weight()).sum();
            let expected = pairs as f64 * class.weight() / weight;
            if expected < class.pairs() as f64 {
                break;
            }
            pairs = pairs.saturating_sub(class.pairs() as usize);
            self.take_whole(*class);
            rest = others;
        }
        self.draw(rest, pairs);
    }

    /// Adds every pair of a class, in random order.
    fn take_whole(&mut self, class: Class) {
        let mut subsets = Vec::new();
        combinations(class.players, class.size, &mut Vec::new(), &mut subsets);
        if class.is_half() {
            // The others are the complements of these.
            subsets.retain(|subset| subset.contains(0));
        }
        self.random.shuffle(&mut subsets);
        for subset in subsets {
            self.add(subset, class.players);
        }
    }

    /// Adds so many pairs from these classes, or fewer if they can't be found.
    fn draw(&mut self, classes: &[Class], pairs: usize) {
        let mut drawn = BTreeSet::new();
        let mut round = classes.to_vec();
        while drawn.len() < pairs {
            let before = drawn.len();
            self.random.shuffle(&mut round);
            for class in round.iter().take(pairs - before) {
                if let Some(subset) = self.draw_new(*class, &drawn) {
                    drawn.insert(subset);
                    self.add(subset, class.players);
                }
            }
            if drawn.len() == before {
                return;
            }
        }
    }

    /// One of each pair: that with the first player if both are of the same size.
    fn draw_new(&mut self, class: Class, drawn: &BTreeSet<Coalition>) -> Option<Coalition> {
        let mut players: Vec<usize> = (0..class.players).collect();
        for _ in 0..TRIES {
            self.random.shuffle_first(&mut players, class.size);
            let mut subset = Coalition::of(players.iter().take(class.size).copied());
            if class.is_half() && !subset.contains(0) {
                subset = subset.complement(class.players);
            }
            if !drawn.contains(&subset) {
                return Some(subset);
            }
        }
        None
    }

    fn add(&mut self, subset: Coalition, players: usize) {
        self.coalitions.push(subset);
        self.coalitions.push(subset.complement(players));
    }
}

/// All subsets of `size` of the players above those chosen already. As deep as the size, which is small wherever a class is
/// taken in whole.
fn combinations(players: usize, size: usize, chosen: &mut Vec<usize>, found: &mut Vec<Coalition>) {
    if chosen.len() == size {
        found.push(Coalition::of(chosen.iter().copied()));
        return;
    }
    let first = chosen.last().map_or(0, |last| last + 1);
    let missing = size - chosen.len();
    for player in first..(players + 1).saturating_sub(missing) {
        chosen.push(player);
        combinations(players, size, chosen, found);
        chosen.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(plan: &Plan) -> Vec<usize> {
        plan.coalitions.iter().map(Coalition::size).collect()
    }

    #[test]
    fn few_players_have_all_their_coalitions_whatever_the_budget() {
        for players in 0..=EXACT_PLAYERS {
            let plan = Plan::new(players, 2, 3);
            let mut indices: Vec<usize> = plan.coalitions.iter().map(Coalition::index).collect();
            indices.sort_unstable();
            let all: Vec<usize> = (1..(1 << players) - usize::from(players > 0)).collect();
            assert_eq!(indices, all, "{players} players");
            assert!(plan.complete);
            assert_eq!(Plan::bound(players, 2), plan.coalitions.len());
        }
    }

    #[test]
    fn a_budget_that_holds_all_coalitions_is_used_for_them() {
        assert!(Plan::new(12, 4094, 0).complete);
        let all_but_one_pair = Plan::new(12, 4092, 0);
        assert!(!all_but_one_pair.complete);
        assert!(all_but_one_pair.coalitions.len() > 4000);
    }

    #[test]
    fn pairs_share_out_the_players_and_come_once() {
        for (players, budget) in [(11, 256), (12, 2000), (30, 256), (64, 255), (256, 1024)] {
            let plan = Plan::new(players, budget, 9);
            assert!(plan.coalitions.len() <= budget);
            assert!(
                plan.coalitions.len() + 50 >= budget,
                "{players}: {}",
                plan.coalitions.len()
            );
            for pair in plan.coalitions.chunks(2) {
                assert_eq!(pair[0].complement(players), pair[1]);
            }
            let distinct: BTreeSet<Coalition> = plan.coalitions.iter().copied().collect();
            assert_eq!(distinct.len(), plan.coalitions.len());
            assert!(!distinct.contains(&Coalition::EMPTY));
        }
    }

    #[test]
    fn singles_come_in_whole_if_the_budget_allows() {
        let plan = Plan::new(30, 256, 0);
        assert!(sizes(&plan)[..60].chunks(2).all(|pair| pair == [1, 29]));
        assert!(sizes(&plan)[60..].iter().all(|size| (2..=28).contains(size)));
        let scarce = Plan::new(64, 256, 0);
        assert!(sizes(&scarce)[..128].contains(&32));
    }

    #[test]
    fn every_class_is_drawn_as_often_as_any_other() {
        let plan = Plan::new(64, 256, 5);
        let mut draws = [0; 33];
        for size in sizes(&plan) {
            draws[Class::of(size, 64).size] += 1;
        }
        assert_eq!(draws[1..], [8; 32]);
    }

    #[test]
    fn the_seed_decides() {
        let plan = |seed| Plan::new(40, 100, seed).coalitions;
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn binomials_are_right_or_the_largest_number() {
        assert_eq!(binomial(12, 6), 924);
        assert_eq!(binomial(64, 32), 1_832_624_140_942_590_534);
        assert_eq!(binomial(256, 128), u64::MAX);
    }

    #[test]
    fn class_weights_are_the_kernels() {
        // Four players: 4 coalitions of one and 4 of three with 3 / (4 * 1 * 3) each, 6 of two with 3 / (6 * 2 * 2).
        let weight = |size| Class { players: 4, size }.weight();
        assert!((weight(1) - 8.0 * 3.0 / 12.0).abs() < 1e-15);
        assert!((weight(2) - 6.0 * 3.0 / 24.0).abs() < 1e-15);
    }
}
