//! `--check` of the daemons with `--json`: the verdict as one object. Without it the daemons tell it themselves.

use crate::output::Output;
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// What `floorhand hub --check` has to say.
pub fn hub(args: &floorhand_hub::HubArgs, out: &Output) -> Result<ExitCode> {
    let problems = match floorhand_hub::check(args) {
        Ok(()) => Vec::new(),
        Err(error) => error.problems,
    };
    verdict(&args.config, &problems, out)
}

/// What `floorhand agent --check` has to say.
pub fn agent(args: &floorhand_agent::Args, out: &Output) -> Result<ExitCode> {
    let problems = match floorhand_agent::Config::load(&args.config) {
        Ok(_) => Vec::new(),
        Err(error) => error.mistakes.iter().map(ToString::to_string).collect(),
    };
    verdict(&args.config, &problems, out)
}

/// Shows the verdict. Either daemon's code for a configuration that can't be used is the same.
fn verdict(config: &Path, problems: &[String], out: &Output) -> Result<ExitCode> {
    let is_right = problems.is_empty();
    let value = json!({ "ok": is_right, "config": config.display().to_string(), "problems": problems });
    out.show(&value, |_| Ok(()))?;
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(floorhand_hub::ConfigError::EXIT_CODE)
    })
}
