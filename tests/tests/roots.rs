//! Trust roots from the offline tool to the device: every role rotated, a stolen key rotated out, forged roots, sticks.

use anyhow::{Context as _, Result, ensure};
use floorhand_bundle::{MAX_ROOT_BYTES, TrustRoot};
use floorhand_protocol::{Down, Topic};
use floorhand_tests::{Agent, FLEET, Hub, PATIENCE, Site, run, run_ok, wait_for, workspace};
use floorhand_transport::{Client, Config, Qos};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// A number that no hub gets to.
const FAR: u64 = 1 << 60;

/// A site whose root two of three keys sign, and a hub that has the key of the next root.
struct Fleet {
    site: Site,
    hub: Hub,
}

impl Fleet {
    fn start() -> Result<Self> {
        let site = Site::new()?;
        for name in ["root-b", "root-c", "root-d", "release-2", "assignment-2"] {
            site.new_key(name)?;
        }
        let [a, b, c, release, assignment, output] = [
            "offline.key",
            "root-b.key",
            "root-c.pub",
            "release.pub",
            "assignment.pub",
            "root.cose",
        ]
        .map(|name| site.text(name));
        let made = run_ok(&[
            "--json",
            "root",
            "new",
            "--fleet",
            FLEET,
            "--root",
            &a,
            &b,
            &c,
            "--release",
            &release,
            "--assignment",
            &assignment,
            "--output",
            &output,
            "--force",
        ])?;
        let made: Value = serde_json::from_str(&made)?;
        ensure!(
            made.pointer("/root/threshold") == Some(&json!(2)),
            "two of three: {made:#}"
        );
        let hub = site.start_hub_alone_with(&json!({ "next_assignment_key": site.path("assignment-2.key") }))?;
        Ok(Self { site, hub })
    }

    /// A registered device that replays a recording.
    fn device(&self, name: &str) -> Result<Agent> {
        let training = workspace().join("tests/skab/fixture/anomaly-free.csv");
        let agent = self.site.device(
            name,
            &json!({
                "fleet_connection": { "broker": self.hub.broker },
                "source": [{ "type": "file", "path": training, "rate_hz": 100.0, "repeat": true }],
                "sink": [{ "type": "jsonl", "path": self.site.path(&format!("{name}.jsonl")) }],
            }),
        )?;
        self.hub
            .fleet_ok(&["enroll", name, "--key", &self.site.text(&format!("{name}.pub"))])?;
        Ok(agent)
    }

    /// Makes the root after `current` with these changes, has two people sign it one after the other, and verifies it.
    fn next(&self, current: &str, changes: &[(&str, &str)], signers: [&str; 2]) -> Result<PathBuf> {
        let current = self.site.text(current);
        let changes: Vec<(String, String)> = changes
            .iter()
            .map(|(flag, key)| ((*flag).to_owned(), self.site.text(&format!("{key}.pub"))))
            .collect();
        let mut arguments = vec!["--json", "root", "next", current.as_str(), "--force"];
        for (flag, key) in &changes {
            arguments.extend([flag.as_str(), key.as_str()]);
        }
        let made: Value = serde_json::from_str(&run_ok(&arguments)?)?;
        let file = made.get("file").and_then(Value::as_str).context("no file")?.to_owned();
        for (count, signer) in signers.iter().enumerate() {
            let told = run(&["root", "verify", &file, "--chain", &current])?;
            ensure!(
                told.code == Some(3) && told.stdout.contains(&format!("{count} of the 2 it needs")),
                "after {count} signatures: {told:?}"
            );
            run_ok(&[
                "root",
                "sign",
                &file,
                "--key",
                &self.site.text(&format!("{signer}.key")),
            ])?;
        }
        run_ok(&["root", "verify", &file, "--chain", &current])?;
        Ok(file.into())
    }

