//! Which crate may depend on which: the arrows of docs/ARCHITECTURE.md.
//!
//! Owns the table and its check. It looks at the dependencies that manifests name, not at what they resolve to: optional
//! ones and those of other platforms count, and no network is needed. Normal dependencies only, since tests and benches
//! may name what they compare with. What a crate reaches through another is allowed by that other's arrows.

use crate::workspace;
use anyhow::Result;
use cargo_metadata::{DependencyKind, Metadata, Package};
use std::collections::BTreeSet;

/// What each crate in `crates/` may name. A crate that isn't here has to be added, here and in docs/ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("bundle", &["tensor"]),
    ("protocol", &["tensor", "bundle"]),
    ("keys", &["bundle"]),
    ("lifecycle", &["tensor", "bundle", "protocol"]),
    ("statistics", &[]),
    ("explanation", &[]),
    ("open-inference", &["tensor"]),
    ("inference", &["tensor"]),
    // An engine of `inference`, which examines a model before ONNX Runtime has it.
    ("onnxruntime", &["inference", "tensor"]),
    // Both let the program's own worker do what may end a process: compile a plugin, load a model for the first time.
    ("worker", &[]),
    ("plugin-host", &["tensor", "worker"]),
    ("store", &["bundle"]),
    ("transport", &[]),
    (
        "pipeline",
        &["inference", "plugin-host", "bundle", "tensor", "explanation", "worker"],
    ),
    (
        "agent",
        &[
            "tensor",
            "bundle",
            "protocol",
            "lifecycle",
            "statistics",
            "open-inference",
            "inference",
            "onnxruntime",
            "plugin-host",
            "store",
            "transport",
            "pipeline",
        ],
    ),
    // The hub never runs a model: neither the agent nor the pipeline, on any way.
    ("hub", &["bundle", "keys", "protocol", "transport", "store"]),
    // For people who write plugins, and for `cargo xtask plugins`; nothing of it is on a device or a hub.
    ("plugin-build", &[]),
    // Runs plugins by themselves, too: plugin-host and tensor are for `floorhand plugin`.
    (
        "cli",
        &[
            "tensor",
            "agent",
            "hub",
            "plugin-build",
            "plugin-host",
            "onnxruntime",
            "pipeline",
            "bundle",
            "keys",
            "protocol",
            "transport",
        ],
    ),
    ("plugin-sdk", &["statistics"]),
    // Stands in for what flows are built on, and is itself a dev-dependency only.
    (
        "testkit",
        &["tensor", "bundle", "protocol", "lifecycle", "store", "transport"],
    ),
];

/// What a crate in `plugins/` may name.
const PLUGIN_ARROWS: &[&str] = &["plugin-sdk", "statistics"];

/// What `xtask` may name: it judges the others.
const XTASK_ARROWS: &[&str] = &["plugin-build"];

/// Foreign engines: the crate that may name them, and the packages' name. `name-anything` belongs to the engine too.
const ENGINES: &[(&str, &str)] = &[
    ("inference", "tract"),
    // Loads a library of the machine's: in a device only where its operator offers one.
    ("onnxruntime", "ort"),
    ("plugin-host", "wasmtime"),
    ("transport", "rumqttc"),
    ("store", "redb"),
    // Runs modules that others wrote in the same process: nothing for a device.
    ("keys", "cryptoki"),
];

/// Crates without files, sockets, runtime or clock: see [`crate::purity`] for their sources.
pub const PURE: &[&str] = &[
    "tensor",
    "bundle",
    "protocol",
    "lifecycle",
    "statistics",
    "explanation",
    "open-inference",
];

/// Runtimes, sockets and what is built on them: nothing for a pure crate. `name-anything` is meant too.
const IMPURE: &[&str] = &[
    "async-io",
    "async-std",
    "axum",
    "curl",
    "hyper",
    "mio",
    "native-tls",
    "nix",
    "polling",
    "quinn",
    "reqwest",
    "rumqttc",
    "rumqttd",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "tokio",
    "tower",
    "ureq",
];

/// Where a workspace member stands, which decides what it may name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// `crates/<name>`.
    Crate(String),
    /// `plugins/<name>`.
    Plugin,
    /// `tests`: may name everything.
    Tests,
    /// `xtask`: names what builds plugins, and nothing else of ours.
    Xtask,
    /// Anywhere else, which the layout doesn't know.
    Unknown,
}

