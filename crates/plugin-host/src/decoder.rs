//! Plugins of the world `decoder`: bytes of a source to samples.

use crate::guest::Guest;
use crate::processor::{check_input_bytes, check_samples};
use crate::promise::{Field, check_batch, check_specs};
use crate::split::Split;
use crate::{CompiledPlugin, PluginError, Setup, Telemetry, track_0_1};
use floorhand_tensor::{Tensor, TensorSpec};
use std::fmt;

/// Samples of one message, and refusals of one. A source that sends more at once is better off with rows of one tensor.
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
    pub(crate) refusals: Vec<(u32, PluginError)>,
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

/// What each message of a call came to: its samples, and what of it couldn't be read, as errors behind them.
pub type DecodedMessage = Vec<Result<DecodedSample, PluginError>>;

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

    /// Reads a message: no sample, one or many, at most 4,096. What of it can't be read is an error behind the samples.
    ///
    /// After an error whose [`is_trap`](PluginError::is_trap) is true the plugin is stopped until it is
    /// [restarted](Self::restart).
    pub fn decode(&mut self, message: Message<'_>) -> Result<DecodedMessage, PluginError> {
        Ok(self.decode_all(&[message])?.pop().unwrap_or_default())
    }

    /// Reads several messages in one call, at most 1,024. The answer has an entry for each.
    pub fn decode_all(&mut self, messages: &[Message<'_>]) -> Result<Vec<DecodedMessage>, PluginError> {
        check_samples(messages.len())?;
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
    let mut places: Vec<DecodedMessage> = std::iter::repeat_with(Vec::new).take(messages).collect();
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
            let tensors: Result<Vec<Tensor>, _> = given.iter_mut().map(|split| split.take(index)).collect();
            let tensors = tensors.map_err(|error| wrong(error.to_string()))?;
            place(&mut places, head.message, MAX_SAMPLES)?.push(Ok(head.with(tensors)?));
        }
    }
    // As many refusals may stand behind the samples, however many those are.
    let ends: Vec<usize> = places.iter().map(|place| place.len() + MAX_SAMPLES).collect();
    for (message, error) in decoded.refusals {
        let end = usize::try_from(message).ok().and_then(|message| ends.get(message));
        place(&mut places, message, end.copied().unwrap_or(0))?.push(Err(error));
    }
    Ok(places)
}

/// A message's entries, of which there may be `max`.
fn place(places: &mut [DecodedMessage], message: u32, max: usize) -> Result<&mut DecodedMessage, PluginError> {
    let count = places.len();
    let found = usize::try_from(message)
        .ok()
        .and_then(|message| places.get_mut(message));
    match found {
        None => Err(wrong(format!("it answers to message {message} of a call with {count}"))),
        Some(found) if found.len() >= max => {
            Err(wrong(format!("over {MAX_SAMPLES} samples or refusals of one message")))
        }
        Some(found) => Ok(found),
    }
}

impl SampleHead {
    fn with(self, tensors: Vec<Tensor>) -> Result<DecodedSample, PluginError> {
        for (what, text) in [("id", &self.id), ("key", &self.key)] {
            if let Some(text) = text
                && !(1..=MAX_ID_BYTES).contains(&text.len())
            {
                let bytes = text.len();
                return Err(wrong(format!(
                    "a sample's {what} has {bytes} bytes, not 1 to {MAX_ID_BYTES}"
                )));
            }
        }
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
