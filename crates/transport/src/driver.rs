//! The task behind a client: connect, let both halves of the connection run, wait, connect again.
//!
//! Every connection gets a fresh rumqttc event loop. Its state survives a reconnect badly: it forgets what waits in its
//! channel when the session was not resumed, keeps a collision that then blocks everything, and counts identifiers past a
//! limit that the next broker lowers. What is unsent is taken out instead, and sent as new.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as RumqttcEvent, EventLoop};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::config::{MIN_KEEP_ALIVE, Prepared, ReconnectPolicy};
use crate::connection::{End, Events, Item, poll, unsent};
use crate::event::Event;
use crate::explain::explain;
use crate::outbox::{Link, Outbox};
use crate::shared::Shared;
use crate::tracker::Tracker;

/// Requests between the two halves of a connection: few, since what lies here counts as underway, and enough to keep
/// both busy.
const CHANNEL: usize = 8;
/// Why a connection ended that is made again with other files.
const RENEWED: &str = "it is made again with the renewed certificate";
/// For the goodbye itself, after the time for draining is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Drives one client until it is closed.
pub(crate) async fn run(prepared: Prepared, shared: Arc<Shared>, mut outbox: Outbox, items: mpsc::Sender<Item>) {
    let _ended = EndGuard(Arc::clone(&shared));
    let receive_maximum = usize::from(prepared.config.receive_maximum);
    let events = Events {
        items: &items,
        shared: &shared,
        receive_maximum,
    };
    tokio::select! {
        () = reconnect(&prepared, &shared, &mut outbox, &events) => {}
        // A consumer or a broker that takes nothing more mustn't hold back the end.
        () = closed(&shared, GOODBYE) => {}
    }
    outbox.close();
    let undelivered = outbox.waiting() + shared.tracker().unanswered();
    shared.finished.send_replace(Some(undelivered));
}

/// Tells the end even when the task panics: a caller of shutdown must not wait for ever.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.connected.store(false, Ordering::Relaxed);
        let unanswered = self.0.tracker().unanswered();
        self.0.finished.send_if_modified(|finished| {
            let first = finished.is_none();
            finished.get_or_insert(unanswered);
            first
        });
    }
}

async fn reconnect(prepared: &Prepared, shared: &Shared, outbox: &mut Outbox, events: &Events<'_>) {
    let policy = prepared.config.reconnect;
    let mut backoff = Backoff::new(policy.least, policy.most, seed(policy));
    let mut first = true;
    for number in 1.. {
        let (client, mut event_loop) = AsyncClient::new(prepared.options(first, shared.tls().clone()), CHANNEL);
        let connected = tokio::select! {
            connected = connect(&mut event_loop) => connected.map_err(|error| explain(&error)),
            () = given_up(shared, outbox) => return,
        };
        let reason = match connected {
            Ok(answer) => {
                first = false;
                let link = Link {
                    number,
                    client,
                    shared,
                    answered: Notify::new(),
                    ended: Notify::new(),
                };
                let since = Instant::now();
                let end = hold(event_loop, &answer, prepared, &link, outbox, events).await;
                if since.elapsed() >= policy.stable_after {
                    backoff.reset();
                }
                match end {
                    End::Closed => return,
                    End::Lost(reason) => reason,
                }
            }
            Err(reason) => reason,
        };
        let wait = backoff.next();
        tracing::info!(url = prepared.config.url, reason, ?wait, "not connected");
        events.hint(Event::Retrying { reason, wait });
        tokio::select! {
            () = sleep(wait) => {}
            () = given_up(shared, outbox) => return,
        }
    }
}

/// Makes the TCP, TLS and MQTT connection.
async fn connect(event_loop: &mut EventLoop) -> Result<ConnAck, ConnectionError> {
    loop {
        if let RumqttcEvent::Incoming(Packet::ConnAck(answer)) = event_loop.poll().await? {
            return Ok(answer);
        }
    }
}

/// Runs both halves of a connection until it ends, and takes back what it didn't deliver.
async fn hold(
    mut event_loop: EventLoop,
    answer: &ConnAck,
    prepared: &Prepared,
    link: &Link<'_>,
    outbox: &mut Outbox,
    events: &Events<'_>,
) -> End {
    let shared = link.shared;
    let most = answer
        .properties
        .as_ref()
        .and_then(|properties| properties.max_packet_size)
        .unwrap_or(u32::MAX);
    shared
        .max_packet_bytes
        .store(prepared.config.max_packet_bytes.min(most), Ordering::Relaxed);
    if event_loop.options.keep_alive() < MIN_KEEP_ALIVE {
        // A broker that asks for 0 wants no pings; rumqttc would send them without a pause.
        event_loop.options.set_keep_alive(prepared.config.keep_alive);
    }
    shared.connects.fetch_add(1, Ordering::Relaxed);
    shared.connected.store(true, Ordering::Relaxed);
    tracing::info!(
        url = prepared.config.url,
        session_present = answer.session_present,
        "connected"
    );
    events
        .status(Event::Connected {
            session_present: answer.session_present,
        })
        .await;

    let (end, unsent) = {
        let mut forward = pin!(outbox.forward(link));
        let mut forwarding = true;
        let end = {
            let mut polling = pin!(poll(&mut event_loop, link, events));
            loop {
                tokio::select! {
                    end = &mut polling => break end,
                    () = &mut forward, if forwarding => forwarding = false,
                    () = shared.reconnecting.notified() => break End::Lost(RENEWED.to_owned()),
                }
            }
        };
        let unsent = unsent(&mut event_loop);
        // Without a receiver, a request that waits for room comes back to the half that sent it.
        drop(event_loop);
        link.ended.notify_one();
        if forwarding {
            forward.await;
        }
        (end, unsent)
    };
    outbox.take_back(unsent.into_iter());
    *shared.tracker() = Tracker::default();
    shared.connected.store(false, Ordering::Relaxed);
    if let End::Lost(reason) = &end {
        events.status(Event::Disconnected { reason: reason.clone() }).await;
    }
    end
}

/// Returns when the client is closing and there is nothing left to send, or no time left.
async fn given_up(shared: &Shared, outbox: &Outbox) {
    let deadline = shared.closing_asked().await;
    if outbox.waiting() > 0 {
        sleep_until(deadline).await;
    }
}

/// Returns when the client is closing and its time, with `grace`, is over.
async fn closed(shared: &Shared, grace: Duration) {
    sleep_until(shared.closing_asked().await + grace).await;
}

fn seed(policy: ReconnectPolicy) -> u64 {
    // Without randomness from the system the jitter is the same for all, and still no harm.
    policy.seed.unwrap_or_else(|| getrandom::u64().unwrap_or(0))
}
