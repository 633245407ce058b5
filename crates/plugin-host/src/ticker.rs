//! The engine's epoch, and how long a call may go on.
//!
//! One thread per engine ticks while plugins are being called and parks when they aren't, so that an idle device isn't
//! woken two hundred times a second. A [`Stopwatch`] turns ticks into a verdict by the calling thread's CPU time: on a
//! busy device a plugin isn't blamed for time it was never given.
//!
//! The CPU clock costs a system call, a fair part of a short plugin call. It is first read on a call's first tick, so
//! that calls shorter than a tick never pay for it; a call may so run for up to two ticks beyond its deadline.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};
use wasmtime::{Engine, UpdateDeadline};

/// Time between two ticks: a tenth of the default deadline, so that two of them are a fifth.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Ticks without a call after which the thread parks. At more than a hundred calls a second it never does, and none of
/// them pays for waking it.
const QUIET_TICKS: u32 = 2;

/// How much longer than its CPU time a call may take on the clock before the device gives up on it.
const WALL_FACTOR: u32 = 40;

/// Counts calls in and out, and advances the engine's epoch while any is inside.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    entered: AtomicU64,
    left: AtomicU64,
    parked: AtomicBool,
    stop: Mutex<bool>,
    wake: Condvar,
}

impl Ticker {
    /// Starts the thread, which parks at once.
    pub(crate) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            entered: AtomicU64::new(0),
            left: AtomicU64::new(0),
            parked: AtomicBool::new(false),
            stop: Mutex::new(false),
            wake: Condvar::new(),
        });
        let ticking = Arc::clone(&shared);
        // It needs next to no stack; the default would be 2 MiB of address space.
        let builder = thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .stack_size(64 << 10);
        let thread = builder.spawn(move || ticking.run(&engine))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Notes that a call begins; it ends when the answer is dropped.
    pub(crate) fn enter(&self) -> Inside<'_> {
        self.shared.entered.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            let _stop = self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.parked.store(false, Ordering::SeqCst);
            self.shared.wake.notify_one();
        }
        Inside(&self.shared)
    }

    /// Whether the thread is parked.
    #[cfg(test)]
    fn is_parked(&self) -> bool {
        self.shared.parked.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread can't panic, and there would be nothing to do about it.
            drop(thread.join());
        }
    }
}

/// A call in progress.
pub(crate) struct Inside<'t>(&'t Shared);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let mut quiet = QUIET_TICKS;
        let mut last = 0;
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stop {
            if quiet >= QUIET_TICKS {
                self.parked.store(true, Ordering::SeqCst);
                // A call that came between the last look and the store has not seen the flag.
                if self.is_idle() {
                    let parked = |stop: &mut bool| !*stop && self.parked.load(Ordering::SeqCst);
                    stop = self
                        .wake
                        .wait_while(stop, parked)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                self.parked.store(false, Ordering::SeqCst);
                quiet = 0;
                continue;
            }
            stop = self
                .wake
                .wait_timeout(stop, TICK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            let entered = self.entered.load(Ordering::SeqCst);
            if self.is_idle() {
                quiet = if entered == last { quiet + 1 } else { 0 };
            } else {
                engine.increment_epoch();
                quiet = 0;
            }
            last = entered;
        }
    }

    fn is_idle(&self) -> bool {
        self.entered.load(Ordering::SeqCst) == self.left.load(Ordering::SeqCst)
    }
}

/// Why a call was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// It had its CPU time.
    Cpu {
        /// The time it had.
        deadline_ms: u32,
    },
    /// It didn't get it in a time that anybody would wait for.
    Wall {
        /// The time on the clock.
        wall_ms: u64,
    },
}

/// Judges one call at a time.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    deadline_ms: u32,
    /// The thread's CPU time and the clock's at the call's first tick.
    first_tick: Option<(Duration, Instant)>,
    overrun: Option<Overrun>,
}

impl Stopwatch {
    /// Begins a call. Reads no clock.
    pub(crate) fn begin(&mut self, deadline_ms: u32) {
        *self = Self {
            deadline_ms,
            first_tick: None,
            overrun: None,
        };
    }

    /// Why the call was interrupted, if it was.
    pub(crate) fn overrun(&self) -> Option<Overrun> {
        self.overrun
    }

    /// What becomes of the call at a tick.
    pub(crate) fn tick(&mut self) -> UpdateDeadline {
        let (cpu, wall) = (thread_cpu_time(), Instant::now());
        let deadline = Duration::from_millis(u64::from(self.deadline_ms));
        let (cpu_then, wall_then) = *self.first_tick.get_or_insert((cpu, wall));
        let used = cpu.saturating_sub(cpu_then);
        let waited = wall.duration_since(wall_then);
        // Half a tick early rather than a whole one late: clock and tick never agree to the microsecond.
        if used + TICK / 2 >= deadline && !used.is_zero() {
            self.overrun = Some(Overrun::Cpu {
                deadline_ms: self.deadline_ms,
            });
            return UpdateDeadline::Interrupt;
        }
        if waited >= deadline * WALL_FACTOR {
            self.overrun = Some(Overrun::Wall {
                wall_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            });
            return UpdateDeadline::Interrupt;
        }
        let left = deadline.saturating_sub(used).as_millis().div_ceil(TICK.as_millis());
        UpdateDeadline::Continue(u64::try_from(left).unwrap_or(u64::MAX).max(1))
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parks_when_nobody_is_inside() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        let until = |parked: bool| {
            let start = Instant::now();
            while ticker.is_parked() != parked {
                assert!(start.elapsed() < Duration::from_secs(20), "parked: {}", !parked);
                thread::yield_now();
            }
        };
        until(true);
        let inside = ticker.enter();
        assert!(!ticker.is_parked());
        drop(inside);
        until(true);
    }

    #[test]
    fn waiting_is_not_held_against_a_call() {
        let mut stopwatch = Stopwatch::default();
        stopwatch.begin(50);
        assert!(matches!(stopwatch.tick(), UpdateDeadline::Continue(10)));
        thread::sleep(Duration::from_millis(70));
        assert!(
            matches!(stopwatch.tick(), UpdateDeadline::Continue(_)),
            "asleep, it used no CPU time"
        );
        let start = thread_cpu_time();
        while thread_cpu_time() - start < Duration::from_millis(60) {}
        assert!(matches!(stopwatch.tick(), UpdateDeadline::Interrupt));
        assert_eq!(stopwatch.overrun(), Some(Overrun::Cpu { deadline_ms: 50 }));
    }
}
