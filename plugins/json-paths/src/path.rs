//! Paths into a JSON document.

use floorhand_plugin_sdk::Error;
use serde_json::Value;

/// Steps of a path. A document has no more levels than serde_json reads, which are 128.
const MAX_STEPS: usize = 128;

/// The keys and indices on the way to a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    text: String,
    steps: Vec<String>,
}

impl Path {
    /// A JSON Pointer (RFC 6901) where it is empty or begins with `/`, else keys with dots between them.
    pub(crate) fn new(text: &str) -> Result<Self, Error> {
        let steps: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect::<Option<_>>(),
            None if text.is_empty() => Some(Vec::new()),
            None => Some(text.split('.').map(str::to_owned).collect()),
        }
        .ok_or_else(|| Error::BadConfig(format!("path {text:?} has a ~ that is neither ~0 nor ~1")))?;
        if steps.len() > MAX_STEPS {
            return Err(Error::BadConfig(format!(
                "path {text:?} has more than {MAX_STEPS} steps"
            )));
        }
        Ok(Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// A path of the one key.
    pub(crate) fn of_key(key: &str) -> Self {
        Self {
            text: key.to_owned(),
            steps: vec![key.to_owned()],
        }
    }

    /// The value there, if there is one. `null` is none.
    pub(crate) fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        let found = self.steps.iter().try_fold(root, |value, step| match value {
            Value::Object(members) => members.get(step),
            Value::Array(elements) => elements.get(index(step)?),
            _ => None,
        });
        found.filter(|value| !value.is_null())
    }

    /// As configured, for messages.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

fn unescaped(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        text.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

/// Digits without a sign or a leading zero, as JSON Pointer has it.
fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    plain.then(|| step.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document and the pointers of RFC 6901, section 5, and what other paths come to.
    #[test]
    fn values_are_found() {
        let document = serde_json::json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8,
            "deep": {"list": [{"x": 9}], "none": null}, "0": 10,
        });
        for (path, expected) in [
            ("/foo/0", Some("\"bar\"")),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/i\\j", Some("5")),
            ("/k\"l", Some("6")),
            ("/ ", Some("7")),
            ("/m~0n", Some("8")),
            ("deep.list.0.x", Some("9")),
            ("/deep/list/0/x", Some("9")),
            ("a/b", Some("1")),
            ("0", Some("10")),
            ("/deep/none", None),
            ("/foo/2", None),
            ("/foo/00", None),
            ("/foo/+1", None),
            ("/foo/-", None),
            ("/foo/99999999999999999999", None),
            ("deep.x.y", None),
        ] {
            let found = Path::new(path).unwrap().find(&document).map(ToString::to_string);
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        assert_eq!(Path::new("").unwrap().find(&document), Some(&document));
        assert_eq!(Path::of_key("a/b").find(&document), Some(&serde_json::json!(1)));
    }

    #[test]
    fn paths_that_are_refused() {
        assert!(Path::new("/a~2").is_err() && Path::new("/~").is_err());
        assert!(Path::new(&"/a".repeat(129)).is_err() && Path::new(&"/a".repeat(128)).is_ok());
    }
}
