//! Times calls of an Extism plugin for the bench `plugins`, which starts this program and asks it once a round.
//!
//! A line in is `LIMITS GUEST VALUES CALLS`: whether the plugin runs `as-it-comes` or `limited` to Floorhand's memory and
//! deadline, which export is called, with how many f32, how often. A line out is what that took, in nanoseconds. The plugin
//! is a few lines of WebAssembly text that move bytes the way Extism's kits for plugin authors do: eight at a time, from the
//! input into memory of its own, and from there into the output.

use extism::{Manifest, Plugin, Wasm};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, BufRead as _, Write as _};
use std::time::{Duration, Instant};

/// What Floorhand gives a plugin by default: 16 MiB, in pages.
const MEMORY_PAGES: u32 = 256;

/// And 50 ms for a call.
const DEADLINE: Duration = Duration::from_millis(50);

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Answer<()> {
    let manifest = Manifest::new([Wasm::data(text()?.into_bytes())]);
    let limits = manifest.clone().with_timeout(DEADLINE).with_memory_max(MEMORY_PAGES);
    let mut free = Plugin::new(manifest, [], false)?;
    let mut limited = Plugin::new(limits, [], false)?;
    let mut out = io::stdout().lock();
    writeln!(out, "ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let [limits, guest, values, calls] = words[..] else {
            return Err(format!("expected LIMITS GUEST VALUES CALLS: {line}").into());
        };
        let plugin = if limits == "limited" { &mut limited } else { &mut free };
        let took = time(plugin, guest, values.parse()?, calls.parse()?)?;
        writeln!(out, "{}", took.as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

/// Times calls whose answer, looked at once, is the right one.
fn time(plugin: &mut Plugin, guest: &str, values: u32, calls: u64) -> Answer<Duration> {
    let values: Vec<f32> = (0..values).map(|value| value as f32).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let input = bytes(&values);
    let expected = match guest {
        "echo" => input.clone(),
        _ => bytes(&values.iter().map(|value| (value - 0.5) / 2.0).collect::<Vec<_>>()),
    };
    if plugin.call::<&[u8], Vec<u8>>(guest, &input)? != expected {
        return Err(format!("{guest} answers wrongly to {} values", values.len()).into());
    }
    let started = Instant::now();
    for _ in 0..calls {
        drop(black_box(plugin.call::<&[u8], Vec<u8>>(guest, black_box(&input))?));
    }
    Ok(started.elapsed())
}

/// The plugin: `echo` answers with its input, `standardize` with (x - 0.5) / 2, four values at a time.
fn text() -> Answer<String> {
    let imports = [
        ("input_length", "(result i64)"),
        ("input_load_u64", "(param i64) (result i64)"),
        ("input_load_u8", "(param i64) (result i32)"),
        ("alloc", "(param i64) (result i64)"),
        ("store_u64", "(param i64 i64)"),
        ("store_u8", "(param i64 i32)"),
        ("output_set", "(param i64 i64)"),
    ];
    let mut text = "(module\n".to_owned();
    for (name, signature) in imports {
        writeln!(
            text,
            r#"(import "extism:host/env" "{name}" (func ${name} {signature}))"#
        )?;
    }
    // Room for 602,112 bytes.
    text.push_str("(memory (export \"memory\") 16)\n");
    text.push_str(MOVE);
    text.push_str(EXPORTS);
    text.push(')');
    Ok(text)
}

/// `$load` brings the input to 0 and gives its length, `$store` makes the output of what is there.
const MOVE: &str = r#"
    (func $load (result i32) (local $at i32) (local $length i32)
        (local.set $length (i32.wrap_i64 (call $input_length)))
        (loop $words (if (i32.le_u (i32.add (local.get $at) (i32.const 8)) (local.get $length)) (then
            (i64.store (local.get $at) (call $input_load_u64 (i64.extend_i32_u (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br $words))))
        (loop $bytes (if (i32.lt_u (local.get $at) (local.get $length)) (then
            (i32.store8 (local.get $at) (call $input_load_u8 (i64.extend_i32_u (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $bytes))))
        (local.get $length))
    (func $store (param $length i32) (local $at i32) (local $to i64)
        (local.set $to (call $alloc (i64.extend_i32_u (local.get $length))))
        (loop $words (if (i32.le_u (i32.add (local.get $at) (i32.const 8)) (local.get $length)) (then
            (call $store_u64 (i64.add (local.get $to) (i64.extend_i32_u (local.get $at))) (i64.load (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br $words))))
        (loop $bytes (if (i32.lt_u (local.get $at) (local.get $length)) (then
            (call $store_u8 (i64.add (local.get $to) (i64.extend_i32_u (local.get $at))) (i32.load8_u (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $bytes))))
        (call $output_set (local.get $to) (i64.extend_i32_u (local.get $length))))
"#;

/// What follows the last value in memory is computed along and not looked at.
const EXPORTS: &str = r#"
    (func (export "echo") (result i32) (call $store (call $load)) (i32.const 0))
    (func (export "standardize") (result i32) (local $at i32) (local $length i32)
        (local.set $length (call $load))
        (loop $quads (if (i32.lt_u (local.get $at) (local.get $length)) (then
            (v128.store (local.get $at) (f32x4.div
                (f32x4.sub (v128.load (local.get $at)) (v128.const f32x4 0.5 0.5 0.5 0.5))
                (v128.const f32x4 2 2 2 2)))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br $quads))))
        (call $store (local.get $length))
        (i32.const 0))
"#;
