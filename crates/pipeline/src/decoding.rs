//! The decoder of a bundle: what a source sends, to samples.
//!
//! Without one a message is one sample, which is read by [`decode`](crate::decode). With one it is the plugin's to say how many
//! samples are in it.

use crate::Sample;
use crate::decode::DecodeError;
use crate::error::{LoadError, SampleError};
use crate::gaps::{Missing, Unbroken};
use crate::stage::{Called, Read, Stage, StageEvent, StageTelemetry};
use floorhand_bundle::{ComponentName, Digest, Hasher, InputSpec, StageSpec};
use floorhand_plugin_host::{Context, DecodedSample, Decoder, Given, Host, Lost, Message, PluginError};
use floorhand_tensor::Signature;

/// What a decoder is told where messages may be missing before the one that it gets, as the plugin interface names it.
const GAP: (&str, &str) = ("floorhand-gap", "true");

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Its samples in their order, and at their places those that couldn't be read. May be empty: a message may hold none.
    pub samples: Vec<Result<Sample, DecodeError>>,
    /// Faults of the decoder.
    pub events: Vec<StageEvent>,
}

impl From<Result<Sample, DecodeError>> for Decoded {
    fn from(sample: Result<Sample, DecodeError>) -> Self {
        Self {
            samples: vec![sample],
            events: Vec::new(),
        }
    }
}

/// The decoder's stage, and which of its tensors a sample is made of.
pub(crate) struct Decoding {
    stage: Stage<Decoder>,
    /// For each of the bundle's inputs its place among the decoder's outputs.
    places: Vec<usize>,
    /// Of the stage's name, its configuration, its assets and what it is told: what has the same may take over its state.
    configured: Digest,
}

impl Decoding {
    /// Starts the decoder, which is told what a sample has to be, and checks that it gives that.
    pub(crate) fn load(
        spec: &StageSpec,
        read: &mut Read<'_>,
        host: &Host,
        wanted: &[Given],
        inputs: &[InputSpec],
    ) -> Result<Self, LoadError> {
        let mut hash = Hasher::default();
        // Compared within one process only, so that any form of what is wanted will do.
        for text in [spec.name.as_str(), &spec.config, &format!("{wanted:?}")] {
            add(&mut hash, text.as_bytes());
        }
        let mut noted = |name: &ComponentName| {
            let bytes = read(name)?;
            // Not the plugin: state may go on in another version of it.
            if *name != spec.plugin {
                add(&mut hash, name.as_str().as_bytes());
                add(&mut hash, &bytes);
            }
            Ok(bytes)
        };
        let stage = Stage::<Decoder>::load(spec, &mut noted, host, wanted)?;
        let given = stage.plugin.outputs();
        let needed = Signature {
            inputs: inputs.iter().map(|input| input.tensor.clone()).collect(),
            outputs: Vec::new(),
        };
        needed.check_fed_by("the sample", given, stage.name())?;
        let place = |input: &InputSpec| given.iter().position(|output| output.name == input.tensor.name);
        let places = inputs.iter().filter_map(place).collect();
        Ok(Self {
            stage,
            places,
            configured: hash.finish(),
        })
    }

    /// Reads a message.
    pub(crate) fn decode(&mut self, message: Message<'_>, now_ms: u64) -> Decoded {
        let mut events = Vec::new();
        let called = self
            .stage
            .call(&mut Context::default(), now_ms, &mut events, |plugin, at| {
                let mut properties = message.properties.to_vec();
                if at.gap {
                    properties.push(GAP);
                }
                plugin.decode(Message {
                    properties: &properties,
                    ..message
                })
            });
        let samples = match called {
            Called::Answer(found) => {
                let sample = |one: Result<DecodedSample, Lost>| match one {
                    Ok(sample) => Ok(self.sample(sample, message.received_ns)),
                    Err(Lost { key, error }) => Err(self.refused(key, &error)),
                };
                found.into_iter().map(sample).collect()
            }
            Called::Failed(error @ SampleError::Resting { .. }) => vec![Err(DecodeError::Decoder {
                key: None,
                problem: error.to_string(),
            })],
            Called::Failed(SampleError::Plugin { source, .. }) => vec![Err(self.refused(None, &source))],
            // A decoder isn't passed by: the manifest may not ask for it.
            Called::Failed(_) | Called::Bypassed => Vec::new(),
        };
        Decoded { samples, events }
    }

    /// Goes on from the state of another generation's decoder, where that was configured in the same way: what it has learnt
    /// from earlier messages, such as names that are told once, holds for this one too. Where the state can't be had or isn't
    /// taken, this one begins without.
    pub(crate) fn go_on_from(&mut self, other: &mut Self) {
        if self.configured != other.configured {
            return;
        }
        // One that has failed, maybe the reason for the change, has its last state left. Messages may have come since.
        let (state, unbroken) = match other.stage.plugin.snapshot() {
            Ok(state) => (state, other.stage.unbroken.clone()),
            Err(_) => (
                other.stage.plugin.last_state().unwrap_or_default().to_vec(),
                Unbroken::default(),
            ),
        };
        if state.is_empty() {
            // The other has none: that is what this one begins with.
            self.stage.unbroken = unbroken;
            return;
        }
        match self.stage.plugin.restore(&state) {
            Ok(()) => self.stage.unbroken = unbroken,
            Err(error) => {
                tracing::warn!(stage = self.stage.name(), %error, "the decoder begins without the state of the one before");
                // What fails here is found again, and counted, when a message comes.
                drop(self.stage.plugin.restart());
            }
        }
    }

    /// Notes that messages went by.
    pub(crate) fn miss(&mut self) {
        self.stage.miss(Missing::Any);
    }

    pub(crate) fn collect_telemetry(&mut self, into: &mut StageTelemetry) {
        self.stage.collect_telemetry(into);
    }

    fn sample(&self, decoded: DecodedSample, received_ns: u64) -> Sample {
        let mut given: Vec<Option<_>> = decoded.tensors.into_iter().map(Some).collect();
        let tensors = self.places.iter().filter_map(|&place| given.get_mut(place)?.take());
        Sample {
            id: decoded.id.unwrap_or_default(),
            time_ns: decoded.time_ns.unwrap_or(received_ns),
            key: decoded.key,
            tensors: tensors.collect(),
        }
    }

    fn refused(&self, key: Option<String>, error: &PluginError) -> DecodeError {
        DecodeError::Decoder {
            key,
            problem: format!("stage {}: {error}", self.stage.name()),
        }
    }
}

/// Adds bytes so that where they end counts.
fn add(hash: &mut Hasher, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
