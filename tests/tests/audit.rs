//! The audit log at the command line: what a checkpoint tells that the log alone can't, also after the hub's key was rotated.

use anyhow::{Result, ensure};
use floorhand_tests::{Ended, FLEET, Hub, Site, run, run_ok};
use serde_json::{Value, json};
use std::fs;

/// A hub that has the key of the next root, a token that it asks for, and where its log is checked.
struct Watched {
    site: Site,
    hub: Hub,
    token: String,
}

impl Watched {
    fn start() -> Result<Self> {
        let site = Site::new()?;
        site.new_key("assignment-2")?;
        let hub = site.start_hub_alone_with(&json!({ "next_assignment_key": site.path("assignment-2.key") }))?;
        let config = site.text("hub.toml");
        let token = run_ok(&["hub", "token", "new", "root", "--role", "admin", "--config", &config])?;
        let token = token.trim().to_owned();
        Ok(Self { site, hub, token })
    }

    /// Runs a command that asks the hub.
    fn ask(&self, words: &[&str]) -> Result<Ended> {
        run(&[words, &["--hub", &self.hub.url, "--token", &self.token]].concat())
    }

    fn ask_ok(&self, words: &[&str]) -> Result<()> {
        let ended = self.ask(words)?;
        ensure!(ended.code == Some(0), "{words:?}: {ended:?}");
        Ok(())
    }

    /// A change that is written down.
    fn add(&self, name: &str) -> Result<()> {
        self.ask_ok(&["hub", "token", "new", name, "--role", "viewer"])
    }

    fn checkpoint(&self, name: &str) -> Result<String> {
        let file = self.site.text(name);
        self.ask_ok(&["audit", "checkpoint", "--output", &file])?;
        Ok(file)
    }

    /// The lines of the log as it is now.
    fn exported(&self) -> Result<Vec<String>> {
        let file = self.site.text("log.jsonl");
        self.ask_ok(&["audit", "export", "--output", &file, "--force"])?;
        Ok(fs::read_to_string(file)?.lines().map(str::to_owned).collect())
    }

    /// Checks these lines as somebody would who has them, these checkpoints and these roots.
    fn check(&self, lines: &[String], checkpoints: &[&String], roots: &[&String], expected: (i32, &str)) -> Result<()> {
        let file = self.site.text("shown.jsonl");
        fs::write(&file, lines.join("\n"))?;
        let mut words = vec!["audit", "verify", "--file", &file];
        for checkpoint in checkpoints {
            words.extend(["--checkpoint", checkpoint.as_str()]);
        }
        words.push("--root");
        words.extend(roots.iter().map(|root| root.as_str()));
        let ended = run(&words)?;
        let told = format!("{}{}", ended.stdout, ended.stderr);
        ensure!(
            ended.code == Some(expected.0) && told.contains(expected.1),
            "expected {expected:?}, got {ended:?}"
        );
        Ok(())
    }

    /// Has the root list another assignment key, and the hub go over to it.
    fn rotate(&self, root: &str) -> Result<String> {
        let [added, removed, signer] =
            ["assignment-2.pub", "assignment.pub", "offline.key"].map(|name| self.site.text(name));
        let words = ["--json", "root", "next", root, "--force", "--add-assignment", &added];
        let made = run_ok(&[&words[..], &["--remove-assignment", &removed, "--key", &signer]].concat())?;
        let made: Value = serde_json::from_str(&made)?;
        let next = made.get("file").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.ask_ok(&["root", "publish", &next])?;
        Ok(next)
    }
}

/// A log that is whole in itself, made with other entries in another database.
fn made_anew(site: &Site, entries: usize) -> Result<Vec<String>> {
    let database = format!("sqlite://{}?mode=rwc", site.text("other.db"));
    for number in 0..entries {
        let name = format!("mallory-{number}");
        run_ok(&["hub", "token", "new", &name, "--role", "admin", "--database", &database])?;
    }
    let file = site.text("other.jsonl");
    run_ok(&["audit", "export", "--output", &file, "--database", &database])?;
    Ok(fs::read_to_string(file)?.lines().map(str::to_owned).collect())
}

#[test]
fn a_checkpoint_tells_what_the_log_alone_cannot_also_after_its_key_was_rotated() -> Result<()> {
    let mut watched = Watched::start()?;
    let old_root = watched.site.text("root.cose");
    watched.add("anna")?;
    let first = watched.checkpoint("first.checkpoint")?;
    watched.add("bert")?;
    watched.ask_ok(&["audit", "verify", "--checkpoint", &first, "--root", &old_root])?;

    let log = watched.exported()?;
    watched.check(&log, &[&first], &[&old_root], (0, "are whole and in order"))?;
    let covered = log.len() - 1;
    watched.check(&log[..covered], &[&first], &[&old_root], (0, "whole"))?;
    let cut = format!("entry {covered} and all after it were cut off");
    watched.check(&log[..covered - 1], &[&first], &[&old_root], (3, &cut))?;
    let other = made_anew(&watched.site, log.len())?;
    let anew = format!("entry {covered} is another than the checkpoint's");
    watched.check(&other, &[&first], &[&old_root], (3, &anew))?;

    let new_root = watched.rotate(&old_root)?;
    watched.add("cora")?;
    let second = watched.checkpoint("second.checkpoint")?;
    let (log, both) = (watched.exported()?, [&old_root, &new_root]);
    watched.check(&log, &[&first, &second], &both, (0, "are whole and in order"))?;
    watched.check(&log[..covered - 1], &[&first], &both, (3, &cut))?;
    let later = format!("entry {} and all after it were cut off", log.len());
    watched.check(&log[..log.len() - 1], &[&first, &second], &both, (3, &later))?;
    watched.check(&other, &[&first], &both, (3, &anew))?;
    for (checkpoint, root) in [(&first, &new_root), (&second, &old_root)] {
        watched.check(&log, &[checkpoint], &[root], (3, "give all roots from then on"))?;
    }
    let foreign = watched.site.text("foreign.cose");
    let keys = ["assignment.key", "release.pub", "assignment.pub"].map(|name| watched.site.text(name));
    let made = [
        "root",
        "new",
        "--fleet",
        FLEET,
        "--root",
        &keys[0],
        "--release",
        &keys[1],
        "--assignment",
        &keys[2],
    ];
    run_ok(&[&made[..], &["--root-version", "2", "--output", &foreign]].concat())?;
    watched.check(&log, &[&first], &[&old_root, &foreign], (3, "foreign.cose"))?;
    in_its_database(&mut watched, &old_root, &new_root)
}

/// The hub's own checkpoint, which it signs when it ends, is known without being given.
fn in_its_database(watched: &mut Watched, old_root: &str, new_root: &str) -> Result<()> {
    ensure!(watched.hub.process.stop()? == Some(0), "{}", watched.hub.process.tail());
    let config = watched.site.text("hub.toml");
    let words = ["audit", "verify", "--config", &config, "--root", old_root];
    let told = run_ok(&[&words[..], &[new_root]].concat())?;
    ensure!(told.contains("are whole and in order"), "{told}");
    let told = run(&words)?;
    ensure!(
        told.code == Some(3) && told.stderr.contains("the database's own"),
        "{told:?}"
    );
    Ok(())
}
