//! How often a tensor's bytes are copied on their way through a plugin.
//!
//! Two memories that don't see each other need one copy in and one copy out; that is the least this interface allows. A
//! third one would show in time: that of a byte through `echo`, which touches no value, stands beside that of two copies.
//! One inside the plugin would show in the memory that it needs, too; that the host makes none is held by a test that counts
//! its allocations (crates/plugin-host/tests/copies.rs).

use crate::guests::CONTEXT;
use crate::plugins::{component, host, input, start};
use crate::rounds::{Contender, Times, median, race};
use crate::table;
use anyhow::{Result, ensure};
use floorhand_plugin_host::{CompiledPlugin, Limits};

/// Values of a short and of a long call: what the long one takes more is for its bytes.
const SHORT: usize = 4096;
const LONG: usize = 150_528;

/// Linear memory grows by so much.
const PAGE_BYTES: u64 = 64 << 10;

/// Prints the section.
pub(crate) fn print() -> Result<()> {
    table::heading("Copies of a tensor's bytes");
    println!(
        "Slopes between {} and {} f32.\n",
        table::grouped(SHORT as u64),
        table::grouped(LONG as u64)
    );
    table::head(&[
        "plugin",
        "plugin's memory for a byte",
        "time of a byte",
        "of that of two copies",
    ]);
    for name in ["echo", "standardize"] {
        let plugin = host()?.component(&component(name)?)?;
        let pages = least_pages(name, &plugin, LONG)?.saturating_sub(least_pages(name, &plugin, SHORT)?);
        let bytes = ((LONG - SHORT) * 4) as f64;
        let times = times(name, &plugin)?;
        let slope = |short: &str, long: &str| slopes(&times, short, long);
        let (ours, copies) = (slope("short", "long"), slope("short copies", "long copies"));
        let ratios: Vec<f64> = ours.iter().zip(&copies).map(|(ours, copies)| ours / copies).collect();
        table::row(&[
            format!("`{name}`"),
            table::digits((pages * PAGE_BYTES) as f64 / bytes),
            format!("{} ns", table::digits(median(ours) / bytes)),
            table::ratio(Some(median(ratios))),
        ]);
    }
    Ok(())
}

/// The least memory limit, in pages, under which such a call gets its answer.
pub(crate) fn least_pages(name: &str, plugin: &CompiledPlugin, values: usize) -> Result<u64> {
    let input = input(name, values)?;
    let fits = |pages: u64| {
        let limits = Limits {
            memory_bytes: pages * PAGE_BYTES,
            ..Limits::default()
        };
        let started = start(plugin, limits);
        started.is_ok_and(|mut processor| processor.process(&CONTEXT, &[&input]).is_ok())
    };
    let (mut low, mut high) = (1, Limits::default().memory_bytes / PAGE_BYTES);
    ensure!(fits(high), "{name} takes no {values} values within the default limits");
    while low < high {
        let page = low.midpoint(high);
        if fits(page) {
            high = page;
        } else {
            low = page + 1;
        }
    }
    Ok(high)
}

/// Times short and long calls, and the copies that they can't do without: into memory that is there, as the plugin's is,
/// and from there into new memory.
fn times(name: &str, plugin: &CompiledPlugin) -> Result<Times> {
    let (short, long) = (input(name, SHORT)?, input(name, LONG)?);
    let (mut first, mut second) = (start(plugin, Limits::default())?, start(plugin, Limits::default())?);
    let (mut room, mut wide_room) = (vec![0; short.data().len()], vec![0; long.data().len()]);
    race(vec![
        Contender::new("short", || first.process(&CONTEXT, &[&short]).unwrap()),
        Contender::new("long", || second.process(&CONTEXT, &[&long]).unwrap()),
        Contender::new("short copies", || copy_twice(short.data(), &mut room)),
        Contender::new("long copies", || copy_twice(long.data(), &mut wide_room)),
    ])
}

fn copy_twice(from: &[u8], room: &mut [u8]) -> Vec<u8> {
    room.copy_from_slice(std::hint::black_box(from));
    std::hint::black_box(&*room).to_vec()
}

/// What the long one takes more, by round.
fn slopes(times: &Times, short: &str, long: &str) -> Vec<f64> {
    let (short, long) = (times.of(short).unwrap_or_default(), times.of(long).unwrap_or_default());
    short.iter().zip(long).map(|(short, long)| long - short).collect()
}
