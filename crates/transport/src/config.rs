//! What a connection needs, checked in one pass before anything connects.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::TlsConfiguration;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::LastWill as RumqttcWill;
use rumqttc::{NetworkOptions, Transport};
use rustls::ClientConfig;

use crate::broker_url::BrokerUrl;
use crate::error::ConfigError;
use crate::tls::TlsFiles;

/// Four of the largest chunks (64 KiB) with room to spare, and small enough that a full queue of them fits a device.
const MAX_PACKET_BYTES: u32 = 256 * 1024;
/// QoS 1 messages underway in each direction: enough to fill a slow link, few enough to hold in memory.
const IN_FLIGHT: u16 = 32;
/// Publishes that wait for the connection before [`Client::publish`](crate::Client::publish) waits itself.
const QUEUE: usize = 64;
/// rumqttc panics below this, and a shorter one costs more traffic than most telemetry.
pub(crate) const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(u16::MAX as u64);
/// TCP, TLS and CONNECT over a mobile link with retransmissions.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// MQTT strings have two bytes of length.
const MAX_STRING_BYTES: usize = u16::MAX as usize;

/// How to connect.
#[derive(Debug, Clone)]
pub struct Config {
    /// `mqtt://host[:port]`, or `mqtts://host[:port]` together with [`Config::tls`].
    pub url: String,
    /// Who we are to the broker: two connections with one id end each other.
    pub client_id: String,
    /// The TLS files of an `mqtts://` address.
    pub tls: Option<TlsFiles>,
    /// User name and password, for a plant's broker that has no certificates. They travel in the clear without TLS.
    pub credentials: Option<(String, String)>,
    /// A ping goes out after this much silence; the broker ends the connection after one and a half times of it. At least
    /// 5 s.
    pub keep_alive: Duration,
    /// How long the broker keeps the session, with its queued QoS 1 messages, after the connection ended.
    pub session_expiry: Duration,
    /// Whether the first connection begins a new session. Reconnects never do.
    pub clean_start: bool,
    /// What the broker publishes when the connection ends without [`Client::shutdown`](crate::Client::shutdown).
    pub last_will: Option<LastWill>,
    /// Largest packet in either direction, in bytes. rumqttc's own default is 10 KiB.
    pub max_packet_bytes: u32,
    /// QoS 1 messages that the broker may send before the first is acknowledged.
    pub receive_maximum: u16,
    /// QoS 1 messages that we send before the first is acknowledged; the broker may want fewer.
    pub in_flight: u16,
    /// Messages that wait to be sent before publishing waits or fails.
    pub queue: usize,
    /// When to try again.
    pub reconnect: ReconnectPolicy,
}

/// What the broker publishes for us when we vanish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWill {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether it is retained.
    pub retain: bool,
}

/// When to try again after a connection failed or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// Shortest wait.
    pub least: Duration,
    /// Longest wait.
    pub most: Duration,
    /// A connection that lasted this long makes the waits short again.
    pub stable_after: Duration,
    /// Seed of the jitter; `None` takes one from the system, so that devices of a fleet differ.
    pub seed: Option<u64>,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self {
            least: Duration::from_millis(500),
            most: Duration::from_secs(60),
            stable_after: Duration::from_secs(10),
            seed: None,
        }
    }
}

impl Config {
    /// The usual settings for one address and identity: keep-alive 30 s, a session that outlives an hour, packets up to
    /// 256 KiB.
    #[must_use]
    pub fn new(url: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            client_id: client_id.into(),
            tls: None,
            credentials: None,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::from_secs(3600),
            clean_start: false,
            last_will: None,
            max_packet_bytes: MAX_PACKET_BYTES,
            receive_maximum: IN_FLIGHT,
            in_flight: IN_FLIGHT,
            queue: QUEUE,
            reconnect: ReconnectPolicy::default(),
        }
    }

    /// Checks everything and reads the TLS files, without connecting.
    ///
    /// # Errors
    /// [`ConfigError::Several`] with every mistake, or the one there is.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.prepare().map(drop)
    }

    pub(crate) fn prepare(&self) -> Result<Prepared, ConfigError> {
        let mut errors = Vec::new();
        let url = self.url.parse::<BrokerUrl>().map_err(|reason| {
            errors.push(ConfigError::Url {
                url: redacted(&self.url),
                reason,
            });
        });
        let url = url.ok();
        self.check_values(&mut errors);
        let tls = self.tls.as_ref().map(|files| files.load(&mut errors));
        match (url.as_ref().map(|url| url.tls), &self.tls) {
            (Some(true), None) => errors.push(ConfigError::TlsMissing),
            (Some(false), Some(_)) => errors.push(ConfigError::TlsUnused),
            _ => {}
        }
        match (errors.len(), url) {
            (0, Some(url)) => Ok(Prepared {
                config: self.clone(),
                url,
                tls: tls.flatten(),
            }),
            (1, _) => Err(errors.swap_remove(0)),
            _ => Err(ConfigError::Several(errors)),
        }
    }

    fn check_values(&self, errors: &mut Vec<ConfigError>) {
        let mut need = |fits: bool, key: &'static str, reason: &'static str| {
            if !fits {
                errors.push(ConfigError::Value { key, reason });
            }
        };
        let text = |text: &str| !text.is_empty() && text.len() <= MAX_STRING_BYTES && !text.contains('\0');
        need(
            text(&self.client_id),
            "client_id",
            "has to have 1 to 65535 bytes, none of them zero",
        );
        let range = MIN_KEEP_ALIVE..=MAX_KEEP_ALIVE;
        need(
            range.contains(&self.keep_alive),
            "keep_alive",
            "has to be 5 s to 65535 s",
        );
        need(
            self.session_expiry.as_secs() <= u64::from(u32::MAX),
            "session_expiry",
            "has to be below 136 years",
        );
        need(
            self.max_packet_bytes >= 1024,
            "max_packet_bytes",
            "has to be at least 1024",
        );
        need(self.receive_maximum > 0, "receive_maximum", "has to be at least 1");
        need(self.in_flight > 0, "in_flight", "has to be at least 1");
        need(self.queue > 0, "queue", "has to be at least 1");
        need(
            self.reconnect.least <= self.reconnect.most,
            "reconnect",
            "the least wait is longer than the most",
        );
        if let Some(will) = &self.last_will {
            let fits = is_topic(&will.topic) && will.payload.len() <= MAX_STRING_BYTES;
            need(
                fits,
                "last_will",
                "needs a topic without wildcards, and at most 65535 bytes of payload",
            );
        }
    }
}

