//! What a plugin has missed, series by series.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Keys of which a stage knows that nothing is missing. With more it forgets all, which tells each of one gap too many: four
/// times as many as a first-party plugin can keep apart, in some 100 KiB, and a pipeline has up to 97 stages.
const MAX_KEYS: usize = 4096;

/// What a stage didn't see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing<'a> {
    /// A sample of this key, or one without a key.
    Of(Option<&'a str>),
    /// Samples of whichever key.
    Any,
}

/// The series of which the plugin saw the last sample that there was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unbroken {
    /// Whether that of the samples without a key is one.
    plain: bool,
    /// Hashes of the keys, drawn anew in each process: nobody outside can find two that are alike.
    keys: HashSet<u64>,
    hasher: RandomState,
}

impl Unbroken {
    /// Notes that samples went by.
    pub(crate) fn miss(&mut self, missing: Missing<'_>) {
        match missing {
            Missing::Of(key) => drop(self.take(key)),
            Missing::Any => {
                self.plain = false;
                self.keys.clear();
            }
        }
    }

    /// Notes that the plugin saw a sample of the key.
    pub(crate) fn saw(&mut self, key: Option<&str>) {
        let Some(key) = key else {
            self.plain = true;
            return;
        };
        if self.keys.len() == MAX_KEYS {
            self.keys.clear();
        }
        self.keys.insert(self.hasher.hash_one(key));
    }

    /// Whether nothing of the key is missing; until its next sample is [seen](Self::saw) there is.
    pub(crate) fn take(&mut self, key: Option<&str>) -> bool {
        match key {
            None => std::mem::take(&mut self.plain),
            Some(key) => self.keys.remove(&self.hasher.hash_one(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_gaps() {
        let mut unbroken = Unbroken::default();
        let keys = [None, Some("a"), Some("b")];
        let see_all = |unbroken: &mut Unbroken| {
            keys.map(|key| {
                let whole = unbroken.take(key);
                unbroken.saw(key);
                whole
            })
        };
        assert_eq!(see_all(&mut unbroken), [false; 3], "first samples");
        assert_eq!(see_all(&mut unbroken), [true; 3]);
        unbroken.miss(Missing::Of(Some("a")));
        assert_eq!(see_all(&mut unbroken), [true, false, true]);
        unbroken.miss(Missing::Of(None));
        assert_eq!(see_all(&mut unbroken), [false, true, true]);
        unbroken.miss(Missing::Any);
        assert_eq!(see_all(&mut unbroken), [false; 3]);
        // One that is taken and not seen is missing the next time.
        assert!(unbroken.take(Some("b")) && !unbroken.take(Some("b")));
    }

    #[test]
    fn ever_new_keys_take_bounded_memory() {
        let mut unbroken = Unbroken::default();
        let see = |unbroken: &mut Unbroken, index: usize| unbroken.saw(Some(&index.to_string()));
        (0..MAX_KEYS).for_each(|index| see(&mut unbroken, index));
        assert!(unbroken.take(Some("0")) && unbroken.take(Some("4095")));
        (0..3 * MAX_KEYS).for_each(|index| see(&mut unbroken, index));
        assert!(unbroken.keys.len() <= MAX_KEYS);
        assert!(
            !unbroken.take(Some("0")),
            "told of a gap too many, never of one too few"
        );
    }
}
