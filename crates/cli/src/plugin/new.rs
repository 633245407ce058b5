//! `floorhand plugin new`: a folder with a plugin that works.

use crate::output::Output;
use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum, ValueHint};
use floorhand_plugin_build::template::{Plan, Sdk, check_name};
use floorhand_plugin_build::{Language, World};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The SDK's version that goes with this tool.
const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// `floorhand plugin new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Its name, which is the folder's, the crate's and the component's
    name: String,
    /// What it is for
    #[arg(long, value_enum, default_value_t = WorldName::Processor)]
    world: WorldName,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = LanguageName::Rust)]
    lang: LanguageName,
    /// Where to make it [default: NAME in this folder]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// The SDK in Rust: the folder of the crate, or a version [default: that of the checkout this folder or this program is
    /// in, else the version of this program]
    #[arg(long, value_name = "DIR|VERSION")]
    sdk: Option<String>,
}

/// The worlds of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WorldName {
    /// Tensors in, tensors out
    Processor,
    /// Watches a pipeline and reports what it finds
    Monitor,
    /// Bytes of a source to samples
    Decoder,
}

/// The languages there are templates in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LanguageName {
    /// With the SDK
    Rust,
    /// With clang or zig, and nothing else
    C,
}

/// Makes the project.
pub(super) fn run(args: &NewArgs, out: &Output) -> Result<()> {
    check_name(&args.name)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let sdk = sdk(args.sdk.as_deref())?;
    let plan = Plan {
        name: args.name.clone(),
        world: match args.world {
            WorldName::Processor => World::Processor,
            WorldName::Monitor => World::Monitor,
            WorldName::Decoder => World::Decoder,
        },
        language: match args.lang {
            LanguageName::Rust => Language::Rust,
            LanguageName::C => Language::C,
        },
        sdk,
    };
    let files = plan.write(&folder)?;
    let shown = folder.display().to_string();
    out.show(&json!({ "folder": shown, "files": files }), |out| {
        for file in &files {
            out.line(&folder.join(file).display().to_string())?;
        }
        if let (Language::Rust, Sdk::Version(version)) = (plan.language, &plan.sdk) {
            out.note(&format!(
                "the SDK is version {version} of the registry; --sdk takes a folder as well"
            ));
        }
        out.note(&format!(
            "next: cd {shown} && floorhand plugin build && floorhand plugin test"
        ));
        Ok(())
    })
}

/// What a person means by the SDK, or the one that is at hand.
fn sdk(given: Option<&str>) -> Result<Sdk> {
    let Some(given) = given else {
        let here = std::env::current_dir().ok();
        let program = std::env::current_exe().ok();
        let found = here.iter().chain(&program).find_map(|start| checkout(start));
        return Ok(found.map_or_else(|| Sdk::Version(SDK_VERSION.to_owned()), Sdk::Path));
    };
    if given.starts_with(|first: char| first.is_ascii_digit()) && !Path::new(given).exists() {
        return Ok(Sdk::Version(given.to_owned()));
    }
    let folder = Path::new(given).canonicalize().ok();
    let folder = folder.filter(|folder| folder.join("Cargo.toml").is_file());
    folder.map(Sdk::Path).ok_or_else(|| {
        anyhow!("--sdk {given}: neither a version nor a folder with a Cargo.toml; give that of crates/plugin-sdk")
    })
}

/// The SDK of the checkout that a path lies in.
fn checkout(start: &Path) -> Option<PathBuf> {
    let mut folders = start.ancestors().map(|folder| folder.join("crates/plugin-sdk"));
    folders.find(|folder| folder.join("src/export.rs").is_file())
}
