//! A plugin's folder: what it is written in, and how it becomes a component.
//!
//! A folder with `plugin.toml` is a plugin in C; one with `Cargo.toml`, in Rust. Beside either stands `schema.json`, the
//! JSON Schema of the configuration, which goes into the component.

use crate::rust::RustBuild;
use crate::{BuildError, Stamp, Toolchain, World, c, component};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// With the SDK.
    Rust,
    /// With wit-bindgen's bindings.
    C,
}

/// A plugin's folder.
#[derive(Debug, Clone)]
pub struct Project {
    /// Where it is.
    pub folder: PathBuf,
    /// What it says of itself; goes into the component.
    pub stamp: Stamp,
    /// What it is written in.
    pub language: Language,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Rust {
        package: String,
        library: String,
        target_dir: PathBuf,
        workspace: PathBuf,
    },
    C {
        world: World,
        sources: Vec<PathBuf>,
    },
}

/// `plugin.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    version: String,
    world: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    authors: Vec<String>,
    #[serde(default)]
    license: String,
    sources: Vec<PathBuf>,
}

/// What a build gave.
#[derive(Debug, Clone)]
pub struct Built {
    /// The component.
    pub component: Vec<u8>,
    /// Where it is written.
    pub path: PathBuf,
    /// What it exports.
    pub world: World,
}

impl Project {
    /// Reads what stands in a folder.
    pub fn open(folder: &Path) -> Result<Self, BuildError> {
        let folder = &fs::canonicalize(folder).map_err(BuildError::read(folder))?;
        let manifest = folder.join("plugin.toml");
        if manifest.is_file() {
            return Self::c(folder, &manifest);
        }
        if folder.join("Cargo.toml").is_file() {
            return Self::rust(folder);
        }
        Err(BuildError::Project(format!(
            "{} is no plugin: it has neither Cargo.toml nor plugin.toml; `floorhand plugin new NAME` makes one",
            folder.display()
        )))
    }

    /// Where `build` writes the component.
    #[must_use]
    pub fn component_path(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.stamp.name))
    }

    /// The files that a build depends on, the compiler's own aside: what is watched to build again.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        ["src", "Cargo.toml", "plugin.toml", "schema.json", "tests"]
            .iter()
            .map(|name| self.folder.join(name))
            .filter(|path| path.exists())
            .collect()
    }

    fn rust(folder: &Path) -> Result<Self, BuildError> {
        let metadata = MetadataCommand::new().current_dir(folder).no_deps().exec();
        let metadata = metadata.map_err(|error| {
            let text = error.to_string();
            let line = text.lines().map(str::trim).find(|line| line.starts_with("error"));
            BuildError::Project(format!(
                "{}/Cargo.toml: {}",
                folder.display(),
                line.unwrap_or_else(|| text.trim())
            ))
        })?;
        let package = package_in(&metadata, folder)?;
        let library = package.targets.iter().find(|target| {
            let kinds = target.crate_types.iter().map(ToString::to_string);
            kinds.into_iter().any(|kind| kind == "cdylib")
        });
        let library = library.ok_or_else(|| {
            BuildError::Project(format!(
                "{}/Cargo.toml: the library is no cdylib: write `crate-type = [\"cdylib\", \"rlib\"]` under [lib]",
                folder.display()
            ))
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            stamp: Stamp {
                name: package.name.to_string(),
                version: package.version.to_string(),
                description: package.description.clone().unwrap_or_default(),
                authors: package.authors.clone(),
                licenses: package.license.clone().unwrap_or_default(),
                schema: schema(folder)?,
            },
            language: Language::Rust,
            source: Source::Rust {
                package: package.name.to_string(),
                library: library.name.clone(),
                // Apart from builds for this machine: the flags differ.
                target_dir: metadata.target_directory.as_std_path().join("plugin"),
                workspace: metadata.workspace_root.clone().into_std_path_buf(),
            },
        })
    }

    fn c(folder: &Path, path: &Path) -> Result<Self, BuildError> {
        let text = fs::read_to_string(path).map_err(BuildError::read(path))?;
        let wrong = |reason: String| BuildError::Project(format!("{}: {reason}", path.display()));
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text.get(..span.start).map_or(0, |before| before.lines().count()));
            wrong(format!("line {}: {}", line.unwrap_or(0).max(1), error.message()))
        })?;
        let world = World::by_name(&manifest.world).ok_or_else(|| {
            wrong(format!(
                "world is {:?}: write processor, monitor or decoder",
                manifest.world
            ))
        })?;
        crate::template::check_name(&manifest.name).map_err(|error| wrong(error.to_string()))?;
        if manifest.sources.is_empty() {
            return Err(wrong("sources is empty: name the files to compile".to_owned()));
        }
        Ok(Self {
            folder: folder.to_owned(),
            stamp: Stamp {
                name: manifest.name,
                version: manifest.version,
                description: manifest.description,
                authors: manifest.authors,
                licenses: manifest.license,
                schema: schema(folder)?,
            },
            language: Language::C,
            source: Source::C {
                world,
                sources: manifest.sources,
            },
        })
    }

    fn module(&self) -> Result<Vec<u8>, BuildError> {
        match &self.source {
            Source::Rust {
                package,
                library,
                target_dir,
                workspace,
            } => {
                let toolchain = Toolchain::find(&self.folder)?;
                let build = RustBuild {
                    folder: &self.folder,
                    packages: std::slice::from_ref(package),
                    target_dir,
                    locked: false,
                    quiet: true,
                    profile: &[],
                    renamed: &[(workspace.clone(), "/plugin")],
                };
                build.run(&toolchain)?;
                build.module(library)
            }
            Source::C { world, sources } => {
                let target_dir = self.folder.join("build");
                let build = c::CBuild {
                    folder: &self.folder,
                    world: *world,
                    sources,
                    target_dir: &target_dir,
                };
                build.run(&c::Compiler::find()?)
            }
        }
    }
}

/// Builds a plugin, checks that it imports and exports what it has to, stamps it, and writes it into its folder.
pub fn build(project: &Project) -> Result<Built, BuildError> {
    let component = component::componentize(&project.module()?)?;
    let world = component::check(&component)?;
    if let Source::C { world: said, .. } = &project.source
        && *said != world
    {
        return Err(BuildError::Component(format!(
            "the component exports a {world}, and plugin.toml says {said}"
        )));
    }
    let component = project.stamp.apply(&component)?;
    let path = project.component_path();
    fs::write(&path, &component).map_err(BuildError::write(&path))?;
    Ok(Built { component, path, world })
}

fn package_in<'a>(metadata: &'a Metadata, folder: &Path) -> Result<&'a Package, BuildError> {
    let manifest = folder.join("Cargo.toml");
    let mut packages = metadata.packages.iter();
    let found = packages.find(|package| package.manifest_path.as_std_path() == manifest);
    found.ok_or_else(|| {
        BuildError::Project(format!(
            "{} has no [package]: go into the plugin's own folder",
            manifest.display()
        ))
    })
}

/// `schema.json` beside the source; empty if there is none.
fn schema(folder: &Path) -> Result<String, BuildError> {
    let path = folder.join("schema.json");
    if !path.is_file() {
        return Ok(String::new());
    }
    fs::read_to_string(&path).map_err(BuildError::read(&path))
}
