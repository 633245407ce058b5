//! The certificate of the fleet connection, renewed through the hub before it ends.
//!
//! A task of its own: it waits for two thirds of the certificate's life, makes a new key, asks, checks what comes, puts it in
//! the place of the old one and has the connection made again. What goes wrong is tried again, and told while there is time
//! to do something about it. Nothing here touches what serves.

use crate::clock::system_ms;
use crate::config::{Config, tls_files};
use crate::daemon::Shared;
use crate::doctor::certificate;
use crate::fleet::Fleet;
use crate::identity;
use crate::telemetry::Telemetry;
use crate::trust::SharedTrust;
use floorhand_bundle::{DeviceId, Digest, SecretKey};
use floorhand_protocol::{IssuedCertificate, Renewal, Severity, Up};
use floorhand_transport::TlsFiles;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

/// The way of answers to this task.
pub(crate) type Answers = mpsc::Sender<Vec<u8>>;

/// Answers that wait: one is asked for at a time, and the broker may repeat it.
const QUEUE: usize = 4;
/// The clock is looked at this often, since it may be set; a short life is looked at more often.
const LOOK_MS: u64 = 60_000;
/// An answer has to go through broker and hub.
const ANSWER_MS: u64 = 30_000;
/// The longest that is waited after an attempt that failed.
const RETRY_MS: u64 = 3_600_000;
/// Never faster than this, however short the life.
const LEAST_MS: u64 = 1000;
/// The same warning is told again after a day.
const WARN_EVERY_MS: u64 = 24 * 3_600_000;

/// What the task works with.
pub(crate) struct Setup {
    device: DeviceId,
    key: SecretKey,
    trust: SharedTrust,
    clock_floor_ms: Arc<AtomicU64>,
    /// The file with the key and the certificate.
    path: PathBuf,
    tls: TlsFiles,
    fleet: Fleet,
    telemetry: Telemetry,
}

impl Setup {
    /// `None` where the configuration has the certificate renewed by somebody else.
    pub(crate) fn of(config: &Config, shared: &Shared, fleet: Fleet, telemetry: &Telemetry) -> Option<Self> {
        let connection = config.fleet_connection.as_ref().filter(|connection| connection.renew)?;
        Some(Self {
            device: config.device.clone(),
            key: shared.key.clone(),
            trust: shared.trust.clone(),
            clock_floor_ms: Arc::clone(&shared.clock_floor_ms),
            path: connection.cert.clone()?,
            tls: tls_files(&connection.ca, &connection.cert, &connection.key)?,
            fleet,
            telemetry: telemetry.clone(),
        })
    }
}

/// Starts the task, where there is one to start; what comes for it goes into the queue that is returned.
pub(crate) fn start(setup: Option<Setup>) -> Option<Answers> {
    let setup = setup?;
    let (answers, queue) = mpsc::channel(QUEUE);
    let task = Task {
        setup,
        queue,
        warned_ms: None,
    };
    tokio::spawn(task.run());
    Some(answers)
}

/// A certificate's life, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    from_ms: u64,
    to_ms: u64,
}