/// A workspace member and what it names.
#[derive(Debug, Clone)]
struct Member {
    package: String,
    place: Place,
    /// Package names of normal dependencies, whatever they are renamed to.
    normal: BTreeSet<String>,
    /// Package names of build dependencies.
    build: BTreeSet<String>,
}

/// Every forbidden arrow of this workspace, a line each.
pub fn check_workspace() -> Result<Vec<String>> {
    Ok(check(&members(&workspace::manifests()?)))
}

fn check(members: &[Member]) -> Vec<String> {
    let ours: BTreeSet<&str> = members.iter().map(|member| member.package.as_str()).collect();
    let mut violations = Vec::new();
    for member in members {
        violations.extend(forbidden_arrows(member, &ours));
        violations.extend(foreign_engines(member));
        violations.extend(impurities(member));
    }
    violations
}

fn forbidden_arrows(member: &Member, ours: &BTreeSet<&str>) -> Vec<String> {
    let package = &member.package;
    let allowed: &[&str] = match &member.place {
        Place::Tests => return Vec::new(),
        Place::Xtask => XTASK_ARROWS,
        Place::Plugin => PLUGIN_ARROWS,
        Place::Unknown => {
            return vec![format!(
                "{package} is in no folder of the layout (docs/ARCHITECTURE.md)"
            )];
        }
        Place::Crate(name) => match ARROWS.iter().find(|(of, _)| of == name) {
            Some((_, allowed)) => allowed,
            None => {
                return vec![format!(
                    "{package} has no arrows: add it to the table in xtask/src/arrows.rs"
                )];
            }
        },
    };
    let forbidden = member.normal.iter().filter(|name| ours.contains(name.as_str()));
    forbidden
        .filter(|name| !short(name).is_some_and(|short| allowed.contains(&short)))
        .map(|name| match short(name) {
            Some("testkit") => format!("{package} -> {name}: the testkit is for dev-dependencies only"),
            _ => format!("{package} -> {name}: may name {} only", list(allowed)),
        })
        .collect()
}

