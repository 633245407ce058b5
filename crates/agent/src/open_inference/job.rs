//! A request on its way to the serving thread and back.

use super::room::Held;
use floorhand_open_inference::{Error, InferRequest, Parameter};
use floorhand_tensor::Tensor;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// As long as a sample's id and key may be elsewhere.
const MAX_TEXT_BYTES: usize = 256;
/// Times are below this: 2^63 nanoseconds since 1970.
const END_MS: u64 = (1 << 63) / 1_000_000;

/// An inference that is asked for.
pub(crate) struct Job {
    pub(crate) request: InferRequest,
    pub(crate) options: Options,
    /// Its samples, as far as they are known before it is worked on.
    pub(crate) rows: usize,
    /// When it was put into the queue, on the clock that only goes forward.
    pub(crate) queued_ns: u64,
    pub(crate) reply: Reply,
}

/// The way back to whoever asks, and what the request takes of the room and the number that there are for all.
pub(crate) struct Reply(Option<Open>);

struct Open {
    sender: oneshot::Sender<Result<Answered, Error>>,
    held: Held,
    permit: OwnedSemaphorePermit,
}

impl Reply {
    pub(crate) fn new(
        sender: oneshot::Sender<Result<Answered, Error>>,
        held: Held,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self(Some(Open { sender, held, permit }))
    }

    /// Whether nobody waits for an answer any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|open| open.sender.is_closed())
    }

    /// Answers, and gives back what was taken. What comes after the first answer goes to nobody.
    pub(crate) fn send(&mut self, answer: Result<Answered, Error>) {
        if let Some(Open { sender, held, permit }) = self.0.take() {
            // Before the answer: whoever has it may ask again at once.
            drop((held, permit));
            drop(sender.send(answer));
        }
    }
}

/// What came of it.
pub(crate) struct Answered {
    /// The request, without its inputs.
    pub(crate) request: InferRequest,
    /// The version that answered.
    pub(crate) version: String,
    /// All that the pipeline gives.
    pub(crate) outputs: Vec<Tensor>,
}

/// What a request's parameters say of its samples. This is the place for more that a request may ask of the pipeline,
/// such as explanations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// What the samples are of: the parameter `key`.
    pub(crate) key: Option<String>,
    /// When they were taken: the parameter `time_ms`.
    pub(crate) time_ms: Option<u64>,
}

impl Options {
    pub(crate) fn of(request: &InferRequest) -> Result<Self, Error> {
        let too_long = |text: &str| text.len() > MAX_TEXT_BYTES;
        if request.id.as_deref().is_some_and(too_long) {
            return Err(Error::body(format!("its id has more than {MAX_TEXT_BYTES} bytes")));
        }
        let key = match request.parameters.get("key") {
            None => None,
            Some(Parameter::Text(key)) if !key.is_empty() && !too_long(key) => Some(key.clone()),
            Some(_) => {
                let problem = format!("has to be a text of 1 to {MAX_TEXT_BYTES} bytes");
                return Err(Error::parameter("key", problem));
            }
        };
        let time_ms = request.parameters.unsigned("time_ms")?;
        if time_ms.is_some_and(|ms| ms >= END_MS) {
            return Err(Error::parameter("time_ms", "is no time in milliseconds since 1970"));
        }
        Ok(Self { key, time_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_open_inference::{ModelRef, Parameters};

    #[test]
    fn parameters_are_those_of_the_samples() {
        let of = |name: &str, value: Parameter| {
            Options::of(&InferRequest {
                model: ModelRef {
                    name: "m".to_owned(),
                    version: None,
                },
                id: None,
                parameters: Parameters::from_iter([(name.to_owned(), value)]),
                inputs: Vec::new(),
                outputs: Vec::new(),
            })
        };
        let text = |text: &str| Parameter::Text(text.to_owned());
        assert_eq!(of("key", text("m-1")).unwrap().key.as_deref(), Some("m-1"));
        assert_eq!(of("time_ms", Parameter::Int(7)).unwrap().time_ms, Some(7));
        assert_eq!(of("priority", text("anything")).unwrap(), Options::default());
        for (name, wrong) in [
            ("key", text("")),
            ("key", text(&"k".repeat(257))),
            ("key", Parameter::Int(1)),
            ("time_ms", Parameter::Int(-1)),
            ("time_ms", Parameter::Uint(u64::MAX)),
            ("time_ms", text("now")),
        ] {
            let error = of(name, wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("parameter {name:?}")), "{error}");
        }
    }
}
