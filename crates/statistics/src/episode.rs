//! A condition that lasts: reported when it begins and when it ends, and not in between.
//!
//! A monitor sees thousands of samples an hour, and a sensor out of range stays there. One finding at the start and one
//! at the end say as much as thousands, and say how many there were.

/// What a sample changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the condition goes on, or still doesn't hold.
    None,
    /// The condition holds from this sample on.
    Began,
    /// The condition held for this many samples, and no longer does.
    Ended(u64),
}

/// Whether a condition holds, and for how many samples it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Episode {
    length: u64,
}

impl Episode {
    /// The condition doesn't hold.
    #[must_use]
    pub const fn new() -> Self {
        Self { length: 0 }
    }

    /// Takes in whether the condition holds for the next sample.
    pub fn push(&mut self, holds: bool) -> Change {
        let before = self.length;
        self.length = if holds { before.saturating_add(1) } else { 0 };
        match (before, holds) {
            (0, true) => Change::Began,
            (1.., false) => Change::Ended(before),
            _ => Change::None,
        }
    }

    /// Samples for which the condition has held up to now; 0 when it doesn't.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Goes on from a saved [`length`](Self::length).
    pub const fn restore(&mut self, length: u64) {
        self.length = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_an_episode_are_changes() {
        let mut episode = Episode::new();
        let changes = [false, true, true, true, false, false, true].map(|holds| episode.push(holds));
        let expected = [
            Change::None,
            Change::Began,
            Change::None,
            Change::None,
            Change::Ended(3),
            Change::None,
            Change::Began,
        ];
        assert_eq!(changes, expected);
    }
}
