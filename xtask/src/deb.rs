//! `cargo xtask deb`: the agent's Debian package.
//!
//! Owns what is in the package and its control data; the unit and the maintainer scripts are in `packaging/`. It stages a
//! tree and has dpkg-deb pack it, since that is all there is to a package of one binary. The same input gives the same
//! package: times are the last commit's, owners are root.

pub mod control;
pub mod notices;
mod template;

use crate::{
    system::{find_program, output_of},
    workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The package, its binary and its unit.
const NAME: &str = "floorhand-agent";

/// The one file an administrator edits, and that an upgrade leaves alone.
const CONFFILE: &str = "/etc/floorhand/agent.toml";

const MODE_FILE: u32 = 0o644;
const MODE_PROGRAM: u32 = 0o755;

/// What `cargo xtask deb` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Pack this binary instead of building one (for one that was cross-compiled)
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Where the package goes [default: debian/ in the build directory]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Debian's name of the binary's architecture [default: what the binary says, else this machine's]
    #[arg(long)]
    architecture: Option<String>,
    /// The package's version [default: the workspace's]
    #[arg(long)]
    version: Option<String>,
}

/// Makes the package and prints its path.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        find_program("dpkg-deb").is_some(),
        "dpkg-deb is missing: packages are made on Debian or Ubuntu, or where their dpkg is installed"
    );
    let metadata = workspace::manifests()?;
    let target = metadata.target_directory.clone().into_std_path_buf();
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&target)?,
    };
    let program = fs::read(&binary).with_context(|| format!("read {}", binary.display()))?;
    let version = match &options.version {
        Some(version) => version.clone(),
        None => control::debian_version(env!("CARGO_PKG_VERSION")),
    };
    let architecture = architecture(options, &program)?;
    let output = options.output.clone().unwrap_or_else(|| target.join("debian"));
    fs::create_dir_all(&output).with_context(|| format!("create {}", output.display()))?;
    let package = output.join(format!("{NAME}_{version}_{architecture}.deb"));

    let stage = tempfile::tempdir().context("create a temporary folder")?;
    let tree = Tree::new(stage.path().join(NAME))?;
    fill(&tree, &program)?;
    tree.control(&program, &version, &architecture)?;
    pack(&tree.root, &package)?;
    println!("{}", package.display());
    Ok(())
}

/// Builds the agent as devices get it: small before quick to build.
fn build(target: &Path) -> Result<PathBuf> {
    let mut cargo = workspace::cargo()?;
    cargo.args([
        "build",
        "--locked",
        "--profile",
        "dist",
        "--package",
        NAME,
        "--bin",
        NAME,
    ]);
    ensure!(
        cargo.status().context("start cargo build")?.success(),
        "building {NAME} failed"
    );
    Ok(target.join("dist").join(NAME))
}

fn architecture(options: &Options, program: &[u8]) -> Result<String> {
    if let Some(architecture) = &options.architecture {
        return Ok(architecture.clone());
    }
    match control::elf_architecture(program) {
        Some(architecture) => Ok(architecture.to_owned()),
        None => output_of(Command::new("dpkg").arg("--print-architecture")),
    }
}

/// Everything that is installed.
fn fill(tree: &Tree, program: &[u8]) -> Result<()> {
    let root = workspace::root()?;
    let source = |path: &str| fs::read(root.join(path)).with_context(|| format!("read {path}"));
    let doc = format!("/usr/share/doc/{NAME}");
    tree.put(&format!("/usr/bin/{NAME}"), program, MODE_PROGRAM)?;
    let unit = String::from_utf8(source("packaging/floorhand-agent.service")?).context("the unit is text")?;
    tree.put(
        &format!("/usr/lib/systemd/system/{NAME}.service"),
        unit.as_bytes(),
        MODE_FILE,
    )?;
    tree.put(
        &format!("/usr/lib/systemd/system/{NAME}@.service"),
        template::of(&unit)?.as_bytes(),
        MODE_FILE,
    )?;
    tree.put(CONFFILE, &source("crates/agent/agent.toml")?, MODE_FILE)?;
    tree.put(
        &format!("{doc}/copyright"),
        &source("packaging/deb/copyright")?,
        MODE_FILE,
    )?;
    let licenses = notices::third_party(NAME)?;
    tree.put_compressed(&format!("{doc}/third-party-licenses.txt"), licenses.as_bytes())?;
    tree.put_compressed(&format!("{doc}/changelog"), &source("CHANGELOG.md")?)?;
    for script in ["postinst", "prerm", "postrm"] {
        tree.put(
            &format!("/DEBIAN/{script}"),
            &source(&format!("packaging/deb/{script}"))?,
            MODE_PROGRAM,
        )?;
    }
    Ok(())
}

/// The package's tree while it is put together.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn new(root: PathBuf) -> Result<Self> {
        let tree = Self { root };
        tree.folder(&tree.root)?;
        Ok(tree)
    }

    /// Writes a file to this absolute path of the package.
    fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.inside(path);
        if let Some(folder) = path.parent() {
            self.folder(folder)?;
        }
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        set_mode(&path, mode)
    }

    /// The same, as `path.gz`, without name and time in it.
    fn put_compressed(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(path, bytes, MODE_FILE)?;
        output_of(Command::new("gzip").args(["-9", "--no-name"]).arg(self.inside(path))).map(drop)
    }

    /// What dpkg reads of the package: computed from the files that are in it by now.
    fn control(&self, program: &[u8], version: &str, architecture: &str) -> Result<()> {
        let files = control::files(&self.root)?;
        let sums = control::md5sums(&self.root, &files)?;
        let size_kib = control::installed_kib(&self.root, &files)?;
        let text = control::control(NAME, version, architecture, size_kib, &control::depends(program));
        self.put("/DEBIAN/control", text.as_bytes(), MODE_FILE)?;
        self.put("/DEBIAN/conffiles", format!("{CONFFILE}\n").as_bytes(), MODE_FILE)?;
        self.put("/DEBIAN/md5sums", sums.as_bytes(), MODE_FILE)
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Creates a folder and those above it, readable by all whatever the umask is.
    fn folder(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&self.root)) {
            set_mode(folder, MODE_PROGRAM)?;
        }
        Ok(())
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).with_context(|| format!("set the mode of {}", path.display()))
}

fn pack(tree: &Path, package: &Path) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "--build"]).arg(tree).arg(package);
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        let mut git = Command::new("git");
        git.current_dir(workspace::root()?).args(["log", "-1", "--format=%ct"]);
        // A source archive has no history; its packages carry the time they were made.
        if let Ok(time) = output_of(&mut git) {
            command.env("SOURCE_DATE_EPOCH", time);
        }
    }
    output_of(&mut command).map(drop)
}
