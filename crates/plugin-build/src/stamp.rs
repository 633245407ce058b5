//! What is written into a component for people and for `pack`: its name, version and authors, and the JSON Schema of its
//! configuration.
//!
//! Custom sections do nothing when a plugin runs; they are part of what a bundle's digests cover.

use crate::BuildError;
use serde_json::Value;
use wasm_encoder::{CustomSection, Encode, Section};
use wasm_metadata::{AddMetadata, AddMetadataField};

/// The custom section with the JSON Schema of a plugin's configuration.
pub const SCHEMA_SECTION: &str = "floorhand:schema";

/// A configuration's schema in bytes: as much as a person could read, and a device has to carry.
const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// What a component says of itself. What is empty is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in a line.
    pub description: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// An SPDX expression.
    pub licenses: String,
    /// The JSON Schema of its configuration, as text.
    pub schema: String,
}

impl Stamp {
    /// A component with these things in it. The schema is written without its blanks.
    pub fn apply(&self, component: &[u8]) -> Result<Vec<u8>, BuildError> {
        let mut metadata = AddMetadata::default();
        if !self.name.is_empty() {
            metadata.name = AddMetadataField::Set(self.name.clone());
        }
        metadata.processed_by = vec![("floorhand".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
        let stamped = metadata.to_wasm(component);
        let mut stamped =
            stamped.map_err(|error| BuildError::Component(format!("the component can't be stamped: {error}")))?;
        // The names that the OCI mapping of WebAssembly uses, so that other tools show them too.
        for (section, text) in [
            ("version", self.version.as_str()),
            ("description", &self.description),
            ("authors", &self.authors.join(", ")),
            ("licenses", &self.licenses),
            (SCHEMA_SECTION, &compact(&self.schema)?),
        ] {
            append(&mut stamped, section, text);
        }
        Ok(stamped)
    }
}

fn append(component: &mut Vec<u8>, name: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    let section = CustomSection {
        name: name.into(),
        data: text.as_bytes().into(),
    };
    component.push(section.id());
    section.encode(component);
}

fn compact(schema: &str) -> Result<String, BuildError> {
    if schema.is_empty() {
        return Ok(String::new());
    }
    let wrong = |reason: String| BuildError::Project(format!("schema.json {reason}"));
    let value: Value = serde_json::from_str(schema).map_err(|error| wrong(format!("is no JSON: {error}")))?;
    if !value.is_object() {
        return Err(wrong(
            "is no JSON object: write the schema of the configuration".to_owned(),
        ));
    }
    let text = value.to_string();
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(wrong(format!(
            "has {} bytes, over {MAX_SCHEMA_BYTES}: shorten its descriptions",
            text.len()
        )));
    }
    Ok(text)
}