    fn publish(&self, roots: &[&PathBuf]) -> Result<()> {
        let roots: Vec<String> = roots.iter().map(|root| root.to_string_lossy().into_owned()).collect();
        let mut arguments = vec!["root", "publish", "--hub", &self.hub.url];
        arguments.extend(roots.iter().map(String::as_str));
        run_ok(&arguments).map(drop)
    }

    fn deploy(&self, file: &str, device: &str) -> Result<()> {
        let arguments = ["deploy", file, "--device", device, "--wait", "--timeout", "120"];
        self.hub.fleet_ok(&arguments).map(drop)
    }
}

fn under(agent: &mut Agent, version: u64) -> Result<Value> {
    agent.wait_until(&format!("root {version}"), |status| status["root_version"] == version)
}

fn runs(agent: &mut Agent, version: &str) -> Result<Value> {
    agent.wait_until(version, |status| {
        status.pointer("/active/version") == Some(&json!(version))
    })
}

/// The release key: what it signed goes on, isn't deployed again, and is nothing to go back to.
fn release_key_is_revoked(fleet: &mut Fleet, agent: &mut Agent) -> Result<()> {
    let second = fleet.next(
        "root.cose",
        &[("--add-release", "release-2"), ("--remove-release", "release")],
        ["offline", "root-b"],
    )?;
    fleet.publish(&[&second])?;
    let status = under(agent, 2)?;
    ensure!(status.pointer("/active/version") == Some(&json!("1.0.0")), "{status:#}");
    ensure!(agent.log().contains("release key was revoked"), "{}", agent.log());
    let again = fleet.hub.fleet(&["deploy", "skab-pca@1.0.0", "--device", "press-1"])?;
    ensure!(
        again.code == Some(1) && again.stderr.contains("is not signed as trust root 2 wants"),
        "{again:?}"
    );
    let newer = fleet
        .site
        .pack_fixture_with(2, "release-2.key")?
        .to_string_lossy()
        .into_owned();
    fleet.deploy(&newer, "press-1").with_context(|| agent.tail())?;
    let status = runs(agent, "2.0.0")?;
    let previous = status.get("previous");
    ensure!(previous == Some(&Value::Null), "{status:#}");
    Ok(())
}

#[test]
fn every_role_is_rotated_while_one_device_runs_and_another_is_away() -> Result<()> {
    let mut fleet = Fleet::start()?;
    let (mut agent, mut away) = (fleet.device("press-1")?, fleet.device("press-2")?);
    let first = fleet.site.pack_fixture(1)?.to_string_lossy().into_owned();
    for (device, agent) in [("press-1", &mut agent), ("press-2", &mut away)] {
        agent.start()?;
        fleet.deploy(&first, device).with_context(|| agent.tail())?;
        runs(agent, "1.0.0")?;
        under(agent, 1)?;
    }
    away.stop()?;

    release_key_is_revoked(&mut fleet, &mut agent)?;

    // The hub's key, then a root key: two of the three that are left sign for both roots.
    let third = fleet.next(
        "root-2.cose",
        &[
            ("--add-assignment", "assignment-2"),
            ("--remove-assignment", "assignment"),
        ],
        ["offline", "root-b"],
    )?;
    fleet.publish(&[&third])?;
    under(&mut agent, 3)?;
    fleet
        .hub
        .fleet_ok(&["report-now", "press-1"])
        .with_context(|| agent.tail())?;
    let fourth = fleet.next(
        "root-3.cose",
        &[("--add-root", "root-d"), ("--remove-root", "offline")],
        ["root-b", "root-c"],
    )?;
    fleet.publish(&[&fourth])?;
    under(&mut agent, 4)?;
    fleet.hub.fleet_ok(&["pause", "press-1"])?;
    agent.wait_until("pause", |status| status["mode"] == "paused")?;

    // A restart walks the chain from the pinned root again; one that was away for three versions is led through them.
    agent.stop()?;
    agent.start()?;
    under(&mut agent, 4)?;
    runs(&mut agent, "2.0.0")?;
    away.start()?;
    under(&mut away, 4)?;
    runs(&mut away, "1.0.0")?;
    fleet.deploy("skab-pca@2.0.0", "press-2").with_context(|| away.tail())?;
    runs(&mut away, "2.0.0")?;
    let told = run_ok(&["--json", "root", "status", "--hub", &fleet.hub.url])?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told.pointer("/0/version") == Some(&json!(4)), "{told:#}");

    // The hub without the old key: the root that lists the new one is its own now.
    let broker = fleet.hub.broker.trim_start_matches("mqtt://").to_owned();
    fleet.hub.process.stop()?;
    fleet.hub = fleet.site.start_hub_alone_with(&json!({
        "embedded_broker": broker,
        "assignment_key": fleet.site.path("assignment-2.key"),
        "trust_root": fleet.site.path("root-3.cose"),
    }))?;
    fleet.hub.fleet_ok(&["resume", "press-1"])?;
    agent.wait_until("resumed", |status| status["mode"] == "run")?;
    agent.stop()?;
    away.stop()
}

