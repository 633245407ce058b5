//! What can be read from a component without running it.

use crate::component::Interfaces;
use crate::{BuildError, SCHEMA_SECTION};
use std::collections::BTreeMap;
use wasmparser::{ComponentNameSectionReader, KnownCustom, Parser, Payload};

/// A tool that had a hand in a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub role: String,
    /// The tool.
    pub name: String,
    /// Its version; may be empty.
    pub version: String,
}

/// A component's description of itself, and its sizes.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What it takes and gives.
    pub interfaces: Interfaces,
    /// Its own name; empty if it has none.
    pub name: String,
    /// Sections of text (`version`, `description`, `authors`, `licenses`, [`SCHEMA_SECTION`]) by name.
    pub texts: BTreeMap<String, String>,
    /// The whole file.
    pub component_bytes: usize,
    /// The functions' bodies.
    pub code_bytes: usize,
    /// What memory begins with.
    pub data_bytes: usize,
    /// Custom sections of the component and the modules in it.
    pub custom_bytes: usize,
    /// The least memory it needs, over all modules.
    pub memory_bytes: u64,
    /// Functions with a body.
    pub functions: u32,
    /// Tools that had a hand in it, of the component and the modules in it.
    pub producers: Vec<Producer>,
}

/// Sections whose text is shown.
const TEXTS: [&str; 5] = ["version", "description", "authors", "licenses", SCHEMA_SECTION];

impl Inspection {
    /// Reads a component.
    pub fn of(component: &[u8]) -> Result<Self, BuildError> {
        let mut read = Self {
            interfaces: Interfaces::of(component)?,
            name: String::new(),
            texts: BTreeMap::new(),
            component_bytes: component.len(),
            code_bytes: 0,
            data_bytes: 0,
            custom_bytes: 0,
            memory_bytes: 0,
            functions: 0,
            producers: Vec::new(),
        };
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            let payload =
                payload.map_err(|error| BuildError::Component(format!("the component can't be read: {error}")))?;
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                payload => read.take(&payload, depth == 0),
            }
        }
        read.producers.sort();
        read.producers.dedup();
        Ok(read)
    }

    /// The JSON Schema of the plugin's configuration.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.text(SCHEMA_SECTION)
    }

    /// The text of a section.
    #[must_use]
    pub fn text(&self, section: &str) -> Option<&str> {
        self.texts.get(section).map(String::as_str)
    }

    fn take(&mut self, payload: &Payload<'_>, outermost: bool) {
        match payload {
            Payload::CodeSectionStart { count, size, .. } => {
                self.code_bytes += *size as usize;
                self.functions += count;
            }
            Payload::DataSection(section) => self.data_bytes += (section.range().end - section.range().start) as usize,
            Payload::MemorySection(memories) => {
                let pages = memories.clone().into_iter().flatten().map(|memory| memory.initial);
                self.memory_bytes += pages.map(|pages| pages.saturating_mul(65_536)).sum::<u64>();
            }
            Payload::CustomSection(section) => {
                self.custom_bytes += section.data().len();
                match section.as_known() {
                    KnownCustom::Producers(fields) => self.take_producers(fields),
                    KnownCustom::ComponentName(names) if outermost => self.take_name(names),
                    _ if outermost && TEXTS.contains(&section.name()) => {
                        let text = String::from_utf8_lossy(section.data()).into_owned();
                        self.texts.insert(section.name().to_owned(), text);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn take_name(&mut self, names: ComponentNameSectionReader<'_>) {
        for name in names.into_iter().flatten() {
            if let wasmparser::ComponentName::Component { name, .. } = name {
                name.clone_into(&mut self.name);
            }
        }
    }

    fn take_producers(&mut self, fields: wasmparser::ProducersSectionReader<'_>) {
        for field in fields.into_iter().flatten() {
            for value in field.values.into_iter().flatten() {
                self.producers.push(Producer {
                    role: field.name.to_owned(),
                    name: value.name.to_owned(),
                    version: value.version.to_owned(),
                });
            }
        }
    }
}

/// The schema in a component's own custom section, without reading the rest of it closely; `None` if it has none.
#[must_use]
pub fn schema_of(component: &[u8]) -> Option<String> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SCHEMA_SECTION => {
                return String::from_utf8(section.data().to_vec()).ok();
            }
            _ => {}
        }
    }
    None
}
