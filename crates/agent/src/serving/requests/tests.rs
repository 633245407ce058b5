use super::*;
use crate::open_inference::job::{Options, Reply};
use crate::open_inference::room::Room;
use floorhand_open_inference::{InferRequest, ModelRef, Parameters};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, oneshot};

/// A request of so many samples that was put into the queue at a time. Nobody waits for its answer.
fn job(id: &str, rows: usize, queued_ns: u64) -> Job {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    Job {
        request: InferRequest {
            model: ModelRef {
                name: "m".to_owned(),
                version: None,
            },
            id: Some(id.to_owned()),
            parameters: Parameters::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        },
        options: Options::default(),
        rows,
        queued_ns,
        reply: Reply::new(oneshot::channel().0, Room::new(0).share(), permit),
    }
}

/// Which requests are gathered behind one that came at 1,000, when these come at their times, and the clock that is looked at.
fn gathered(max_batch: usize, delay_ns: u64, coming: Vec<(u64, Message)>) -> (String, Option<Message>, u64) {
    let now_ns = AtomicU64::new(1_000);
    let mut coming = coming.into_iter().peekable();
    let next = |until_ns: u64| {
        let (at_ns, _) = coming.peek()?;
        let now = now_ns.load(Ordering::Relaxed);
        if *at_ns > until_ns.max(now) {
            now_ns.store(until_ns.max(now), Ordering::Relaxed);
            return None;
        }
        now_ns.store(now.max(*at_ns), Ordering::Relaxed);
        coming.next().map(|(_, message)| message)
    };
    let (jobs, held) = gather(job("a", 1, 1_000), max_batch, delay_ns, next);
    let ids = jobs.iter().filter_map(|job| job.request.id.clone()).collect();
    (ids, held, now_ns.into_inner())
}

fn infer(at_ns: u64, id: &str, rows: usize) -> (u64, Message) {
    (at_ns, Message::Infer(Box::new(job(id, rows, at_ns))))
}

#[test]
fn what_waits_goes_together_and_nobody_waits_for_more() {
    let (ids, held, now) = gathered(
        8,
        0,
        vec![infer(900, "b", 1), infer(1_000, "c", 1), infer(1_001, "d", 1)],
    );
    assert_eq!((ids.as_str(), held.is_none(), now), ("abc", true, 1_000));
}

#[test]
fn a_batch_waits_no_longer_than_its_first_request_may() {
    let (ids, held, now) = gathered(
        8,
        500,
        vec![infer(1_200, "b", 1), infer(1_500, "c", 1), infer(1_501, "d", 1)],
    );
    assert_eq!((ids.as_str(), held.is_none(), now), ("abc", true, 1_500));
}

#[test]
fn a_full_batch_goes_at_once() {
    let (ids, _, now) = gathered(
        3,
        500,
        vec![infer(1_100, "b", 1), infer(1_200, "c", 1), infer(1_300, "d", 1)],
    );
    assert_eq!((ids.as_str(), now), ("abc", 1_200));
    let (ids, ..) = gathered(3, 500, vec![infer(1_100, "b", 9), infer(1_200, "c", 1)]);
    assert_eq!(ids, "ab", "samples count, not requests");
    let (ids, ..) = gathered(1, 500, vec![infer(1_000, "b", 1)]);
    assert_eq!(ids, "a");
}

#[test]
fn what_is_no_request_ends_a_batch_and_keeps_its_place() {
    let coming = vec![infer(1_000, "b", 1), (1_100, Message::Missed), infer(1_200, "c", 1)];
    let (ids, held, now) = gathered(8, 500, coming);
    assert_eq!((ids.as_str(), now), ("ab", 1_100));
    assert!(matches!(held, Some(Message::Missed)));
}

#[test]
fn the_queue_is_waited_for_no_longer_than_told() {
    let (sender, mut receiver) = mpsc::channel(2);
    assert!(next(&mut receiver, 0).is_none());
    assert!(next(&mut receiver, monotonic_ns() + 1).is_none());
    let sending = std::thread::spawn(move || sender.blocking_send(Message::Missed).is_ok());
    let far = monotonic_ns() + 600_000_000_000;
    assert!(matches!(next(&mut receiver, far), Some(Message::Missed)));
    assert!(sending.join().unwrap());
    // Nobody is left to send anything.
    assert!(next(&mut receiver, far).is_none());
}
