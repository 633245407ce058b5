//! Plugins of the world `decoder`: bytes of a source to samples.

use crate::guest::Guest;
use crate::processor::check_input_bytes;
use crate::promise::{Field, check_batch, check_specs};
use crate::split::Split;
use crate::{CompiledPlugin, PluginError, Setup, Telemetry, track_0_1};
use floorhand_tensor::{Tensor, TensorSpec};
use std::fmt;

/// Samples of one message, and failures of one. A source that sends more at once is better off with rows of one tensor.
const MAX_SAMPLES: usize = 4096;

/// Bytes of a sample's id, and of its key.
const MAX_ID_BYTES: usize = 256;

/// What a decoder promises under its configuration.
#[derive(Debug, PartialEq)]
pub(crate) struct Promise {
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) fields: Vec<Vec<Field>>,
}

/// What became of a call, as the plugin says.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) batches: Vec<DecodedBatch>,
    pub(crate) failures: Vec<Failure>,
}

/// Samples whose tensors stand together; their number is every tensor's first dimension.
#[derive(Debug)]
pub(crate) struct DecodedBatch {
    pub(crate) heads: Vec<SampleHead>,
    pub(crate) tensors: Vec<Tensor>,
}

/// A sample besides its tensors.
#[derive(Debug)]
pub(crate) struct SampleHead {
    pub(crate) message: u32,
    pub(crate) id: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) time_ns: Option<u64>,
}

/// What of a message couldn't be read, and where in it that would have stood.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: u32,
    pub(crate) samples_before: u32,
    pub(crate) key: Option<String>,
    pub(crate) error: PluginError,
}

/// What came from a source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// An MQTT topic, a file's name; empty if there is none.
    pub topic: &'a str,
    /// The media type that the source states; empty if it states none.
    pub content_type: &'a str,
    /// What the source says besides, by name.
    pub properties: &'a [(&'a str, &'a str)],
    /// When the device got it, in nanoseconds since 1970-01-01 UTC.
    pub received_ns: u64,
    /// The bytes.
    pub payload: &'a [u8],
}

/// A sample that was found in a message.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedSample {
    /// By what its source knows it.
    pub id: Option<String>,
    /// What it is of, e.g. a machine.
    pub key: Option<String>,
    /// Its own time, in nanoseconds since 1970-01-01 UTC; without it, it is when the message came.
    pub time_ns: Option<u64>,
    /// One tensor for each of the decoder's outputs, in their order.
    pub tensors: Vec<Tensor>,
}

/// A sample that couldn't be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// What it is of, where that could be read. Without it, it may be of any key.
    pub key: Option<String>,
    /// Why.
    pub error: Box<PluginError>,
}

/// What each message of a call came to: its samples, and at their places what couldn't be read.
pub type DecodedMessage = Vec<Result<DecodedSample, Lost>>;

/// A decoder at work. Calls block, on the thread that makes them.
pub struct Decoder {
    guest: Guest<track_0_1::Decoder>,
}

impl Decoder {
    /// Instantiates and configures the plugin.
    pub fn start(plugin: &CompiledPlugin, setup: Setup) -> Result<Self, PluginError> {
        let check = |promise: &Promise| check_specs(promise.outputs.iter().zip(&promise.fields));
        Ok(Self {
            guest: Guest::start(plugin, setup, check)?,
        })
    }

