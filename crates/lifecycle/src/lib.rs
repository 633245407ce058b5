//! The deployment state machine of one device: [`Machine::handle`] takes an event and the time, and gives actions.
//!
//! No files, no network, no clock, no randomness of its own: whoever drives it carries out the actions in order and
//! tells it what came of them. [`Action::Save`] comes before every action that relies on what it saves, so that power
//! may go between any two of them.
//!
//! ```
//! use floorhand_lifecycle::{Device, Event, Machine, State};
//!
//! let device = Device { hardware: "gateway-x86".parse()?, agent: "0.1.0".parse()? };
//! let mut machine = Machine::new(device, State::default());
//! // A device that has never been given anything has nothing to serve, and waits for an assignment.
//! let actions = machine.handle(Event::Boot, 0);
//! assert!(machine.state().active.is_none());
//! assert_eq!(actions.len(), 1, "{actions:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing
//!
//! Time is a number that the test chooses. Drive the machine with events, look at the actions; for a power cut, make a
//! new machine from the last state that an [`Action::Save`] carried.

mod backoff;
mod clock;
mod event;
mod histogram;
mod machine;
mod state;
mod trial;

pub use backoff::Backoff;
pub use clock::TrustedClock;
pub use event::{Action, BundleFacts, Event, Failure, NewRoot, TrialSample};
pub use histogram::LatencyHistogram;
pub use machine::{Device, Machine};
pub use state::{Candidate, Generation, Pending, State};
pub use trial::{Tally, Verdict};
