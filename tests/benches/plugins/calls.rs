//! A warm call, beside the same arithmetic without sandbox, bare Wasmtime, and Extism.

use crate::bare::{Bare, our_config};
use crate::extism::Extism;
use crate::guests::CONTEXT;
use crate::plugins::{component, host, input, start};
use crate::rounds::{Contender, Times, race};
use crate::table;
use anyhow::{Result, ensure};
use floorhand_plugin_host::{Context, Limits, Processor};
use floorhand_statistics::scaling;
use floorhand_tensor::Tensor;
use wasmtime::Config;

/// Values of one call: the largest is a picture of 224 x 224 in three colours.
const VALUES: [usize; 5] = [1, 64, 640, 4096, 150_528];

/// What batches are made of: samples, and values of each.
const BATCH: (usize, usize) = (64, 64);

const NATIVE: &str = "native";
const HOST: &str = "`Processor::process`";
const BARE: &str = "bare Wasmtime, as it comes";
const BOUNDED: &str = "bare Wasmtime, our configuration";
const EXTISM: &str = "Extism, as it comes";
const LIMITED: &str = "Extism, limited";

/// Prints the section.
pub(crate) fn print() -> Result<()> {
    table::heading("Calls");
    let extism = Extism::start_or_skip()?;
    let mut lines = Vec::new();
    for name in ["echo", "standardize"] {
        let mut sides = Sides::start(name)?;
        for values in VALUES {
            lines.push((
                format!("`{name}`, {} f32", table::grouped(values as u64)),
                sides.race(values, extism.as_ref())?,
            ));
        }
    }
    let all = [NATIVE, HOST, BARE, BOUNDED, EXTISM, LIMITED];
    table::head(&[&["call"], all.as_slice()].concat());
    for (name, times) in &lines {
        let cells = all.iter().map(|side| table::time_or_dash(times.median(side)));
        table::row(&std::iter::once(name.clone()).chain(cells).collect::<Vec<_>>());
    }
    println!("\n`Processor::process` as a multiple of each:\n");
    let others = [NATIVE, BARE, BOUNDED, EXTISM, LIMITED];
    table::head(&[&["call"], others.as_slice()].concat());
    for (name, times) in &lines {
        let cells = others.iter().map(|side| table::ratio(times.ratio(HOST, side)));
        table::row(&std::iter::once(name.clone()).chain(cells).collect::<Vec<_>>());
    }
    batches()
}

/// Everything in this process that runs one component, or does without.
struct Sides {
    name: &'static str,
    processor: Processor,
    bare: Bare,
    bounded: Bare,
}

impl Sides {
    fn start(name: &'static str) -> Result<Self> {
        let wasm = component(name)?;
        Ok(Self {
            name,
            processor: start(&host()?.component(&wasm)?, Limits::default())?,
            bare: Bare::start(&Config::new(), &wasm)?,
            bounded: Bare::start(&our_config(), &wasm)?,
        })
    }

    fn race(&mut self, values: usize, extism: Option<&Extism>) -> Result<Times> {
        let name = self.name;
        let input = input(name, values)?;
        let expected = native(name, &input);
        let answer = self.processor.process(&CONTEXT, &[&input])?;
        ensure!(answer == [expected], "{name} answers wrongly to {values} values");
        let mut contenders = vec![
            Contender::new(NATIVE, || native(name, &input)),
            Contender::new(HOST, || self.processor.process(&CONTEXT, &[&input]).unwrap()),
            Contender::new(BARE, || self.bare.call(&input)),
            Contender::new(BOUNDED, || self.bounded.call(&input)),
        ];
        if let Some(extism) = extism {
            for (side, limits) in [(EXTISM, "as-it-comes"), (LIMITED, "limited")] {
                contenders.push(Contender::timed(side, move |calls| {
                    extism.time(limits, name, values, calls)
                }));
            }
        }
        race(contenders)
    }
}

/// The same without sandbox: a new tensor, and for `standardize` the plugin's own arithmetic over it.
fn native(name: &str, input: &Tensor) -> Tensor {
    let mut data = input.data().to_vec();
    if name == "standardize" {
        scaling::standardize(data.as_chunks_mut().0, 0.5, 2.0);
    }
    Tensor::new("y", input.datatype(), input.shape().to_vec(), data).unwrap()
}

/// Prints what a batch is worth.
fn batches() -> Result<()> {
    let (samples, values) = BATCH;
    println!("\n{samples} samples of {values} f32:\n");
    table::head(&["plugin", "a call each", "one call", "one call, of a call each"]);
    for name in ["echo", "standardize"] {
        let plugin = host()?.component(&component(name)?)?;
        let (mut each, mut once) = (start(&plugin, Limits::default())?, start(&plugin, Limits::default())?);
        let one = input(name, values)?;
        let shape = [&[samples as u64], one.shape()].concat();
        let batch = Tensor::new("x", one.datatype(), shape, one.data().repeat(samples))?;
        let contexts: Vec<Context> = (0..samples as u64)
            .map(|sequence| Context { sequence, ..CONTEXT })
            .collect();
        let times = race(vec![
            Contender::new("each", || {
                contexts
                    .iter()
                    .for_each(|context| drop(each.process(context, &[&one]).unwrap()));
            }),
            Contender::new("once", || once.process_batch(&contexts, &[&batch]).unwrap()),
        ])?;
        table::row(&[
            format!("`{name}`"),
            table::time_or_dash(times.median("each")),
            table::time_or_dash(times.median("once")),
            table::ratio(times.ratio("once", "each")),
        ]);
    }
    Ok(())
}
