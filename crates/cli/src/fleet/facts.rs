//! Reading the hub's answers: what is there is shown, what a newer or older hub leaves out is left blank.

use crate::output::{Tone, visible};
use serde_json::Value;

/// The items of a list; none when it is no list.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text or number at a JSON pointer as text that can be shown; empty when there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => visible(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A number at a JSON pointer.
pub(super) fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// Whether something is so.
pub(super) fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// Name and version of a bundle; its short digest where the name isn't known.
pub(super) fn bundle(value: &Value) -> String {
    match (text(value, "/name"), text(value, "/version")) {
        (name, _) if name.is_empty() => short(&text(value, "/digest")),
        (name, version) => format!("{name} {version}"),
    }
}

/// The first digits of a digest, enough to name it by.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// How a job's status is meant.
pub(super) fn status_tone(status: &str) -> Tone {
    match status {
        "SUCCEEDED" => Tone::Good,
        "QUEUED" | "IN_PROGRESS" | "" => Tone::Plain,
        "CANCELED" | "REMOVED" => Tone::Warn,
        _ => Tone::Bad,
    }
}

/// Whether nothing more will come of a job on a device.
pub(super) fn is_final(status: &str) -> bool {
    !matches!(status, "QUEUED" | "IN_PROGRESS" | "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_protocol::JobStatus;
    use serde_json::json;

    #[test]
    fn statuses_are_those_of_the_protocol() {
        use JobStatus::{Canceled, Failed, InProgress, Queued, Rejected, Removed, Succeeded, TimedOut};
        for status in [
            Queued, InProgress, Succeeded, Failed, TimedOut, Rejected, Removed, Canceled,
        ] {
            assert_eq!(is_final(status.name()), status.is_final(), "{}", status.name());
        }
    }

    #[test]
    fn what_is_missing_is_blank() {
        let value = json!({ "a": { "b": 1, "c": null }, "list": [1, 2] });
        assert_eq!(text(&value, "/a/b"), "1");
        assert_eq!(text(&value, "/a/c"), "");
        assert_eq!(text(&value, "/x/y"), "");
        assert_eq!(text(&json!({ "a": "\u{1b}[2J" }), "/a"), "\\u{1b}[2J");
        assert_eq!(items(&value["list"]).len(), 2);
        assert!(items(&value).is_empty());
        assert_eq!(bundle(&json!({ "digest": "0123456789abcdef" })), "0123456789ab");
    }
}
