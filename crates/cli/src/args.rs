//! The command line as a whole; each subcommand's own arguments stand beside what they do.

use crate::access::audit::AuditCommand;
use crate::access::token::TokenCommand;
use crate::bundle::BundleCommand;
use crate::demo::DemoArgs;
use crate::exit;
use crate::fleet::FleetArgs;
use crate::keys::KeysCommand;
use crate::plugin::PluginCommand;
use crate::root::RootCommand;
use crate::run::RunArgs;
use crate::watch::WatchArgs;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Behind every option that a command has of its own, before help and version.
const LAST: usize = 990;

/// Run models on machines you can't walk to: signed, tried before they serve, rolled back when they do worse
#[derive(Debug, Parser)]
#[command(name = "floorhand", version, propagate_version = false, max_term_width = 110, after_help = exit::HELP)]
pub struct Cli {
    /// Write results as JSON, for programs
    #[arg(long, global = true, display_order = LAST)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See all of it at work on this machine: a broker, a hub, three agents, and a bearing that wears
    Demo(DemoArgs),
    /// Run a bundle on a file: the device's own pipeline, on this machine
    Run(RunArgs),
    /// Make, sign, check and look into bundles
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Write plugins: make, build, test, measure and look into them
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Make and look at keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Make and look at trust roots, which say whose signatures devices accept
    #[command(subcommand)]
    Root(RootCommand),
    /// Steer a fleet through its hub: devices, rollouts, rollbacks, logs
    Fleet(FleetArgs),
    /// Show what devices send, as it comes
    Watch(WatchArgs),
    /// Run the agent, which serves bundles on a device
    Agent(floorhand_agent::Args),
    /// Run the hub, which knows the fleet and its bundles
    Hub(HubLine),
    /// See what was changed at the hub, by whom, and verify that the record of it is whole
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Run a small MQTT broker on this machine, for trying things out
    #[command(after_help = floorhand_hub::BROKER_HELP)]
    Broker(floorhand_hub::broker::BrokerArgs),
    /// Write a completion script for a shell
    ///
    /// For bash: floorhand completions bash > /etc/bash_completion.d/floorhand
    Completions {
        /// The shell
        shell: Shell,
    },
    /// What the agent starts to compile a plugin away from itself.
    #[command(name = "__compile-plugin", hide = true)]
    CompilePlugin,
    /// What the agent, and `bundle` and `run`, start to load a model away from themselves.
    #[command(name = "__probe-model", hide = true)]
    ProbeModel,
}

/// `floorhand hub`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HubLine {
    /// The hub that is run where no subcommand is given.
    #[command(flatten)]
    pub run: floorhand_hub::HubArgs,
    /// What to do instead of running it.
    #[command(subcommand)]
    pub command: Option<HubCommand>,
}

/// What can be done for a hub.
#[derive(Debug, Subcommand)]
pub enum HubCommand {
    /// Make, list and revoke the tokens by which the hub knows who asks
    #[command(subcommand)]
    Token(TokenCommand),
}
