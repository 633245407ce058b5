//! The command line of `floorhand-agent`, which `floorhand agent` has too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use floorhand_pipeline::{Compiler, Program};

use crate::exit;

/// Where a second agent's configuration lies, in a folder of its name, and its state.
const CONFIGURATIONS: &str = "/etc/floorhand";
const STATES: &str = "/var/lib/floorhand-agents";
/// The first one's.
const CONFIG: &str = "/etc/floorhand/agent.toml";
const STATE: &str = "/var/lib/floorhand";
/// Part of the names of units, folders and users.
const MAX_INSTANCE_BYTES: usize = 32;

/// The argument by which the program knows that it is to compile a plugin and nothing else.
const COMPILER: &str = "__compile-plugin";
/// The same for loading a model to see what it takes.
const PROBE: &str = "__probe-model";

/// The daemon on the device: takes signed bundles, serves them, watches them, rolls them back.
///
/// Without a command it runs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
#[derive(Debug, Clone, Parser)]
#[command(name = "floorhand-agent", version, after_help = exit::HELP)]
pub struct Args {
    /// The configuration file.
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "FLOORHAND_AGENT_CONFIG",
        default_value = CONFIG
    )]
    pub config: PathBuf,
    /// One of several agents of this machine, by its name: its configuration is /etc/floorhand/NAME/agent.toml, its state
    /// lies in /var/lib/floorhand-agents/NAME, and its unit is floorhand-agent@NAME.
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "config", value_parser = instance)]
    pub instance: Option<String>,
    /// Check the configuration and the files it names, tell every mistake, and exit.
    #[arg(long)]
    pub check: bool,
    /// Write what was found or done as JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The subcommand that stands before these arguments, where another program carries them.
    #[arg(skip)]
    pub carried_by: Option<&'static str>,
}

