//! The native baseline of `floorhand plugin bench`: the calls of a case file without WebAssembly around them.
//!
//! `floorhand plugin bench` runs the example `native` of a plugin's crate, if there is one, in the release profile and with
//! the case file as its argument, and shows its times beside the component's. In a workspace of several plugins, whose
//! examples need names of their own, it may be called `<plugin>-native`. It is
//!
//! ```no_run
//! # use floorhand_plugin_sdk::{Assets, Context, Error, Processor, Signature, Tensor};
//! # struct MyFilter;
//! # impl Processor for MyFilter {
//! #     type Config = std::collections::BTreeMap<String, String>;
//! #     fn configure(_: Self::Config, _: &Assets) -> Result<Self, Error> { Ok(Self) }
//! #     fn signature(&self) -> Signature { Signature { inputs: vec![], outputs: vec![], state_bytes: 0 } }
//! #     fn process(&mut self, _: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> { Ok(inputs) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     floorhand_plugin_sdk::testing::bench::processor::<MyFilter>()
//! }
//! ```
//!
//! Each call is timed by itself and gets a copy of its inputs that was made before. What the plugin says to its host is
//! dropped. Times are of this machine and nobody's promise.

use super::{cases, mute};
use crate::{Context, Decoder, Monitor, Processor, decoder, monitor, processor};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// How long calls are made.
const TIME: Duration = Duration::from_secs(1);

/// Calls whose times are kept: 8 MB of them.
const MAX_CALLS: usize = 1_000_000;

/// Of single calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    median_ns: u64,
    p99_ns: u64,
}

/// Times a processor's calls, and prints `{"median_ns": N, "p99_ns": N}`.
#[must_use]
pub fn processor<P: Processor>() -> ExitCode {
    run(processor_times::<P>)
}

/// Times a monitor's calls, and prints `{"median_ns": N, "p99_ns": N}`.
#[must_use]
pub fn monitor<P: Monitor>() -> ExitCode {
    run(monitor_times::<P>)
}

/// Times a decoder's calls, and prints `{"median_ns": N, "p99_ns": N}`.
#[must_use]
pub fn decoder<P: Decoder>() -> ExitCode {
    run(decoder_times::<P>)
}