/// A configuration that was checked, with its TLS files read.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) config: Config,
    pub(crate) url: BrokerUrl,
    /// As the files were when this was prepared.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Prepared {
    /// rumqttc's options for a connection; `first` tells the first one.
    pub(crate) fn options(&self, first: bool, tls: Option<Arc<ClientConfig>>) -> MqttOptions {
        let config = &self.config;
        let mut options = MqttOptions::new(&config.client_id, &self.url.host, self.url.port);
        if let Some(tls) = tls {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        }
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        // Small packets go out at once: chunks and commands wait for answers.
        network.set_tcp_nodelay(true);
        let expiry = u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX);
        options
            .set_keep_alive(config.keep_alive)
            .set_clean_start(config.clean_start && first)
            .set_session_expiry_interval(Some(expiry))
            .set_max_packet_size(Some(config.max_packet_bytes))
            .set_receive_maximum(Some(config.receive_maximum))
            .set_outgoing_inflight_upper_limit(config.in_flight)
            .set_connection_timeout(CONNECT_TIMEOUT.as_secs())
            .set_network_options(network)
            .set_manual_acks(true);
        if let Some((user, password)) = &config.credentials {
            options.set_credentials(user, password);
        }
        if let Some(will) = &config.last_will {
            let will = RumqttcWill::new(&will.topic, will.payload.clone(), QoS::AtLeastOnce, will.retain, None);
            options.set_last_will(will);
        }
        options
    }
}

/// Whether messages can be published on it: not empty, no wildcards, no zero.
pub(crate) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= MAX_STRING_BYTES && !topic.contains(['+', '#', '\0'])
}

/// Whether it can be subscribed to (MQTT 5, 4.7.1: wildcards take a whole level, `#` the last).
pub(crate) fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len().saturating_sub(1);
    let level_fits = |(index, level): (usize, &&str)| match *level {
        "#" => index == last,
        "+" => true,
        other => !other.contains(['+', '#', '\0']),
    };
    !filter.is_empty() && filter.len() <= MAX_STRING_BYTES && levels.iter().enumerate().all(level_fits)
}

/// An address may have a password in it by mistake; that mustn't get into a log.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!(
                "{}://...{}",
                url.get(..scheme).unwrap_or_default(),
                url.get(at..).unwrap_or_default()
            )
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_told_at_once() {
        let config = Config {
            tls: Some(TlsFiles {
                ca: "/nowhere/ca.pem".into(),
                identity: None,
            }),
            keep_alive: Duration::from_secs(1),
            receive_maximum: 0,
            last_will: Some(LastWill {
                topic: "a/#".to_owned(),
                payload: vec![],
                retain: false,
            }),
            ..Config::new("http://user:secret@x", "")
        };
        let message = config.check().unwrap_err().to_string();
        for part in [
            "http://...@x",
            "client_id",
            "keep_alive",
            "receive_maximum",
            "last_will",
            "/nowhere/ca.pem",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn scheme_and_files_have_to_fit() {
        assert_eq!(Config::new("mqtt://x", "id").check(), Ok(()));
        assert_eq!(Config::new("mqtts://x", "id").check(), Err(ConfigError::TlsMissing));
        let pki = floorhand_testkit::Pki::new().unwrap();
        let tls = Some(TlsFiles {
            ca: pki.ca(),
            identity: None,
        });
        assert_eq!(
            Config {
                tls: tls.clone(),
                ..Config::new("mqtts://x", "id")
            }
            .check(),
            Ok(())
        );
        assert_eq!(
            Config {
                tls,
                ..Config::new("mqtt://x", "id")
            }
            .check(),
            Err(ConfigError::TlsUnused)
        );
    }

    #[test]
    fn topics_and_filters() {
        for (text, topic, filter) in [
            ("a/b", true, true),
            ("a/+/c", false, true),
            ("a/#", false, true),
            ("#", false, true),
            ("a/#/b", false, false),
            ("a#", false, false),
            ("a+/b", false, false),
            ("", false, false),
            ("a\0", false, false),
        ] {
            assert_eq!((is_topic(text), is_filter(text)), (topic, filter), "{text:?}");
        }
    }
}