impl Life {
    fn length_ms(self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    /// When to renew: at two thirds, or up to a twentieth of the life earlier, so that devices that enrolled together don't
    /// come together again.
    fn due_ms(self, random: u64) -> u64 {
        let two_thirds = self.from_ms + self.length_ms() / 3 * 2;
        two_thirds - jitter(random, self.length_ms() / 20)
    }

    /// How long to wait after an attempt that failed: some thirty times until the end, and not in step with others.
    fn retry_ms(self, random: u64) -> u64 {
        let most = (self.length_ms() / 100).clamp(LEAST_MS, RETRY_MS);
        most - jitter(random, most / 3)
    }

    /// Whether it is so late that somebody has to be told: half of the last third is over.
    fn is_late(self, now_ms: u64) -> bool {
        now_ms > self.to_ms.saturating_sub(self.length_ms() / 6)
    }
}

/// A number below `most`.
fn jitter(random: u64, most: u64) -> u64 {
    random.checked_rem(most).unwrap_or(0)
}

struct Task {
    setup: Setup,
    queue: mpsc::Receiver<Vec<u8>>,
    /// When it was last told that the certificate ends.
    warned_ms: Option<u64>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let life = match self.life() {
                Ok(life) => life,
                Err(problem) => {
                    self.tell("certificate-unreadable", problem);
                    sleep(Duration::from_millis(RETRY_MS)).await;
                    continue;
                }
            };
            self.wait_until(life.due_ms(crate::random::u64()), life).await;
            while let Err(problem) = self.attempt(life).await {
                tracing::warn!(problem, "the certificate isn't renewed yet");
                self.warn(life, &problem);
                sleep(Duration::from_millis(life.retry_ms(crate::random::u64()))).await;
            }
        }
    }

    fn life(&self) -> Result<Life, String> {
        let all = certificate::read(&self.setup.path)?;
        let path = self.setup.path.display();
        let own = all.first().ok_or_else(|| format!("{path} has no certificate in it"))?;
        Ok(Life {
            from_ms: own.not_before_ms,
            to_ms: own.not_after_ms,
        })
    }

    /// Waits by the system's clock, which may be set while it waits.
    async fn wait_until(&self, due_ms: u64, life: Life) {
        let look_ms = (life.length_ms() / 100).clamp(LEAST_MS, LOOK_MS);
        while let Some(left_ms) = due_ms.checked_sub(system_ms()).filter(|left_ms| *left_ms > 0) {
            sleep(Duration::from_millis(left_ms.min(look_ms))).await;
        }
    }

    /// Asks for a certificate, and uses the one that comes.
    async fn attempt(&mut self, life: Life) -> Result<(), String> {
        let Setup {
            device,
            key,
            fleet,
            path,
            ..
        } = &self.setup;
        let ca = identity::ca_of(path)?;
        if !fleet.is_connected() {
            return Err("no connection to the fleet's broker".to_owned());
        }
        while self.queue.try_recv().is_ok() {}
        let requested = identity::request(device)?;
        let renewal = Renewal {
            device: device.clone(),
            csr: requested.csr.clone().into(),
            critical: Vec::new(),
        };
        let sealed = renewal.seal(key).map_err(|error| error.to_string())?;
        fleet.publish(Up::Renew, sealed).map_err(|error| error.to_string())?;
        let within_ms = (life.length_ms() / 10).clamp(LEAST_MS, ANSWER_MS);
        let deadline = Instant::now() + Duration::from_millis(within_ms);
        loop {
            let answer = timeout_at(deadline, self.queue.recv()).await;
            let answer = answer.map_err(|_| "the hub gave no certificate in time; its log may say why".to_owned())?;
            let answer = answer.ok_or("the connection is gone")?;
            match self.take(&answer, &requested, &ca) {
                Ok(until_ms) => return self.renewed(until_ms),
                // Somebody else's word must not end the waiting for the hub's.
                Err(problem) => tracing::warn!(problem, "a certificate is refused"),
            }
        }
    }

    /// Checks an answer and puts its certificate in the place of the old one; until when it is valid.
    fn take(&self, answer: &[u8], requested: &identity::Requested, ca: &[u8]) -> Result<u64, String> {
        let Setup {
            device, trust, path, ..
        } = &self.setup;
        let trust = trust.now();
        let now_ms = system_ms();
        let trusted_ms = trust.now_ms(self.setup.clock_floor_ms.load(Ordering::Relaxed));
        let asked = (device, Digest::of(&requested.csr));
        let issued = IssuedCertificate::open(answer, trust.root()?, asked, trusted_ms);
        let issued = issued.map_err(|error| error.to_string())?;
        let says = identity::check(&requested.key, &issued.chain, (device, ca), now_ms)?;
        // The CA that is trusted is the one that was brought at enrolment, whatever else the answer has.
        let text = identity::assemble(&requested.key, &with_ca(&issued.chain, ca));
        identity::replace(path, text.as_bytes(), identity::SECRET)?;
        Ok(says.not_after_ms)
    }

    fn renewed(&mut self, until_ms: u64) -> Result<(), String> {
        self.warned_ms = None;
        tracing::info!(until_ms, "the certificate is renewed");
        let message = format!("valid until {until_ms} ms");
        let telemetry = &self.setup.telemetry;
        telemetry.event("certificate-renewed", Severity::Info, "fleet_connection", message);
        self.setup
            .fleet
            .renew_tls(&self.setup.tls)
            .map_err(|error| error.to_string())
    }

    /// Tells that the certificate ends soon and isn't renewed, once a day.
    fn warn(&mut self, life: Life, problem: &str) {
        let now_ms = system_ms();
        let every_ms = WARN_EVERY_MS.min(life.length_ms() / 6);
        let is_due = self
            .warned_ms
            .is_none_or(|told_ms| now_ms.saturating_sub(told_ms) >= every_ms);
        if !life.is_late(now_ms) || !is_due {
            return;
        }
        self.warned_ms = Some(now_ms);
        let message = if now_ms > life.to_ms {
            format!("the certificate has ended; run `floorhand-agent enroll` with a new token ({problem})")
        } else {
            let hours = life.to_ms.saturating_sub(now_ms) / 3_600_000;
            format!("the certificate ends in {hours} h and isn't renewed: {problem}")
        };
        self.tell("certificate-ends", message);
    }

    fn tell(&self, kind: &str, message: String) {
        tracing::error!(kind, "{message}");
        self.setup
            .telemetry
            .event(kind, Severity::Alarm, "fleet_connection", message);
    }
}

