//! The lives of a device and their ends.

use crate::HITS_OF_EACH_STEP;
use crate::ledger::{Ledger, Sum};
use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Agent, Hub, PATIENCE, Site, say, wait_for, workspace};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DEVICE: &str = "press-1";
/// A device that is only ever started for the first time.
const NEWCOMER: &str = "press-2";
/// Bundles that pass their trial, in turn. More than a device keeps, so that each is fetched again.
const GOOD: u64 = 4;
/// The version of the one that doesn't.
const BAD: u64 = 5;
/// Every so many deployments it is the bad one's turn.
const BAD_EVERY: u64 = 5;
/// A life that doesn't come to the step where it shall end is ended after this.
const LIFE: Duration = Duration::from_secs(6);
/// The latest random moment after a start, and after the device has shown that it serves.
const EARLY_MS: u64 = 700;
const LATE_MS: u64 = 1500;
/// Deployments by which it is learnt which steps there are.
const DEPLOYMENTS: u64 = 4;
/// Steps of telemetry come often in a life; a later one is as good as the first.
const OFTEN: u64 = 12;
/// Some ten chunks: a component that is written in pieces.
const CARD_BYTES: usize = 200 << 10;

/// A site with a device on which it storms.
pub(crate) struct Storm {
    site: Site,
    hub: Hub,
    agent: Agent,
    newcomer: Agent,
    steps: PathBuf,
    random: u64,
    deployed: u64,
    kills: usize,
    at_random: usize,
    checked: usize,
    /// Kills by the step that they hit.
    hits: BTreeMap<String, usize>,
    /// How often each step comes in a deployment.
    often: BTreeMap<String, u64>,
    /// How often it was tried to hit each.
    aims: BTreeMap<String, usize>,
    /// The first steps of a device's first life, which come in no other.
    first: Vec<String>,
    ledger: Ledger,
    sum: Sum,
    seen: Seen,
}

/// What the device has said, and may not take back.
#[derive(Debug, Clone, Default)]
struct Seen {
    committed: bool,
    seq: u64,
    floor: u64,
    clock_ms: u64,
}

impl Storm {
    /// A device that serves its first bundle, and a hub.
    pub(crate) fn begin(seed: u64) -> Result<Self> {
        let site = Site::new()?;
        let hub = site.start_hub_alone()?;
        let (agent, newcomer) = (device(&site, &hub, DEVICE)?, device(&site, &hub, NEWCOMER)?);
        for major in 1..=BAD {
            hub.fleet_ok(&["push", &bundle(&site, major)?.to_string_lossy()])?;
        }
        Ok(Self {
            steps: site.path("steps"),
            site,
            hub,
            agent,
            newcomer,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            deployed: 0,
            kills: 0,
            at_random: 0,
            checked: 0,
            hits: BTreeMap::new(),
            often: BTreeMap::new(),
            aims: BTreeMap::new(),
            first: Vec::new(),
            ledger: Ledger::default(),
            sum: Sum::default(),
            seen: Seen::default(),
        })
    }

    pub(crate) fn kills(&self) -> usize {
        self.kills
    }

    /// Lives once through some deployments, and writes down which durable steps there are.
    pub(crate) fn learn_steps(&mut self) -> Result<()> {
        let note = self.steps.to_string_lossy().into_owned();
        self.agent.start_with(&[("FLOORHAND_STEPS", &note)])?;
        self.wait_for_status()?;
        let at_first = self.noted()?;
        for _ in 0..DEPLOYMENTS {
            let version = self.deploy(false)?;
            self.wait_for_commit(version)?;
        }
        self.hub.fleet_ok(&["set-sampling", DEVICE, "1"])?;
        let all = self.noted()?;
        let later = all.get(at_first.len()..).unwrap_or_default();
        let known = |name: &String| name != "killed";
        self.hits = later
            .iter()
            .filter(|name| known(name))
            .map(|name| (name.clone(), 0))
            .collect();
        for name in later {
            *self.often.entry(name.clone()).or_default() += 1;
        }
        // Of one deployment; the first of them had nothing to remove.
        self.often
            .values_mut()
            .for_each(|count| *count = (*count / DEPLOYMENTS).max(1));
        // A deployment or two may go by without them.
        let few = 3 * DEPLOYMENTS as usize;
        let seldom = |name: &&String| later.iter().filter(|other| other == name).count() < few;
        self.first = at_first.iter().filter(seldom).cloned().collect();
        self.first.sort_unstable();
        self.first.dedup();
        say(&format!(
            "{} steps of a first start alone, {} of other lives",
            self.first.len(),
            self.hits.len()
        ));
        self.kill()?;
        ensure!(
            !self.hits.is_empty(),
            "no steps were noted: was the program built for debugging?"
        );
        Ok(())
    }

