//! ONNX's own test cases, through our loader: each passes or is refused, and which are refused is in the docs.

use crate::apart;
use crate::cases::{Case, Folder, workspace};
use crate::judge::{self, Verdict};
use crate::refusals::Refusals;
use floorhand_tensor::{Datatype, Tensor};
use std::path::PathBuf;

/// Writes the list of refusals instead of comparing it.
const UPDATE: &str = "FLOORHAND_UPDATE";

/// How many roundings of the tensor's largest value an element may be off. ONNX gives all cases the same tolerance,
/// 1e-7 and a thousandth: less than one rounding of a half-precision number, and than those of a sum that comes out
/// near 0.
const ROUNDING: f64 = 8.0;

/// Each case is run twice: what the first sample leaves behind must not change the answer to the second.
const TIMES: usize = 2;

/// Where a function's values near 1 are subtracted from each other what remains is as exact as they are: tract's
/// sigmoid and tanh are off by 4e-7. By test, what is allowed besides.
const CANCELLED: [(&str, f64); 2] = [("test_gru_seq_length", 1e-6), ("test_gru_bidirectional", 1e-6)];

#[test]
fn onnx_node_tests_pass_or_are_refused_as_listed() {
    let Some(folder) = Folder::made_by("node_tests.py", &[]) else {
        return;
    };
    let verdicts = apart::judge_apart(&folder, "node_tests::judges_for_another_process");
    let (mut refusals, mut wrong) = (Refusals::default(), Vec::new());
    for (case, verdict) in folder.cases.iter().zip(verdicts) {
        match verdict {
            Verdict::Equal => refusals.add(case, None),
            Verdict::Refused(reason) => refusals.add(case, Some(&reason)),
            other => wrong.push(format!("{}: {other:?}", case.name)),
        }
    }
    let (text, path) = (refusals.text(), list());
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    eprintln!("{}; {} are wrong", refusals.summary(), wrong.len());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(wrong.is_empty(), "wrong answers:\n{}", wrong.join("\n"));
    assert!(
        committed == text || std::env::var_os(UPDATE).is_some(),
        "{} is not what happens; with {UPDATE}=1 it is written anew:\n{}",
        path.display(),
        difference(&committed, &text)
    );
}

fn list() -> PathBuf {
    workspace().join("docs/onnx-refusals.md")
}

/// Lines that only one of two texts has.
fn difference(old: &str, new: &str) -> String {
    let only = |mark, a: &str, b: &str| {
        let there: std::collections::BTreeSet<&str> = b.lines().collect();
        let lines = a.lines().filter(|line| !there.contains(line));
        lines.map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    only('-', old, new) + &only('+', new, old)
}

#[test]
fn judges_for_another_process() {
    apart::judge_here(|folder, case| {
        let agree = |expected: &Tensor, answer: &Tensor| differs(case, expected, answer);
        judge::whole(case, &folder.model(case), &folder.data(case), TIMES, agree)
    });
}

/// As ONNX's own runner compares: floats within the case's tolerance, NaN equal to NaN; all others equal. What a type
/// can't tell apart at the size of the tensor's values counts as equal besides ([`ROUNDING`]).
fn differs(case: &Case, expected: &Tensor, answer: &Tensor) -> Option<String> {
    if case.random {
        return None;
    }
    if !judge::is_float(expected) {
        return judge::bytes(expected, answer);
    }
    let wanted = expected.to_f64().unwrap();
    let finite = wanted.iter().map(|value| value.abs()).filter(|value| value.is_finite());
    let rounding = ROUNDING * epsilon(expected.datatype()) * finite.fold(0.0, f64::max);
    let cancelled = CANCELLED.iter().filter(|(name, _)| case.name.starts_with(name));
    let least = cancelled.map(|(_, allowed)| *allowed).fold(rounding, f64::max);
    let pairs: Vec<_> = wanted.into_iter().zip(answer.to_f64().unwrap()).collect();
    let apart = |(expected, answer): &&(f64, f64)| {
        let alike = expected == answer || (expected.is_nan() && answer.is_nan());
        let allowed = least.max(case.atol + case.rtol * expected.abs());
        let near = expected.is_finite() && (expected - answer).abs() <= allowed;
        !(alike || near)
    };
    let count = pairs.iter().filter(apart).count();
    let (expected, answer) = pairs.iter().find(apart)?;
    let largest = pairs
        .iter()
        .map(|(expected, answer)| (expected - answer).abs())
        .fold(0.0, f64::max);
    Some(format!(
        "{count} of {} differ, by {largest:.1e} at most; first {answer} instead of {expected}",
        pairs.len()
    ))
}

/// The distance from 1 to the next number.
fn epsilon(datatype: Datatype) -> f64 {
    match datatype {
        Datatype::Fp16 => 2_f64.powi(-10),
        Datatype::Fp32 => f64::from(f32::EPSILON),
        _ => f64::EPSILON,
    }
}
