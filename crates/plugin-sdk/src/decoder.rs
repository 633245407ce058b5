//! The world `decoder`: bytes of a source to samples.

use crate::bindings::decoder::exports::floorhand::plugin::decoding as wire;
use crate::bindings::processor::floorhand::plugin::types;
use crate::{
    Answer, Assets, Error, Failure, Message, Production, Sample, Tensor, TensorSpec, batch, instance::instance, state,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// Samples that there may be in one message, as the interface says.
pub const MAX_SAMPLES: usize = 4096;

/// What a sample may take besides its tensors: id and key, and what stands around them.
const HEAD_BYTES: u64 = 600;

/// Bytes that an id or a key may have.
const MAX_NAME_BYTES: usize = 256;

/// A sample's id or key as the interface allows it, 1 to 256 bytes; `what` is which, for the error.
pub fn checked_name(what: &str, name: &str) -> Result<String, Error> {
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    Err(Error::BadInput(format!(
        "{what} has {} bytes, and has to have 1 to {MAX_NAME_BYTES}",
        name.len()
    )))
}

/// A plugin that reads what a source sends.
pub trait Decoder: Sized {
    /// The configuration's JSON object.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the plugin ready, or says with [`Error::BadConfig`] what is wrong with which key.
    fn configure(config: Self::Config, assets: &Assets) -> Result<Self, Error>;

    /// The same, knowing what the bundle says a sample has. Override it where that makes keys of the configuration
    /// superfluous.
    fn configure_given(config: Self::Config, assets: &Assets, _wanted: &[TensorSpec]) -> Result<Self, Error> {
        Self::configure(config, assets)
    }

    /// The tensors of every sample under this configuration, and the most bytes that a snapshot can have.
    fn production(&self) -> Production;

    /// The most messages that a call may hold. By default so many that their samples have room, if each message has as many as it
    /// may have.
    fn max_messages(&self) -> u32 {
        batch::most(HEAD_BYTES, MAX_SAMPLES as u64, &self.production().outputs)
    }

    /// Reads a message: no sample, one or many. In the place of one that can't be read stands a [`Failure`], which says of which
    /// key it is, if that could be read. An error is about the whole message.
    fn decode(&mut self, message: Message) -> Result<Vec<Result<Sample, Failure>>, Error>;

    /// All that later samples depend on besides the configuration. Empty by default.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Goes on from a snapshot that was taken under the same configuration. By default only an empty one is taken.
    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        state::none(state)
    }
}

instance!(Decoder, Production, production, TensorSpec);

impl<P: Decoder> Instance<P> {
    /// Hands over one message; [`Error::NotReady`] before `configure`.
    pub fn decode(&mut self, message: Message) -> Result<Vec<Result<Sample, Failure>>, Error> {
        self.configured()?.0.decode(message)
    }

    #[doc(hidden)]
    pub fn exported_configure(
        &mut self,
        text: &str,
        assets: Vec<crate::Asset>,
        wanted: Vec<types::TensorSpec>,
    ) -> Result<wire::Production, Error> {
        let wanted = wanted.into_iter().map(TensorSpec::from_wire).collect();
        let production = self.configure_given(text, assets, wanted)?;
        Ok(wire::Production {
            max_messages: self.configured()?.0.max_messages(),
            outputs: production.outputs.into_iter().map(TensorSpec::into_wire).collect(),
            state_bytes: production.state_bytes,
        })
    }

    #[doc(hidden)]
    pub fn exported_decode(&mut self, messages: Vec<Message>) -> Result<wire::Decoded, Error> {
        let (plugin, production) = self.configured()?;
        let mut gathered = Gathered::default();
        for (index, message) in (0..).zip(messages) {
            match plugin.decode(message) {
                Ok(samples) => gathered.add(index, samples),
                Err(error) => gathered.add(index, vec![Err(error.into())]),
            }
        }
        gathered.finish(production)
    }
}

/// Samples of a call, put together as far as they look the same.
#[derive(Default)]
struct Gathered {
    answers: Vec<Answer>,
    samples: Vec<wire::Sample>,
    failures: Vec<wire::Failure>,
}

impl Gathered {
    fn add(&mut self, message: u32, samples: Vec<Result<Sample, Failure>>) {
        let mut samples_before = 0;
        for sample in samples {
            match sample {
                Ok(sample) => {
                    samples_before += 1;
                    let index = u32::try_from(self.samples.len()).unwrap_or(u32::MAX);
                    self.samples.push(wire::Sample {
                        message,
                        id: sample.id,
                        key: sample.key,
                        time_ns: sample.time_ns,
                    });
                    batch::join(&mut self.answers, index, sample.tensors);
                }
                Err(Failure { key, error }) => self.failures.push(wire::Failure {
                    message,
                    samples_before,
                    key,
                    error,
                }),
            }
        }
    }

    fn finish(self, production: &Production) -> Result<wire::Decoded, Error> {
        let mut samples = self.samples.into_iter();
        let mut batches = Vec::with_capacity(self.answers.len());
        for answer in self.answers {
            let names = production.outputs.iter().map(|spec| spec.name.as_str());
            batches.push(wire::Batch {
                samples: samples.by_ref().take(answer.indices.len()).collect(),
                tensors: Tensor::ordered(names, answer.tensors)?,
            });
        }
        Ok(wire::Decoded {
            batches,
            failures: self.failures,
        })
    }
}
