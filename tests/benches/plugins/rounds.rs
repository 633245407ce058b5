//! Timing in turns: everything once in every round, beginning with another one each time.

use anyhow::Result;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds of a race: the median has ten on either side.
const ROUNDS: usize = 21;

/// How long one contender runs in a round.
const SLICE: Duration = Duration::from_millis(8);

/// Runs so often, and says how long it took.
type Work<'a> = Box<dyn FnMut(u64) -> Result<Duration> + 'a>;

/// Something to be timed beside others.
pub(crate) struct Contender<'a> {
    name: &'static str,
    work: Work<'a>,
}

impl<'a> Contender<'a> {
    /// A call in this process. Dropping its result is part of it.
    pub(crate) fn new<T>(name: &'static str, mut call: impl FnMut() -> T + 'a) -> Self {
        Self::timed(name, move |calls| {
            let started = Instant::now();
            for _ in 0..calls {
                drop(black_box(call()));
            }
            Ok(started.elapsed())
        })
    }

    /// Something that times itself.
    pub(crate) fn timed(name: &'static str, work: impl FnMut(u64) -> Result<Duration> + 'a) -> Self {
        Self {
            name,
            work: Box::new(work),
        }
    }

    /// Calls that fill a slice. What is run to find out is the warm-up.
    fn calls(&mut self) -> Result<u64> {
        let mut calls = 1;
        while (self.work)(calls)? < SLICE {
            calls *= 2;
        }
        Ok(calls)
    }
}

/// What a race came to: nanoseconds of a call, by contender and round.
pub(crate) struct Times(Vec<(&'static str, Vec<f64>)>);

impl Times {
    /// The median, in nanoseconds; none for somebody who wasn't there.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.of(name).map(|times| median(times.to_vec()))
    }

    /// The median over the rounds of one's time over the other's.
    pub(crate) fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        let pairs = self.of(name)?.iter().zip(self.of(other)?);
        Some(median(pairs.map(|(one, other)| one / other).collect()))
    }

    /// The rounds.
    pub(crate) fn of(&self, name: &str) -> Option<&[f64]> {
        let mut all = self.0.iter();
        all.find(|(of, _)| *of == name).map(|(_, times)| times.as_slice())
    }
}

/// Times all in turns.
pub(crate) fn race(mut contenders: Vec<Contender<'_>>) -> Result<Times> {
    let calls: Vec<u64> = contenders.iter_mut().map(Contender::calls).collect::<Result<_>>()?;
    let mut times: Vec<(&str, Vec<f64>)> = contenders.iter().map(|one| (one.name, Vec::new())).collect();
    for round in 0..ROUNDS {
        let mut all: Vec<_> = contenders.iter_mut().zip(&calls).zip(&mut times).collect();
        let first = round % all.len();
        all.rotate_left(first);
        for ((one, calls), (_, times)) in all {
            times.push((one.work)(*calls)?.as_nanos() as f64 / *calls as f64);
        }
    }
    Ok(Times(times))
}

/// The middle one; NaN of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
