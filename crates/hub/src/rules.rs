//! What the hub makes of what devices say: pure decisions, no database, no clock.

use floorhand_protocol::{Hello, JobReport, JobStatus, SeqRange, Step};

/// What is known of a device when its hello comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownBoot<'a> {
    /// The boot that spoke last, decimal; empty before the first hello.
    pub(crate) boot_id: &'a str,
    /// The highest count of that boot.
    pub(crate) count: u64,
    /// Whether the boot that says hello now has said it at an earlier time.
    pub(crate) seen_before: bool,
}

/// Whether a hello is a repetition of an older one, as a broker can make it: one of this boot that isn't above the last,
/// or one of a boot that another one came after.
pub(crate) fn is_replay(hello: &Hello, known: KnownBoot<'_>) -> bool {
    if hello.boot_id.to_string() == known.boot_id {
        hello.count <= known.count
    } else {
        known.seen_before
    }
}

/// Whether the newest assignment has to be sent again to a device that has taken those up to `taken_seq`. A broker may
/// have lost it. One that expired is left alone: the device would refuse it.
pub(crate) fn is_owed(seq: u64, expires_ms: u64, taken_seq: u64, now_ms: u64) -> bool {
    taken_seq < seq && now_ms <= expires_ms
}

/// What is known of an assignment's progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress<'a> {
    /// As [`JobStatus::name`] writes it.
    pub(crate) status: &'a str,
    /// As [`Step::name`] writes it; empty before the first report.
    pub(crate) step: &'a str,
    /// The device's time of the report it is from; 0 when the hub says so itself.
    pub(crate) report_ms: u64,
}

/// Whether a report says more than what is known. Live records overtake those that were held back, so reports come in any
/// order.
///
/// An end that the hub only assumed gives way to one that the device reports. An end that the device reported gives way
/// to a later one: a bundle that was committed can be rolled back by its health.
pub(crate) fn says_more(known: &Progress<'_>, report: &JobReport, time_ms: u64) -> bool {
    let over = !matches!(known.status, "QUEUED" | "IN_PROGRESS");
    if over {
        let assumed = known.report_ms == 0;
        return report.status.is_final() && (assumed || time_ms > known.report_ms);
    }
    report.status.is_final() || step_rank(report.step.name()) > step_rank(known.step) || time_ms >= known.report_ms
}

/// How far a step is along a deployment's way; 0 for none.
fn step_rank(step: &str) -> usize {
    const WAY: [Step; 7] = [
        Step::Assigned,
        Step::Fetching,
        Step::Verified,
        Step::Staged,
        Step::Trial,
        Step::Committed,
        Step::RolledBack,
    ];
    WAY.iter().position(|known| known.name() == step).map_or(0, |at| at + 1)
}

/// The status that an answer to an assignment gives it. Where no bundle was assigned, there is nothing more to be done:
/// mode and settings hold as soon as they are accepted.
pub(crate) fn status_of_answer(outcome: &floorhand_protocol::Outcome, names_bundle: bool) -> (JobStatus, &str) {
    match outcome {
        floorhand_protocol::Outcome::Accepted if !names_bundle => (JobStatus::Succeeded, ""),
        floorhand_protocol::Outcome::Accepted => (JobStatus::InProgress, ""),
        floorhand_protocol::Outcome::Done { .. } => (JobStatus::Succeeded, ""),
        floorhand_protocol::Outcome::Rejected { reason } => (JobStatus::Rejected, reason),
    }
}

