//! What sources hand over.

use csv::StringRecord;
use std::sync::Arc;

/// A message as it came: a sample, unless a bundle's decoder says otherwise.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) payload: Payload,
    /// When it came, in milliseconds since 1970 UTC.
    pub(crate) time_ms: u64,
    /// Its source, for messages.
    pub(crate) source: String,
    /// The topic or the file that it is of.
    pub(crate) topic: String,
    /// Whether a broker had kept it.
    pub(crate) retained: bool,
}

/// What a message's bytes are, where no decoder says so.
#[derive(Debug)]
pub(crate) enum Payload {
    Json(Vec<u8>),
    Raw(Vec<u8>),
    Csv {
        header: Arc<StringRecord>,
        row: StringRecord,
        /// The row as it stands in the file.
        line: Vec<u8>,
    },
}

impl Payload {
    /// The bytes that came.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Json(bytes) | Self::Raw(bytes) | Self::Csv { line: bytes, .. } => bytes,
        }
    }
}