    /// The tensors of every sample under its configuration.
    #[must_use]
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.guest.promise().outputs
    }

    /// What the columns of an output's last dimension are called; empty if they have no names.
    #[must_use]
    pub fn output_fields(&self, output: &str) -> &[Field] {
        let promise = self.guest.promise();
        let mut outputs = promise.outputs.iter().zip(&promise.fields);
        outputs
            .find(|(spec, _)| spec.name == output)
            .map_or(&[], |(_, fields)| fields.as_slice())
    }

    /// Reads a message: no sample, one or many, at most 4,096. What of it can't be read stands where it would have been.
    ///
    /// After an error whose [`is_trap`](PluginError::is_trap) is true the plugin is stopped until it is
    /// [restarted](Self::restart).
    pub fn decode(&mut self, message: Message<'_>) -> Result<DecodedMessage, PluginError> {
        Ok(self.decode_all(&[message])?.pop().unwrap_or_default())
    }

    /// The most messages that the plugin takes in a call.
    #[must_use]
    pub const fn max_messages(&self) -> usize {
        self.guest.max_batch()
    }

    /// Reads several messages in one call, at most [`max_messages`](Self::max_messages). The answer has an entry for each.
    pub fn decode_all(&mut self, messages: &[Message<'_>]) -> Result<Vec<DecodedMessage>, PluginError> {
        self.guest.check_samples(messages.len())?;
        check_input_bytes(messages.iter().map(size).sum(), self.guest.limits().input_bytes)?;
        let limit_bytes = self.guest.limits().output_bytes;
        let decoded = self
            .guest
            .sample("decode", messages.len(), limit_bytes, |exports, store, promise| {
                exports.decode(store, messages, &promise.outputs)
            })?;
        let settled = distribute(&self.guest.promise().outputs, messages.len(), decoded, limit_bytes);
        if settled.is_err() {
            self.guest.stop();
        }
        settled
    }

    /// The plugin's state, at most `state_bytes` of its limits. It is what a restart goes on from.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, PluginError> {
        self.guest.snapshot()
    }

    /// The state of its last snapshot, or the one that it was put into: what is left of one that was stopped.
    #[must_use]
    pub fn last_state(&self) -> Option<&[u8]> {
        self.guest.last_good()
    }

    /// Puts the plugin into an earlier state, on a fresh instance if this one has seen a message.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), PluginError> {
        self.guest.restore(state)
    }

    /// A fresh instance under the same configuration, in the state of the last snapshot if there is one.
    pub fn restart(&mut self) -> Result<(), PluginError> {
        self.guest.restart()
    }

    /// Whether the plugin can be called. False after a fault, until it is restarted.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.guest.is_running()
    }

    /// What the plugin reported since the last time this was asked, restarts included.
    pub fn take_telemetry(&mut self) -> Telemetry {
        self.guest.take_telemetry()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("outputs", &self.outputs())
            .finish_non_exhaustive()
    }
}

/// Bytes that a message takes in the plugin's memory.
fn size(message: &Message<'_>) -> u64 {
    let properties = message.properties.iter().map(|(name, value)| name.len() + value.len());
    let texts = message.topic.len() + message.content_type.len() + properties.sum::<usize>();
    (message.payload.len() + texts) as u64
}

/// Holds what came against the promise, and gives each message its own.
fn distribute(
    specs: &[TensorSpec],
    messages: usize,
    decoded: Decoded,
    limit_bytes: u64,
) -> Result<Vec<DecodedMessage>, PluginError> {
    let tensors = decoded.batches.iter().flat_map(|batch| &batch.tensors);
    let bytes: u64 = tensors.map(|tensor| tensor.data().len() as u64).sum();
    if bytes > limit_bytes {
        return Err(PluginError::OutputTooLarge {
            function: "decode",
            limit_bytes,
        });
    }
    let mut places: Vec<Place> = std::iter::repeat_with(Place::default).take(messages).collect();
    let mut last = 0;
    for batch in decoded.batches {
        let count = batch.heads.len();
        if count == 0 {
            return Err(wrong("a batch of no sample".to_owned()));
        }
        for (spec, tensor) in specs.iter().zip(&batch.tensors) {
            check_batch(spec, count, tensor).map_err(|error| wrong(error.to_string()))?;
        }
        let mut given: Vec<_> = batch
            .tensors
            .into_iter()
            .map(|tensor| Split::new(tensor, count))
            .collect();
        for (index, head) in batch.heads.into_iter().enumerate() {
            if head.message < last {
                return Err(wrong("samples that aren't in the order of their messages".to_owned()));
            }
            last = head.message;
            let tensors: Result<Vec<Tensor>, _> = given.iter_mut().map(|split| split.take(index)).collect();
            let tensors = tensors.map_err(|error| wrong(error.to_string()))?;
            let samples = &mut place(&mut places, head.message)?.samples;
            if samples.len() == MAX_SAMPLES {
                return Err(wrong(format!("over {MAX_SAMPLES} samples of one message")));
            }
            samples.push(head.with(tensors)?);
        }
    }
    let mut last = 0;
    for failure in decoded.failures {
        if failure.message < last {
            return Err(wrong("failures that aren't in the order of their messages".to_owned()));
        }
        last = failure.message;
        place(&mut places, failure.message)?.fail(failure)?;
    }
    Ok(places.into_iter().map(Place::settle).collect())
}

