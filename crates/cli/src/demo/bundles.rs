//! The demo's four bundles, carried in this program; `demo/README.md` has the recipe they were trained by.

use anyhow::{Result, anyhow};
use floorhand_bundle::{Archive, Assembly, Recipe, SecretKey};

/// A bundle's files by name.
type Files = [(&'static str, &'static [u8]); 6];

macro_rules! files {
    ($version:literal) => {
        files!($version, "bundle.toml", "model.onnx", "scaler.json", "reference.json", "golden.jsonl", "model-card.md")
    };
    ($version:literal, $($file:literal),*) => {
        [$(($file, include_bytes!(concat!("../../demo/bundles/", $version, "/", $file)).as_slice())),*]
    };
}

/// The bundles, in the order of the story.
const BUNDLES: [Files; 4] = [files!("v1"), files!("v2"), files!("v3"), files!("v4")];

/// Puts one of the bundles together. Golden cases are not run: the demo's third bundle is what comes out of a build server
/// that has left them out.
pub(super) fn assemble(number: usize) -> Result<Assembly> {
    let files = BUNDLES
        .get(number - 1)
        .ok_or_else(|| anyhow!("there is no bundle {number}"))?;
    let file = |name: &str| files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes);
    let text = std::str::from_utf8(file("bundle.toml").unwrap_or_default())?;
    let mut load = |name: &str| match name.strip_prefix(floorhand_bundle::BUILTIN_PREFIX) {
        Some(builtin) => crate::builtin::plugin(builtin).map(<[u8]>::to_vec),
        None => file(name)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| format!("{name}: no such file")),
    };
    let recipe = Recipe::parse(text)?;
    Ok(recipe.assemble(&mut load, |onnx| {
        crate::engine::model_signature(onnx, &recipe.model.engines)
    })?)
}

/// The archive of an assembly, signed.
pub(super) fn archive(assembly: Assembly, key: &SecretKey) -> Result<Archive> {
    let manifest = assembly.manifest.seal(&[key])?;
    Ok(Archive {
        manifest,
        assignment: None,
        blobs: assembly.blobs,
    })
}
