//! What waits for the telemetry thread. Putting something in never blocks; what doesn't fit is counted.
//!
//! Reports of the highest priority have room of their own, so that a flood of predictions pushes out none of them. What
//! the thread is told of the connection, and that it shall end, is a value and not a message: it can't be lost.

use floorhand_protocol::{Priority, RecordBody};
use floorhand_store::Acknowledged;
use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reports that wait for the spool: some seconds of the busiest device while its disk stalls.
const REPORTS: usize = 4096;
/// Of the highest priority, beside those: the reports of many deployments.
const HIGH_REPORTS: usize = 1024;
/// Acks that wait; one that finds no room is made good by sending its batch again.
const ACKS: usize = 256;

/// A report and when it was made.
pub(super) type Report = (u64, RecordBody);

/// What the hub has signed for, of one boot: ranges of records' numbers and gaps, both ends included.
#[derive(Debug, Clone)]
pub(super) struct Acked {
    pub(super) boot_id: u64,
    pub(super) ranges: Vec<(u64, u64)>,
    pub(super) gaps: Vec<(u64, u64)>,
}

impl Acked {
    pub(super) fn borrowed(&self) -> Acknowledged<'_> {
        Acknowledged {
            boot_id: self.boot_id,
            ranges: &self.ranges,
            gaps: &self.gaps,
        }
    }
}

/// All that came since the thread last looked.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) reports: VecDeque<Report>,
    pub(super) acks: Vec<Acked>,
    /// The connection was made or has ended, and stands now or not.
    pub(super) connected: Option<bool>,
    /// Who asked for the end, and is to be told of it.
    pub(super) stop: Option<SyncSender<()>>,
    /// Reports that found no room.
    pub(super) lost: u64,
    high: usize,
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.acks.is_empty() && self.connected.is_none() && self.stop.is_none()
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Taken>,
    changed: Condvar,
}

impl Queue {
    /// Puts in a report, or counts it as lost.
    pub(super) fn report(&self, time_ms: u64, body: RecordBody) {
        let high = body.priority() == Priority::High;
        self.put(|waiting| {
            let fits = if high {
                waiting.high < HIGH_REPORTS
            } else {
                waiting.reports.len() - waiting.high < REPORTS
            };
            if !fits {
                waiting.lost += 1;
                return;
            }
            waiting.high += usize::from(high);
            waiting.reports.push_back((time_ms, body));
        });
    }

    pub(super) fn ack(&self, acked: Acked) {
        self.put(|waiting| {
            if waiting.acks.len() < ACKS {
                waiting.acks.push(acked);
            }
        });
    }

    pub(super) fn connected(&self, connected: bool) {
        self.put(|waiting| waiting.connected = Some(connected));
    }

    pub(super) fn stop(&self, done: SyncSender<()>) {
        self.put(|waiting| waiting.stop = Some(done));
    }

    /// Takes all there is, waiting for something to come, but not for longer than this.
    pub(super) fn take(&self, within: Duration) -> Taken {
        let waiting = self.lock();
        let (mut waiting, _) = self
            .changed
            .wait_timeout_while(waiting, within, |waiting| waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }

    fn put(&self, change: impl FnOnce(&mut Taken)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_protocol::{Event, Metrics, Severity};

    fn low() -> RecordBody {
        RecordBody::Metrics(Metrics::default())
    }

    fn high() -> RecordBody {
        RecordBody::Event(Event {
            kind: "bundle-broken".to_owned(),
            severity: Severity::Alarm,
            subject: "x".to_owned(),
            message: "y".to_owned(),
        })
    }

    #[test]
    fn a_flood_pushes_out_nothing_of_the_highest_priority_and_is_counted() {
        assert_ne!(low().priority(), Priority::High);
        assert_eq!(high().priority(), Priority::High);
        let queue = Queue::default();
        for _ in 0..REPORTS + 7 {
            queue.report(1, low());
        }
        queue.report(2, high());
        queue.connected(true);
        let taken = queue.take(Duration::ZERO);
        assert_eq!((taken.reports.len(), taken.lost), (REPORTS + 1, 7));
        assert_eq!(taken.reports.back(), Some(&(2, high())));
        assert_eq!(taken.connected, Some(true));
        queue.report(3, low());
        assert_eq!(queue.take(Duration::ZERO).reports.len(), 1, "there is room again");
    }
}
