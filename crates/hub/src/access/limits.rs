//! How often somebody may: token buckets by key, in bounded memory. No clock in here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_s: f64,
    pub(crate) burst: f64,
}

/// A bucket for each key.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    /// Keys that are remembered. Who makes up new ones gets others forgotten, and each of them a full bucket.
    most: usize,
    buckets: Mutex<BTreeMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at_ms: u64,
}

impl Rate {
    fn filled(self, bucket: Bucket, now_ms: u64) -> f64 {
        let gained = now_ms.saturating_sub(bucket.at_ms) as f64 / 1000.0 * self.per_s;
        (bucket.level + gained).min(self.burst)
    }
}

impl<K: Ord + Clone> Buckets<K> {
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        Self {
            rate,
            most,
            buckets: Mutex::default(),
        }
    }

    /// Takes `cost` out of a key's bucket. The error is for how many milliseconds there isn't enough in it.
    pub(crate) fn take(&self, key: &K, cost: f64, now_ms: u64) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buckets.get(key).copied();
        let level = known.map_or(self.rate.burst, |bucket| self.rate.filled(bucket, now_ms));
        if level < cost {
            return Err(self.wait_ms(cost - level));
        }
        if buckets.len() >= self.most && !buckets.contains_key(key) {
            self.make_room(&mut buckets, now_ms);
        }
        let bucket = Bucket {
            level: level - cost,
            // A clock that goes back and forth must not fill a bucket twice.
            at_ms: known.map_or(now_ms, |bucket| bucket.at_ms.max(now_ms)),
        };
        buckets.insert(key.clone(), bucket);
        Ok(())
    }

    /// Whether there would be enough, taking nothing.
    pub(crate) fn look(&self, key: &K, cost: f64, now_ms: u64) -> Result<(), u64> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let level = buckets
            .get(key)
            .map_or(self.rate.burst, |bucket| self.rate.filled(*bucket, now_ms));
        if level < cost {
            Err(self.wait_ms(cost - level))
        } else {
            Ok(())
        }
    }

    fn wait_ms(&self, lacking: f64) -> u64 {
        (lacking / self.rate.per_s * 1000.0).ceil() as u64
    }

    /// Forgets full buckets, which say nothing, or else the fullest.
    fn make_room(&self, buckets: &mut BTreeMap<K, Bucket>, now_ms: u64) {
        buckets.retain(|_, bucket| self.rate.filled(*bucket, now_ms) < self.rate.burst);
        if buckets.len() < self.most {
            return;
        }
        let fullest = buckets
            .iter()
            .max_by(|a, b| {
                self.rate
                    .filled(*a.1, now_ms)
                    .total_cmp(&self.rate.filled(*b.1, now_ms))
            })
            .map(|(key, _)| key.clone());
        if let Some(key) = fullest {
            buckets.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_s: 2.0, burst: 4.0 };

    #[test]
    fn a_burst_then_the_rate() {
        let buckets = Buckets::new(RATE, 10);
        for _ in 0..4 {
            assert_eq!(buckets.take(&"a", 1.0, 1000), Ok(()));
        }
        assert_eq!(buckets.take(&"a", 1.0, 1000), Err(500));
        assert_eq!(buckets.look(&"a", 1.0, 1250), Err(250));
        assert_eq!(buckets.take(&"b", 1.0, 1000), Ok(()), "each key has its own");
        assert_eq!(buckets.take(&"a", 1.0, 1500), Ok(()));
        assert_eq!(buckets.take(&"a", 1.0, 1500), Err(500));
        assert_eq!(
            buckets.take(&"a", 1.0, 900),
            Err(500),
            "a clock that goes back gives nothing"
        );
        assert_eq!(
            buckets.take(&"a", 4.0, 100_000),
            Ok(()),
            "no more than a burst is saved up"
        );
        assert!(buckets.take(&"a", 0.1, 100_000).is_err());
    }

    #[test]
    fn memory_is_bounded_whatever_keys_come() {
        let buckets = Buckets::new(RATE, 8);
        for _ in 0..4 {
            buckets.take(&0, 1.0, 0).unwrap();
        }
        for key in 1..1000 {
            buckets.take(&key, 1.0, 0).unwrap();
        }
        assert!(buckets.buckets.lock().unwrap().len() <= 8);
        assert!(
            buckets.take(&0, 1.0, 0).is_err(),
            "who has used theirs up isn't forgotten for others"
        );
        for key in 1000..1008 {
            buckets.take(&key, 1.0, 100_000).unwrap();
        }
        assert_eq!(buckets.take(&0, 1.0, 100_000), Ok(()));
    }
}
