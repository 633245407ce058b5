//! A coalition: which players show their true values, as bits.
//!
//! Owns the set's arithmetic. Players are numbered from 0; how many there are is the caller's to know.

use crate::MAX_GROUPS;

const WORDS: usize = MAX_GROUPS / 64;

/// A set of players.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Coalition([u64; WORDS]);

impl Coalition {
    /// Nobody.
    pub(crate) const EMPTY: Self = Self([0; WORDS]);

    /// These players; numbers from [`MAX_GROUPS`] on are left out.
    pub(crate) fn of(players: impl IntoIterator<Item = usize>) -> Self {
        let mut coalition = Self::EMPTY;
        for player in players {
            if let Some(word) = coalition.0.get_mut(player / 64) {
                *word |= 1 << (player % 64);
            }
        }
        coalition
    }

    /// Whether a player is in it.
    pub(crate) fn contains(&self, player: usize) -> bool {
        let word = self.0.get(player / 64);
        word.is_some_and(|word| word >> (player % 64) & 1 == 1)
    }

    /// How many players are in it.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Those of the first `players` who aren't in it.
    pub(crate) fn complement(&self, players: usize) -> Self {
        Self::of((0..players).filter(|&player| !self.contains(player)))
    }

    /// The first 64 players as a number: the coalition's place in a table of all coalitions of few players.
    pub(crate) fn index(&self) -> usize {
        let [first, ..] = self.0;
        first as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_and_its_complement_share_out_the_players() {
        for players in [1, 2, 63, 64, 65, 128, MAX_GROUPS] {
            let set = Coalition::of((0..players).step_by(3));
            let rest = set.complement(players);
            assert_eq!(set.size() + rest.size(), players);
            assert!((0..players).all(|player| set.contains(player) != rest.contains(player)));
            assert_eq!(rest.complement(players), set);
        }
    }

    #[test]
    fn indices_are_binary_numbers() {
        assert_eq!(Coalition::EMPTY.index(), 0);
        assert_eq!(Coalition::of([0, 3]).index(), 9);
        assert!(!Coalition::of([MAX_GROUPS]).contains(MAX_GROUPS));
    }
}
