//! The lives of a device and their ends.

use crate::HITS_OF_EACH_STEP;
use crate::ledger::{Ledger, Sum};
use anyhow::{Context as _, Result, ensure};
use floorhand_tests::{Agent, Hub, PATIENCE, Site, run_ok, say, wait_for, workspace};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DEVICE: &str = "press-1";
/// Devices that are only ever started for the first time: they make their directories and take a trust root. The second
/// encrypts what it keeps.
const NEWCOMERS: [&str; 2] = ["press-2", "press-3"];
/// The key that the second of them encrypts with, hexadecimal.
const STORAGE_KEY: &str = "6a1f0e5d7c3b29481706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";
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
    newcomers: Vec<Newcomer>,
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
    ledger: Ledger,
    sum: Sum,
    seen: Seen,
}

/// A device that begins for the first time, again and again.
struct Newcomer {
    agent: Agent,
    /// The first steps of its first life, which come in no other.
    first: Vec<String>,
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
        let agent = device(&site, &hub, DEVICE, &json!({}))?;
        let [plain, encrypted] = NEWCOMERS;
        let store = json!({ "encryption_key": storage_key(&site)? });
        let newcomers = [
            device(&site, &hub, plain, &json!({}))?,
            device(&site, &hub, encrypted, &json!({ "store": store }))?,
        ];
        let newcomers = newcomers.into_iter().map(|agent| Newcomer {
            agent,
            first: Vec::new(),
        });
        publish_root(&site, &hub)?;
        for major in 1..=BAD {
            hub.fleet_ok(&["push", &bundle(&site, major)?.to_string_lossy()])?;
        }
        Ok(Self {
            steps: site.path("steps"),
            site,
            hub,
            agent,
            newcomers: newcomers.collect(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            deployed: 0,
            kills: 0,
            at_random: 0,
            checked: 0,
            hits: BTreeMap::new(),
            often: BTreeMap::new(),
            aims: BTreeMap::new(),
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
        let at_first = noted(&self.steps)?;
        for _ in 0..DEPLOYMENTS {
            let version = self.deploy(false)?;
            self.wait_for_commit(version)?;
        }
        self.hub.fleet_ok(&["set-sampling", DEVICE, "1"])?;
        let all = noted(&self.steps)?;
        let later = all.get(at_first.len()..).unwrap_or_default();
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
        self.kill()?;
        for newcomer in &mut self.newcomers {
            newcomer.first = newcomer
                .first_life(&self.steps)?
                .iter()
                .filter(seldom)
                .cloned()
                .collect();
            newcomer.first.sort_unstable();
            newcomer.first.dedup();
        }
        let is_first = |name: &&String| self.newcomers.iter().any(|newcomer| newcomer.first.contains(name));
        self.hits = later
            .iter()
            .filter(|name| !is_first(name))
            .map(|name| (name.clone(), 0))
            .collect();
        let counts: Vec<usize> = self.newcomers.iter().map(|newcomer| newcomer.first.len()).collect();
        say(&format!(
            "{counts:?} steps of first starts alone, {} of other lives",
            self.hits.len()
        ));
        ensure!(
            !self.hits.is_empty(),
            "no steps were noted: was the program built for debugging?"
        );
        Ok(())
    }

    /// Kills devices that begin for the first time, in turn, each time at a step that comes in no later life: so often, and
    /// at least at each of these steps `of_each` times.
    pub(crate) fn kill_first_starts(&mut self, kills: usize, of_each: usize) -> Result<()> {
        let most = self.newcomers.iter().map(|newcomer| newcomer.first.len()).max();
        let rounds = kills.max(of_each * self.newcomers.len() * most.unwrap_or(0));
        let begin = self.draw(1 << 16) as usize;
        for round in 0..rounds {
            let (of, turn) = (round % self.newcomers.len(), begin + round / self.newcomers.len());
            self.kill_first_start(of, turn)?;
        }
        Ok(())
    }

    fn kill_first_start(&mut self, of: usize, turn: usize) -> Result<()> {
        let newcomer = self.newcomers.get_mut(of).context("no newcomer")?;
        let count = newcomer.first.len().max(1);
        let step = newcomer.first.get(turn % count).context("no steps were noted")?.clone();
        let moment = ["before", "half", "after"].get(turn / count % 3);
        let at = format!("{step}#1#{}", moment.copied().unwrap_or_default());
        drop(fs::remove_dir_all(newcomer.agent.state_dir()));
        fs::write(&self.steps, "")?;
        let note = self.steps.to_string_lossy().into_owned();
        let agent = &mut newcomer.agent;
        agent.start_with(&[("FLOORHAND_KILL_AT", &at), ("FLOORHAND_STEPS", &note)])?;
        let ended = agent.process()?.wait(PATIENCE);
        ensure!(matches!(ended, Ok(None)), "{at}: {ended:?}\n{}", agent.tail());
        ensure!(was_hit(&self.steps)?, "{at} was not come to\n{}", agent.tail());
        agent.start()?;
        status(agent)?;
        agent.process()?.kill()?;
        *self.hits.entry(step).or_default() += 1;
        self.kills += 2;
        self.at_random += 1;
        self.checked += 1;
        Ok(())
    }

    /// Kills the device at the step that was hit least.
    pub(crate) fn kill_at_step(&mut self) -> Result<()> {
        let is_first = |name: &&String| self.newcomers.iter().any(|newcomer| newcomer.first.contains(name));
        let least = self.hits.keys().filter(|name| !is_first(name));
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
        if was_hit(&self.steps)? {
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

impl Newcomer {
    /// Lives for the first time until it has taken the trust root, and writes down the durable steps up to there.
    fn first_life(&mut self, steps: &Path) -> Result<Vec<String>> {
        fs::write(steps, "")?;
        self.agent
            .start_with(&[("FLOORHAND_STEPS", &steps.to_string_lossy())])?;
        status(&mut self.agent)?;
        let all = wait_for("a trust root on the disk", PATIENCE, || {
            let noted = noted(steps)?;
            Ok(noted.iter().any(|name| name == "fsync roots").then_some(noted))
        });
        let all = all.with_context(|| self.agent.tail())?;
        self.agent.process()?.kill()?;
        Ok(all)
    }
}

fn noted(steps: &Path) -> Result<Vec<String>> {
    Ok(fs::read_to_string(steps)?.lines().map(str::to_owned).collect())
}

/// Whether the process came to the step that it was to end at. Others may be noted behind it: threads go on until the
/// signal is there, and while the step itself is done.
fn was_hit(steps: &Path) -> Result<bool> {
    Ok(noted(steps)?.iter().any(|step| step == "killed"))
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

/// A trust root after the pinned one, which each device takes when it comes first.
fn publish_root(site: &Site, hub: &Hub) -> Result<()> {
    let made = run_ok(&["--json", "root", "next", &site.text("root.cose")])?;
    let made: Value = serde_json::from_str(&made)?;
    let file = made.get("file").and_then(Value::as_str).context("no file")?;
    run_ok(&["root", "sign", file, "--key", &site.text("offline.key")])?;
    run_ok(&["root", "publish", "--hub", &hub.url, file]).map(drop)
}

fn storage_key(site: &Site) -> Result<String> {
    let key = site.path("storage.key");
    fs::write(&key, STORAGE_KEY)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    Ok(format!("file:{}", key.display()))
}

fn device(site: &Site, hub: &Hub, name: &str, more: &Value) -> Result<Agent> {
    let mut config = json!({
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
    });
    if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
        config.extend(more.clone());
    }
    let agent = site.device(name, &config)?;
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
