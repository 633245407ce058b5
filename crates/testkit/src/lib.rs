//! What tests of several crates share: a real broker, throw-away certificates, tokens without hardware, a clock that moves by hand, a network
//! that fails on demand, a disk that remembers what a power cut could leave of it, published data that lies beside the workspace.
//!
//! Only ever a dev-dependency. Of the workspace it names the store alone, whose disk it stands in for.
//!
//! ```no_run
//! use floorhand_testkit::{Mosquitto, MosquittoConfig, Proxy};
//!
//! let Some(broker) = Mosquitto::start_or_skip(MosquittoConfig::default()) else { return Ok(()) };
//! let proxy = Proxy::start(broker.port())?;
//! // connect to 127.0.0.1:proxy.port(), then:
//! proxy.cut();
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # Time
//!
//! Pure code takes time as a value: give it [`ManualClock::now_ms`]. [`eventually`] and [`eventually_async`] poll with a
//! deadline and are meant for other processes alone, which no clock of ours can move.

mod clock;
pub mod crash;
mod fake;
mod memory;
mod mosquitto;
mod mqtt_proxy;
mod pki;
mod poll;
mod port;
mod postgres;
mod proxy;
mod shared_data;
mod softhsm;

pub use clock::ManualClock;
pub use fake::{FakeEnd, fake_transport};
pub use memory::anonymous_pss;
pub use mosquitto::{Mosquitto, MosquittoConfig, MosquittoTls};
pub use mqtt_proxy::{FaultCounts, FaultRates, MqttProxy};
pub use pki::{Identity, Pki};
pub use poll::{eventually, eventually_async};
pub use port::free_port;
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use shared_data::shared_data;
pub use softhsm::SoftHsm;
