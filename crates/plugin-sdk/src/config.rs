//! Configuration and assets: JSON in, a plugin's own types out, errors that name the key.

use crate::{Asset, Error};
use serde::de::DeserializeOwned;

/// The files of the bundle that the manifest hands to this plugin.
#[derive(Debug, Default)]
pub struct Assets {
    assets: Vec<Asset>,
}

impl Assets {
    /// From what the host hands over.
    #[must_use]
    pub const fn new(assets: Vec<Asset>) -> Self {
        Self { assets }
    }

    /// A file's bytes, or [`Error::BadConfig`] that says which files there are.
    pub fn bytes(&self, name: &str) -> Result<&[u8], Error> {
        let found = self.assets.iter().find(|asset| asset.name == name);
        found.map(|asset| asset.data.as_slice()).ok_or_else(|| {
            let present: Vec<&str> = self.assets.iter().map(|asset| asset.name.as_str()).collect();
            Error::BadConfig(format!("asset {name:?} isn't among those of this plugin: {present:?}"))
        })
    }

    /// A JSON file.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        parse(&format!("asset {name:?}"), self.bytes(name)?)
    }
}

/// Reads JSON; an error names `what` was read and the key, and is [`Error::BadConfig`].
pub fn parse<T: DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." {
            String::new()
        } else {
            format!(", key {path}")
        };
        Error::BadConfig(format!("{what}{key}: {}", error.inner()))
    })?;
    deserializer
        .end()
        .map_err(|error| Error::BadConfig(format!("{what}: {error}")))?;
    Ok(value)
}

pub(crate) fn refuse_second(configured: bool) -> Result<(), Error> {
    if configured {
        return Err(Error::BadConfig(
            "this instance is configured already: a new configuration needs a new one".into(),
        ));
    }
    Ok(())
}

pub(crate) fn not_configured() -> Error {
    Error::NotReady("configure has to be called first".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "read by Debug alone")]
        fields: Vec<Inner>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "read by Debug alone")]
        min: f64,
    }

    #[test]
    fn errors_name_the_key() {
        for (json, expected) in [
            (
                r#"{"fields": [{"min": 1}, {"mni": 1}]}"#,
                "x, key fields[1].mni: unknown field `mni`, expected `min`",
            ),
            (r#"{"fields": [{}]}"#, "x, key fields[0]: missing field `min`"),
            (
                r#"{"fields": [{"min": "low"}]}"#,
                "x, key fields[0].min: invalid type: string \"low\", expected f64",
            ),
            ("{}", "x: missing field `fields`"),
            ("", "x: EOF while parsing a value"),
            ("{\"fields\": []} {", "x: trailing characters"),
        ] {
            let error = parse::<Outer>("x", json.as_bytes()).unwrap_err();
            assert!(
                error.message().starts_with(expected),
                "{} and not {expected}",
                error.message()
            );
        }
    }

    #[test]
    fn a_missing_asset_names_those_that_are_there() {
        let assets = Assets::new(vec![Asset {
            name: "a.json".into(),
            data: vec![],
        }]);
        let error = assets.bytes("b.json").unwrap_err();
        assert_eq!(
            error.message(),
            r#"asset "b.json" isn't among those of this plugin: ["a.json"]"#
        );
        assert!(
            assets
                .json::<f64>("a.json")
                .unwrap_err()
                .message()
                .starts_with(r#"asset "a.json": EOF"#)
        );
    }
}