fn run(times: impl FnOnce(&Path, Duration) -> Result<Times, String>) -> ExitCode {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let file = file.ok_or_else(|| "no file of cases: give one of tests/cases/*.jsonl as the argument".to_owned());
    mute(true);
    let written = file.and_then(|file| times(&file, TIME)).and_then(|times| {
        let Times { median_ns, p99_ns } = times;
        let line = format!("{{\"median_ns\": {median_ns}, \"p99_ns\": {p99_ns}}}");
        writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            // Nobody may be reading any more.
            let _ = writeln!(std::io::stderr(), "native baseline: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn processor_times<P: Processor>(file: &Path, time: Duration) -> Result<Times, String> {
    let file = cases::read(file);
    let mut plugin = processor::Instance::<P>::new();
    let signature = plugin.configure(&file.config, file.assets);
    let signature = signature.map_err(|error| error.message().to_owned())?;
    let inputs = file.cases.iter().map(|case| cases::inputs_of(&signature, case));
    let contexts = (0..)
        .zip(&file.cases)
        .map(|(sequence, case)| cases::context_of(sequence, case));
    let calls: Result<Vec<_>, _> = contexts.zip(inputs).map(with_inputs).collect();
    measure(calls?, time, later, |(context, inputs)| {
        drop(plugin.process(context, inputs))
    })
}

fn monitor_times<P: Monitor>(file: &Path, time: Duration) -> Result<Times, String> {
    let file = cases::read(file);
    let mut plugin = monitor::Instance::<P>::new();
    let subscription = plugin.configure(&file.config, file.assets);
    let subscription = subscription.map_err(|error| error.message().to_owned())?;
    let tensors = file.cases.iter().map(|case| cases::tensors_of(&subscription, case));
    let contexts = (0..)
        .zip(&file.cases)
        .map(|(sequence, case)| cases::context_of(sequence, case));
    let calls: Result<Vec<_>, _> = contexts.zip(tensors).map(with_inputs).collect();
    measure(calls?, time, later, |(context, tensors)| {
        drop(plugin.observe(context, tensors))
    })
}

fn decoder_times<P: Decoder>(file: &Path, time: Duration) -> Result<Times, String> {
    let file = cases::read(file);
    let mut plugin = decoder::Instance::<P>::new();
    let production = plugin.configure(&file.config, file.assets);
    production.map_err(|error| error.message().to_owned())?;
    let messages: Vec<_> = file.cases.iter().map(cases::message_of_case).collect();
    measure(messages, time, |_, _| {}, |message| drop(plugin.decode(message)))
}

fn with_inputs<I>((context, inputs): (Context, Result<I, String>)) -> Result<(Context, I), String> {
    Ok((context, inputs?))
}

/// A sample comes again as one that is so many samples later.
fn later<I>((context, _): &mut (Context, I), count: u64) {
    context.sequence += count;
    context.time_ns = context.time_ns.saturating_add(count * 1_000_000_000);
}

/// Goes through the calls until the time is up.
fn measure<C: Clone>(
    mut calls: Vec<C>,
    time: Duration,
    later: impl Fn(&mut C, u64),
    mut call: impl FnMut(C),
) -> Result<Times, String> {
    if calls.is_empty() {
        return Err("the file has no cases".into());
    }
    let count = calls.len() as u64;
    let mut times = Vec::new();
    // Once around to warm up.
    calls.iter().cloned().for_each(&mut call);
    let started = Instant::now();
    while times.is_empty() || (started.elapsed() < time && times.len() < MAX_CALLS) {
        for one in &mut calls {
            later(one, count);
            let copy = one.clone();
            let begun = Instant::now();
            call(copy);
            times.push(begun.elapsed().as_nanos() as u64);
        }
    }
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    Ok(Times {
        median_ns: at(0.5).unwrap_or_default(),
        p99_ns: at(0.99).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Assets, Datatype, Error, Signature, Tensor, TensorSpec, host, take, testing::take_recorded};

    /// Counts its calls in a gauge.
    struct Counting {
        calls: u32,
    }

    impl Processor for Counting {
        type Config = std::collections::BTreeMap<String, String>;

        fn configure(_config: Self::Config, _assets: &Assets) -> Result<Self, Error> {
            Ok(Self { calls: 0 })
        }

        fn signature(&self) -> Signature {
            let spec = TensorSpec::new("x", Datatype::Fp32, vec![-1]);
            Signature {
                inputs: vec![spec.clone()],
                outputs: vec![spec],
                state_bytes: 0,
            }
        }

        fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
            self.calls += 1;
            host::gauge("calls", self.calls.into());
            host::gauge("sequence", context.sequence as f64);
            Ok(vec![take(inputs, "x")?])
        }
    }

    #[test]
    fn calls_are_made_over_and_over_each_later_than_before() {
        let path = std::env::temp_dir().join(format!("floorhand-bench-{}.jsonl", std::process::id()));
        let cases = "{\"config\": {}}\n{\"input\": {\"x\": [1]}}\n{\"input\": {\"x\": [2, 3]}}\n";
        std::fs::write(&path, cases).unwrap();
        // The warm-up and one round.
        let times = processor_times::<Counting>(&path, Duration::ZERO).unwrap();
        assert!(times.median_ns <= times.p99_ns);
        let gauges = take_recorded().gauges;
        assert_eq!((gauges["calls"], gauges["sequence"]), (4.0, 3.0));
        mute(true);
        processor_times::<Counting>(&path, Duration::ZERO).unwrap();
        mute(false);
        assert!(take_recorded().gauges.is_empty());
        std::fs::remove_file(&path).unwrap();
    }
}