fn foreign_engines(member: &Member) -> Vec<String> {
    if member.place == Place::Tests {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (owner, engine) in ENGINES {
        if member.place == Place::Crate((*owner).to_owned()) {
            continue;
        }
        let named = member.normal.union(&member.build).filter(|name| belongs(name, engine));
        violations.extend(named.map(|name| {
            let package = &member.package;
            format!("{package} -> {name}: only floorhand-{owner} may name {engine}")
        }));
    }
    violations
}

fn impurities(member: &Member) -> Vec<String> {
    let Place::Crate(name) = &member.place else {
        return Vec::new();
    };
    if !PURE.contains(&name.as_str()) {
        return Vec::new();
    }
    let named = member.normal.iter();
    named
        .filter(|name| IMPURE.iter().any(|impure| belongs(name, impure)))
        .map(|name| {
            format!(
                "{} -> {name}: a pure crate has no runtime and no sockets",
                member.package
            )
        })
        .collect()
}

/// Whether a package is this family's head or `head-anything`.
fn belongs(package: &str, family: &str) -> bool {
    let rest = package.strip_prefix(family);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

/// A package's name without the workspace's prefix.
fn short(package: &str) -> Option<&str> {
    package.strip_prefix("floorhand-")
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing of ours".to_owned()
    } else {
        names.join(", ")
    }
}

fn members(metadata: &Metadata) -> Vec<Member> {
    let root = &metadata.workspace_root;
    let members = metadata.workspace_packages();
    members
        .into_iter()
        .map(|package| Member {
            package: package.name.to_string(),
            place: place(package, root.as_str()),
            normal: named(package, DependencyKind::Normal),
            build: named(package, DependencyKind::Build),
        })
        .collect()
}

fn named(package: &Package, kind: DependencyKind) -> BTreeSet<String> {
    let dependencies = package.dependencies.iter();
    dependencies
        .filter(|dependency| dependency.kind == kind)
        .map(|dependency| dependency.name.clone())
        .collect()
}

fn place(package: &Package, root: &str) -> Place {
    let folder = package.manifest_path.parent();
    let inside = folder.and_then(|folder| folder.strip_prefix(root).ok());
    let parts: Vec<&str> = inside.map_or_else(Vec::new, |path| path.iter().collect());
    match parts.as_slice() {
        ["crates", name] => Place::Crate((*name).to_owned()),
        ["plugins", _] => Place::Plugin,
        ["tests"] => Place::Tests,
        ["xtask"] => Place::Xtask,
        _ => Place::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member of `crates/` that names these packages.
    fn member(name: &str, normal: &[&str]) -> Member {
        Member {
            package: format!("floorhand-{name}"),
            place: Place::Crate(name.to_owned()),
            normal: normal.iter().map(ToString::to_string).collect(),
            build: BTreeSet::new(),
        }
    }

    /// Every crate of the table, so that names are known as ours; then those of the case.
    fn violations(case: Member) -> Vec<String> {
        let mut members: Vec<Member> = ARROWS.iter().map(|(name, _)| member(name, &[])).collect();
        members.retain(|member| member.package != case.package);
        members.push(case);
        check(&members)
    }

    #[test]
    fn accepts_what_the_architecture_draws() {
        for (name, allowed) in ARROWS {
            let names: Vec<String> = allowed.iter().map(|name| format!("floorhand-{name}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(violations(member(name, &names)), Vec::<String>::new());
        }
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (index, (name, allowed)) in ARROWS.iter().enumerate() {
            let above: Vec<&str> = ARROWS[..index].iter().map(|(name, _)| *name).collect();
            for target in *allowed {
                assert!(above.contains(target), "{name} -> {target} points downwards");
            }
        }
    }

    #[test]
    fn refuses_arrows_that_are_not_drawn() {
        let cases = [
            ("tensor", "bundle"),
            ("bundle", "protocol"),
            ("statistics", "tensor"),
            ("explanation", "tensor"),
            ("store", "tensor"),
            ("transport", "protocol"),
            ("agent", "hub"),
            ("hub", "agent"),
            ("hub", "pipeline"),
            ("hub", "tensor"),
            ("cli", "store"),
            ("plugin-sdk", "tensor"),
        ];
        for (from, to) in cases {
            let found = violations(member(from, &[&format!("floorhand-{to}")]));
            assert_eq!(found.len(), 1, "{from} -> {to}: {found:?}");
            assert!(found[0].starts_with(&format!("floorhand-{from} -> floorhand-{to}: ")));
        }
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        let found = violations(member("agent", &["floorhand-testkit"]));
        assert_eq!(
            found,
            ["floorhand-agent -> floorhand-testkit: the testkit is for dev-dependencies only"]
        );
    }

    #[test]
    fn an_engine_has_one_owner() {
        for (owner, package) in [
            ("inference", "tract-onnx"),
            ("plugin-host", "wasmtime"),
            ("plugin-host", "wasmtime-environ"),
            ("transport", "rumqttc-v5-next"),
            ("store", "redb"),
        ] {
            assert_eq!(violations(member(owner, &[package])), Vec::<String>::new());
            let found = violations(member("agent", &[package]));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(&format!("only floorhand-{owner} may name")));
        }
    }

    #[test]
    fn an_engine_is_no_build_dependency_either() {
        let mut case = member("hub", &[]);
        case.build.insert("redb".to_owned());
        assert_eq!(violations(case).len(), 1);
    }

    #[test]
    fn a_name_that_only_begins_alike_is_no_engine() {
        assert_eq!(violations(member("hub", &["rumqttd", "redbase"])), Vec::<String>::new());
    }

    #[test]
    fn pure_crates_have_no_runtime() {
        for package in ["tokio", "tokio-util", "socket2", "ureq"] {
            assert_eq!(violations(member("lifecycle", &[package])).len(), 1, "{package}");
            assert_eq!(violations(member("hub", &[package])).len(), 0, "{package}");
        }
    }

    #[test]
    fn plugins_name_the_sdk_and_statistics() {
        let mut plugin = member("plugin-example", &["floorhand-plugin-sdk", "floorhand-statistics"]);
        plugin.place = Place::Plugin;
        assert_eq!(violations(plugin.clone()), Vec::<String>::new());
        plugin.normal.insert("floorhand-tensor".to_owned());
        assert_eq!(violations(plugin).len(), 1);
    }

    #[test]
    fn tests_may_name_everything_and_xtask_what_builds_plugins() {
        let mut case = member("tests", &["floorhand-agent", "floorhand-hub", "wasmtime", "rumqttc"]);
        case.place = Place::Tests;
        assert_eq!(violations(case.clone()), Vec::<String>::new());
        case.place = Place::Xtask;
        assert_eq!(violations(case.clone()).len(), 4);
        case.normal = BTreeSet::from(["floorhand-plugin-build".to_owned()]);
        assert_eq!(violations(case), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_crate_or_folder_is_a_violation() {
        assert_eq!(violations(member("gadget", &[])).len(), 1);
        let mut case = member("gadget", &[]);
        case.place = Place::Unknown;
        assert_eq!(violations(case).len(), 1);
    }
}
