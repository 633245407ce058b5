//! A worker's answers, and each of its limits.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use floorhand_worker::{Limits, Program, WorkerError, run};
use std::path::PathBuf;

/// The example program, which cargo builds beside the tests.
fn worker() -> Program {
    let test = std::env::current_exe().unwrap();
    let exe = test.parent().unwrap().parent().unwrap().join("examples/worker");
    assert!(exe.exists(), "run through cargo, which builds {}", exe.display());
    Program { exe, args: vec![] }
}

fn limits() -> Limits {
    Limits {
        memory_bytes: 256 << 20,
        time_ms: 60_000,
        answer_bytes: 1000,
    }
}

fn answer(limits: &Limits, input: &[&[u8]]) -> Result<Vec<u8>, WorkerError> {
    run(&worker(), b"fhexampl", limits, input)
}

#[test]
fn parts_of_the_input_are_one_behind_the_other() {
    assert_eq!(answer(&limits(), &[b"ab", b"", b"c"]).unwrap(), b"cba");
}

#[test]
fn what_is_refused_is_told_in_its_own_words() {
    let error = answer(&limits(), &[b"refuse"]).unwrap_err();
    assert!(matches!(error, WorkerError::Refused(_)), "{error}");
    assert_eq!(error.to_string(), "this is refused,\nand more is said");
    let error = run(&worker(), b"anything", &limits(), &[b"abc"]).unwrap_err();
    assert_eq!(error.to_string(), "this command is for the program's own use");
}

#[test]
fn memory_ends_it() {
    let error = answer(&limits(), &[b"memory"]).unwrap_err();
    let told = error.to_string();
    assert!(
        matches!(error, WorkerError::Ended { .. }) && told.contains("memory allocation"),
        "{told}"
    );
    let enough = Limits {
        memory_bytes: 4 << 30,
        ..limits()
    };
    assert_eq!(
        answer(&enough, &[b"memory"]).unwrap_err().to_string(),
        "had 1073741824 bytes"
    );
}

#[test]
fn time_ends_it() {
    let short = Limits {
        time_ms: 100,
        ..limits()
    };
    let error = answer(&short, &[b"time"]).unwrap_err();
    assert!(matches!(error, WorkerError::Timeout { limit_ms: 100 }), "{error}");
}

/// The soft limit comes first: its end isn't the one of a process that the system has no memory for.
#[test]
fn cpu_time_has_an_end_of_its_own() {
    let seconds = answer(&limits(), &[b"seconds"]).unwrap();
    assert_eq!(String::from_utf8(seconds).unwrap(), "Some(60) Some(65)");
}

#[test]
fn what_the_system_ends_is_told_as_that() {
    let error = answer(&limits(), &[b"killed"]).unwrap_err();
    assert!(matches!(error, WorkerError::Killed { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("the system ended it (signal: 9 (SIGKILL)"),
        "{error}"
    );
}

#[test]
fn it_goes_before_its_parent_where_memory_is_used_up() {
    assert_eq!(answer(&limits(), &[b"score"]).unwrap(), b"1000\n");
}

#[test]
fn a_long_answer_is_not_taken() {
    let error = answer(&limits(), &[b"much"]).unwrap_err();
    assert!(matches!(error, WorkerError::AnswerTooLarge { max: 1000 }), "{error}");
}

#[test]
fn an_end_without_a_word_is_told() {
    let error = answer(&limits(), &[b"exit"]).unwrap_err();
    assert!(
        matches!(&error, WorkerError::Ended { status, .. } if status.code() == Some(7)),
        "{error}"
    );
    let nowhere = Program {
        exe: PathBuf::from("/nowhere"),
        args: vec![],
    };
    let error = run(&nowhere, b"fhexampl", &limits(), &[]).unwrap_err();
    assert!(
        matches!(error, WorkerError::Process { operation: "start", .. }),
        "{error}"
    );
}

#[test]
fn a_worker_knows_what_it_took() {
    let peak = answer(&limits(), &[b"peak"]).unwrap();
    let peak = u64::from_le_bytes(peak.try_into().unwrap());
    assert!((100 << 10..256 << 20).contains(&peak), "{peak}");
}
