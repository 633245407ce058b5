//! When a device that listens on a blob's topic asks the hub, and when it waits for what others have asked for.
//!
//! It never believes the topic: only chunks that fit the signed list and were still missing count as heard. So a broker that
//! forges, repeats or withholds makes a device ask by itself, after a bounded time, and then listen no more.

/// A request that brought no chunk for this long is made again. Over a slow link 128 KiB take that long at 100 kbit/s.
const REQUEST_TIMEOUT_MS: u64 = 10_000;
/// A listening request that brought nothing is made again after this long: the hub gathers for 5 s at most before it
/// publishes. Twice this is above the time for which a hub takes a chunk to be on its way.
const SILENCE_MS: u64 = 6_000;
/// So many listening requests may bring nothing before one is made for this device alone. If that one is answered, it is
/// the topic that brings nothing; if not, the hub is away, and listening goes on.
const SILENT_REQUESTS: u32 = 4;
/// A round that was heard and went silent before its end: the chunks that follow are late, or lost.
const PAUSE_MS: u64 = 15_000;
/// After the last chunk of a round.
const AFTER_ROUND_MS: u64 = 1_000;
/// A round that trickles on is waited for no longer: above what the 8 MiB of one request take at 1 Mbit/s.
const MAX_ROUND_MS: u64 = 90_000;
/// Chunks on the topic that don't fit the list before the device listens no more. Each costs it a hash of at most 64 KiB.
pub(super) const MAX_FORGED: u32 = 8;

/// What was heard since a request.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at_ms: u64,
    ended: bool,
}

/// The request that is open.
#[derive(Debug, Clone, Copy)]
struct Open {
    listening: bool,
    since_ms: u64,
    /// The last chunk that was sent to this device alone.
    answered_ms: Option<u64>,
    heard: Option<Heard>,
    /// Drawn once for each request, so that devices differ.
    jitter: u64,
}

/// The state of asking and listening for one blob.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Whether the device is subscribed to the blob's topic.
    subscribed: bool,
    open: Option<Open>,
    /// Listening requests in a row that brought nothing.
    silent: u32,
    /// It is being found out whether the topic is at fault.
    suspect: bool,
    given_up: bool,
    forged: u32,
    /// The next request is for this device alone.
    alone: bool,
}

impl Listening {
    /// Whether the topic is worth a subscription.
    pub(super) fn is_worthwhile(&self) -> bool {
        !self.given_up && self.forged < MAX_FORGED
    }

    /// Tells whether the device is subscribed.
    pub(super) fn subscribed(&mut self, subscribed: bool) {
        self.subscribed = subscribed;
    }

    /// No more of it for this blob.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
        self.open = None;
    }

    /// Whether something is to be asked for now. `answered`: all that was asked for this device alone has come; `all`: and
    /// all that it would take from the topic.
    pub(super) fn is_due(&mut self, now_ms: u64, answered: bool, all: bool) -> bool {
        let Some(open) = self.open else { return true };
        let due_ms = match (open.listening, open.heard) {
            _ if all => return true,
            (true, Some(heard)) if heard.ended => heard.at_ms + jittered(AFTER_ROUND_MS, open.jitter),
            (true, Some(heard)) => (heard.at_ms + jittered(PAUSE_MS, open.jitter)).min(open.since_ms + MAX_ROUND_MS),
            _ if answered => return true,
            (true, None) if open.answered_ms.is_none() => open.since_ms + jittered(SILENCE_MS, open.jitter),
            _ => open.answered_ms.unwrap_or(open.since_ms) + REQUEST_TIMEOUT_MS,
        };
        if now_ms < due_ms {
            return false;
        }
        if open.listening && open.heard.is_none() && open.answered_ms.is_none() {
            self.fell_silent();
        }
        true
    }

    /// A request is made; whether it is a listening one.
    pub(super) fn ask(&mut self, now_ms: u64, jitter: u64) -> bool {
        let alone = std::mem::take(&mut self.alone);
        let listening = self.subscribed && self.is_worthwhile() && !alone;
        self.suspect &= !listening;
        self.open = Some(Open {
            listening,
            since_ms: now_ms,
            answered_ms: None,
            heard: None,
            jitter,
        });
        listening
    }

    /// Forgets the request. After a reconnect (`alone`), the next one is for this device alone: what the broker kept comes
    /// by itself, so that a cut costs a window and not a round.
    pub(super) fn forget(&mut self, alone: bool) {
        self.open = None;
        self.alone = alone;
    }

    /// A chunk that was asked for came.
    pub(super) fn answered(&mut self, now_ms: u64) {
        self.silent = 0;
        self.given_up |= self.suspect;
        if let Some(open) = &mut self.open {
            open.answered_ms = Some(now_ms);
        }
    }

    /// A chunk that was missing came on the topic.
    pub(super) fn heard(&mut self, now_ms: u64, left: Option<u32>) {
        (self.silent, self.suspect) = (0, false);
        if let Some(open) = &mut self.open {
            let ended = left == Some(0);
            open.heard = Some(Heard { at_ms: now_ms, ended });
        }
    }

    /// One that isn't in the list came on the topic.
    pub(super) fn forged(&mut self) {
        self.forged = self.forged.saturating_add(1);
        if !self.is_worthwhile() {
            self.open = None;
        }
    }

    fn fell_silent(&mut self) {
        self.silent += 1;
        if self.silent >= SILENT_REQUESTS {
            self.silent = 0;
            (self.suspect, self.alone) = (true, true);
        }
    }
}

