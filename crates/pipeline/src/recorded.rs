//! A message in a file of JSON lines, as golden cases and recordings have it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use floorhand_plugin_host::Message;
use serde::Deserialize;

/// A message as a source sent it: `message`, or `message_base64` for bytes that are no text, and what came with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RecordedMessage {
    message: Option<String>,
    message_base64: Option<String>,
    topic: Option<String>,
    content_type: Option<String>,
    properties: Vec<(String, String)>,
}

impl RecordedMessage {
    /// Whether there is nothing of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its bytes. The error says what is wrong with how they are written.
    pub fn payload(&self) -> Result<Vec<u8>, String> {
        match (&self.message, &self.message_base64) {
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map_err(|error| format!("`message_base64` is no base64: {error}")),
            (None, None) => Err("it has neither `message` nor `message_base64`".to_owned()),
            (Some(_), Some(_)) => Err("it has `message` and `message_base64`; one of them is to be there".to_owned()),
        }
    }

    /// What came with it: names, which may repeat, and values.
    #[must_use]
    pub fn properties(&self) -> Vec<(&str, &str)> {
        self.properties
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect()
    }

    /// What a decoder is given, of what [`payload`](Self::payload) and [`properties`](Self::properties) gave.
    #[must_use]
    pub fn message<'a>(
        &'a self,
        payload: &'a [u8],
        properties: &'a [(&'a str, &'a str)],
        received_ns: u64,
    ) -> Message<'a> {
        Message {
            topic: self.topic.as_deref().unwrap_or_default(),
            content_type: self.content_type.as_deref().unwrap_or_default(),
            properties,
            received_ns,
            payload,
        }
    }
}
