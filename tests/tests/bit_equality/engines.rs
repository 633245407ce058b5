//! The jobs in other engines, in processes of their own.

use floorhand_tests::workspace;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set where there is a jco: then a test that can't use it fails instead of being skipped.
const REQUIRE_JCO: &str = "FLOORHAND_REQUIRE_JCO";

/// Components of componentize-py are linked when they are instantiated.
const FIRST_NODE_THAT_LINKS: u32 = 22;

/// Another engine, if there is one on this machine.
pub(crate) enum Engine {
    Python(OsString),
    Jco {
        program: OsString,
        /// Whether its Node knows the extended constant expressions that linked libraries have.
        links: bool,
    },
}

/// A component that can be run in it.
pub(crate) struct Ready {
    name: &'static str,
    program: OsString,
    arguments: Vec<PathBuf>,
}

impl Engine {
    pub(crate) fn python() -> Option<Self> {
        floorhand_tests::python("import wasmtime.component").map(|python| Self::Python(python.into()))
    }

    pub(crate) fn jco() -> Option<Self> {
        let jco = std::env::var_os("FLOORHAND_JCO").unwrap_or_else(|| "jco".into());
        let node = Command::new("node")
            .args(["--print", "process.versions.node"])
            .output()
            .ok();
        let node = node.filter(|_| succeeds(Command::new(&jco).arg("--version")));
        if let Some(node) = node {
            let version = String::from_utf8_lossy(&node.stdout);
            let major: u32 = version.split('.').next().unwrap().parse().unwrap();
            let links = major >= FIRST_NODE_THAT_LINKS;
            return Some(Self::Jco { program: jco, links });
        }
        assert!(
            std::env::var_os(REQUIRE_JCO).is_none(),
            "{} can't be run, and {REQUIRE_JCO} is set",
            jco.display()
        );
        eprintln!("SKIPPED jco: needs Node and the program of the npm package @bytecodealliance/jco (FLOORHAND_JCO)");
        None
    }

    /// Whether it can run the component.
    pub(crate) fn takes(&self, component: &Path) -> bool {
        let takes = match self {
            Self::Python(_) => true,
            Self::Jco { links, .. } => *links || !component.starts_with(workspace().join("tests/guests/python")),
        };
        if !takes {
            eprintln!(
                "SKIPPED {} in jco: needs Node {FIRST_NODE_THAT_LINKS}",
                component.display()
            );
        }
        takes
    }

    /// Makes a component ready to be run.
    pub(crate) fn ready(&self, component: &Path, scratch: &Path) -> Ready {
        match self {
            Self::Python(python) => Ready {
                name: "wasmtime-py",
                program: python.clone(),
                arguments: vec![workspace().join("tests/python/run_component.py"), component.to_owned()],
            },
            Self::Jco { program: jco, .. } => {
                let folder = scratch.join(component.file_stem().expect("a file"));
                let mut transpile = Command::new(jco);
                transpile.arg("transpile").arg(component);
                transpile.args(["--instantiation", "async", "--name", "plugin", "--quiet", "--out-dir"]);
                assert!(
                    succeeds(transpile.arg(&folder)),
                    "jco transpile {}",
                    component.display()
                );
                Ready {
                    name: "jco",
                    program: "node".into(),
                    arguments: vec![
                        workspace().join("tests/javascript/run_component.mjs"),
                        folder.join("plugin.js"),
                    ],
                }
            }
        }
    }
}

impl Ready {
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    /// What it printed for the calls of a job. The first line, the signature, is left out: the host has its own form of it.
    pub(crate) fn run(&self, job: &Path) -> Vec<Value> {
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .arg(job)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", self.name);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