/// Between two thirds of a time and the whole of it.
fn jittered(ms: u64, random: u64) -> u64 {
    ms - random % (ms / 3).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> Listening {
        let mut listening = Listening::default();
        listening.subscribed(true);
        listening
    }

    #[test]
    fn a_round_is_waited_for_and_its_end_is_not() {
        let mut state = listening();
        assert!(state.ask(0, 0));
        state.heard(100, Some(5));
        assert!(!state.is_due(5_000, true, false), "others follow");
        assert!(state.is_due(5_000, true, true), "nothing is left to wait for");
        state.heard(200, Some(0));
        assert!(!state.is_due(1_199, true, false));
        assert!(state.is_due(1_200, true, false));
    }

    #[test]
    fn a_round_that_stops_or_trickles_is_given_up() {
        let mut state = listening();
        state.ask(0, 0);
        state.heard(100, Some(5));
        assert!(!state.is_due(15_099, true, false));
        assert!(state.is_due(15_100, true, false));
        state.ask(0, 0);
        for second in 0..90 {
            state.heard(second * 1000, Some(5));
            assert!(!state.is_due(second * 1000, true, false), "{second}");
        }
        assert!(state.is_due(90_000, true, false));
    }

    #[test]
    fn silence_leads_back_to_asking_alone_in_bounded_time() {
        let mut state = listening();
        let mut now = 0;
        state.ask(now, 0);
        while state.is_worthwhile() {
            now += 500;
            if state.is_due(now, false, false) && !state.ask(now, 0) {
                state.answered(now);
            }
        }
        assert_eq!(now, 24_000);
        assert!(!state.ask(now, 0));
    }

    #[test]
    fn a_hub_that_is_away_does_not_end_the_listening() {
        let mut state = listening();
        let mut alone = 0;
        state.ask(0, 0);
        for now in (0..600_000).step_by(500) {
            if state.is_due(now, false, false) {
                alone += u32::from(!state.ask(now, 0));
            }
        }
        assert!(state.is_worthwhile() && alone > 10, "{alone}");
        while !state.ask(600_000, 0) {}
        state.answered(600_000);
        assert!(state.is_worthwhile(), "a listening request was answered");
    }

    #[test]
    fn a_device_that_is_served_alone_asks_as_soon_as_it_has_all() {
        let mut state = listening();
        state.ask(0, 0);
        state.answered(50);
        assert!(!state.is_due(60, false, false));
        assert!(state.is_due(60, true, false));
        assert!(!state.is_due(10_049, false, false));
        assert!(state.is_due(10_050, false, false));
        assert!(state.is_worthwhile());
    }

    #[test]
    fn forgeries_end_the_listening_and_never_the_asking() {
        let mut state = listening();
        for _ in 0..MAX_FORGED {
            assert!(state.is_worthwhile());
            state.ask(0, 0);
            state.forged();
        }
        assert!(!state.is_worthwhile());
        assert!(state.is_due(0, false, false), "at once");
        assert!(!state.ask(0, 0));
    }

    #[test]
    fn after_a_reconnect_one_window_is_asked_for_alone() {
        let mut state = listening();
        state.ask(0, 0);
        state.forget(true);
        assert!(state.is_due(1, false, false));
        assert!(!state.ask(1, 0));
        assert!(state.is_due(2, true, false));
        assert!(state.ask(2, 0));
    }
}
