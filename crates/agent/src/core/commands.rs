//! What the hub and the person at the box ask for: assignments, commands, imports.

use super::assembly::Core;
use super::roots::Offered;
use crate::import::{self, InboxFile};
use floorhand_bundle::{Archive, Digest};
use floorhand_lifecycle::Event;
use floorhand_protocol::{Action, Assignment, Command, MAX_ANSWER_BYTES, Outcome, Up};
use std::fs::{self, File};
use std::path::Path;

/// The most log lines that one command is answered with.
const MAX_LOG_LINES: u32 = 2000;

impl Core {
    pub(super) fn take_assignment(&mut self, bytes: &[u8]) {
        match self.open_assignment(bytes) {
            Ok(assignment) => self.handle(Event::Assigned(assignment)),
            // One that was taken before is retained at the broker until a newer one comes, expired or not.
            Err(problem) if !self.is_known(bytes) => self.refused("assignment", &problem),
            Err(_) => {}
        }
    }

    fn open_assignment(&self, bytes: &[u8]) -> Result<Assignment, String> {
        let trust = self.setup.trust.now();
        Assignment::open(bytes, trust.root()?, &self.setup.device, self.trusted_now_ms())
            .map(floorhand_bundle::Verified::into_inner)
            .map_err(|error| error.to_string())
    }

    fn open_command(&self, bytes: &[u8]) -> Result<Command, String> {
        let trust = self.setup.trust.now();
        Command::open(bytes, trust.root()?, &self.setup.device, self.trusted_now_ms())
            .map(floorhand_bundle::Verified::into_inner)
            .map_err(|error| error.to_string())
    }

    /// Whether this is the assignment that was taken last, as far as its signature goes.
    fn is_known(&self, bytes: &[u8]) -> bool {
        Assignment::open(bytes, self.setup.trust.now().newest(), &self.setup.device, 0)
            .is_ok_and(|assignment| assignment.seq <= self.setup.machine.state().seq)
    }

    pub(super) fn take_command(&mut self, bytes: &[u8]) {
        let command = match self.open_command(bytes) {
            Ok(command) => command,
            Err(problem) => return self.refused("command", &problem),
        };
        if command.id <= self.setup.machine.state().command_id {
            tracing::debug!(id = command.id, "a command that was answered before");
            return;
        }
        self.handle(Event::SignedTime(command.issued_ms));
        self.handle(Event::CommandTaken(command.id));
        if self.saved.command_id != command.id {
            let reason = "the state directory can't be written".to_owned();
            return self.answer(format!("cmd/{}", command.id), Outcome::Rejected { reason });
        }
        tracing::info!(id = command.id, action = ?command.action, "command");
        let body = match command.action {
            Action::ReportNow => self.report_now(),
            Action::FetchLogs { lines } => self.log_lines(lines),
        };
        self.answer(format!("cmd/{}", command.id), Outcome::Done { body });
    }

    fn report_now(&mut self) -> String {
        self.setup.serving.tell(crate::serving::Message::Report);
        self.say_hello();
        self.update_board();
        self.board_json()
    }

    /// The last lines of the log, as many as one answer holds.
    fn log_lines(&self, lines: u32) -> String {
        // Room for the envelope, and for the fields around the text.
        const ROOM: usize = 1024;
        let lines = self.setup.log.tail(lines.min(MAX_LOG_LINES) as usize);
        let mut left = MAX_ANSWER_BYTES - ROOM;
        let fitting = lines.iter().rev().take_while(|line| {
            let fits = line.len() < left;
            left = left.saturating_sub(line.len() + 1);
            fits
        });
        let mut fitting: Vec<&str> = fitting.map(String::as_str).collect();
        fitting.reverse();
        fitting.join("\n")
    }

    pub(super) fn send_answers(&mut self) {
        let Some(fleet) = &self.setup.fleet else {
            self.answers.clear();
            return;
        };
        while let Some(answer) = self.answers.front() {
            let sealed = match answer.seal(&self.setup.key) {
                Ok(sealed) => sealed,
                Err(error) => {
                    tracing::error!(%error, "an answer can't be signed");
                    self.answers.pop_front();
                    continue;
                }
            };
            if fleet.publish(Up::Answer, sealed).is_err() {
                return;
            }
            self.answers.pop_front();
        }
    }

