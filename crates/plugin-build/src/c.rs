//! How a plugin in C becomes a core module: with clang and LLVM's linker, or with zig, which has both.
//!
//! There is no C library: the few functions that bindings and plugins need are in `c/`, which also has the helpers for
//! configuration and tensors (`floorhand.h`). So nothing is imported but the interface, and the module stays small.

use crate::{BuildError, World, bindings};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment variable that names a compiler: clang or zig.
pub const COMPILER_VARIABLE: &str = "FLOORHAND_CC";

/// Names under which clang is installed, the plain one first.
const CLANGS: [&str; 10] = [
    "clang", "clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14",
];

/// The stack, in bytes. It lies below everything else, so that an overflow traps and overwrites nothing.
const STACK_BYTES: u32 = 64 << 10;

/// Headers and sources that every plugin in C is compiled with, by file name.
const RUNTIME: [(&str, &str); 9] = [
    ("floorhand.h", include_str!("../c/floorhand.h")),
    ("stdlib.h", include_str!("../c/stdlib.h")),
    ("string.h", include_str!("../c/string.h")),
    ("math.h", include_str!("../c/math.h")),
    ("memory.c", include_str!("../c/memory.c")),
    ("json.c", include_str!("../c/json.c")),
    ("number.c", include_str!("../c/number.c")),
    ("state.c", include_str!("../c/state.c")),
    ("text.c", include_str!("../c/text.c")),
];

/// A compiler that can build C for WebAssembly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// clang, with LLVM's linker beside it.
    Clang(OsString),
    /// zig, whose `cc` is clang with a linker.
    Zig(OsString),
}

impl Compiler {
    /// The one that [`COMPILER_VARIABLE`] names, else the first of this machine that fits. The error says what to run.
    pub fn find() -> Result<Self, BuildError> {
        if let Some(named) = std::env::var_os(COMPILER_VARIABLE) {
            return Self::of(&named);
        }
        let mut complaint = None;
        for name in CLANGS {
            match Self::of(OsStr::new(name)) {
                Ok(compiler) => return Ok(compiler),
                Err(BuildError::Start { .. }) => {}
                Err(error) => complaint = complaint.or(Some(error)),
            }
        }
        if runs(OsStr::new("zig"), &["version"]).is_ok() {
            return Ok(Self::Zig("zig".into()));
        }
        Err(complaint.unwrap_or_else(|| {
            BuildError::Toolchain(
                "no C compiler for WebAssembly here: run `apt-get install clang lld`, or install zig from \
                 https://ziglang.org"
                    .to_owned(),
            )
        }))
    }

    fn of(program: &OsStr) -> Result<Self, BuildError> {
        let name = Path::new(program).file_stem().unwrap_or_default();
        if name == "zig" {
            runs(program, &["version"])?;
            return Ok(Self::Zig(program.to_owned()));
        }
        let shown = program.display();
        if !runs(program, &["--print-targets"])?.contains("wasm32") {
            return Err(BuildError::Toolchain(format!(
                "{shown} can't build for WebAssembly: run `apt-get install clang lld`, or install zig from https://ziglang.org"
            )));
        }
        let linker = runs(program, &["--print-prog-name=wasm-ld"])?;
        if runs(OsStr::new(linker.trim()), &["--version"]).is_err() {
            return Err(BuildError::Toolchain(format!(
                "{shown} has no linker for WebAssembly: run `apt-get install lld`"
            )));
        }
        Ok(Self::Clang(program.to_owned()))
    }

    fn command(&self) -> Command {
        match self {
            Self::Clang(program) => {
                let mut command = Command::new(program);
                command.args(["--target=wasm32-unknown-unknown", "-Wl,--stack-first"]);
                command
            }
            Self::Zig(program) => {
                let mut command = Command::new(program);
                command.args(["cc", "-target", "wasm32-freestanding"]);
                command
            }
        }
    }
}

/// A build of a plugin in C.
#[derive(Debug)]
pub struct CBuild<'a> {
    /// The project's folder, from where the compiler is started.
    pub folder: &'a Path,
    /// What is exported.
    pub world: World,
    /// Sources, from the folder.
    pub sources: &'a [PathBuf],
    /// Where bindings and the module go.
    pub target_dir: &'a Path,
}

impl CBuild<'_> {
    /// Compiles and links; the compiler speaks to the person by itself.
    pub fn run(&self, compiler: &Compiler) -> Result<Vec<u8>, BuildError> {
        let include = self.target_dir.join("include");
        let bindings = bindings::write(self.world, &include)?;
        let runtime = self.write_runtime(&include)?;
        let module = self.target_dir.join("module.wasm");
        let mut command = compiler.command();
        command
            .current_dir(self.folder)
            .args([
                "-std=c17",
                "-O2",
                "-flto",
                "-msimd128",
                "-mbulk-memory",
                "-ffreestanding",
                "-nostdlib",
            ])
            // Numbers are the same as everywhere, and paths of this machine stay out.
            .args([
                "-ffp-contract=off",
                "-fno-math-errno",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",
            ])
            .arg(prefix_map(self.folder))
            .arg("-isystem")
            .arg(&include)
            .args(["-Wl,--no-entry", "-Wl,--gc-sections", "-Wl,--strip-debug", "-Wl,-z"])
            .arg(format!("-Wl,stack-size={STACK_BYTES}"))
            .arg("-o")
            .arg(&module)
            .args(self.sources)
            .arg(&bindings.source)
            .args(&runtime)
            .arg(&bindings.object)
            .stdout(Stdio::null());
        let status = command.status().map_err(|source| BuildError::Start {
            program: command.get_program().display().to_string(),
            source,
        })?;
        if !status.success() {
            return Err(BuildError::Compile(
                "compiling the plugin failed: see what the compiler says above".to_owned(),
            ));
        }
        fs::read(&module).map_err(BuildError::read(&module))
    }

    /// Writes our headers and sources; gives the sources.
    fn write_runtime(&self, include: &Path) -> Result<Vec<PathBuf>, BuildError> {
        let mut sources = Vec::new();
        for (name, text) in RUNTIME {
            let path = include.join(name);
            fs::write(&path, text).map_err(BuildError::write(&path))?;
            if path.extension().is_some_and(|extension| extension == "c") {
                sources.push(path);
            }
        }
        Ok(sources)
    }
}

fn prefix_map(folder: &Path) -> OsString {
    let mut flag = OsString::from("-ffile-prefix-map=");
    flag.push(folder);
    flag.push("=/plugin");
    flag
}

fn runs(program: &OsStr, arguments: &[&str]) -> Result<String, BuildError> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|source| BuildError::Start {
        program: program.display().to_string(),
        source,
    })?;
    if !output.status.success() {
        return Err(BuildError::Toolchain(format!(
            "{} {} fails",
            program.display(),
            arguments.join(" ")
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
