//! The command's end of the socket: blocking, for a program that has nothing else to do.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    EXPLAIN_TIMEOUT, IMPORT_TIMEOUT, IO_TIMEOUT, MAX_IMPORT_BYTES, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, Reply, Status,
};
use crate::exit::Exit;
use crate::import::put_into_inbox;

/// A client waits this much longer than the daemon takes at most, so that it gets to hear why.
const GRACE: Duration = Duration::from_secs(5);

/// Why the agent gave no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// Nobody listens.
    #[error("the agent isn't running: nobody listens on {path}; start it with `systemctl start floorhand-agent`", path = .0.display())]
    NotRunning(PathBuf),
    /// Somebody may, and we may not ask.
    #[error("the agent can't be asked: {path} may be opened by root and the agent's own user alone; use sudo", path = .0.display())]
    NotAllowed(PathBuf),
    /// The conversation broke.
    #[error("the agent gave no answer on {path}: {problem}; look at its log with `journalctl -u floorhand-agent`", path = path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        problem: String,
    },
    /// The file to import can't be read.
    #[error("{path} can't be imported: {problem}", path = path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The samples can't be read, or are too many.
    #[error("{path} can't be explained: {problem}", path = path.display())]
    Samples {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The agent said no.
    #[error("the agent refused: {0}")]
    Refused(String),
}

impl LocalError {
    /// The code to end with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotRunning(_) | Self::NotAllowed(_) | Self::Broken { .. } => Exit::Unreachable,
            Self::Archive { .. } | Self::Samples { .. } => Exit::Failure,
            Self::Refused(_) => Exit::Refused,
        }
    }
}

/// What the running agent is and does.
///
/// # Errors
/// When it isn't running or gives no answer.
pub(crate) fn status(socket: &Path) -> Result<Status, LocalError> {
    let reply = ask(socket, "{\"command\": \"status\"}\n", IO_TIMEOUT)?;
    reply.status.ok_or_else(|| LocalError::Broken {
        path: socket.to_owned(),
        problem: "its answer has no status in it".to_owned(),
    })
}

/// Hands over an archive, by a copy in the state directory, where the socket lies; returns the agent's word for people
/// once it is verified and taken.
///
/// # Errors
/// When the agent isn't running, gives no answer, or refuses the archive.
pub(crate) fn import(socket: &Path, archive: &Path) -> Result<String, LocalError> {
    let failed = |problem: String| LocalError::Archive {
        path: archive.to_owned(),
        problem,
    };
    let file = File::open(archive).map_err(|error| failed(error.to_string()))?;
    let bytes = file.metadata().map_err(|error| failed(error.to_string()))?.len();
    if !(1..=MAX_IMPORT_BYTES).contains(&bytes) {
        return Err(failed(format!(
            "it has {bytes} bytes, and 1 to {MAX_IMPORT_BYTES} can be imported"
        )));
    }
    // Before a copy is made that nobody would take.
    status(socket)?;
    let state_dir = socket.parent().unwrap_or(Path::new("."));
    let copy = put_into_inbox(&file, state_dir)
        .map_err(|error| failed(format!("it can't be copied to {}: {error}", state_dir.display())))?;
    let head = format!("{{\"command\": \"import\", \"file\": \"{}\"}}\n", copy.name());
    let reply = ask(socket, &head, IMPORT_TIMEOUT);
    if reply.is_err() {
        // The agent removes what it has looked at.
        drop(fs::remove_file(copy.path(state_dir)));
    }
    Ok(reply?.message.unwrap_or_default())
}

/// Why the model that serves answers as it does: to the last of the samples in a file of JSON objects, one a line (`-` is standard
/// input), or to the next one that is served if there is no file. Returns the object that sinks are given.
///
/// # Errors
/// When the samples can't be read, the agent isn't running, gives no answer, or has no explanation.
pub(crate) fn explain(socket: &Path, samples: Option<&Path>) -> Result<Value, LocalError> {
    let samples = samples.map(read_samples).transpose()?.unwrap_or_default();
    let request = json!({ "command": "explain", "samples": samples });
    let reply = ask(socket, &format!("{request}\n"), EXPLAIN_TIMEOUT)?;
    reply.explanation.ok_or_else(|| LocalError::Broken {
        path: socket.to_owned(),
        problem: "its answer has no explanation in it".to_owned(),
    })
}

fn read_samples(path: &Path) -> Result<Vec<Value>, LocalError> {
    let failed = |problem: String| LocalError::Samples {
        path: path.to_owned(),
        problem,
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(MAX_REQUEST_BYTES).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_REQUEST_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| failed(error.to_string()))?;
    // The command's own bytes are in the request, too.
    if text.len() as u64 + 64 > MAX_REQUEST_BYTES {
        return Err(failed(format!("it is longer than {} bytes", MAX_REQUEST_BYTES - 64)));
    }
    let values = serde_json::Deserializer::from_str(&text).into_iter();
    let samples: Vec<Value> = values
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.to_string()))?;
    if samples.is_empty() {
        return Err(failed("it has no sample: a sample is a JSON object".to_owned()));
    }
    Ok(samples)
}

