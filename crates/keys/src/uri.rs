//! PKCS #11 URIs (RFC 7512): which token, which key in it, through which module.
//!
//! What a URI says and this crate doesn't know is refused, never passed over: a key that was meant more narrowly must
//! not be found more widely.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What RFC 7512 lets stand for itself in a value, as far as it is of use.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How each such URI begins.
pub(crate) const SCHEME: &str = "pkcs11:";

/// Why a text is no URI of a key in a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// It doesn't begin with `pkcs11:`.
    #[error("not a PKCS #11 URI: expected pkcs11:token=LABEL;object=LABEL")]
    Scheme,
    /// It has an attribute that isn't known here.
    #[error(
        "PKCS #11 URI: attribute {0:?} is not known here; known are token, manufacturer, model, serial, slot-id, object, \
         id and type, and after the question mark module-path and pin-source"
    )]
    Unknown(String),
    /// An attribute stands there twice.
    #[error("PKCS #11 URI: attribute {0:?} is given twice")]
    Twice(String),
    /// A value isn't what it has to be.
    #[error("PKCS #11 URI: {name}: {problem}")]
    Value {
        /// The attribute.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The PIN itself is in it.
    #[error(
        "PKCS #11 URI: a PIN in a URI is seen by everybody who lists processes: \
         put it into a file, and that behind pin-source="
    )]
    PinValue,
}

/// Which key of which token. What isn't given fits everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenUri {
    /// The token's label.
    pub token: Option<String>,
    /// The token's manufacturer.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The slot's number.
    pub slot_id: Option<u64>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's id.
    pub id: Option<Vec<u8>>,
    /// The module through which the token is reached.
    pub module_path: Option<PathBuf>,
    /// A file whose first line is the PIN.
    pub pin_source: Option<PathBuf>,
}

impl FromStr for TokenUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        let mut seen = Vec::new();
        for (attributes, separator, is_query) in [(path, ';', false), (query, '&', true)] {
            for attribute in attributes.split(separator).filter(|attribute| !attribute.is_empty()) {
                let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
                if seen.contains(&name) {
                    return Err(UriError::Twice(name.to_owned()));
                }
                seen.push(name);
                if is_query {
                    uri.set_query(name, value)?;
                } else {
                    uri.set_path(name, value)?;
                }
            }
        }
        Ok(uri)
    }
}

impl TokenUri {
    fn set_path(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        match name {
            "token" => self.token = Some(text("token", value)?),
            "manufacturer" => self.manufacturer = Some(text("manufacturer", value)?),
            "model" => self.model = Some(text("model", value)?),
            "serial" => self.serial = Some(text("serial", value)?),
            "object" => self.object = Some(text("object", value)?),
            "id" => self.id = Some(percent_decode_str(value).collect()),
            "slot-id" => {
                let problem = "expected a number";
                self.slot_id = Some(value.parse().map_err(|_| UriError::Value {
                    name: "slot-id",
                    problem,
                })?);
            }
            "type" if matches!(value, "private" | "public") => {}
            "type" => {
                let problem = "expected private";
                return Err(UriError::Value { name: "type", problem });
            }
            _ => return Err(UriError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    fn set_query(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        match name {
            "module-path" => self.module_path = Some(absolute("module-path", &text("module-path", value)?)?),
            "pin-source" => self.pin_source = Some(pin_source(&text("pin-source", value)?)?),
            "pin-value" => return Err(UriError::PinValue),
            _ => return Err(UriError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

fn text(name: &'static str, value: &str) -> Result<String, UriError> {
    let problem = "expected text in UTF-8, percent-encoded";
    let decoded = percent_decode_str(value).decode_utf8();
    Ok(decoded.map_err(|_| UriError::Value { name, problem })?.into_owned())
}

/// A path, or a `file:` URI.
fn pin_source(value: &str) -> Result<PathBuf, UriError> {
    let path = value.strip_prefix("file:").unwrap_or(value);
    absolute("pin-source", path.strip_prefix("//").unwrap_or(path))
}

/// A relative path would be another one for each who reads the URI, and a bare name be looked for in the system's folders.
fn absolute(name: &'static str, path: &str) -> Result<PathBuf, UriError> {
    let problem = "expected the absolute path of a file";
    let path = PathBuf::from(path);
    path.is_absolute()
        .then_some(path)
        .ok_or(UriError::Value { name, problem })
}

/// The key's own part: what comes behind the question mark is of the machine that asks.
impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot_id.map(|slot| slot.to_string());
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("slot-id", &slot),
            ("object", &self.object),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?.as_bytes())));
        let id = self.id.as_deref().map(|id| ("id", id));
        let parts: Vec<String> = texts
            .chain(id)
            .map(|(name, value)| format!("{name}={}", percent_encode(value, ENCODED)))
            .collect();
        write!(f, "{SCHEME}{}", parts.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_which_key_of_which_token() {
        let uri: TokenUri =
            "pkcs11:token=My%20HSM;object=release%3b1;id=%01%ff;type=private;slot-id=7?module-path=/a%20b.so&pin-source=file:/etc/pin"
                .parse()
                .unwrap();
        let expected = TokenUri {
            token: Some("My HSM".to_owned()),
            object: Some("release;1".to_owned()),
            id: Some(vec![1, 255]),
            slot_id: Some(7),
            module_path: Some("/a b.so".into()),
            pin_source: Some("/etc/pin".into()),
            ..TokenUri::default()
        };
        assert_eq!(uri, expected);
        let shown = uri.to_string();
        assert_eq!(shown, "pkcs11:token=My%20HSM;slot-id=7;object=release%3B1;id=%01%FF");
        let key_only = TokenUri {
            module_path: None,
            pin_source: None,
            ..expected
        };
        assert_eq!(shown.parse::<TokenUri>().unwrap(), key_only);
        assert_eq!("pkcs11:".parse::<TokenUri>().unwrap(), TokenUri::default());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, part) in [
            ("token=a", "not a PKCS #11 URI"),
            ("pkcs11:tokn=a", "\"tokn\" is not known"),
            ("pkcs11:token=a;token=b", "\"token\" is given twice"),
            ("pkcs11:token=%ff", "token: expected text"),
            ("pkcs11:slot-id=x", "slot-id: expected a number"),
            ("pkcs11:type=cert", "type: expected private"),
            ("pkcs11:token=a?pin-value=1234", "seen by everybody"),
            (
                "pkcs11:token=a?pin-source=|cat",
                "pin-source: expected the absolute path",
            ),
            (
                "pkcs11:token=a?module-path=libsofthsm2.so",
                "module-path: expected the absolute path",
            ),
            ("pkcs11:token=a?module-name=x", "\"module-name\" is not known"),
        ] {
            let error = text.parse::<TokenUri>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("1234"), "{error}");
        }
    }
}
