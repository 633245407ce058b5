//! What HTTP and gRPC have in common: who may ask, how much, and the way to the serving thread.

use super::catalogue::{Catalogue, RETRY_AFTER_S, not_ready};
use super::job::{Answered, Job, Options, Reply};
use super::room::{Held, Room};
use super::rows;
use crate::clock::monotonic_ns;
use crate::config::OpenInference;
use crate::serving::ServeSender;
use bytes::BytesMut;
use floorhand_bundle::Digest;
use floorhand_open_inference::{EXTENSIONS, Error, InferRequest, Limits, ServerMetadata};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, ORIGIN};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// What is shorter is read and written faster than another thread is asked to.
const AWAY_BYTES: usize = 64 << 10;

/// The way in, shared by all connections.
pub(crate) struct Front {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) limits: Limits,
    serving: ServeSender,
    room: Room,
    waiting: Arc<Semaphore>,
    timeout: Duration,
    /// The digest of the token, compared with that of what is shown: how long that takes says nothing of the token.
    token: Option<Digest>,
}

/// A request's body, and the room that it takes.
pub(crate) struct Taken {
    pub(crate) bytes: BytesMut,
    pub(crate) held: Held,
}

impl Front {
    /// The error is the token file's.
    pub(crate) fn new(
        section: &OpenInference,
        catalogue: Arc<Catalogue>,
        serving: ServeSender,
    ) -> Result<Self, String> {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(Self {
            catalogue,
            limits: Limits {
                body_bytes: size(section.max_body_bytes),
                ..Limits::default()
            },
            serving,
            room: Room::new(size(section.max_memory_bytes)),
            waiting: Arc::new(Semaphore::new(size(section.max_waiting))),
            timeout: section.timeout(),
            token: section.token()?.map(|token| Digest::of(token.as_bytes())),
        })
    }

    /// Whether these headers are of somebody who may ask.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Error> {
        // A page in a browser on this machine can reach what listens here, and says where it is from.
        if headers.contains_key(ORIGIN) {
            return Err(Error::Origin);
        }
        let Some(token) = &self.token else { return Ok(()) };
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' '));
        match shown {
            Some((scheme, shown))
                if scheme.eq_ignore_ascii_case("bearer") && Digest::of(shown.trim().as_bytes()) == *token =>
            {
                Ok(())
            }
            _ => Err(Error::Unauthorized),
        }
    }

    pub(crate) fn server(&self) -> ServerMetadata {
        let extensions = EXTENSIONS.iter().copied().chain(["statistics"]);
        ServerMetadata {
            extensions: extensions.map(ToOwned::to_owned).collect(),
            ..ServerMetadata::new("floorhand-agent", crate::version().to_string())
        }
    }

    /// Reads a body of at most so many bytes within the time that there is. What comes of one that is too long is thrown
    /// away, as far as it is not much longer: a client that is still sending doesn't hear the answer.
    pub(crate) async fn read<B>(&self, headers: &HeaderMap, mut body: B, most: usize) -> Result<Taken, Error>
    where
        B: Body<Data = bytes::Bytes, Error = hyper::Error> + Unpin,
    {
        let by = Instant::now() + self.timeout;
        let claimed = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let claimed = claimed.and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
        // Who asks before sending it, or would go on for long, is told at once.
        if claimed > most && (headers.contains_key(EXPECT) || claimed / 2 > most) {
            return Err(Error::TooLarge { bytes: claimed, most });
        }
        let mut taken = Taken {
            bytes: BytesMut::new(),
            held: self.room.share(),
        };
        let mut refused = (claimed > most).then_some(Error::TooLarge { bytes: claimed, most });
        let mut dropped = 0_usize;
        loop {
            let frame = match timeout_at(by, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(Error::body(error)),
                Ok(None) => return refused.map_or(Ok(taken), Err),
                Err(_) => {
                    let ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
                    return Err(refused.unwrap_or(Error::TooSlow { ms }));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            if refused.is_none() {
                let bytes = taken.bytes.len() + data.len();
                if bytes > most {
                    refused = Some(Error::TooLarge { bytes, most });
                } else if !taken.held.grow(data.len()) {
                    refused = Some(overloaded());
                } else {
                    taken.bytes.extend_from_slice(&data);
                }
            }
            if let Some(error) = &refused {
                taken.bytes = BytesMut::new();
                dropped = dropped.saturating_add(data.len());
                if dropped > most {
                    return Err(error.clone());
                }
            }
        }
    }

    /// Runs an inference.
    pub(crate) async fn infer(&self, request: InferRequest, held: Held) -> Result<Answered, Error> {
        let permit = Arc::clone(&self.waiting).try_acquire_owned();
        let permit = permit.map_err(|_| overloaded())?;
        let options = Options::of(&request)?;
        let rows = match self.catalogue.ready(&request.model) {
            Ok(model) => rows::plan(&request, &model.inputs, &model.outputs)?.rows,
            // A candidate that has nothing beside it needs samples, or a device whose only source is this never serves.
            Err(_) if self.catalogue.tries_alone() => 1,
            Err(error) => return Err(error),
        };
        let (reply, answered) = oneshot::channel();
        let job = Job {
            request,
            options,
            rows,
            queued_ns: monotonic_ns(),
            reply: Reply::new(reply, held, permit),
        };
        let served = async {
            self.serving.infer(job).await;
            answered.await
        };
        match tokio::time::timeout(self.timeout, served).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(not_ready("the agent, which is stopping,".to_owned())),
            Err(_) => Err(overloaded()),
        }
    }
}

/// Does what takes long for long bodies where it holds up nobody.
pub(crate) async fn away<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if bytes < AWAY_BYTES {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal {
        problem: format!("the request can't be worked on: {error}"),
    })
}

fn overloaded() -> Error {
    Error::Overloaded {
        retry_after_s: Some(RETRY_AFTER_S),
    }
}