fn ask(socket: &Path, head: &str, within: Duration) -> Result<Reply, LocalError> {
    let broken = |error: io::Error| LocalError::Broken {
        path: socket.to_owned(),
        problem: error.to_string(),
    };
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => LocalError::NotRunning(socket.to_owned()),
        io::ErrorKind::PermissionDenied => LocalError::NotAllowed(socket.to_owned()),
        _ => broken(error),
    })?;
    stream.set_read_timeout(Some(within + GRACE)).map_err(broken)?;
    stream.set_write_timeout(Some(IO_TIMEOUT)).map_err(broken)?;
    let sent = stream.write_all(head.as_bytes());
    // An agent that refuses before it has read all has answered before it hung up.
    let mut line = String::new();
    let read = BufReader::new(stream.take(MAX_REPLY_BYTES)).read_line(&mut line);
    if line.is_empty() {
        sent.map_err(broken)?;
        read.map_err(broken)?;
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let reply: Reply = serde_json::from_str(&line).map_err(|error| broken(error.into()))?;
    if reply.ok {
        Ok(reply)
    } else {
        Err(LocalError::Refused(reply.error.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Request, bind, serve};
    use super::*;
    use crate::import::InboxFile;
    use std::os::unix::fs::PermissionsExt as _;

    /// A daemon that says how long what it is told of is, on a socket in a folder.
    fn daemon() -> (tokio::runtime::Runtime, tempfile::TempDir, PathBuf) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        // One that an earlier process left.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let listener = runtime.block_on(async { bind(&socket) }).unwrap();
        let state_dir = dir.path().to_owned();
        runtime.spawn(serve(listener, move |request| {
            let reply = answer(&request, &state_dir);
            async move { reply }
        }));
        (runtime, dir, socket)
    }

    fn answer(request: &Request, state_dir: &Path) -> Reply {
        if let Request::Explain(samples) = request {
            return match samples.as_slice() {
                [] => Reply::refused("nothing serves"),
                samples => Reply::explanation(json!({ "sample": samples.len() })),
            };
        }
        let Request::Import(name) = request else {
            return Reply::status(Status {
                device: "press-01".to_owned(),
                ..Status::default()
            });
        };
        let file = InboxFile::parse(name).unwrap();
        let archive = fs::read(file.path(state_dir)).unwrap();
        if archive.starts_with(b"bad") {
            return Reply::refused("signed by nobody");
        }
        fs::remove_file(file.path(state_dir)).unwrap();
        Reply::done(format!("{} bytes", archive.len()))
    }

    #[test]
    fn a_status_and_imports_go_through() {
        let (_runtime, dir, socket) = daemon();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(status(&socket).unwrap().device, "press-01");
        let stick = tempfile::tempdir().unwrap();
        let archive = stick.path().join("bundle.fhb");
        fs::write(&archive, vec![7; 3_000_001]).unwrap();
        assert_eq!(import(&socket, &archive).unwrap(), "3000001 bytes");
        fs::write(&archive, b"bad").unwrap();
        let refused = import(&socket, &archive).unwrap_err();
        assert_eq!(
            (refused.to_string().as_str(), refused.exit()),
            ("the agent refused: signed by nobody", Exit::Refused)
        );
        fs::write(&archive, b"").unwrap();
        assert!(
            import(&socket, &archive)
                .unwrap_err()
                .to_string()
                .contains("it has 0 bytes")
        );
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, [socket], "no copy is left behind");
    }

    #[test]
    fn samples_are_read_and_explained() {
        let (_runtime, dir, socket) = daemon();
        let check = |text: &str| {
            let file = dir.path().join("samples.json");
            fs::write(&file, text).unwrap();
            explain(&socket, Some(&file)).map_err(|error| error.to_string())
        };
        assert_eq!(check("{\"a\": 1}\n\n{\"a\": 2}\n").unwrap(), json!({"sample": 2}));
        assert!(check("").unwrap_err().contains("it has no sample"));
        assert!(
            check("{\"a\": }")
                .unwrap_err()
                .contains("can't be explained: expected value")
        );
        assert!(
            check(&format!("{{}}{}", " ".repeat(1 << 20)))
                .unwrap_err()
                .contains("longer than 1048512 bytes")
        );
        assert_eq!(
            explain(&socket, None).unwrap_err().to_string(),
            "the agent refused: nothing serves"
        );
    }

    #[test]
    fn requests_that_are_none_get_an_answer() {
        let (_runtime, _dir, socket) = daemon();
        let long = format!("{{\"command\": \"{}\"}}\n", "x".repeat(1 << 20));
        for (line, part) in [
            ("{\"command\": \"dance\"}\n", "the command is unknown"),
            ("hello\n", "can't be read"),
            ("{\"command\": \"import\", \"bytes\": 5}\n", "the agent's own version"),
            ("{\"command\": \"status\", \"file\": \"x\"}\n", "status has no \"file\""),
            ("{\"command\": \"explain\"}\n", "needs \"samples\""),
            (&long, "one line of at most 1048576 bytes"),
        ] {
            let error = ask(&socket, line, IO_TIMEOUT).unwrap_err();
            assert!(
                matches!(&error, LocalError::Refused(text) if text.contains(part)),
                "{line:?}: {error}"
            );
        }
    }

    #[test]
    fn more_clients_than_there_is_room_for_wait_their_turn() {
        let (_runtime, _dir, socket) = daemon();
        let silent: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        let asked = std::thread::spawn(move || status(&socket).map(|status| status.device));
        drop(silent);
        assert_eq!(asked.join().unwrap().unwrap(), "press-01");
    }

    #[test]
    fn an_agent_that_is_not_there_is_told_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let error = status(&socket).unwrap_err();
        assert!(matches!(error, LocalError::NotRunning(_)), "{error}");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert_eq!(status(&socket).unwrap_err().exit(), Exit::Unreachable, "a stale socket");
    }
}
