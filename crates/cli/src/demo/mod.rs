//! `floorhand demo`: the whole of Floorhand on one machine, as separate processes, told as a story.
//!
//! Each chapter does one thing and then waits until it has been *seen* from outside the agents: in the hub's API, or in a
//! subscription of the demo's own at the broker. What an agent says of itself in its log counts for nothing.

mod bundles;
mod forger;
mod observer;
mod pki;
mod plant;
mod process;
mod site;
mod story;
mod vibration;

use crate::exit::Exit;
use crate::output::Output;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `floorhand demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Tell the story once, without waiting for a person, and end; exit 0 only if every step was seen from outside
    #[arg(long)]
    pub once: bool,
    /// Write what was seen, step by step, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// The dashboard's port [default: one that is free]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Keep the temporary folder with keys, configurations and logs
    #[arg(long)]
    pub keep: bool,
}

/// One step of the story, and what was seen of it.
#[derive(Debug, Serialize)]
pub struct StepSeen {
    /// What was to be seen.
    pub step: &'static str,
    /// Whether it was.
    pub seen: bool,
    /// Where and what, or why not.
    pub evidence: Value,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Tells the story and waits for Ctrl-C, or with `--once` doesn't.
pub fn run(args: &DemoArgs, out: &Output) -> Result<ExitCode> {
    // What can be known now is not told after a minute.
    if let Some(port) = args.port {
        check_port(port)?;
    }
    if let Some(report) = &args.report {
        check_writable(report)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let told = runtime.block_on(async {
        tokio::select! {
            told = tell(args, out) => told,
            _ = tokio::signal::ctrl_c() => {
                out.note("stopping");
                Ok(None)
            }
        }
    });
    // Blocking parts of the story end with the processes that they wait for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let Some(steps) = told? else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(path) = &args.report {
        let report = serde_json::to_vec_pretty(&steps)?;
        std::fs::write(path, report).with_context(|| format!("{} can't be written", path.display()))?;
    }
    if out.is_json() {
        out.json_line(&steps)?;
    }
    let missing = steps.iter().filter(|step| !step.seen).count();
    if missing == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    out.error(
        &format!("{missing} of {} steps were not seen", steps.len()),
        Exit::Failed as u8,
    );
    Ok(Exit::Failed.into())
}

/// Whether the dashboard can be there. Otherwise the story would be told of whatever is there already.
fn check_port(port: u16) -> Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).with_context(|| {
        format!(
            "port {port} can't be used for the dashboard; end what listens there, name another with --port, or leave \
             --port out to have a free one"
        )
    })
}

/// Whether a file can be written; where none was, none is left.
fn check_writable(path: &Path) -> Result<()> {
    let is_there = path.exists();
    let opened = File::options().create(true).append(true).open(path).map(drop);
    let checked = match opened {
        Ok(()) if !is_there => std::fs::remove_file(path),
        other => other,
    };
    checked.with_context(|| format!("{} can't be written", path.display()))
}

async fn tell(args: &DemoArgs, out: &Output) -> Result<Option<Vec<StepSeen>>> {
    let started = Instant::now();
    let mut story = story::Story::begin(args.port, out).await?;
    let steps = story.tell().await?;
    if args.keep || steps.iter().any(|step| !step.seen) {
        out.note(&format!(
            "keys, configurations and logs are kept in {}",
            story.keep().display()
        ));
    }
    if !args.once {
        story.go_on();
        out.note(&format!(
            "the machines run again and the fleet goes on; look at {} and press Ctrl-C to end and clean up",
            story.dashboard()
        ));
        tokio::signal::ctrl_c().await?;
        out.note("stopping");
    }
    tokio::task::block_in_place(|| drop(story));
    out.note(&format!("told and cleaned up in {} s", started.elapsed().as_secs()));
    Ok(Some(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_or_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = check_port(port).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--port"), "{error}");
        drop(taken);
        check_port(port).unwrap();
    }

    #[test]
    fn a_report_can_be_written_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("seen.json");
        check_writable(&report).unwrap();
        assert!(!report.exists());
        std::fs::write(&report, "old").unwrap();
        check_writable(&report).unwrap();
        assert_eq!(std::fs::read(&report).unwrap(), b"old");
        assert!(check_writable(&folder.path().join("nowhere/seen.json")).is_err());
        assert!(check_writable(folder.path()).is_err());
    }
}
