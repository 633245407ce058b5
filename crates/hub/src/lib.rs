//! The hub: knows the devices, the bundles and the assignments of one fleet, serves blobs, takes telemetry, shows people
//! what happens.
//!
//! Devices speak to it over MQTT 5 through a broker that neither side trusts: what the hub says is signed with the fleet's
//! assignment key, what it stores was signed by the device. People and programs speak to it over HTTP and JSON under
//! `/api/v1` (described at `/openapi.json`), Prometheus at `/metrics`, browsers at `/`.
//!
//! It never runs a model or a plugin, and depends on neither agent nor pipeline.
//!
//! ```no_run
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     hub: floorhand_hub::HubArgs,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     floorhand_hub::run(&Cli::parse().hub)
//! }
//! ```
//!
//! # Code map
//!
//! - `config`, `secrets`: the file, the options above it, and what they name.
//! - `rules`, `planner`: decisions, pure.
//! - `database`: all SQL; `fleet`: what may be asked of the hub; `delivery`: chunks, in turns.
//! - `link`: the MQTT client; `http`: API, metrics, pages; `run`: the program around them.
//! - `access`: who may what; [`audit`]: the chain of what was changed; [`offline`]: both without a running hub.
//! - [`broker`]: an embedded broker, for one machine; [`broker_config`]: the configuration of one for production.
//! - [`authority`]: the certificate authority of the fleet.
//!
//! # Testing
//!
//! Everything but `link` is tested without a broker: topics and bytes go in, queued messages come out. `tests/service`
//! runs the program against a real Mosquitto with mutual TLS.

mod access;
pub mod audit;
pub mod authority;
pub mod broker;
pub mod broker_config;
mod clock;
mod config;
mod counters;
mod database;
mod delivery;
mod exit;
mod fleet;
mod http;
mod link;
mod logging;
pub mod offline;
mod planner;
mod rules;
mod run;
mod secrets;
#[cfg(test)]
mod testing;

pub use access::{Role, RoleError, Roles};
pub use config::{ConfigError, HubArgs, HubCommand};
pub use exit::BROKER_HELP;
pub use logging::LogFormat;
pub use run::{check, run};
