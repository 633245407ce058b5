//! The MQTT 5 client and its TLS: moves `(topic, bytes)`, reconnects, resubscribes, holds back what comes too fast.
//!
//! It knows no message and no topic of ours, and depends on no other crate of the workspace. The only crate that names
//! rumqttc. It keeps nothing on disk.
//!
//! ```no_run
//! use floorhand_transport::{Client, Config, Event, Qos};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, mut incoming) = Client::start(Config::new("mqtt://127.0.0.1:1883", "press-01"))?;
//! client.subscribe("fh/v1/plant-a/d/press-01/down/#", Qos::AtLeastOnce).await?;
//! client.publish("fh/v1/plant-a/d/press-01/up/hello", b"...".to_vec(), Qos::AtLeastOnce, false).await?;
//! while let Some(event) = incoming.recv().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {} bytes", message.topic, message.payload.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - **Out**: a QoS 1 message is handed to a broker at least once while this process lives, over any number of
//!   reconnects. A PUBACK proves nothing (brokers answer success to what their access list then drops), so it isn't even
//!   told: whoever must know that a message arrived needs an answer from its receiver. Nothing survives the process.
//!   A refusal that the broker does tell is an [`Event::Refused`].
//! - **In**: a QoS 1 message is acknowledged to the broker when the consumer asks for the event after it. What a
//!   crashed consumer had in hand comes again, if the session is kept. A QoS 0 message that finds the queue full is
//!   dropped and counted in [`Stats::dropped`].
//! - **Slow consumers** hold back the broker, not the connection: it may have [`Config::receive_maximum`] QoS 1 messages
//!   underway (MQTT 5 flow control), and the queue has room for all of them and more, so that the event loop doesn't wait
//!   for the consumer and pings go out in time. Mosquitto 2.0.11 was seen to send several times as many once
//!   acknowledgements come; when even the spare room is full the loop does wait, and at worst the connection is made anew.
//! - **Order** holds among messages of one topic until a reconnect, after which a message can come twice.
//!
//! # Testing
//!
//! Consumers need no broker: keep the code that turns messages into messages apart from this crate and test that. The
//! tests here run against a real Mosquitto and a proxy that cuts connections, both from `floorhand-testkit`.

mod backoff;
mod broker_url;
mod client;
mod config;
mod connection;
mod driver;
mod error;
mod event;
mod explain;
mod outbox;
mod shared;
mod tls;
mod tracker;

pub use client::{Client, Incoming, PublishError, Stats};
pub use config::{Config, LastWill, ReconnectPolicy};
pub use error::ConfigError;
pub use event::{Event, Message, Qos};
pub use tls::{ClientIdentity, TlsFiles};