    /// Kills a device that begins for the first time, each time at a step that comes in no later life.
    pub(crate) fn kill_first_starts(&mut self, kills: usize) -> Result<()> {
        for round in 0..kills {
            let Some(step) = self.first.get(round % self.first.len().max(1)).cloned() else {
                return Ok(());
            };
            drop(fs::remove_dir_all(self.newcomer.state_dir()));
            let moment = ["before", "half", "after"].get(round / self.first.len().max(1) % 3);
            let at = format!("{step}#1#{}", moment.copied().unwrap_or_default());
            fs::write(&self.steps, "")?;
            let note = self.steps.to_string_lossy().into_owned();
            self.newcomer
                .start_with(&[("FLOORHAND_KILL_AT", &at), ("FLOORHAND_STEPS", &note)])?;
            let ended = self.newcomer.process()?.wait(LIFE);
            ensure!(matches!(ended, Ok(None)), "{at}: {ended:?}\n{}", self.newcomer.tail());
            ensure!(self.was_hit()?, "{at} was not come to\n{}", self.newcomer.tail());
            *self.hits.entry(step).or_default() += 1;
            self.kills += 1;
            self.newcomer.start()?;
            status(&mut self.newcomer)?;
            self.newcomer.process()?.kill()?;
            self.kills += 1;
            self.at_random += 1;
            self.checked += 1;
        }
        Ok(())
    }

