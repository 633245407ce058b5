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
    /// The media type that its source states; empty if it states none.
    pub(crate) content_type: String,
    /// What its source says besides.
    pub(crate) properties: Vec<(String, String)>,
}

/// Bytes of a media type, the number of properties and the bytes of their names and values, as the plugin interface has them.
const MAX_CONTENT_TYPE_BYTES: usize = 256;
const MAX_PROPERTIES: usize = 64;
const MAX_PROPERTIES_BYTES: usize = 16 << 10;
/// Of these the device's own two.
const OWN_PROPERTIES: usize = 2;
const OWN_PROPERTIES_BYTES: usize = 64;

/// Names that begin so are the device's own.
const OWN: &str = "floorhand-";

/// What a plugin is told is never a source's word in the device's name. What is too much is left out.
pub(crate) fn within_bounds(
    content_type: String,
    properties: Vec<(String, String)>,
) -> (String, Vec<(String, String)>) {
    let content_type = if content_type.len() > MAX_CONTENT_TYPE_BYTES {
        String::new()
    } else {
        content_type
    };
    let mut room = MAX_PROPERTIES_BYTES - OWN_PROPERTIES_BYTES;
    let fits = |(name, value): &(String, String)| {
        let rest = room.checked_sub(name.len() + value.len());
        room = rest.unwrap_or(0);
        rest.is_some()
    };
    let theirs = properties.into_iter().filter(|(name, _)| !name.starts_with(OWN));
    let kept = theirs.take(MAX_PROPERTIES - OWN_PROPERTIES).take_while(fits).collect();
    (content_type, kept)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_no_say_in_the_devices_name_and_no_room_without_end() {
        let pair = |name: &str, bytes: usize| (name.to_owned(), "v".repeat(bytes));
        let given = vec![pair("floorhand-gap", 1), pair("unit", 3), pair("unit", 4)];
        let (content_type, kept) = within_bounds("text/csv".to_owned(), given.clone());
        assert_eq!((content_type.as_str(), &kept[..]), ("text/csv", &given[1..]));
        let (content_type, kept) = within_bounds("x".repeat(257), vec![pair("a", 1); 100]);
        assert_eq!((content_type.as_str(), kept.len()), ("", 62));
        let (_, kept) = within_bounds(String::new(), vec![pair("a", 8000); 3]);
        assert_eq!(kept.len(), 2);
    }
}