/// A chain whose last is the CA.
fn with_ca<'a>(chain: &'a [impl AsRef<[u8]>], ca: &'a [u8]) -> Vec<&'a [u8]> {
    let mut all: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
    if all.last() != Some(&ca) {
        all.push(ca);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_not_in_step_with_others() {
        let life = Life {
            from_ms: 1000 * DAY_MS,
            to_ms: 1090 * DAY_MS,
        };
        for random in [0, 1, 12_345_678_901, u64::MAX] {
            let due_ms = life.due_ms(random);
            assert!(
                (1055 * DAY_MS + DAY_MS / 2..=1060 * DAY_MS).contains(&due_ms),
                "{due_ms}"
            );
            assert!((RETRY_MS * 2 / 3..=RETRY_MS).contains(&life.retry_ms(random)));
        }
        assert_ne!(life.due_ms(7), life.due_ms(8));
        assert_eq!(
            (
                life.is_late(1075 * DAY_MS),
                life.is_late(1075 * DAY_MS + 1),
                life.is_late(u64::MAX)
            ),
            (false, true, true),
            "fifteen days before the end"
        );
    }

    #[test]
    fn lives_that_make_no_sense_do_no_harm() {
        for (from_ms, to_ms) in [(5, 5), (9, 3), (0, u64::MAX), (0, 1)] {
            let life = Life { from_ms, to_ms };
            assert!(life.due_ms(u64::MAX) <= life.to_ms.max(life.from_ms));
            assert!((LEAST_MS * 2 / 3..=RETRY_MS).contains(&life.retry_ms(u64::MAX)));
        }
    }

    #[test]
    fn the_authority_stands_last_and_once() {
        let (leaf, ca) = (vec![1], vec![2]);
        assert_eq!(with_ca(std::slice::from_ref(&leaf), &ca), [&leaf[..], &ca]);
        assert_eq!(with_ca(&[leaf.clone(), ca.clone()], &ca), [&leaf[..], &ca]);
    }
}