/// Publishes bytes as somebody who has got into the broker.
async fn forge(broker: &str, kind: Down, payloads: Vec<Vec<u8>>) -> Result<()> {
    let (client, incoming) = Client::start(Config::new(broker, "forger"))?;
    let topic = Topic::Down {
        fleet: FLEET.parse()?,
        device: "press-1".parse()?,
        kind,
    };
    for payload in payloads {
        client
            .publish(topic.to_string(), payload, Qos::AtLeastOnce, false)
            .await?;
    }
    client.shutdown(Duration::from_secs(30)).await;
    drop(incoming);
    Ok(())
}

#[test]
fn a_stolen_assignment_key_is_rotated_out() -> Result<()> {
    let fleet = Fleet::start()?;
    let mut agent = fleet.device("press-1")?;
    agent.start()?;
    under(&mut agent, 1)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let forged = |seq: u64| {
        let mut assignment = fleet.site.assignment(&"press-1".parse()?, seq, None)?;
        // Signed for a far future, which makes everything else look expired.
        (assignment.issued_ms, assignment.expires_ms) = (FAR, u64::MAX);
        anyhow::Ok(assignment.seal(&fleet.site.secret("assignment")?)?)
    };
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    runtime.block_on(forge(&fleet.hub.broker, Down::Assign, vec![forged(FAR)?]))?;
    agent.wait_until("forged number", |status| status["seq"] == FAR)?;

    let second = fleet.next(
        "root.cose",
        &[
            ("--add-assignment", "assignment-2"),
            ("--remove-assignment", "assignment"),
        ],
        ["offline", "root-b"],
    )?;
    fleet.publish(&[&second])?;
    let status = under(&mut agent, 2)?;
    ensure!(status["seq"] == 0, "{status:#}");
    fleet.hub.fleet_ok(&["pause", "press-1"])?;
    let status = agent.wait_until("pause", |status| status["mode"] == "paused")?;
    ensure!(status["seq"] == 1, "{status:#}");

    runtime.block_on(forge(&fleet.hub.broker, Down::Assign, vec![forged(FAR)?, forged(2)?]))?;
    wait_for("refusal", PATIENCE, || {
        Ok(agent.log().contains("refused: assignment").then_some(()))
    })
    .with_context(|| agent.log())?;
    let status = agent.wait_until("status", |status| status["seq"].is_u64())?;
    ensure!(status["seq"] == 1 && status["mode"] == "paused", "{status:#}");
    agent.stop()
}