/// What to do instead of running.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Tell what the running agent does.
    Status {
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look for what is wrong: configuration, keys, certificates, disk, clock, connections.
    Doctor {
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hand over a bundle with its assignment, from a stick for example. It is verified like any other.
    Import {
        /// The file that `floorhand fleet export` made.
        bundle: PathBuf,
    },
    /// Say why the model answers as it does, where the bundle has [explain]: to a sample, or to the next one that is served.
    Explain {
        /// The sample, a JSON object; before it, one a line, those that fill a window. - is standard input.
        #[arg(long, value_name = "FILE")]
        sample: Option<PathBuf>,
    },
    /// Get this device's identity from its hub, with a token: keys are made here, and the certificate is brought.
    Enroll(EnrollArgs),
    /// Compile a plugin: the agent starts itself for it, with limits of its own.
    #[command(name = COMPILER, hide = true)]
    CompilePlugin,
    /// Load a model to see what it takes: the agent starts itself for it, with limits of its own.
    #[command(name = PROBE, hide = true)]
    ProbeModel,
}

/// `floorhand-agent enroll`
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[command(group(clap::ArgGroup::new("by").required(true).args(["token", "token_file"])))]
pub struct EnrollArgs {
    /// The hub's address, https://HOST[:PORT]; http:// on this machine alone.
    #[arg(long, value_name = "URL")]
    pub hub: String,
    /// The line that `floorhand fleet enroll-token` printed.
    #[arg(long, value_name = "TOKEN", env = "FLOORHAND_ENROLL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file with that line, for machines whose users see each other's processes.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// This device's name, where the token is for several.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<floorhand_bundle::DeviceId>,
    /// This device's class of hardware.
    #[arg(long, value_name = "CLASS", default_value = "generic")]
    pub hardware: floorhand_bundle::HardwareClass,
    /// The CA that the hub's https:// certificate is from (PEM), where the token doesn't tell it.
    #[arg(long, value_name = "FILE")]
    pub hub_ca: Option<PathBuf>,
    /// The folder for keys and certificates; the agent has to be allowed to write to it. [default: `identity` in its state
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Lower-case letters, digits and hyphens: what a unit's name and a folder's take as it is.
fn instance(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_INSTANCE_BYTES || !name.chars().all(fits) || name.starts_with('-') {
        return Err(format!(
            "a name has 1 to {MAX_INSTANCE_BYTES} lower-case letters, digits and hyphens, as line-2"
        ));
    }
    Ok(name.to_owned())
}

/// Which agent of this machine is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Its state directory, where it isn't the one that a configuration without `state_dir` means.
    pub(crate) state_dir: Option<PathBuf>,
}

impl Place {
    /// Where enrolling puts keys and certificates.
    pub(crate) fn identity(&self) -> PathBuf {
        let state_dir = self.state_dir.as_deref().unwrap_or(Path::new(STATE));
        state_dir.join("identity")
    }
}

impl Args {
    /// Where the agent that is meant has its files.
    pub(crate) fn place(&self) -> Place {
        match &self.instance {
            Some(name) => Place {
                config: Path::new(CONFIGURATIONS).join(name).join("agent.toml"),
                state_dir: Some(Path::new(STATES).join(name)),
            },
            None => Place {
                config: self.config.clone(),
                state_dir: None,
            },
        }
    }

    /// These arguments, behind a subcommand of another program, as in `floorhand agent`.
    #[must_use]
    pub fn carried_by(self, subcommand: &'static str) -> Self {
        let carried_by = Some(subcommand);
        Self { carried_by, ..self }
    }

    /// Plugins are compiled by this very program in a process of its own.
    pub(crate) fn compiler(&self) -> Compiler {
        let Program { exe, args } = self.worker(COMPILER);
        Compiler::Subprocess { exe, args }
    }

    /// Models are loaded for the first time by this very program in a process of its own.
    pub(crate) fn probe(&self) -> Program {
        self.worker(PROBE)
    }

    fn worker(&self, command: &'static str) -> Program {
        // The first is this file's name at start; the second is this program even when its file was replaced by an upgrade.
        let exe = std::env::current_exe().ok().filter(|exe| exe.is_file());
        let args = self.carried_by.into_iter().chain([command]).map(OsString::from);
        Program {
            exe: exe.unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
            args: args.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::parse_from(["floorhand-agent", "status", "--json", "--config", "x.toml"]);
        assert_eq!(
            (args.config, args.command),
            (PathBuf::from("x.toml"), Some(Command::Status { json: true }))
        );
        assert!(Args::try_parse_from(["floorhand-agent", "import"]).is_err());
    }

    #[test]
    fn whatever_answers_has_json() {
        for (line, json) in [
            ("--check", false),
            ("--check --json", true),
            ("import x.fhb", false),
            ("import --json x.fhb", true),
            ("import x.fhb --json", true),
            ("--json import x.fhb", true),
            ("status --json", true),
            ("doctor --json", true),
        ] {
            let args = Args::parse_from(["floorhand-agent"].into_iter().chain(line.split(' ')));
            assert_eq!(args.json, json, "{line}");
        }
    }

    #[test]
    fn an_instance_has_files_of_its_own() {
        let place = |line: &str| Args::try_parse_from(line.split(' ')).map(|args| args.place());
        let second = place("floorhand-agent status --instance line-2").unwrap();
        assert_eq!(second.config, Path::new("/etc/floorhand/line-2/agent.toml"));
        assert_eq!(
            second.identity(),
            Path::new("/var/lib/floorhand-agents/line-2/identity")
        );
        let first = place("floorhand-agent").unwrap();
        assert_eq!(
            (first.config.as_path(), first.state_dir.as_deref()),
            (Path::new(CONFIG), None)
        );
        assert_eq!(first.identity(), Path::new("/var/lib/floorhand/identity"));
        for name in ["", "..", "a/b", "Line", "-a", "a_b", &"a".repeat(33)] {
            let line = ["floorhand-agent", &format!("--instance={name}")];
            let error = Args::try_parse_from(line).unwrap_err().to_string();
            assert!(error.contains("1 to 32 lower-case letters"), "{error}");
        }
        assert!(place("floorhand-agent --instance a --config b.toml").is_err());
    }

    #[test]
    fn the_worker_is_found_behind_another_programs_subcommand() {
        let arguments = |args: &Args| match args.compiler() {
            Compiler::Subprocess { args, .. } => args,
            Compiler::InProcess => vec![],
        };
        let args = Args::parse_from(["floorhand-agent"]);
        assert_eq!(arguments(&args), ["__compile-plugin"]);
        assert_eq!(arguments(&args.carried_by("agent")), ["agent", "__compile-plugin"]);
        let worker = Args::parse_from(["floorhand-agent", "__compile-plugin"]);
        assert_eq!(worker.command, Some(Command::CompilePlugin));
    }
}
