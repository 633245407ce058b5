//! The local socket, for the person who stands in front of the box: `agent.sock` in the state directory.
//!
//! A request is one line of JSON, `{"command": "status"}` or `{"command": "import", "file": "inbox.DIGITS.tmp"}` with an
//! archive that the client has copied into the state directory under this name, or `{"command": "explain", "samples": [{...}]}`, of which
//! the last is explained, or the next one that is served if there are none; the answer is one line,
//! `{"ok": true, ...}` or `{"ok": false, "error": "..."}`, and the end. Who may open the socket is the directory's
//! business (0700): the protocol knows no users. What is imported is verified by the core like what comes over the
//! network; nothing is believed because it came this way.

mod client;
mod render;
mod server;
mod status;

pub(crate) use client::{LocalError, explain, import, status};
pub(crate) use server::{Reply, Request, bind, serve};
pub(crate) use status::{Flow, Running, SpoolStatus, Status, Trial};

use std::time::Duration;

/// An archive that is imported: a manifest with the largest models that a device of this kind serves.
const MAX_IMPORT_BYTES: u64 = 1 << 30;
/// A request: a command and a file's name, or the samples of a window.
const MAX_REQUEST_BYTES: u64 = 1 << 20;
/// An explanation waits for others and for a sample to come, and takes the bundle's time.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer: a status with 16 sources, 16 sinks and bounded texts is far below.
const MAX_REPLY_BYTES: u64 = 1 << 20;
/// An import is verified, written and synced, on a slow card, before it is answered.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(600);
/// Anything else is answered from memory. A peer that is silent for longer is gone.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