#[test]
fn forged_roots_leave_everything_as_it_is() -> Result<()> {
    let fleet = Fleet::start()?;
    let mut agent = fleet.device("press-1")?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    let second = fleet.next("root.cose", &[("--add-release", "release-2")], ["offline", "root-b"])?;
    fleet.publish(&[&second])?;
    under(&mut agent, 2)?;

    let pinned = std::fs::read(fleet.site.path("root.cose"))?;
    ensure!(pinned.len() <= MAX_ROOT_BYTES);
    let current = TrustRoot::open_pinned(&std::fs::read(&second)?)?.into_inner();
    let [a, b, c, d] = ["offline", "root-b", "root-c", "root-d"].map(|name| fleet.site.secret(name));
    let (a, b, c, d) = (a?, b?, c?, d?);
    let third = TrustRoot {
        version: 3,
        ..current.clone()
    };
    let taken_over = TrustRoot {
        root: floorhand_bundle::RoleKeys::any_of(vec![d.public()]),
        ..third.clone()
    };
    let jump = TrustRoot {
        version: 4,
        ..current.clone()
    };
    let foreign = TrustRoot {
        fleet: "plant-b".parse()?,
        ..third.clone()
    };
    let other_second = TrustRoot {
        release: floorhand_bundle::RoleKeys::any_of(vec![d.public()]),
        ..current
    };
    let forged = vec![
        pinned,
        taken_over.seal(&[&d])?,
        taken_over.seal(&[&a, &d])?,
        third.seal(&[&c])?,
        jump.seal(&[&a, &b])?,
        foreign.seal(&[&a, &b])?,
        other_second.seal(&[&a, &b])?,
        b"no root at all".to_vec(),
    ];
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(forge(&fleet.hub.broker, Down::Root, forged))?;
    wait_for("refusal", PATIENCE, || {
        Ok(agent.log().contains("refused: trust root").then_some(()))
    })
    .with_context(|| agent.log())?;
    // What comes after them is taken, so they were all looked at.
    let genuine = fleet.next("root-2.cose", &[], ["root-b", "root-c"])?;
    ensure!(genuine.ends_with("root-3.cose"), "{}", genuine.display());
    fleet.publish(&[&genuine])?;
    under(&mut agent, 3)?;
    let told = fleet.hub.fleet_ok(&["report-now", "press-1"])?;
    ensure!(told.to_string().contains("root_version"), "{told:#}");
    wait_for("event at the hub", PATIENCE, || {
        let events = fleet.hub.get("records?kind=event&limit=50")?.to_string();
        Ok(events.contains("document-refused").then_some(()))
    })?;
    ensure!(!fleet.site.path("press-1-state/roots/4.cose").exists());
    agent.stop()
}

#[test]
fn a_stick_brings_roots_to_a_device_without_a_network() -> Result<()> {
    let fleet = Fleet::start()?;
    let mut agent = fleet.site.device("press-9", &json!({}))?;
    fleet
        .hub
        .fleet_ok(&["enroll", "press-9", "--key", &fleet.site.text("press-9.pub")])?;
    let second = fleet.next(
        "root.cose",
        &[("--add-release", "release-2"), ("--remove-release", "release")],
        ["offline", "root-b"],
    )?;
    let third = fleet.next(
        "root-2.cose",
        &[
            ("--add-assignment", "assignment-2"),
            ("--remove-assignment", "assignment"),
        ],
        ["offline", "root-b"],
    )?;
    let refused = agent.import(&third)?;
    ensure!(
        refused.code == Some(6) && refused.stderr.contains("only root 2 does"),
        "{refused:?}"
    );
    let left = agent.import(&second)?;
    ensure!(left.code == Some(0), "{left:?}");
    agent.start()?;
    under(&mut agent, 2)?;
    let taken = agent.import(&third)?;
    ensure!(taken.stdout.contains("trust root 3 is taken"), "{taken:?}");
    under(&mut agent, 3)?;
    let again = agent.import(&third)?;
    ensure!(again.stdout.contains("was taken before"), "{again:?}");

    // An export has the roots in it.
    fleet.publish(&[&second, &third])?;
    let mut other = fleet.site.device("press-8", &json!({}))?;
    fleet
        .hub
        .fleet_ok(&["enroll", "press-8", "--key", &fleet.site.text("press-8.pub")])?;
    let file = fleet
        .site
        .pack_fixture_with(1, "release-2.key")?
        .to_string_lossy()
        .into_owned();
    fleet.hub.fleet_ok(&["deploy", &file, "--device", "press-8"])?;
    let stick = fleet.site.text("press-8.fhb");
    fleet.hub.fleet_ok(&["export", "press-8", "--output", &stick])?;
    other.start()?;
    under(&mut other, 1)?;
    let taken = other.import(stick.as_ref())?;
    ensure!(taken.code == Some(0), "{taken:?}");
    let status = under(&mut other, 3)?;
    ensure!(status["seq"].as_u64() > Some(0), "{status:#}");
    agent.stop()?;
    other.stop()
}

