//! The cache, and the compiling process.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod guests;

use floorhand_plugin_host::{
    CacheConfig, CompileLimits, Compiler, Host, HostConfig, HostError, Limits, Processor, Stats,
};
use guests::{CONTEXT, setup, x};
use std::path::{Path, PathBuf};

fn cached(dir: &Path) -> HostConfig {
    let cache = CacheConfig {
        dir: dir.join("cache"),
        key: [3; 32],
        max_bytes: 16 << 20,
    };
    HostConfig {
        cache: Some(cache),
        ..HostConfig::default()
    }
}

fn works(host: &Host) {
    let plugin = host.component(&guests::Processor::default().component()).unwrap();
    let mut processor = Processor::start(&plugin, setup(Limits::default())).unwrap();
    assert_eq!(processor.process(&CONTEXT, &[x(&[1.0])]).unwrap().len(), 1);
}

/// The example program, which cargo builds beside the tests.
fn worker() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let worker = test.parent().unwrap().parent().unwrap().join("examples/compile_worker");
    assert!(worker.exists(), "run through cargo, which builds {}", worker.display());
    worker
}

fn subprocess(exe: PathBuf, args: &[&str], limits: CompileLimits) -> HostConfig {
    let args = args.iter().map(Into::into).collect();
    HostConfig {
        compiler: Compiler::Subprocess { exe, args },
        limits,
        ..HostConfig::default()
    }
}

fn refused(config: HostConfig) -> HostError {
    Host::new(config)
        .unwrap()
        .component(&guests::Processor::default().component())
        .unwrap_err()
}

#[test]
fn a_second_load_comes_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(cached(dir.path())).unwrap();
    works(&host);
    works(&host);
    assert_eq!(
        host.stats(),
        Stats {
            compiled: 1,
            cache_hits: 1,
            ..Stats::default()
        }
    );
    let after_restart = Host::new(cached(dir.path())).unwrap();
    works(&after_restart);
    assert_eq!(
        after_restart.stats(),
        Stats {
            cache_hits: 1,
            ..Stats::default()
        }
    );
}

#[test]
fn a_tampered_file_is_rejected_and_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    works(&Host::new(cached(dir.path())).unwrap());
    let file = std::fs::read_dir(dir.path().join("cache"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let genuine = std::fs::read(&file).unwrap();
    for at in [0, 32, genuine.len() / 2, genuine.len() - 1] {
        let mut tampered = genuine.clone();
        tampered[at] ^= 1;
        std::fs::write(&file, tampered).unwrap();
        let host = Host::new(cached(dir.path())).unwrap();
        works(&host);
        assert_eq!(
            host.stats(),
            Stats {
                compiled: 1,
                cache_rejected: 1,
                ..Stats::default()
            }
        );
    }
    assert_eq!(std::fs::read(&file).unwrap().len(), genuine.len(), "rebuilt");
}

#[test]
fn a_component_that_is_in_use_is_loaded_once() {
    let host = Host::new(HostConfig::default()).unwrap();
    let wasm = guests::Processor::default().component();
    let first = host.component(&wasm).unwrap();
    let second = host.component(&wasm).unwrap();
    let once = Stats {
        compiled: 1,
        shared: 1,
        ..Stats::default()
    };
    assert_eq!(host.stats(), once);
    drop((first, second));
    host.component(&wasm).unwrap();
    assert_eq!(host.stats(), Stats { compiled: 2, ..once }, "nobody had it any more");
}

#[test]
fn a_cache_that_cannot_be_used_costs_only_time() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cache"), "in the way").unwrap();
    let host = Host::new(cached(dir.path())).unwrap();
    works(&host);
    assert_eq!(host.stats().compiled, 1);
    assert!(host.stats().cache_errors > 0);
}

#[test]
fn a_process_of_its_own_compiles() {
    let host = Host::new(subprocess(worker(), &[], CompileLimits::default())).unwrap();
    works(&host);
    assert_eq!(host.stats().compiled, 1);
    let mut broken = guests::Processor::default().component();
    broken.truncate(broken.len() / 2);
    match host.component(&broken).unwrap_err() {
        HostError::Refused(reason) => assert!(!reason.contains("signal"), "the worker says why: {reason}"),
        other => panic!("{other}"),
    }
}

fn too_large(error: &HostError, expected: &str, limit: u64) {
    let right = matches!(error, HostError::TooLarge { what, max } if *what == expected && *max == limit);
    assert!(right, "{error}");
}

#[test]
fn a_compilation_over_its_limits_is_ended() {
    let slow = CompileLimits {
        compile_ms: 200,
        ..CompileLimits::default()
    };
    let error = refused(subprocess("/bin/sleep".into(), &["60"], slow));
    assert!(matches!(error, HostError::CompileTimeout { limit_ms: 200 }), "{error}");
    let little = CompileLimits {
        compile_memory_bytes: 4 << 20,
        ..CompileLimits::default()
    };
    let error = refused(subprocess(worker(), &[], little));
    assert!(matches!(error, HostError::Refused(_)), "{error}");
    let small = CompileLimits {
        compiled_bytes: 1000,
        ..CompileLimits::default()
    };
    let error = refused(subprocess(worker(), &[], small.clone()));
    too_large(&error, "machine code", 1000);
    let error = refused(HostConfig {
        limits: small,
        ..HostConfig::default()
    });
    too_large(&error, "machine code", 1000);
    let endless = CompileLimits {
        compiled_bytes: 1 << 20,
        ..CompileLimits::default()
    };
    let error = refused(subprocess("/usr/bin/yes".into(), &[], endless));
    too_large(&error, "machine code", 1 << 20);
    let tiny = CompileLimits {
        component_bytes: 100,
        ..CompileLimits::default()
    };
    let error = refused(HostConfig {
        limits: tiny,
        ..HostConfig::default()
    });
    too_large(&error, "component", 100);
    let error = refused(subprocess("/nowhere".into(), &[], CompileLimits::default()));
    assert!(matches!(error, HostError::Worker { operation: "start", .. }), "{error}");
}
