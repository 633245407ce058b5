//! What a bundle is, in words and tables and as JSON.

use crate::contents::Contents;
use crate::output::{Output, visible};
use anyhow::{Context, Result};
use floorhand_bundle::{Component, Gates, Manifest, StageSpec};
use serde_json::{Map, Value, json};

/// The few facts that every bundle command gives.
pub(super) fn summary(contents: &Contents) -> Map<String, Value> {
    let Contents {
        manifest,
        digest,
        signers,
        ..
    } = contents;
    let signers: Vec<_> = signers.iter().map(ToString::to_string).collect();
    let facts = json!({
        "name": manifest.name,
        "version": manifest.version,
        "digest": digest,
        "release_counter": manifest.release_counter,
        "components": manifest.components.len(),
        "bytes": manifest.total_bytes(),
        "signers": signers,
    });
    object(facts)
}

/// The whole manifest, chunk lists counted instead of listed and plugins' configurations as JSON.
pub(super) fn everything(contents: &Contents) -> Result<Map<String, Value>> {
    let mut value = object(serde_json::to_value(&contents.manifest).context("manifest can't be written as JSON")?);
    let components: Vec<_> = contents.manifest.components.iter().map(component).collect();
    let summary = summary(contents);
    value.extend(summary);
    value.insert("components".to_owned(), components.into());
    value.insert("verified".to_owned(), false.into());
    if let Some(config) = value
        .get_mut("pipeline")
        .and_then(|pipeline| pipeline.pointer_mut("/decoder/config"))
    {
        parse_in_place(config);
    }
    for list in ["preprocess", "postprocess", "monitors"] {
        let stages = value
            .get_mut("pipeline")
            .and_then(|pipeline| pipeline.get_mut(list))
            .and_then(Value::as_array_mut);
        stages
            .into_iter()
            .flatten()
            .filter_map(|stage| stage.get_mut("config"))
            .for_each(parse_in_place);
    }
    Ok(value)
}

/// A length in bytes for people.
pub fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Name, version, digest, signers.
pub(super) fn identity(contents: &Contents, out: &Output) -> Result<()> {
    let Contents {
        manifest,
        digest,
        signers,
        ..
    } = contents;
    let signers: Vec<_> = signers.iter().map(ToString::to_string).collect();
    let signers = if signers.is_empty() {
        "nobody".to_owned()
    } else {
        signers.join(", ")
    };
    out.pairs(&[
        ("bundle", format!("{} {}", manifest.name, manifest.version)),
        ("digest", digest.to_string()),
        (
            "release",
            format!("{}, going back to {} at most", manifest.release_counter, manifest.floor),
        ),
        (
            "components",
            format!("{}, {}", manifest.components.len(), size(manifest.total_bytes())),
        ),
        ("signed by", signers),
    ])
}

/// Everything else.
pub(super) fn details(manifest: &Manifest, out: &Output) -> Result<()> {
    let hardware: Vec<_> = manifest.hardware.iter().map(ToString::to_string).collect();
    let hardware = if hardware == ["*"] {
        "any".to_owned()
    } else {
        hardware.join(", ")
    };
    let lineage = &manifest.lineage;
    out.pairs(&[
        ("hardware", hardware),
        ("agent", format!("{} or newer", manifest.min_agent)),
        ("training run", lineage.training_run.clone()),
        ("data digest", lineage.data_digest.clone()),
        ("commit", lineage.commit.clone()),
        ("author", lineage.author.clone()),
        ("model card", lineage.model_card.clone()),
    ])?;
    section("Components", out)?;
    components(&manifest.components, out)?;
    section("Pipeline", out)?;
    pipeline(manifest, out)?;
    section("Golden cases and gates", out)?;
    gates(manifest, out)
}

fn section(title: &str, out: &Output) -> Result<()> {
    out.line("")?;
    out.line(title)
}

fn component(component: &Component) -> Value {
    json!({
        "name": component.name,
        "role": component.role,
        "bytes": component.blob.length,
        "sha256": component.blob.sha256,
        "chunks": component.blob.chunks.len(),
    })
}

fn components(components: &[Component], out: &Output) -> Result<()> {
    let mut table = out.table(&["name", "role", "size", "chunks", "sha256"]);
    for component in components {
        table.add_row(vec![
            component.name.to_string(),
            role(component),
            size(component.blob.length),
            component.blob.chunks.len().to_string(),
            component.blob.sha256.to_string(),
        ]);
    }
    out.print(table)
}

/// The role as it is written in a manifest.
fn role(component: &Component) -> String {
    serde_json::to_value(component.role)
        .ok()
        .and_then(|role| role.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn pipeline(manifest: &Manifest, out: &Output) -> Result<()> {
    let pipeline = &manifest.pipeline;
    let mut table = out.table(&["step", "name", "runs", "with"]);
    table.add_rows(pipeline.decoder.iter().map(|stage| stage_row("decoder", stage)));
    for input in &pipeline.inputs {
        let fields = if input.fields.is_empty() {
            "one array".to_owned()
        } else {
            input.fields.join(", ")
        };
        table.add_row(vec![
            "input".to_owned(),
            visible(&input.tensor.name),
            input.tensor.to_string(),
            visible(&fields),
        ]);
    }
    table.add_rows(pipeline.preprocess.iter().map(|stage| stage_row("preprocess", stage)));
    let signature = &pipeline.model.signature;
    let taken: Vec<_> = signature
        .inputs
        .iter()
        .map(|spec| format!("{} {spec}", spec.name))
        .collect();
    let given: Vec<_> = signature
        .outputs
        .iter()
        .map(|spec| format!("{} {spec}", spec.name))
        .collect();
    let takes_gives = format!("takes {}, gives {}", taken.join(", "), given.join(", "));
    table.add_row(vec![
        "model".to_owned(),
        "model".to_owned(),
        pipeline.model.component.to_string(),
        visible(&takes_gives),
    ]);
    table.add_rows(pipeline.postprocess.iter().map(|stage| stage_row("postprocess", stage)));
    table.add_rows(pipeline.monitors.iter().map(|stage| stage_row("monitor", stage)));
    out.print(table)
}

fn stage_row(step: &str, stage: &StageSpec) -> Vec<String> {
    vec![
        step.to_owned(),
        stage.name.to_string(),
        stage.plugin.to_string(),
        visible(&stage.config),
    ]
}

fn gates(manifest: &Manifest, out: &Output) -> Result<()> {
    let Gates {
        samples,
        max_error_rate,
        latency_p99_ms,
        timeout_s,
        tries,
        disagreement,
        findings,
    } = &manifest.gates;
    let disagreement = disagreement.as_ref().map_or_else(String::new, |gate| {
        format!(
            "mean difference of {} from the running bundle at most {}",
            gate.output, gate.max_mean
        )
    });
    let findings = findings.as_ref().map_or_else(String::new, |gate| {
        format!("at most {} findings of alarm", gate.max_alarms)
    });
    out.pairs(&[
        (
            "golden cases",
            format!("{}, each within {}", manifest.golden.cases, manifest.golden.tolerance),
        ),
        (
            "trial",
            format!("{samples} samples within {timeout_s} s, {tries} tries"),
        ),
        ("errors", format!("at most {}% of samples", max_error_rate * 100.0)),
        ("latency", format!("99 of 100 samples within {latency_p99_ms} ms")),
        ("disagreement", disagreement),
        ("findings", findings),
    ])
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// A JSON text becomes the JSON it holds.
fn parse_in_place(value: &mut Value) {
    if let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok()) {
        *value = parsed;
    }
}
