//! Components that are hard on a compiler: the process of its own that compiles them stays within its limits or is ended,
//! and this one neither grows nor waits for its plugins meanwhile.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod guests;

use floorhand_plugin_host::{CompileLimits, Compiler, Host, HostConfig, HostError, Limits, Processor};
use guests::{CONTEXT, setup, x};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What this process may grow by while another one compiles, in bytes: the component on its way out, and the machine code
/// on its way in, as bytes and as code.
const BUDGET: u64 = 3 * COMPILED_BYTES;

const COMPILED_BYTES: u64 = 32 << 20;

/// One test at a time, from the making of its component on: the kernel counts memory by process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The example program, which cargo builds beside the tests.
fn worker() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let worker = test.parent().unwrap().parent().unwrap().join("examples/compile_worker");
    assert!(worker.exists(), "run through cargo, which builds {}", worker.display());
    worker
}

/// Compiles it in a process that may take two seconds and 256 MiB, while a neighbour answers sample after sample.
fn compile(wasm: &[u8]) -> Result<(), HostError> {
    let config = HostConfig {
        compiler: Compiler::Subprocess {
            exe: worker(),
            args: Vec::new(),
        },
        limits: CompileLimits {
            compiled_bytes: COMPILED_BYTES,
            compile_ms: 2_000,
            compile_memory_bytes: 256 << 20,
            ..CompileLimits::default()
        },
        ..HostConfig::default()
    };
    let host = Host::new(config).unwrap();
    let neighbour = Host::new(HostConfig::default()).unwrap();
    let plugin = neighbour.component(&guests::Processor::default().component()).unwrap();
    let limits = Limits {
        deadline_ms: 1_000,
        ..Limits::default()
    };
    let mut neighbour = Processor::start(&plugin, setup(limits)).unwrap();
    // Forgets the largest resident set so far; a kernel that can't goes on with the old one, and less is noticed.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
    let before = peak_bytes();
    let compiled = thread::scope(|scope| {
        let compiling = scope.spawn(|| host.component(wasm).map(drop));
        let mut value = 0.0;
        while !compiling.is_finished() || value < 5.0 {
            let answer = neighbour.process(&CONTEXT, &[x(&[value])]).unwrap();
            assert_eq!(answer, [x(&[value]).renamed("y")]);
            value += 1.0;
            thread::sleep(Duration::from_millis(2));
        }
        compiling.join().unwrap()
    });
    let grown = peak_bytes().saturating_sub(before);
    assert!(grown < BUDGET, "the process has grown by {grown} bytes");
    compiled
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Either it is compiled within the limits, on a machine that is fast enough, or it is refused for one of them.
fn within_limits(fields: &str, process: &str) {
    let guest = guests::Processor {
        fields,
        process,
        ..Default::default()
    };
    match compile(&guest.component()) {
        Ok(()) | Err(HostError::CompileTimeout { .. } | HostError::Refused(_) | HostError::TooLarge { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

fn refused(wasm: &[u8], expected: &str) {
    match compile(wasm) {
        Err(HostError::Refused(reason)) => assert!(reason.contains(expected), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hundred_thousand_functions() {
    let _alone = alone();
    within_limits(&"(func (param i32) (result i32) local.get 0)".repeat(100_000), "");
}

#[test]
fn a_giant_function() {
    let _alone = alone();
    let body = "(local.set $i (i32.mul (local.get $i) (i32.load (local.get $i))))".repeat(100_000);
    within_limits("", &body);
}

#[test]
fn too_many_locals() {
    let _alone = alone();
    let locals = |count: usize| {
        let guest = guests::Processor {
            fields: &format!("(func {})", "(local i64 f64 v128) ".repeat(count / 3)),
            ..Default::default()
        };
        guest.component()
    };
    assert!(compile(&locals(30_000)).is_ok());
    let text = format!("(component (core module (func {})))", "(local i64) ".repeat(50_001));
    refused(&wat::parse_str(text).unwrap(), "too many locals");
}

#[test]
fn fifty_thousand_types_and_exports() {
    let _alone = alone();
    let function = |k: usize| {
        let parameters: String = (0..16)
            .map(|bit| if k >> bit & 1 == 0 { " i32" } else { " i64" })
            .collect();
        format!("(type (func (param{parameters}))) (func (export \"f{k}\"))")
    };
    let text: String = (0..50_000).map(function).collect();
    match compile(&wat::parse_str(format!("(component (core module {text}))")).unwrap()) {
        Err(HostError::World(_) | HostError::Refused(_) | HostError::CompileTimeout { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// How a component begins.
const HEADER: &[u8; 8] = b"\0asm\x0d\0\x01\0";

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &number(content.len()), content].concat()
}

/// Unsigned, seven bits a byte.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn components_ten_thousand_deep() {
    let _alone = alone();
    let deep = (0..10_000).fold(HEADER.to_vec(), |inner, _| {
        [HEADER.to_vec(), section(4, &inner)].concat()
    });
    match compile(&deep) {
        Err(HostError::Refused(reason)) => assert!(reason.contains("the compiler came to its limits"), "{reason}"),
        // On a slow machine time is up before memory is.
        Err(HostError::CompileTimeout { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn types_ten_thousand_deep() {
    let _alone = alone();
    // A list of lists of lists: each refers to the one before, by a signed number of seven bits a byte.
    let list = |before: usize| {
        [vec![
            0x70,
            before as u8 & 127 | 128,
            (before >> 7) as u8 & 127 | 128,
            (before >> 14) as u8,
        ]]
        .concat()
    };
    let types: Vec<u8> = std::iter::once(vec![0x70, 0x7f])
        .chain((0..9_999).map(list))
        .flatten()
        .collect();
    let content = [number(10_000), types].concat();
    refused(
        &[HEADER.to_vec(), section(7, &content)].concat(),
        "type nesting is too deep",
    );
}
