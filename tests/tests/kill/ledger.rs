//! The books: what the device says is durable, held against what the hub has.

use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Hub, PATIENCE, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Records of a page of the hub's.
const PAGE: usize = 1000;

/// Records of one device at the hub, by the boot that made them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Sequence numbers that the hub has a row of.
    rows: BTreeMap<u64, BTreeSet<u64>>,
    /// Sequence numbers that were declared as lost.
    gaps: BTreeMap<u64, BTreeSet<u64>>,
    read_until: u64,
}

/// What all the books say together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) boots: usize,
    pub(crate) numbered: u64,
    pub(crate) rows: u64,
    pub(crate) gaps: u64,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            boots,
            numbered,
            rows,
            gaps,
        } = self;
        write!(
            f,
            "{numbered} records of {boots} boots: {rows} at the hub, {gaps} declared as gaps"
        )
    }
}

impl Ledger {
    /// Waits until every number that an earlier boot has given is at the hub or declared lost, and that of all those which
    /// were said to be durable.
    pub(crate) fn settle(&mut self, hub: &Hub, device: &str, log: &str, current: &str) -> Result<Sum> {
        let (durable, current) = (durable(log), u64::from_str_radix(current, 16)?);
        wait_for("every record at the hub", PATIENCE, || {
            self.read(hub, device)?;
            Ok(self.missing(&durable, current).is_none().then_some(()))
        })
        .with_context(|| format!("missing: {:?}", self.missing(&durable, current)))?;
        for (boot, rows) in &self.rows {
            let twice = self.gaps.get(boot).and_then(|gaps| gaps.intersection(rows).next());
            ensure!(twice.is_none(), "{boot} has both a record and a gap of {twice:?}");
        }
        Ok(self.sum())
    }

    /// A number of a boot that is over, up to the last known one, of which there is nothing.
    fn missing(&self, durable: &BTreeMap<u64, u64>, current: u64) -> Option<(u64, u64)> {
        let boots: BTreeSet<u64> = durable.keys().chain(self.rows.keys()).copied().collect();
        for boot in boots.into_iter().filter(|boot| *boot != current) {
            let (none, told) = (BTreeSet::new(), durable.get(&boot).copied().unwrap_or(1));
            let (rows, gaps) = (
                self.rows.get(&boot).unwrap_or(&none),
                self.gaps.get(&boot).unwrap_or(&none),
            );
            let last = rows.last().max(gaps.last()).copied().unwrap_or(0).max(told - 1);
            if let Some(number) = (1..=last).find(|number| !rows.contains(number) && !gaps.contains(number)) {
                return Some((boot, number));
            }
        }
        None
    }

    fn sum(&self) -> Sum {
        let count = |books: &BTreeMap<u64, BTreeSet<u64>>| books.values().map(|numbers| numbers.len() as u64).sum();
        let (rows, gaps) = (count(&self.rows), count(&self.gaps));
        Sum {
            boots: self.rows.len(),
            numbered: rows + gaps,
            rows,
            gaps,
        }
    }

    fn read(&mut self, hub: &Hub, device: &str) -> Result<()> {
        loop {
            let query = format!("device={device}&limit={PAGE}&after={}", self.read_until);
            let page = get(hub, &format!("/api/v1/records?{query}"))?;
            let records = page
                .get("records")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            for record in &records {
                let (boot, number) = (boot_of(record)?, record["seq"].as_u64().unwrap_or(0));
                let rows = self.rows.entry(boot).or_default();
                ensure!(rows.insert(number), "the hub has {number} of {boot} twice");
            }
            self.read_until = page.get("next").and_then(Value::as_u64).unwrap_or(self.read_until);
            if records.len() < PAGE {
                break;
            }
        }
        let gaps = get(hub, &format!("/api/v1/gaps?device={device}&limit={PAGE}"))?;
        for gap in gaps.as_array().into_iter().flatten() {
            let number = |name: &str| gap[name].as_u64().unwrap_or(0);
            ensure!(
                number("lost") == number("last") - number("first") + 1,
                "a joined gap says too little for these books: {gap}"
            );
            let gaps = self.gaps.entry(boot_of(gap)?).or_default();
            gaps.extend(number("first")..=number("last"));
        }
        Ok(())
    }
}

/// The boot of a row, which the hub writes in decimal digits since JSON's numbers end earlier.
fn boot_of(row: &Value) -> Result<u64> {
    let text = row["boot_id"].as_str().unwrap_or_default();
    text.parse().with_context(|| format!("no boot in {row}"))
}

/// For each boot the first number that the device hasn't said to be durable, by its log.
fn durable(log: &str) -> BTreeMap<u64, u64> {
    let mut durable = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("reports are durable")) {
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}="))?;
            rest.split_whitespace().next().map(|value| value.trim_matches('"'))
        };
        let boot = field("boot_id").and_then(|boot| u64::from_str_radix(boot, 16).ok());
        if let (Some(boot), Some(until)) = (boot, field("until").and_then(|until| until.parse().ok())) {
            durable.insert(boot, until);
        }
    }
    durable
}

fn get(hub: &Hub, path: &str) -> Result<Value> {
    let address = hub.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the hub gave no answer")?;
    serde_json::from_str(body).with_context(|| format!("{path}: {answer}"))
}
