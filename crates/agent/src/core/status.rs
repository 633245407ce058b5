//! What the core tells about itself: hellos to the hub, the board for whoever asks at the box.

use super::assembly::Core;
use super::board::Board;
use crate::clock::{monotonic_ms, system_ms};
use crate::engines;
use floorhand_lifecycle::Generation;
use floorhand_protocol::{Hello, Running, Up};
use serde_json::json;
use std::sync::PoisonError;

impl Core {
    pub(super) fn update_board(&self) {
        let trust = self.setup.trust.now();
        let newest = trust.newest();
        let board = Board {
            state: self.saved.clone(),
            deployment: self.setup.machine.deployment(),
            trial: self.setup.machine.trial_progress(),
            unserved: self.setup.machine.unserved().is_some(),
            running_in: self.running_in.clone(),
            engines: engines::status(&self.setup.engines),
            root_version: newest.version,
            root_expires_ms: newest.expires_ms,
        };
        *self.setup.board.lock().unwrap_or_else(PoisonError::into_inner) = board;
    }

    /// The device's status, as the answer to a command.
    pub(super) fn board_json(&self) -> String {
        let state = self.setup.machine.state();
        let spool = self.setup.telemetry.figures();
        json!({
            "agent": crate::version().to_string(),
            "uptime_s": monotonic_ms() / 1000,
            "active": state.active.as_ref().map(named),
            "engine": state.active.as_ref().and_then(|active| self.running_in.get(&active.number)),
            "engines": engines::status(&self.setup.engines),
            "serves": state.active.is_some() && self.setup.machine.unserved().is_none(),
            "previous": state.previous.as_ref().map(named),
            "candidate": state.candidate.as_ref().map(|candidate| named(&candidate.generation)),
            "deployment": self.setup.machine.deployment(),
            "mode": state.mode,
            "seq": state.seq,
            "root_version": self.setup.trust.now().newest().version,
            "spool": {"records": spool.records, "bytes": spool.bytes, "dropped": spool.dropped},
        })
        .to_string()
    }

    /// Tells the hub who this is and what it runs. Tried again at the next tick when the way is blocked.
    pub(super) fn say_hello(&mut self) {
        let Some(fleet) = &self.setup.fleet else { return };
        self.hello_due = true;
        if !self.connected {
            return;
        }
        let state = self.setup.machine.state();
        self.hello_count += 1;
        let hello = Hello {
            device: self.setup.device.clone(),
            boot_id: self.setup.boot_id,
            count: self.hello_count,
            time_ms: system_ms(),
            agent: crate::version().to_string(),
            hardware: self.setup.hardware.clone(),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            seq: state.seq,
            command_id: state.command_id,
            // One that was taken and is gone from the disk has to be sent again.
            root_version: self.setup.trust.now().newest().version,
            floor: state.floor,
            mode: state.mode,
            parameters: state.parameters.clone(),
            // What is committed and can't be loaded doesn't run.
            active: state
                .active
                .as_ref()
                .filter(|_| self.setup.machine.unserved().is_none())
                .map(running),
            previous: state.previous.as_ref().map(running),
            candidate: state.candidate.as_ref().map(|candidate| running(&candidate.generation)),
            deployment: self.setup.machine.deployment(),
        };
        match hello.seal(&self.setup.key) {
            Ok(sealed) => self.hello_due = fleet.publish(Up::Hello, sealed).is_err(),
            Err(error) => tracing::error!(%error, "a hello can't be signed"),
        }
    }
}

fn running(generation: &Generation) -> Running {
    Running {
        generation: generation.number,
        bundle: generation.bundle.clone(),
    }
}

fn named(generation: &Generation) -> serde_json::Value {
    json!({
        "generation": generation.number,
        "bundle": generation.bundle.digest.to_string(),
        "name": generation.bundle.name,
        "version": generation.bundle.version,
    })
}
