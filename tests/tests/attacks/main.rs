//! The table of threats (docs/threat-model.md), row by row: each attack is mounted on the real agent over a real Mosquitto,
//! by somebody who has the broker, and where the row says so a key. The device runs a committed bundle before, and has to
//! run it after.

mod delivery;
mod documents;
mod hostile;
