//! The daemon's end of the socket.

use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{EXPLAIN_TIMEOUT, IMPORT_TIMEOUT, IO_TIMEOUT, MAX_REQUEST_BYTES, Status};

/// People at the box are few; more wait in the socket's own queue.
const MAX_CLIENTS: usize = 4;
/// What is imported is copied by the core, so one at a time.
const MAX_IMPORTS: usize = 1;
/// Who waits for a sample leaves room for others.
const MAX_EXPLAINED: usize = 1;
/// After an accept that failed, for want of file descriptors say, there is this much rest.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// What the agent is and does: [`Reply::status`].
    Status,
    /// An archive, by the name that its file in the state directory is said to have: nothing of it is checked.
    Import(Vec<u8>),
    /// Why the model answers as it does to the last of these samples, or to the next one that is served if there are none:
    /// [`Reply::explanation`].
    Explain(Vec<serde_json::Value>),
}

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(super) ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) explanation: Option<serde_json::Value>,
}

impl Reply {
    /// Here it is.
    pub(crate) fn status(status: Status) -> Self {
        let status = Some(status);
        Self {
            ok: true,
            status,
            ..Self::default()
        }
    }

    /// Here it is, as sinks write it.
    pub(crate) fn explanation(explanation: serde_json::Value) -> Self {
        Self {
            ok: true,
            explanation: Some(explanation),
            ..Self::default()
        }
    }

    /// It was done; the message is for people.
    pub(crate) fn done(message: impl Into<String>) -> Self {
        let message = Some(message.into());
        Self {
            ok: true,
            message,
            ..Self::default()
        }
    }

    /// It wasn't done; the message says why and what to do.
    pub(crate) fn refused(error: impl Into<String>) -> Self {
        let error = Some(error.into());
        Self {
            error,
            ..Self::default()
        }
    }
}

/// Opens the socket, in place of one that an earlier process left. The caller holds the state directory's lock, so that
/// it can't be a living one's.
///
/// # Errors
/// When the system refuses.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until the task is aborted. `handler` is called for each request, for several at once.
pub(crate) async fn serve<H, F>(listener: UnixListener, handler: H)
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    let turns = Arc::new(Turns {
        imports: Semaphore::new(MAX_IMPORTS),
        explained: Semaphore::new(MAX_EXPLAINED),
    });
    let handler = Arc::new(handler);
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (handler, turns) = (Arc::clone(&handler), Arc::clone(&turns));
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, handler.as_ref(), &turns).await {
                        tracing::debug!(%error, "a client of the local socket went away");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the local socket can't be listened on for a moment");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// What only so many clients have done at once.
struct Turns {
    imports: Semaphore,
    explained: Semaphore,
}

async fn converse<H, F>(stream: UnixStream, handler: &H, turns: &Turns) -> io::Result<()>
where
    H: Fn(Request) -> F,
    F: Future<Output = Reply>,
{
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    timeout(IO_TIMEOUT, (&mut stream).take(MAX_REQUEST_BYTES).read_line(&mut line)).await??;
    let reply = match head(&line) {
        Err(problem) => Reply::refused(problem),
        Ok(Request::Status) => answer(handler(Request::Status), IO_TIMEOUT).await,
        Ok(import @ Request::Import(_)) => match turns.imports.try_acquire() {
            Ok(_permit) => answer(handler(import), IMPORT_TIMEOUT).await,
            Err(_) => Reply::refused("another import is under way; try again when it is done"),
        },
        Ok(explain) => match turns.explained.try_acquire() {
            Ok(_permit) => answer(handler(explain), EXPLAIN_TIMEOUT).await,
            Err(_) => Reply::refused("another explanation is under way; try again when it is done"),
        },
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    timeout(IO_TIMEOUT, stream.get_mut().write_all(&text)).await??;
    stream.get_mut().shutdown().await
}

async fn answer(handled: impl Future<Output = Reply>, within: Duration) -> Reply {
    let late = || {
        Reply::refused(format!(
            "there was no answer within {} s; look at the agent's log",
            within.as_secs()
        ))
    };
    timeout(within, handled).await.unwrap_or_else(|_| late())
}

/// The line of a request.
#[derive(Debug, Deserialize)]
struct Head {
    command: String,
    /// The file's name: of an import.
    file: Option<String>,
    /// Of an explanation.
    samples: Option<Vec<serde_json::Value>>,
}

fn head(line: &str) -> Result<Request, String> {
    if !line.ends_with('\n') {
        return Err(format!("a request is one line of at most {MAX_REQUEST_BYTES} bytes"));
    }
    let head: Head = serde_json::from_str(line).map_err(|error| format!("the request can't be read: {error}"))?;
    if let (Some(samples), "explain", None) = (&head.samples, head.command.as_str(), &head.file) {
        return Ok(Request::Explain(samples.clone()));
    }
    match (head.command.as_str(), head.file) {
        ("status", None) => Ok(Request::Status),
        ("import", Some(file)) => Ok(Request::Import(file.into_bytes())),
        ("import", None) => Err("import needs \"file\"; use the command of the agent's own version".to_owned()),
        ("status", Some(_)) => Err("status has no \"file\"".to_owned()),
        ("explain", _) => Err("explain needs \"samples\", a list, and no \"file\"".to_owned()),
        _ => Err("the command is unknown; known are status, import and explain".to_owned()),
    }
}