    /// Kills the device at the step that was hit least.
    pub(crate) fn kill_at_step(&mut self) -> Result<()> {
        let least = self.hits.keys().filter(|name| !self.first.contains(name));
        let aims = |name: &&String| {
            let hits = self.hits.get(*name).copied().unwrap_or(0);
            (hits >= HITS_OF_EACH_STEP, self.aims.get(*name).copied().unwrap_or(0))
        };
        let Some(step) = least.min_by_key(aims).cloned() else {
            return Ok(());
        };
        *self.aims.entry(step.clone()).or_default() += 1;
        let number = 1 + self.draw(self.often.get(&step).copied().unwrap_or(1).min(OFTEN));
        let moment = ["before", "half", "after"].get(self.draw(3) as usize);
        let at = format!("{step}#{number}#{}", moment.copied().unwrap_or_default());
        fs::write(&self.steps, "")?;
        // Steps that come without a deployment are hit without one, too: then the short lives add up to a crash loop.
        let of_any_life = ["spool", "state", "root"].iter().any(|of| step.ends_with(of));
        if !of_any_life || self.draw(2) == 0 {
            self.deploy(true)?;
        }
        let note = self.steps.to_string_lossy().into_owned();
        self.agent
            .start_with(&[("FLOORHAND_KILL_AT", &at), ("FLOORHAND_STEPS", &note)])?;
        let begun = Instant::now();
        while self.agent.process()?.is_running() && begun.elapsed() < LIFE {
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.was_hit()? {
            self.agent.process()?.kill()?;
            *self.hits.entry(step).or_default() += 1;
        } else {
            ensure!(
                self.agent.process()?.is_running(),
                "the agent has ended by itself\n{}",
                self.agent.tail()
            );
            self.agent.process()?.kill()?;
            self.at_random += 1;
        }
        self.kills += 1;
        Ok(())
    }

    /// Lets the device live, mostly until it has shown that all is well, and kills it at a random moment behind that.
    pub(crate) fn kill_at_random(&mut self) -> Result<()> {
        self.agent.start()?;
        if self.draw(4) == 0 {
            std::thread::sleep(Duration::from_millis(self.draw(EARLY_MS)));
            ensure!(
                self.agent.process()?.is_running(),
                "the agent has ended by itself\n{}",
                self.agent.tail()
            );
            self.kill()?;
            self.agent.start()?;
        }
        self.check()?;
        std::thread::sleep(Duration::from_millis(self.draw(LATE_MS)));
        ensure!(
            self.agent.process()?.is_running(),
            "the agent has ended by itself\n{}",
            self.agent.tail()
        );
        self.kill()
    }

    /// Goes on until each step was hit this often.
    pub(crate) fn hit_each(&mut self, times: usize) -> Result<()> {
        let too_few = |hits: &BTreeMap<String, usize>| hits.values().filter(|hits| **hits < times).count();
        let tries = 20 * too_few(&self.hits);
        for _ in 0..tries {
            if too_few(&self.hits) == 0 {
                break;
            }
            self.kill_at_step()?;
            self.kill_at_random()?;
        }
        ensure!(
            too_few(&self.hits) == 0,
            "not every step was hit {times} times: {:#?}",
            self.hits
        );
        Ok(())
    }

    /// Calm: a deployment comes to its end, and the books are closed.
    pub(crate) fn reckon(&mut self) -> Result<()> {
        self.agent.start()?;
        self.check()?;
        let version = self.deploy(false)?;
        self.wait_for_commit(version)?;
        let status = self.wait_for_status()?;
        let boot = status
            .get("boot_id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let log = self.agent.log();
        let settled = self.ledger.settle(&self.hub, DEVICE, &log, &boot);
        self.sum = settled.with_context(|| self.agent.tail())?;
        self.check_results()?;
        say(&format!("after {} kills: {}", self.kills, self.sum));
        self.kill()
    }

    /// No result ever came of the bundle that can't be committed, and some came of the others.
    fn check_results(&self) -> Result<()> {
        let results = fs::read_to_string(self.site.path("results.jsonl"))?;
        let bad = self.hub.fleet_ok(&["bundles"])?;
        let of = |major: u64| {
            let all = bad.as_array().or_else(|| bad.get("bundles").and_then(Value::as_array));
            let found = all
                .into_iter()
                .flatten()
                .find(|bundle| bundle["version"] == format!("{major}.0.0"));
            found.and_then(|bundle| bundle["digest"].as_str().map(str::to_owned))
        };
        let digest = of(BAD).with_context(|| format!("the hub lists no bad bundle: {bad}"))?;
        ensure!(!results.contains(&digest), "the bundle that fails its trial has served");
        let good = of(1).context("the hub lists no good bundle")?;
        ensure!(
            results.contains(&good),
            "no result names its bundle: the check shows nothing"
        );
        Ok(())
    }

    /// What was killed comes up, serves what was committed, and remembers what it had said.
    fn check(&mut self) -> Result<()> {
        let status = self.wait_for_status()?;
        let active = status.pointer("/active/version").and_then(Value::as_str);
        ensure!(
            active != Some(&format!("{BAD}.0.0")),
            "what fails its trial serves: {status:#}"
        );
        ensure!(!self.seen.committed || active.is_some(), "nothing serves: {status:#}");
        ensure!(
            status.get("unserved") == Some(&Value::Bool(false)),
            "what was committed can't be loaded: {status:#}"
        );
        let number = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or(0);
        let now = Seen {
            committed: active.is_some(),
            seq: number("seq"),
            floor: number("floor"),
            clock_ms: number("clock_ms"),
        };
        let before = std::mem::replace(&mut self.seen, now.clone());
        ensure!(
            now.seq >= before.seq && now.floor >= before.floor && now.clock_ms >= before.clock_ms,
            "the device has forgotten: {before:?}, now {now:?}"
        );
        if now.committed {
            let agent = &mut self.agent;
            wait_for("results", PATIENCE, || {
                let status = status_of(agent.state_dir());
                Ok(status.filter(|status| status["results"].as_u64() > Some(0)))
            })
            .with_context(|| self.agent.tail())?;
        }
        self.checked += 1;
        Ok(())
    }

    fn wait_for_status(&mut self) -> Result<Value> {
        status(&mut self.agent)
    }

    fn wait_for_commit(&mut self, version: u64) -> Result<()> {
        let version = format!("{version}.0.0");
        let agent = &mut self.agent;
        let done = wait_for(&format!("commit of {version}"), PATIENCE, || {
            ensure!(agent.process()?.is_running(), "the agent has ended");
            let status = status_of(agent.state_dir()).unwrap_or_default();
            Ok((status.pointer("/active/version").and_then(Value::as_str) == Some(&version)).then_some(()))
        });
        done.with_context(|| self.agent.tail())
    }

    /// Assigns the next bundle; its version.
    fn deploy(&mut self, bad_too: bool) -> Result<u64> {
        self.deployed += 1;
        let version = if bad_too && self.deployed.is_multiple_of(BAD_EVERY) {
            BAD
        } else {
            1 + self.deployed % GOOD
        };
        let bundle = format!("skab-pca@{version}.0.0");
        self.hub.fleet_ok(&["deploy", &bundle, "--device", DEVICE])?;
        Ok(version)
    }

    fn kill(&mut self) -> Result<()> {
        self.agent.process()?.kill()?;
        self.kills += 1;
        self.at_random += 1;
        Ok(())
    }

    fn noted(&self) -> Result<Vec<String>> {
        Ok(fs::read_to_string(&self.steps)?.lines().map(str::to_owned).collect())
    }

    fn was_hit(&self) -> Result<bool> {
        Ok(self.noted()?.last().is_some_and(|last| last == "killed"))
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    /// What was done, and what came of it.
    pub(crate) fn report(&self) -> String {
        let log = self.agent.log();
        let count = |text: &str| log.matches(text).count();
        let mut lines = vec![
            format!("{} kills, {} restarts checked, {}", self.kills, self.checked, self.sum),
            format!(
                "{} deployments asked for, {} given up after a crash loop, {} failed in all of their tries, {} timed out in their trial",
                self.deployed,
                count("a bundle was given up after it was committed"),
                count("in every one of its tries"),
                count("status=\"timed-out\""),
            ),
        ];
        for (step, hits) in &self.hits {
            lines.push(format!("{hits:>5}  {step}"));
        }
        lines.push(format!("{:>5}  random moments", self.at_random));
        lines.join("\n")
    }
}

fn status(agent: &mut Agent) -> Result<Value> {
    let told = wait_for("an agent that answers", PATIENCE, || {
        ensure!(agent.process()?.is_running(), "the agent has ended");
        Ok(status_of(agent.state_dir()))
    });
    told.with_context(|| agent.tail())
}

/// What the agent tells at its socket.
fn status_of(state_dir: &Path) -> Option<Value> {
    let mut stream = UnixStream::connect(state_dir.join("agent.sock")).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"{\"command\":\"status\"}\n").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    let reply: Value = serde_json::from_str(&line).ok()?;
    reply.get("status").filter(|status| status.is_object()).cloned()
}

fn device(site: &Site, hub: &Hub, name: &str) -> Result<Agent> {
    let agent = site.device(
        name,
        &json!({
            "fleet_connection": { "broker": hub.broker },
            "log": { "filter": "info,floorhand_agent=debug" },
            "telemetry": { "metrics_interval_s": 1, "batch_delay_ms": 100 },
            "source": [{
                "type": "file",
                "path": workspace().join("tests/skab/fixture/anomaly-free.csv"),
                "rate_hz": 50.0,
                "repeat": true,
            }],
            "sink": [{ "type": "jsonl", "path": site.path("results.jsonl") }],
        }),
    )?;
    hub.fleet_ok(&["enroll", name, "--key", &site.text(&format!("{name}.pub"))])?;
    Ok(agent)
}

/// A bundle with a component of several chunks. The bad one never sees the samples that it asks for in time.
fn bundle(site: &Site, major: u64) -> Result<PathBuf> {
    site.pack_fixture(major)?;
    let folder = site.path(&format!("bundle-{major}"));
    let mut state = major;
    let mut digit = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from_digit((state >> 60) as u32, 16).unwrap_or('0')
    };
    let noise: String = (0..CARD_BYTES).map(|_| digit()).collect();
    fs::write(folder.join("model-card.md"), format!("# {major}\n{noise}"))?;
    let path = folder.join("bundle.toml");
    let mut recipe = fs::read_to_string(&path)?;
    if major == BAD {
        recipe = recipe.replace("samples = 20", "samples = 100000\ntimeout_s = 1");
        ensure!(recipe.contains("timeout_s"), "the recipe has no samples to replace");
    }
    fs::write(&path, recipe)?;
    site.pack(&folder, &format!("storm-{major}.fhb"))
}