    /// Takes a bundle that was carried here, and that a client has put into the inbox under this name.
    pub(super) fn import(&mut self, name: &[u8]) -> Result<String, String> {
        let Some(file) = InboxFile::parse(name) else {
            return Err(
                "what the agent is told of is no file in its inbox; use the command of its own version".to_owned(),
            );
        };
        let path = file.path(self.setup.store.root());
        let taken = self.import_file(&path);
        remove(&path);
        taken
    }

    /// Takes a trust root, or a bundle with the assignment that lies in it and the roots that the device needs for them. All
    /// are verified like any other.
    fn import_file(&mut self, path: &Path) -> Result<String, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if let Some(root) = import::read_root(&file)? {
            return match self.offer_root(&root)? {
                Offered::Taken(version) => {
                    self.say_hello();
                    Ok(format!("trust root {version} is taken"))
                }
                Offered::Known => Ok("this trust root was taken before".to_owned()),
            };
        }
        self.import_roots(&file)?;
        let archive = Archive::read_documents(&file).map_err(|error| error.to_string())?;
        let Some(bytes) = &archive.assignment else {
            return Err("the archive has no assignment; make one with `floorhand fleet export DEVICE`".to_owned());
        };
        let assignment = self.open_assignment(bytes)?;
        if assignment.seq <= self.setup.machine.state().seq {
            return Err(format!(
                "its assignment {} is not newer than {}, which was taken before; if the device does not run it, deploy it at the hub and export that",
                assignment.seq,
                self.setup.machine.state().seq
            ));
        }
        self.put_blobs(&file, &archive.manifest, &assignment)?;
        let (seq, job) = (assignment.seq, assignment.job.clone());
        self.handle(Event::Assigned(assignment));
        if self.saved.seq != seq {
            return Err("the state directory can't be written; free space on its disk".to_owned());
        }
        Ok(format!(
            "assignment {seq} ({job}) is taken; `floorhand-agent status` tells how far it is"
        ))
    }

    /// Takes the roots that an archive brings and the device hasn't got yet. Those up to the pinned one are passed over.
    fn import_roots(&mut self, archive: &File) -> Result<(), String> {
        for root in Archive::read_roots(archive).map_err(|error| error.to_string())? {
            let newest = self.setup.trust.now().newest().version;
            if import::claimed_version(&root).is_none_or(|version| version > newest) {
                self.offer_root(&root)?;
            }
        }
        Ok(())
    }

    /// Puts what the assignment's manifest names where a fetch would put it. The manifest is verified first.
    fn put_blobs(&self, archive: &File, manifest: &[u8], assignment: &Assignment) -> Result<(), String> {
        let Some(assigned) = &assignment.run else { return Ok(()) };
        if Digest::of(manifest) != assigned.manifest.sha256 {
            return Err("the archive's manifest is not the one that its assignment names".to_owned());
        }
        let trust = self.setup.trust.now();
        let verified = floorhand_bundle::Manifest::open(manifest, trust.root()?, self.trusted_now_ms())
            .map_err(|error| error.to_string())?;
        let blobs = self.setup.store.blobs();
        blobs.put(manifest).map_err(|error| error.to_string())?;
        import::unpack(archive, &verified.components, blobs, &self.setup.heartbeat).map_err(|error| error.to_string())
    }

    /// Takes what was imported while the agent was not running. A command that found nobody on the socket may leave it after
    /// the agent has started, so it is looked for again and again.
    pub(super) fn take_inbox(&mut self) {
        if self.inbox_stuck {
            return;
        }
        let path = match import::take_from_inbox(self.setup.store.root()) {
            Ok(Some(path)) => path,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the inbox can't be emptied; it is tried again at the next start");
                self.inbox_stuck = true;
                return;
            }
        };
        match self.import_file(&path) {
            Ok(taken) => tracing::info!("imported: {taken}"),
            Err(problem) => self.refused("import", &problem),
        }
        self.inbox_stuck = !remove(&path);
    }
}

/// What was taken, or can't be, isn't looked at again. Whether it is gone.
fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "can't be removed");
            false
        }
        _ => true,
    }
}
