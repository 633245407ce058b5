//! `floorhand plugin inspect`: what a component says of itself.

use crate::bundle::size;
use crate::output::Output;
use crate::{builtin, files};
use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueHint};
use floorhand_bundle::{BUILTIN_PREFIX, MAX_BLOB_BYTES};
use floorhand_plugin_build::{Inspection, Producer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// `floorhand plugin inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The component: a .wasm file, or builtin:NAME
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Write the JSON Schema of the configuration, and nothing else
    #[arg(long)]
    schema: bool,
}

/// Shows it.
pub(super) fn run(args: &InspectArgs, out: &Output) -> Result<()> {
    let bytes = component(&args.file)?;
    let shown = args.file.display();
    let inspection = Inspection::of(&bytes).with_context(|| shown.to_string())?;
    let schema = inspection.schema().map(serde_json::from_str::<Value>);
    let schema = schema
        .transpose()
        .with_context(|| format!("{shown}: its schema is no JSON"))?;
    if args.schema {
        let schema =
            schema.ok_or_else(|| anyhow!("{shown} has no schema: write schema.json beside its source and build it"))?;
        return out.line(&serde_json::to_string_pretty(&schema)?);
    }
    out.show(&value(&inspection, schema.as_ref()), |out| {
        human(&inspection, schema.as_ref(), out)
    })
}

/// A component's bytes, of a file or one that this tool carries.
pub(super) fn component(path: &Path) -> Result<Vec<u8>> {
    let name = path.to_str().and_then(|path| path.strip_prefix(BUILTIN_PREFIX));
    match name {
        Some(name) => builtin::plugin(name)
            .map(<[u8]>::to_vec)
            .map_err(|error| anyhow!(error)),
        None => files::read(path, MAX_BLOB_BYTES),
    }
}

fn value(inspection: &Inspection, schema: Option<&Value>) -> Value {
    let world = inspection.interfaces.world();
    let producer =
        |producer: &Producer| json!({ "role": producer.role, "name": producer.name, "version": producer.version });
    json!({
        "name": inspection.name,
        "version": inspection.text("version"),
        "description": inspection.text("description"),
        "authors": inspection.text("authors"),
        "licenses": inspection.text("licenses"),
        "world": world.map(|(world, _)| world.name()),
        "interface_version": world.map(|(_, version)| version),
        "imports": inspection.interfaces.imports,
        "exports": inspection.interfaces.exports,
        "refused_imports": inspection.interfaces.foreign().collect::<Vec<_>>(),
        "component_bytes": inspection.component_bytes,
        "code_bytes": inspection.code_bytes,
        "data_bytes": inspection.data_bytes,
        "custom_bytes": inspection.custom_bytes,
        "memory_bytes": inspection.memory_bytes,
        "functions": inspection.functions,
        "producers": inspection.producers.iter().map(producer).collect::<Vec<_>>(),
        "schema": schema,
    })
}

fn human(inspection: &Inspection, schema: Option<&Value>, out: &Output) -> Result<()> {
    let text = |section| inspection.text(section).unwrap_or_default().to_owned();
    let world = inspection.interfaces.world().map_or_else(
        || {
            format!(
                "none of Floorhand's: it exports {}",
                inspection.interfaces.exports.join(", ")
            )
        },
        |(world, version)| format!("{world}, version {version} of the interface"),
    );
    let foreign: Vec<&str> = inspection.interfaces.foreign().collect();
    let producers = inspection.producers.iter().map(|producer| {
        let (role, name, version) = (&producer.role, &producer.name, &producer.version);
        format!("{name} {version} ({role})")
    });
    let sizes = format!(
        "{}: code {}, data {}, names and texts {}; {} functions",
        size(inspection.component_bytes as u64),
        size(inspection.code_bytes as u64),
        size(inspection.data_bytes as u64),
        size(inspection.custom_bytes as u64),
        inspection.functions
    );
    let refused = if foreign.is_empty() {
        String::new()
    } else {
        format!("{}: a device refuses the component", foreign.join(", "))
    };
    out.pairs(&[
        ("name", inspection.name.clone()),
        ("version", text("version")),
        ("description", text("description")),
        ("authors", text("authors")),
        ("licenses", text("licenses")),
        ("world", world),
        ("imports", inspection.interfaces.imports.join("\n")),
        ("may not import", refused),
        ("size", sizes),
        ("memory", format!("{} when it starts", size(inspection.memory_bytes))),
        ("made with", producers.collect::<Vec<_>>().join("\n")),
        ("configuration", schema.map_or_else(|| "no schema".to_owned(), keys)),
    ])
}

/// The keys of a configuration: name, type, whether it has to be there, what it is.
fn keys(schema: &Value) -> String {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let keys = properties.into_iter().flatten().map(|(name, property)| {
        let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let needed = if required.contains(&name.as_str()) {
            ", needed"
        } else {
            ""
        };
        let about = description.lines().next().unwrap_or_default();
        format!("{name} ({}{needed}) {about}", kind(property))
            .trim_end()
            .to_owned()
    });
    let keys: Vec<String> = keys.collect();
    if keys.is_empty() {
        "a schema; --schema shows it".to_owned()
    } else {
        keys.join("\n")
    }
}

fn kind(property: &Value) -> String {
    match property.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => "see --schema".to_owned(),
    }
}
