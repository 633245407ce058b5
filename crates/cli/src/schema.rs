//! Configurations against the JSON Schemas that plugins' components carry.
//!
//! A plugin refuses a wrong configuration itself, with the first key that is wrong. Its schema tells of all at once, and
//! before anything is run.

use crate::contents::Contents;
use crate::exit::{Exit, Failure};
use anyhow::{Result, anyhow};
use floorhand_plugin_build::schema_of;
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// Errors of one configuration that are told; more are of no use to a person.
const MAX_ERRORS: usize = 50;

/// Characters of a value that are shown in an error.
const MAX_SHOWN: usize = 160;

/// The schema of a plugin's configuration.
pub struct Schema(Validator);

impl Schema {
    /// Reads the text of a schema. The error says what is wrong with the schema itself.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|error| anyhow!("the schema is no JSON: {error}"))?;
        jsonschema::validator_for(&value)
            .map(Self)
            .map_err(|error| anyhow!("the schema is no JSON Schema: {error}"))
    }

    /// Everything that is wrong with a configuration, each with its key; none if it fits.
    pub fn errors(&self, config: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        for error in self.0.iter_errors(config).take(MAX_ERRORS) {
            let path = key(error.instance_path().as_str());
            match error.kind() {
                ValidationErrorKind::AdditionalProperties { unexpected }
                | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                    errors.extend(unexpected.iter().map(|name| {
                        format!(
                            "key {}: there is no such key",
                            key(&format!("{}/{name}", error.instance_path().as_str()))
                        )
                    }));
                }
                _ if path.is_empty() => errors.push(shortened(&error.to_string())),
                _ => errors.push(format!("key {path}: {}", shortened(&error.to_string()))),
            }
        }
        errors
    }
}

/// Holds the configuration of every stage against the schema of its plugin, where it has one. All errors are told.
pub fn check_stages(contents: &Contents) -> Result<()> {
    let mut errors = Vec::new();
    for stage in contents.manifest.pipeline.stages() {
        let component = contents.manifest.component(&stage.plugin);
        let bytes = component.and_then(|component| contents.blobs.get(&component.blob.sha256));
        let Some(text) = bytes.and_then(|bytes| schema_of(bytes)) else {
            continue;
        };
        let found = match (Schema::parse(&text), serde_json::from_str(&stage.config)) {
            (Ok(schema), Ok(config)) => schema.errors(&config),
            (Err(error), _) => vec![error.to_string()],
            (_, Err(error)) => vec![error.to_string()],
        };
        errors.extend(found.into_iter().map(|error| format!("stage {}: {error}", stage.name)));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let what = "config isn't what the plugins' schemas allow";
    Err(Failure::new(Exit::Failed, format!("{what}:\n  {}", errors.join("\n  "))).into())
}

/// `/fields/0/min` to `fields[0].min`.
fn key(pointer: &str) -> String {
    let mut key = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() {
            key.push_str(&format!("[{part}]"));
        } else {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(&part);
        }
    }
    key
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return text.to_owned();
    }
    // The end says what is expected.
    let characters: Vec<char> = text.chars().collect();
    let half = MAX_SHOWN / 2;
    let (front, back) = (
        characters.iter().take(half),
        characters.iter().skip(characters.len() - half),
    );
    front.chain(std::iter::once(&'…')).chain(back).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(config: &Value) -> Vec<String> {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["input"],
            "properties": {
                "input": {"type": "string"},
                "fields": {"type": "array", "items": {"type": "object", "properties": {"min": {"type": "number"}}}},
                "factor": {"type": "number", "minimum": 0, "maximum": 1},
            },
        });
        Schema::parse(&schema.to_string()).unwrap().errors(config)
    }

    #[test]
    fn all_errors_are_told_each_with_its_key() {
        assert_eq!(errors(&json!({"input": "x", "factor": 0.5})), Vec::<String>::new());
        let mut found = errors(&json!({"factor": 2, "fields": [{"min": 1}, {"min": "low"}], "fator": 1}));
        found.sort();
        assert_eq!(
            found,
            [
                "\"input\" is a required property",
                "key factor: 2 is greater than the maximum of 1",
                "key fator: there is no such key",
                "key fields[1].min: \"low\" is not of type \"number\"",
            ]
        );
    }

    #[test]
    fn a_long_value_is_cut_and_a_broken_schema_is_said() {
        let found = errors(&json!({"input": vec![1; 1000]}));
        assert!(
            found[0].starts_with("key input: [1,1,") && found[0].ends_with("is not of type \"string\""),
            "{found:?}"
        );
        assert!(found[0].chars().count() < 200);
        for (text, part) in [("{", "is no JSON:"), (r#"{"type": 5}"#, "is no JSON Schema:")] {
            let error = Schema::parse(text).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
