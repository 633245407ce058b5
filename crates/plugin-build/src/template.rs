//! New projects: a plugin that works, with its schema, a case file and a page to read, to be changed into another one.

use crate::{BuildError, Language, World};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a plugin's name: it is a file's and a crate's name.
const MAX_NAME_BYTES: usize = 64;

/// Where the SDK is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sdk {
    /// A released version.
    Version(String),
    /// The folder of the crate.
    Path(PathBuf),
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The plugin's name: lowercase letters, digits and hyphens.
    pub name: String,
    /// What it exports.
    pub world: World,
    /// What it is written in.
    pub language: Language,
    /// Of a plugin in Rust.
    pub sdk: Sdk,
}

/// The files of a world in any language.
struct Example {
    rust: &'static str,
    c: &'static str,
    schema: &'static str,
    cases: &'static str,
    description: &'static str,
    stage: &'static str,
}

const PROCESSOR: Example = Example {
    rust: include_str!("../templates/rust/processor.rs"),
    c: include_str!("../templates/c/processor.c"),
    schema: include_str!("../templates/processor/schema.json"),
    cases: include_str!("../templates/processor/example.jsonl"),
    description: "Smooths every column of a tensor.",
    stage: "[[preprocess]]\nname = \"{{name}}\"\nplugin = \"{{name}}.wasm\"\n\
            config = { input = \"x\", fields = [\"pressure\", \"flow\"], factor = 0.5 }",
};

const MONITOR: Example = Example {
    rust: include_str!("../templates/rust/monitor.rs"),
    c: include_str!("../templates/c/monitor.c"),
    schema: include_str!("../templates/monitor/schema.json"),
    cases: include_str!("../templates/monitor/example.jsonl"),
    description: "Raises an alarm when a column stays above its limit.",
    stage: "[[monitor]]\nname = \"{{name}}\"\nplugin = \"{{name}}.wasm\"\n\
            config = { input = \"x\", fields = [\"temperature\"], limit = 80.0, samples = 2 }",
};

const DECODER: Example = Example {
    rust: include_str!("../templates/rust/decoder.rs"),
    c: include_str!("../templates/c/decoder.c"),
    schema: include_str!("../templates/decoder/schema.json"),
    cases: include_str!("../templates/decoder/example.jsonl"),
    description: "Reads lines of numbers, one sample a line.",
    stage: "# Where the bundle names its decoder:\nplugin = \"{{name}}.wasm\"\n\
            config = { output = \"x\", fields = [\"pressure\", \"flow\"], separator = \",\" }",
};

impl Plan {
    /// Writes the project into a new folder; gives the files, from the folder. An existing folder has to be empty.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
        check_name(&self.name)?;
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(BuildError::Project(format!(
                "{} is not empty: choose another folder",
                folder.display()
            )));
        }
        let mut written = Vec::new();
        for (name, text) in self.files() {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(BuildError::write(parent))?;
            }
            fs::write(&path, self.filled(text)).map_err(BuildError::write(&path))?;
            written.push(PathBuf::from(name));
        }
        Ok(written)
    }

    const fn example(&self) -> &'static Example {
        match self.world {
            World::Processor => &PROCESSOR,
            World::Monitor => &MONITOR,
            World::Decoder => &DECODER,
        }
    }

    fn files(&self) -> Vec<(&'static str, &'static str)> {
        let example = self.example();
        let mut files = match self.language {
            Language::Rust => vec![
                ("Cargo.toml", include_str!("../templates/rust/Cargo.toml")),
                ("src/lib.rs", example.rust),
                ("examples/native.rs", include_str!("../templates/rust/native.rs")),
            ],
            Language::C => vec![
                ("plugin.toml", include_str!("../templates/c/plugin.toml")),
                ("src/plugin.c", example.c),
            ],
        };
        files.extend([
            ("schema.json", example.schema),
            ("tests/cases/example.jsonl", example.cases),
            ("README.md", include_str!("../templates/README.md")),
            (".gitignore", include_str!("../templates/gitignore")),
        ]);
        files
    }

    fn filled(&self, text: &str) -> String {
        let example = self.example();
        let (source, schema_note) = match self.language {
            Language::Rust => (
                "src/lib.rs",
                "It is derived from the type `Config`: after a change run `FLOORHAND_WRITE_SCHEMA=1 cargo test`.",
            ),
            Language::C => ("src/plugin.c", "Keep it to what `configure` takes."),
        };
        // The stage holds the name once more.
        text.replace("{{stage}}", example.stage)
            .replace("{{name}}", &self.name)
            .replace("{{type}}", &type_name(&self.name))
            .replace("{{library}}", &self.name.replace('-', "_"))
            .replace("{{world}}", self.world.name())
            .replace("{{description}}", example.description)
            .replace("{{source}}", source)
            .replace("{{schema_note}}", schema_note)
            .replace("{{sdk}}", &self.sdk.dependency())
    }
}

impl Sdk {
    fn dependency(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self {
            Self::Version(version) => quoted(version),
            Self::Path(path) => format!("{{ path = {} }}", quoted(&path.display().to_string())),
        }
    }
}

/// Whether a plugin can have the name: lowercase letters, digits and single hyphens, a letter first.
pub fn check_name(name: &str) -> Result<(), BuildError> {
    let fits = name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.ends_with('-')
        && !name.contains("--");
    if fits {
        return Ok(());
    }
    Err(BuildError::Project(format!(
        "name {name:?}: write at most {MAX_NAME_BYTES} lowercase letters, digits and single hyphens, a letter first"
    )))
}

/// `my-filter` to `MyFilter`.
fn type_name(name: &str) -> String {
    let mut words = String::new();
    for word in name.split('-') {
        let mut characters = word.chars();
        words.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        words.push_str(characters.as_str());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_and_crates() {
        for good in ["a", "my-filter", "fft2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "My", "2d", "a_b", "a-", "-a", "a--b", "a/b", "..", &"a".repeat(65)] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.lines().count() == 1, "{error}");
        }
        assert_eq!(type_name("my-filter-2"), "MyFilter2");
    }

    #[test]
    fn every_template_is_filled_and_its_schema_and_cases_are_json() {
        for world in World::ALL {
            for language in [Language::Rust, Language::C] {
                let folder = tempfile::tempdir().unwrap();
                let plan = Plan {
                    name: "my-filter".to_owned(),
                    world,
                    language,
                    sdk: Sdk::Path("/with \"quotes\"/sdk".into()),
                };
                for file in plan.write(folder.path()).unwrap() {
                    let text = fs::read_to_string(folder.path().join(&file)).unwrap();
                    assert!(!text.contains("{{"), "{}", file.display());
                    match file.extension().and_then(|extension| extension.to_str()) {
                        Some("json") => drop(serde_json::from_str::<serde_json::Value>(&text).unwrap()),
                        Some("toml") => drop(toml::from_str::<toml::Table>(&text).unwrap()),
                        Some("jsonl") => text
                            .lines()
                            .for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).unwrap())),
                        _ => {}
                    }
                }
                let error = plan.write(folder.path()).unwrap_err().to_string();
                assert!(error.ends_with("is not empty: choose another folder"), "{error}");
            }
        }
    }
}
