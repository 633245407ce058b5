//! Bytes of a source to samples, as a generation takes them: by its decoder, or one sample a message.

use super::{Input, Payload};
use csv::StringRecord;
use floorhand_pipeline::decode::{self, CsvDecoder, DecodeError};
use floorhand_pipeline::{Decoded, Loaded, Message, Sample};
use std::sync::Arc;

/// One table at a time, for the active generation and a candidate. Two files that are replayed at once take turns; making
/// a decoder costs as much as some rows.
const TABLES: usize = 2;

/// What a decoder is told of a message that the broker had kept, as the plugin interface names it.
const RETAINED: (&str, &str) = ("floorhand-mqtt-retain", "true");

/// Finding a table's columns takes longer than reading a row: decoders are kept.
#[derive(Debug, Default)]
pub(super) struct Decoders {
    tables: Vec<Table>,
}

#[derive(Debug)]
struct Table {
    header: Arc<StringRecord>,
    generation: u64,
    decoder: CsvDecoder,
}

impl Decoders {
    /// Reads a message as a generation takes it. `now_ms` is on a clock that only goes forward.
    pub(super) fn decode(&mut self, taker: &mut Loaded, input: &Input, now_ms: u64) -> Decoded {
        let theirs = input.properties.iter();
        let theirs = theirs.map(|(name, value)| (name.as_str(), value.as_str()));
        let properties: Vec<(&str, &str)> = theirs.chain(input.retained.then_some(RETAINED)).collect();
        let message = Message {
            topic: &input.topic,
            content_type: &input.content_type,
            properties: &properties,
            received_ns: input.time_ms.saturating_mul(1_000_000),
            payload: input.payload.bytes(),
        };
        match taker.pipeline.decode(message, now_ms) {
            Some(decoded) => decoded,
            None => self.sample(taker, input).into(),
        }
    }

    /// Reads a message that is a sample. One without a time of its own has that of its arrival.
    fn sample(&mut self, taker: &Loaded, input: &Input) -> Result<Sample, DecodeError> {
        let inputs = taker.pipeline.inputs();
        let decoded = match &input.payload {
            Payload::Json(bytes) => decode::json(bytes, inputs),
            Payload::Raw(bytes) => decode::raw(bytes, inputs),
            Payload::Csv { header, row, .. } => {
                let table = self.take_table(taker, header)?;
                let decoded = table.decoder.decode(row);
                self.tables.truncate(TABLES - 1);
                self.tables.insert(0, table);
                decoded
            }
        };
        decoded.map(|mut sample| {
            sample.arrived(input.time_ms);
            sample
        })
    }

    fn take_table(&mut self, taker: &Loaded, header: &Arc<StringRecord>) -> Result<Table, DecodeError> {
        let generation = taker.generation;
        let fits = |table: &Table| table.generation == generation && Arc::ptr_eq(&table.header, header);
        match self.tables.iter().position(fits) {
            Some(at) => Ok(self.tables.remove(at)),
            None => Ok(Table {
                header: Arc::clone(header),
                generation,
                decoder: CsvDecoder::new(header, taker.pipeline.inputs())?,
            }),
        }
    }
}
