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
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// Longer than any body of a call that isn't an inference.
pub(super) const MAX_SMALL_BODY_BYTES: usize = 4096;
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
        B: Body<Data = bytes::Bytes, Error: Display> + Unpin,
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
                taken.held = self.room.share();
                dropped = dropped.saturating_add(data.len());
                if dropped > most {
                    return Err(error.clone());
                }
            }
        }
    }

    /// A place among the requests that wait, if there is one. Before a body is decoded: that takes a thread, too.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Error> {
        let permit = Arc::clone(&self.waiting).try_acquire_owned();
        permit.map_err(|_| overloaded())
    }

    /// Runs an inference.
    pub(crate) async fn infer(
        &self,
        request: InferRequest,
        held: Held,
        permit: OwnedSemaphorePermit,
    ) -> Result<Answered, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving;
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::header::HeaderValue;

    fn front(section: &OpenInference) -> Front {
        Front::new(section, Arc::default(), serving::queue().0).unwrap()
    }

    /// What comes of a body of so many bytes: how many were taken, or the status, and when to come again.
    async fn read(
        front: &Front,
        bytes: usize,
        most: usize,
        claimed: &'static str,
    ) -> Result<usize, (u16, Option<u32>)> {
        let mut headers = HeaderMap::new();
        if !claimed.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(claimed));
        }
        let body = Full::new(Bytes::from(vec![0; bytes]));
        let taken = front.read(&headers, body, most).await;
        taken
            .map(|taken| taken.bytes.len())
            .map_err(|error| (error.http_status(), error.retry_after_s()))
    }

    #[tokio::test]
    async fn bodies_have_an_end_each_and_together() {
        let front = front(&OpenInference {
            max_memory_bytes: 100,
            ..OpenInference::default()
        });
        assert_eq!(read(&front, 60, 60, "").await, Ok(60));
        assert_eq!(read(&front, 61, 60, "").await, Err((413, None)));
        assert_eq!(read(&front, 0, 60, "61").await, Err((413, None)), "by what is claimed");
        assert_eq!(read(&front, 0, 60, "99999").await, Err((413, None)));
        assert_eq!(
            read(&front, 101, 200, "").await,
            Err((503, Some(1))),
            "more than there is room for"
        );
        let body = Full::new(Bytes::from(vec![0; 60]));
        let held = front.read(&HeaderMap::new(), body, 60).await.map_err(|_| ()).unwrap();
        assert_eq!(read(&front, 41, 60, "").await, Err((503, Some(1))));
        drop(held);
        assert_eq!(read(&front, 41, 60, "").await, Ok(41));
    }

    #[test]
    fn places_have_an_end() {
        let front = front(&OpenInference {
            max_waiting: 2,
            ..OpenInference::default()
        });
        let _one = front.enter().unwrap();
        let other = front.enter().unwrap();
        let error = front.enter().unwrap_err();
        assert_eq!((error.http_status(), error.retry_after_s()), (503, Some(1)));
        drop(other);
        assert!(front.enter().is_ok());
    }

    #[test]
    fn who_asks_is_known_by_the_token() {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "0123456789abcdef\n").unwrap();
        let open = front(&OpenInference::default());
        let closed = front(&OpenInference {
            token_file: Some(token.path().to_owned()),
            ..OpenInference::default()
        });
        for (name, value, to_open, to_closed) in [
            ("x", "y", 200, 401),
            ("authorization", "Bearer 0123456789abcdef", 200, 200),
            ("authorization", "bearer 0123456789abcdef", 200, 200),
            ("authorization", "Bearer 0123456789abcde", 200, 401),
            ("authorization", "Basic 0123456789abcdef", 200, 401),
            ("authorization", "0123456789abcdef", 200, 401),
            ("origin", "http://127.0.0.1:8000", 403, 403),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let status = |front: &Front| front.admit(&headers).map_or_else(|error| error.http_status(), |()| 200);
            assert_eq!(
                (status(&open), status(&closed)),
                (to_open, to_closed),
                "{name}: {value}"
            );
        }
    }
}
