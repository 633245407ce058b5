//! Keeps a fault that comes with every sample from filling the spool with the same sentence.

use std::collections::BTreeMap;

/// The same kind of event about the same subject is told once in this time; the others are counted.
const EVERY_MS: u64 = 30_000;
/// Subjects that are kept apart. Beyond, all are one.
const MAX_SUBJECTS: usize = 256;

/// Counts what isn't told.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    told: BTreeMap<(&'static str, String), (u64, u64)>,
}

impl Limiter {
    /// How many of the same were held back since the last one, if this one is to be told.
    pub(crate) fn admit(&mut self, kind: &'static str, subject: &str, now_ms: u64) -> Option<u64> {
        let full = self.told.len() >= MAX_SUBJECTS;
        let key = (kind, subject.to_owned());
        let key = if full && !self.told.contains_key(&key) {
            (kind, String::new())
        } else {
            key
        };
        match self.told.get_mut(&key) {
            Some((told_ms, held_back)) if now_ms.saturating_sub(*told_ms) < EVERY_MS => {
                *held_back += 1;
                None
            }
            Some(entry) => Some(std::mem::replace(entry, (now_ms, 0)).1),
            None => {
                self.told.insert(key, (now_ms, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_rest_are_counted() {
        let mut limiter = Limiter::default();
        assert_eq!(limiter.admit("a", "x", 0), Some(0));
        assert_eq!(
            (limiter.admit("a", "x", 1), limiter.admit("a", "x", 29_999)),
            (None, None)
        );
        assert_eq!(limiter.admit("a", "y", 1), Some(0));
        assert_eq!(limiter.admit("a", "x", 30_000), Some(2));
        for k in 0..1000 {
            limiter.admit("b", &k.to_string(), 0);
        }
        assert!(limiter.told.len() <= MAX_SUBJECTS + 2);
    }
}