/// What was found in a message.
#[derive(Debug, Default)]
struct Place {
    samples: Vec<DecodedSample>,
    /// Each behind so many of the samples, rising.
    failures: Vec<(usize, Lost)>,
}

impl Place {
    fn fail(&mut self, failure: Failure) -> Result<(), PluginError> {
        if self.failures.len() == MAX_SAMPLES {
            return Err(wrong(format!("over {MAX_SAMPLES} failures of one message")));
        }
        let behind = usize::try_from(failure.samples_before).unwrap_or(usize::MAX);
        if behind > self.samples.len() {
            let samples = self.samples.len();
            return Err(wrong(format!(
                "a failure behind {behind} samples of a message with {samples}"
            )));
        }
        if self.failures.last().is_some_and(|(last, _)| *last > behind) {
            return Err(wrong("failures that aren't in their order".to_owned()));
        }
        check_name("a failure's key", failure.key.as_deref())?;
        let Failure { key, error, .. } = failure;
        self.failures.push((
            behind,
            Lost {
                key,
                error: Box::new(error),
            },
        ));
        Ok(())
    }

    fn settle(self) -> DecodedMessage {
        let mut settled = Vec::with_capacity(self.samples.len() + self.failures.len());
        let mut failures = self.failures.into_iter().peekable();
        for (index, sample) in self.samples.into_iter().enumerate() {
            while let Some((_, lost)) = failures.next_if(|(behind, _)| *behind <= index) {
                settled.push(Err(lost));
            }
            settled.push(Ok(sample));
        }
        settled.extend(failures.map(|(_, lost)| Err(lost)));
        settled
    }
}

fn place(places: &mut [Place], message: u32) -> Result<&mut Place, PluginError> {
    let count = places.len();
    let found = usize::try_from(message)
        .ok()
        .and_then(|message| places.get_mut(message));
    found.ok_or_else(|| wrong(format!("it answers to message {message} of a call with {count}")))
}

/// Whether an id or a key is as long as the interface allows.
fn check_name(what: &str, name: Option<&str>) -> Result<(), PluginError> {
    match name.map(str::len) {
        Some(bytes) if !(1..=MAX_ID_BYTES).contains(&bytes) => {
            Err(wrong(format!("{what} has {bytes} bytes, not 1 to {MAX_ID_BYTES}")))
        }
        _ => Ok(()),
    }
}

impl SampleHead {
    fn with(self, tensors: Vec<Tensor>) -> Result<DecodedSample, PluginError> {
        check_name("a sample's id", self.id.as_deref())?;
        check_name("a sample's key", self.key.as_deref())?;
        if self.time_ns.is_some_and(|time_ns| i64::try_from(time_ns).is_err()) {
            return Err(wrong("a sample's time is 2^63 ns or more".to_owned()));
        }
        Ok(DecodedSample {
            id: self.id,
            key: self.key,
            time_ns: self.time_ns,
            tensors,
        })
    }
}

fn wrong(reason: String) -> PluginError {
    PluginError::BadOutput {
        function: "decode",
        reason,
    }
}
