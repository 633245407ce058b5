//! The `floorhand` command: one module for each of its subcommands, and what they share.
//!
//! It is the people's side of Floorhand. It holds no rules of its own: what a bundle is, who may sign it, how it is run
//! and how a fleet is steered is said by the crates below, so that the answer here is the answer on the device. What it
//! adds is reading files, asking the hub, and telling a person what came of it.
//!
//! It must not keep state between two calls, and must not print anything but results to standard output.
//!
//! # Testing
//!
//! `tests/` runs the built binary the way a person would. The modules are public so that tests and the demo can use what
//! is between the arguments and the output.

pub mod access;
pub mod args;
pub mod authority;
pub mod builtin;
pub mod bundle;
pub mod check;
pub mod contents;
pub mod demo;
pub mod engine;
pub mod exit;
pub mod files;
pub mod fleet;
pub mod keys;
pub mod log;
pub mod output;
pub mod plugin;
pub mod root;
pub mod run;
pub mod schema;
pub mod time;
pub mod unlock;
pub mod watch;

use args::{Cli, Command, HubCommand, HubLine};
use clap::{CommandFactory, Parser};
use output::Output;
use std::process::ExitCode;

/// Runs the command line that this process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told when the stream is closed.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    floorhand_pipeline::keep_memory();
    let out = Output::new(cli.json);
    dispatch(cli.command, &out).unwrap_or_else(|error| exit::report(&error, &out))
}

fn dispatch(command: Command, out: &Output) -> anyhow::Result<ExitCode> {
    let done = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    if matches!(command, Command::Run(_) | Command::Bundle(_) | Command::Plugin(_)) {
        log::start();
        engine::load_models_apart();
    }
    match command {
        Command::Keys(command) => done(keys::run(&command, out)),
        Command::Root(command) => done(root::run(&command, out)),
        Command::Bundle(command) => done(bundle::run(&command, out)),
        Command::Plugin(command) => plugin::run(&command, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Run(args) => run::run(&args, out),
        Command::Fleet(args) => fleet::run(&args, out),
        Command::Watch(args) => done(watch::run(&args, out)),
        Command::Hub(args) => hub(&args, out),
        Command::Audit(command) => done(access::audit::run(&command, out)),
        Command::Agent(args) if args.check && args.command.is_none() && out.is_json() => check::agent(&args, out),
        Command::Agent(args) => Ok(floorhand_agent::run(args.carried_by("agent"))),
        Command::Broker(args) => Ok(floorhand_hub::broker::run(&args)),
        Command::Completions { shell } => done(completions(shell)),
        Command::CompilePlugin => Ok(engine::compile_worker()),
        Command::ProbeModel => Ok(engine::probe_worker()),
    }
}

fn hub(args: &HubLine, out: &Output) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(HubCommand::Token(command)) => access::token::run(command, out).map(|()| ExitCode::SUCCESS),
        None if args.run.check && args.run.command.is_none() && out.is_json() => check::hub(&args.run, out),
        None => Ok(floorhand_hub::run(&args.run)),
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    use std::io::Write;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "floorhand", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
