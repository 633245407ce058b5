//! What plugins cost: the tables of docs/benchmarks.md's section on them, in one run, as Markdown.
//!
//! Sections: `calls`, `copies`, `compile`, `memory`, `agent`, `sizes`, `neighbour`; all of them, or those that are named
//! (`cargo bench --workspace --bench plugins -- calls sizes`). What stands beside each other in a table is measured in turns,
//! round after round, so that a busy machine hits all alike; figures are medians of the rounds, and a ratio is the median of
//! the rounds' ratios. Nothing is asserted about speed.
//!
//! Two sections need something that is built before, and say so where it isn't: `agent` the program
//! (`cargo build --release --bins`), and `calls` Extism, which is no part of this workspace (tests/benches/extism).
//!
//! This program also starts itself: as a compiler within limits, as the agent does it, and as a process whose memory holds
//! nothing but instances of a plugin.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic and tell")]

mod agent;
mod bare;
mod beside;
mod calls;
mod compile;
mod copies;
mod extism;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../../crates/plugin-host/tests/guests/mod.rs"]
mod guests;
mod memory;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../../crates/pipeline/tests/hostile/neighbour.rs"]
mod neighbour;
mod plugins;
mod rounds;
mod table;

use anyhow::{Result, ensure};
use std::process::ExitCode;

/// A section's name, and what prints it.
type Section = (&'static str, fn() -> Result<()>);

const SECTIONS: [Section; 7] = [
    ("calls", calls::print),
    ("copies", copies::print),
    ("compile", compile::print),
    ("memory", memory::print),
    ("agent", agent::print),
    ("sizes", plugins::print_sizes),
    ("neighbour", beside::print),
];

fn main() -> Result<ExitCode> {
    // Cargo's own arguments begin with dashes, too, and stand last.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [compile::WORKER, ..] => Ok(floorhand_plugin_host::compile_worker()),
        [memory::CHILD, cache, component, count, ..] => memory::child(cache, component, count.parse()?),
        all => {
            let named: Vec<&str> = all.iter().copied().filter(|word| !word.starts_with('-')).collect();
            sections(&named)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints these sections, or all if none is named.
fn sections(named: &[&str]) -> Result<()> {
    let known = SECTIONS.map(|(name, _)| name);
    for name in named {
        ensure!(
            known.contains(name),
            "no section {name}: there are {}",
            known.join(", ")
        );
    }
    for (name, print) in SECTIONS {
        if named.is_empty() || named.contains(&name) {
            print()?;
        }
    }
    Ok(())
}
