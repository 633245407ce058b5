//! The world `decoder` of track 0.1.

use super::*;
use crate::decoder::{Decoded, DecodedBatch, Failure, Message, Promise, SampleHead};
use crate::guest::{Bounds, Exports, Promised};

/// An instance's exports.
pub(crate) struct Decoder(exports::decoding::Guest);

impl Decoder {
    pub(crate) fn decode(
        &self,
        store: &mut Store<Sandbox>,
        messages: &[Message<'_>],
        outputs: &[TensorSpec],
    ) -> Answer<Decoded> {
        let properties: Vec<Vec<_>> = messages.iter().map(properties).collect();
        let messages = messages.iter().zip(&properties);
        let messages = messages.map(|(message, properties)| exports::decoding::Message {
            topic: message.topic,
            content_type: message.content_type,
            properties,
            received_ns: message.received_ns,
            payload: message.payload,
        });
        let answer = self.0.call_decode(store, &messages.collect::<Vec<_>>())?;
        Ok(answer.map_err(error).and_then(|found| decoded(found, outputs)))
    }
}

impl Exports for Decoder {
    const NAME: &'static str = World::Decoder.name();
    type Promise = Promise;

    fn instantiate(plugin: &CompiledPlugin, store: &mut Store<Sandbox>) -> Option<wasmtime::Result<Self>> {
        let Linked::Decoder(ready) = &*plugin.linked else {
            return None;
        };
        let instance = ready.instance.instantiate(&mut *store);
        Some(
            instance
                .and_then(|instance| ready.indices.load(store, &instance))
                .map(Self),
        )
    }

    fn configure(&self, store: &mut Store<Sandbox>, setup: &Setup) -> Answer<Promised<Self>> {
        let (known, fields) = (Known::new(&setup.given), Known::fields(&setup.given));
        let wanted = known.specs(&setup.given, &fields);
        let assets = assets(&setup.assets);
        let answer = self.0.call_configure(store, &setup.config, &assets, &wanted)?;
        Ok(answer.map_err(setup_error).and_then(|production| {
            let (outputs, fields) = specs(production.outputs)?;
            let bounds = Bounds {
                state_bytes: production.state_bytes,
                max_batch: production.max_messages,
            };
            Ok((Promise { outputs, fields }, bounds))
        }))
    }

    fn snapshot(&self, store: &mut Store<Sandbox>) -> Answer<Vec<u8>> {
        Ok(self.0.call_snapshot(store)?.map_err(error))
    }

    fn restore(&self, store: &mut Store<Sandbox>, state: &[u8]) -> Answer<()> {
        Ok(self.0.call_restore(store, state)?.map_err(setup_error))
    }
}

fn properties<'m>(message: &Message<'m>) -> Vec<exports::decoding::Property<'m>> {
    let property = |&(name, value): &(&'m str, &'m str)| exports::decoding::Property { name, value };
    message.properties.iter().map(property).collect()
}

fn decoded(decoded: exports::decoding::Decoded, outputs: &[TensorSpec]) -> Result<Decoded, PluginError> {
    let head = |sample: exports::decoding::Sample| SampleHead {
        message: sample.message,
        id: sample.id,
        key: sample.key,
        time_ns: sample.time_ns,
    };
    let batch = |batch: exports::decoding::Batch| -> Result<DecodedBatch, PluginError> {
        Ok(DecodedBatch {
            heads: batch.samples.into_iter().map(head).collect(),
            tensors: tensors_out("decode", outputs, batch.tensors)?,
        })
    };
    let failure = |failure: exports::decoding::Failure| Failure {
        message: failure.message,
        samples_before: failure.samples_before,
        key: failure.key,
        error: error(failure.error),
    };
    Ok(Decoded {
        batches: decoded.batches.into_iter().map(batch).collect::<Result<_, _>>()?,
        failures: decoded.failures.into_iter().map(failure).collect(),
    })
}
