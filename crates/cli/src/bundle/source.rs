//! Where a bundle's bytes come from: a `.fhb` file, or a folder with a `bundle.toml`.

use crate::contents::Contents;
use crate::exit::Failure;
use crate::{builtin, engine, files, time};
use anyhow::{Context, Result};
use floorhand_bundle::{
    Archive, ArchiveError, Assembly, BUILTIN_PREFIX, Digest, Envelope, KeyId, MAX_BLOB_BYTES, Manifest, Recipe,
    TrustRoot,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// The file that makes a folder a bundle.
const RECIPE: &str = "bundle.toml";

/// A bundle that a person named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder with a `bundle.toml`.
    Folder(PathBuf),
    /// A `.fhb` file.
    File(PathBuf),
}

impl Source {
    /// What a path on the command line means.
    pub fn of(path: &Path) -> Self {
        if path.is_dir() {
            return Self::Folder(path.to_owned());
        }
        match path.file_name() {
            Some(name) if name == RECIPE => Self::Folder(path.parent().unwrap_or(Path::new(".")).to_owned()),
            _ => Self::File(path.to_owned()),
        }
    }
}

impl Contents {
    /// What a folder would be packed to.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        Self::assembled(assemble(folder)?)
    }

    /// What a folder would be packed to with other bytes in the place of one of its files, which needn't be there.
    pub fn of_folder_with(folder: &Path, file: &str, bytes: &[u8]) -> Result<Self> {
        let recipe = recipe(folder)?;
        let mut load = |reference: &str| {
            if reference == file {
                Ok(bytes.to_vec())
            } else {
                load(folder, &recipe, reference)
            }
        };
        Self::assembled(recipe.assemble(&mut load, |onnx| engine::model_signature(onnx, &recipe.model.engines))?)
    }

    fn assembled(Assembly { manifest, blobs }: Assembly) -> Result<Self> {
        let digest = Digest::of(&manifest.encode()?);
        Ok(Self {
            manifest,
            digest,
            blobs,
            signers: Vec::new(),
        })
    }

    /// An archive whose manifest a trust root's release keys have signed.
    pub fn verified(archive: Archive, root: &TrustRoot) -> Result<Self> {
        let opened = Manifest::open(&archive.manifest, root, time::now_ms()).map_err(Failure::refused)?;
        let (_, _, envelope) = Manifest::inspect_unverified(&archive.manifest)?;
        let digest = opened.digest();
        Self::complete(opened.into_inner(), digest, archive.blobs, envelope.signers())
    }

    /// An archive whose signatures nobody has checked: to be shown, or to be run by the person who named it.
    pub fn unverified(archive: Archive) -> Result<Self> {
        let (manifest, digest, envelope): (_, _, Envelope) = Manifest::inspect_unverified(&archive.manifest)?;
        Self::complete(manifest, digest, archive.blobs, envelope.signers())
    }

    fn complete(
        manifest: Manifest,
        digest: Digest,
        blobs: BTreeMap<Digest, Vec<u8>>,
        signers: Vec<KeyId>,
    ) -> Result<Self> {
        let missing = manifest
            .components
            .iter()
            .find(|component| !blobs.contains_key(&component.blob.sha256));
        if let Some(missing) = missing {
            return Err(Failure::refused(format!(
                "component {} ({}) is not in the file; pack or copy it again",
                missing.name, missing.blob.sha256
            ))
            .into());
        }
        Ok(Self {
            manifest,
            digest,
            blobs,
            signers,
        })
    }
}

/// Reads an archive, holding every blob against its digest.
pub fn read_archive(path: &Path) -> Result<Archive> {
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    Archive::read(BufReader::new(file)).map_err(|error| match &error {
        // What the system says is about the file; what the reader of tar files says would be about tar files.
        ArchiveError::Io(cause) if cause.raw_os_error().is_none() => Failure::refused(format!(
            "{}: bundle archive is cut short or damaged, or this is no .fhb file; copy it again, or pack it again",
            path.display()
        ))
        .into(),
        _ => Failure::refused(format!("{}: {error}", path.display())).into(),
    })
}

/// Gathers what a folder's `bundle.toml` names. Nothing is run.
pub fn assemble(folder: &Path) -> Result<Assembly> {
    let recipe = recipe(folder)?;
    let mut load = |reference: &str| load(folder, &recipe, reference);
    Ok(recipe.assemble(&mut load, |onnx| engine::model_signature(onnx, &recipe.model.engines))?)
}

/// The folder's `bundle.toml`.
pub(super) fn recipe(folder: &Path) -> Result<Recipe> {
    let text = files::read_text(&folder.join(RECIPE))
        .with_context(|| format!("{} is no bundle: it needs a {RECIPE}", folder.display()))?;
    Ok(Recipe::parse(&text)?)
}

/// The bytes of a file that a recipe names. A model has the weights in it that it keeps in files beside itself.
fn load(folder: &Path, recipe: &Recipe, reference: &str) -> Result<Vec<u8>, String> {
    let mut read =
        |file: &str| files::read(&folder.join(file), MAX_BLOB_BYTES).map_err(|error| crate::exit::flatten(&error));
    if let Some(name) = reference.strip_prefix(BUILTIN_PREFIX) {
        return builtin::plugin(name).map(<[u8]>::to_vec);
    }
    let bytes = read(reference)?;
    if reference != recipe.model.file.as_str() {
        return Ok(bytes);
    }
    let inlined = engine::inline_external_data(&bytes, &mut read).map_err(|error| error.to_string())?;
    Ok(inlined.unwrap_or(bytes))
}