/// What an answer is to: `assign/SEQ` or `cmd/ID`.
pub(crate) fn parse_answered(to: &str) -> Option<(&'static str, u64)> {
    let (kind, number) = to.split_once('/')?;
    let kind = match kind {
        "assign" => "assign",
        "cmd" => "cmd",
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    (number <= i64::MAX as u64).then_some((kind, number))
}

/// The ranges that cover exactly these numbers, in rising order.
pub(crate) fn ranges(seqs: impl IntoIterator<Item = u64>) -> Vec<SeqRange> {
    let mut seqs: Vec<u64> = seqs.into_iter().collect();
    seqs.sort_unstable();
    seqs.dedup();
    let mut ranges: Vec<SeqRange> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(seq) => range.last = seq,
            _ => ranges.push(SeqRange { first: seq, last: seq }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hello, report};
    use floorhand_protocol::Outcome;

    #[test]
    fn repeated_hellos_are_known_as_such() {
        let check = |boot_id: u64, count: u64, known: (&str, u64, bool), expected: bool| {
            let known = KnownBoot {
                boot_id: known.0,
                count: known.1,
                seen_before: known.2,
            };
            assert_eq!(
                is_replay(&hello("a", boot_id, count), known),
                expected,
                "{boot_id} {count} {known:?}"
            );
        };
        check(1, 1, ("", 0, false), false);
        check(1, 2, ("1", 1, true), false);
        check(1, 1, ("1", 1, true), true);
        check(1, 0, ("1", 1, true), true);
        check(2, 0, ("1", 9, false), false);
        check(1, 99, ("2", 0, true), true);
    }

    #[test]
    fn what_a_device_lacks_is_owed_until_it_expires() {
        assert!(is_owed(3, 100, 2, 100));
        assert!(!is_owed(3, 100, 3, 100));
        assert!(!is_owed(3, 100, 7, 100), "the hub was restored from a backup");
        assert!(!is_owed(3, 100, 2, 101));
    }

    #[test]
    fn reports_apply_in_whatever_order_they_come() {
        let check = |known: (&str, &str, u64), status: JobStatus, step: Step, time_ms: u64, expected: bool| {
            let progress = Progress {
                status: known.0,
                step: known.1,
                report_ms: known.2,
            };
            let report = report("j", 1, status, step);
            assert_eq!(
                says_more(&progress, &report, time_ms),
                expected,
                "{known:?} {status:?} {step:?} {time_ms}"
            );
        };
        check(("QUEUED", "", 0), JobStatus::InProgress, Step::Assigned, 5, true);
        check(
            ("IN_PROGRESS", "fetching", 5),
            JobStatus::InProgress,
            Step::Assigned,
            4,
            false,
        );
        check(
            ("IN_PROGRESS", "fetching", 5),
            JobStatus::InProgress,
            Step::Trial,
            5,
            true,
        );
        check(
            ("IN_PROGRESS", "trial", 9),
            JobStatus::Succeeded,
            Step::Committed,
            8,
            true,
        );
        check(
            ("SUCCEEDED", "committed", 9),
            JobStatus::InProgress,
            Step::Trial,
            10,
            false,
        );
        check(
            ("SUCCEEDED", "committed", 9),
            JobStatus::Failed,
            Step::RolledBack,
            10,
            true,
        );
        check(
            ("SUCCEEDED", "committed", 9),
            JobStatus::Succeeded,
            Step::Committed,
            9,
            false,
        );
        check(("CANCELED", "trial", 0), JobStatus::Failed, Step::RolledBack, 3, true);
        check(("TIMED_OUT", "", 0), JobStatus::InProgress, Step::Assigned, 3, false);
    }

    #[test]
    fn answers_name_what_they_answer() {
        assert_eq!(parse_answered("assign/7"), Some(("assign", 7)));
        assert_eq!(parse_answered("cmd/0"), Some(("cmd", 0)));
        for bad in [
            "",
            "cmd",
            "cmd/",
            "cmd/-1",
            "other/1",
            "cmd/1/2",
            "cmd/18446744073709551615",
        ] {
            assert_eq!(parse_answered(bad), None, "{bad}");
        }
        let rejected = Outcome::Rejected {
            reason: "no".to_owned(),
        };
        assert_eq!(status_of_answer(&rejected, true), (JobStatus::Rejected, "no"));
        assert_eq!(status_of_answer(&Outcome::Accepted, true), (JobStatus::InProgress, ""));
        assert_eq!(status_of_answer(&Outcome::Accepted, false), (JobStatus::Succeeded, ""));
    }

    #[test]
    fn ranges_cover_what_was_stored_and_nothing_else() {
        let range = |first, last| SeqRange { first, last };
        assert_eq!(ranges([]), []);
        assert_eq!(ranges([5, 3, 4, 4, 9]), [range(3, 5), range(9, 9)]);
        assert_eq!(ranges([u64::MAX, u64::MAX - 1]), [range(u64::MAX - 1, u64::MAX)]);
    }
}