#[test]
fn a_root_that_cannot_be_kept_is_not_taken() -> Result<()> {
    let fleet = Fleet::start()?;
    let mut agent = fleet.device("press-1")?;
    agent.start()?;
    agent.wait_until("connection", |status| status["fleet_connected"] == true)?;
    let in_the_way = agent.state_dir().join("roots");
    std::fs::write(&in_the_way, b"no folder")?;
    let second = fleet.next("root.cose", &[("--add-release", "release-2")], ["offline", "root-b"])?;
    fleet.publish(&[&second])?;
    wait_for("alarm", PATIENCE, || {
        Ok(agent
            .log()
            .contains("the state directory can't be written")
            .then_some(()))
    })
    .with_context(|| agent.log())?;
    under(&mut agent, 1)?;
    std::fs::remove_file(&in_the_way)?;
    // The hello that comes with the answer brings it again.
    fleet.hub.fleet_ok(&["report-now", "press-1"])?;
    under(&mut agent, 2)?;
    ensure!(in_the_way.join("2.cose").is_file());
    agent.stop()
}

#[test]
fn a_root_that_ends_soon_is_told() -> Result<()> {
    let fleet = Fleet::start()?;
    let mut agent = fleet.device("press-1")?;
    agent.start()?;
    under(&mut agent, 1)?;
    ensure!(!agent.log().contains("it expires in"), "{}", agent.log());
    let [current, a, b] = ["root.cose", "offline.key", "root-b.key"].map(|name| fleet.site.text(name));
    run_ok(&["root", "next", &current, "--expires-days", "20", "--key", &a, &b])?;
    fleet.publish(&[&fleet.site.path("root-2.cose")])?;
    under(&mut agent, 2)?;
    wait_for("event at the hub", PATIENCE, || {
        let events = fleet.hub.get("records?kind=event&limit=50")?.to_string();
        Ok(events.contains("root-expires").then_some(()))
    })?;
    agent.stop()
}

#[test]
fn a_hub_without_the_key_says_so() -> Result<()> {
    let fleet = Fleet::start()?;
    fleet.site.new_key("assignment-3")?;
    let second = fleet.next(
        "root.cose",
        &[
            ("--add-assignment", "assignment-3"),
            ("--remove-assignment", "assignment"),
        ],
        ["offline", "root-b"],
    )?;
    let path = second.to_string_lossy().into_owned();
    let refused = run(&["root", "publish", "--hub", &fleet.hub.url, &path])?;
    ensure!(
        refused.code == Some(1) && refused.stderr.contains("next_assignment_key"),
        "{refused:?}"
    );
    let half = fleet.site.text("half.cose");
    run_ok(&[
        "root",
        "next",
        &fleet.site.text("root.cose"),
        "--key",
        &fleet.site.text("offline.key"),
        "--output",
        &half,
    ])?;
    let refused = run(&["root", "publish", "--hub", &fleet.hub.url, &half])?;
    ensure!(refused.code == Some(3), "{refused:?}");
    Ok(())
}
