//! A device: its folder, its configuration, its agent as a process.

use crate::group::Group;
use crate::program::{Ended, Process, floorhand, run, wait_for};
use crate::site::text;
use crate::{FLEET, PATIENCE, Site};
use anyhow::{Context as _, Result, bail, ensure};
use floorhand_bundle::{DeviceId, PublicKey};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A device of a site. Its agent runs between [`Agent::start`] and [`Agent::stop`].
#[derive(Debug)]
pub struct Agent {
    /// The device.
    pub device: DeviceId,
    /// The key that its batches are signed with.
    pub key: PublicKey,
    config: PathBuf,
    state_dir: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Agent {
    pub(crate) fn new(site: &Site, device: &str, config: &Value) -> Result<Self> {
        site.new_key(device)?;
        let state_dir = site.path(&format!("{device}-state"));
        let mut all = json!({
            "device": device,
            "fleet": FLEET,
            "state_dir": state_dir,
            "trust_root": site.path("root.cose"),
            "device_key": site.path(&format!("{device}.key")),
            "telemetry": { "metrics_interval_s": 1 },
        });
        if let (Some(all), Some(config)) = (all.as_object_mut(), config.as_object()) {
            all.extend(config.clone());
        }
        Ok(Self {
            device: device.parse()?,
            key: site.secret(device)?.public(),
            config: site.write_toml(&format!("{device}.toml"), &all)?,
            state_dir,
            log: site.path(&format!("{device}.log")),
            process: None,
        })
    }

    /// Where the device keeps what survives a restart.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&mut self) -> Result<()> {
        let arguments = ["agent", "--config", &text(&self.config)];
        self.process = Some(Process::start(&self.log, &arguments)?);
        Ok(())
    }

    /// Starts the agent with settings in its environment, as a service manager does.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let arguments = ["agent", "--config", &text(&self.config)];
        self.process = Some(Process::start_with(&self.log, &arguments, settings)?);
        Ok(())
    }

    /// Starts the agent from a `floorhand-agent` of another build.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_as(&mut self, program: &Path) -> Result<()> {
        let arguments = ["--config", &text(&self.config)];
        self.process = Some(Process::start_program(program, &self.log, &arguments)?);
        Ok(())
    }

    /// Starts the agent within a control group, as a service manager does.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_within(&mut self, group: &Group) -> Result<()> {
        // The shell enters the group and becomes the agent: not a page of it is anybody else's.
        const ENTER: &str = "while [ \"$1\" != -- ]; do echo $$ > \"$1\" || exit 9; shift; done; shift; exec \"$@\"";
        let mut words = vec!["-c".to_owned(), ENTER.to_owned(), "sh".to_owned()];
        words.extend(group.entrances().iter().map(|path| text(path)));
        words.extend(["--".to_owned(), text(&floorhand()?)]);
        words.extend(["agent".to_owned(), "--config".to_owned(), text(&self.config)]);
        self.process = Some(Process::start_program(Path::new("sh"), &self.log, &words)?);
        Ok(())
    }

    /// The process.
    ///
    /// # Errors
    /// When it was never started.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the agent was not started")
    }

    /// Sends SIGTERM; the agent has to end with code 0.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn stop(&mut self) -> Result<()> {
        let process = self.process()?;
        let code = process.stop()?;
        ensure!(
            code == Some(0),
            "the agent ended with {code:?} on SIGTERM\n{}",
            process.tail()
        );
        Ok(())
    }

    /// `floorhand agent import FILE`
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn import(&self, file: &Path) -> Result<Ended> {
        run(&["agent", "--config", &text(&self.config), "import", &text(file)])
    }

    /// What the agent tells about itself; `None` while it doesn't answer.
    ///
    /// # Errors
    /// When its answer isn't JSON.
    pub fn status(&self) -> Result<Option<Value>> {
        let ended = run(&["agent", "--config", &text(&self.config), "status", "--json"])?;
        match ended.code {
            Some(0) => Ok(Some(serde_json::from_str(&ended.stdout)?)),
            // Not reachable: it is starting.
            Some(5) => Ok(None),
            code => bail!("status ended with {code:?}: {}", ended.stderr),
        }
    }

    /// Waits for a status that fits.
    ///
    /// # Errors
    /// When the agent ends, or there is none; with the end of its log.
    pub fn wait_until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let seen = wait_for(what, PATIENCE, || {
            ensure!(self.process()?.is_running(), "the agent has ended");
            if let Some(status) = self.status()? {
                last = status;
            }
            Ok(fits(&last).then(|| last.clone()))
        });
        let log = self.tail();
        seen.with_context(|| format!("the last status was {last:#}\n{log}"))
    }

    /// The end of its log, for messages.
    #[must_use]
    pub fn tail(&self) -> String {
        self.process.as_ref().map(Process::tail).unwrap_or_default()
    }

    /// All that it has logged since the folder was made.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
