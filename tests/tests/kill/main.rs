//! A device that is killed again and again, in deployments and with telemetry under way.
//!
//! Half of the kills hit a durable step by its name: the program, as it is built for tests, ends itself with SIGKILL before a
//! step, in the middle of it or right behind it (`crates/store/src/kill.rs`). The other half hit at random moments. Steps that
//! come in a first life alone are those of two newcomers, one of which encrypts what it keeps: their directories, the sealed
//! key, a trust root. After
//! them the device has to come up, serve a bundle that passed its trial, and remember what it had said.
//!
//! Such a storm is a crash loop, so the agent goes back to the bundle before the running one time and again. That is as it
//! should be: what counts is that it never serves a bundle that was not committed. One of the bundles can't pass its trial,
//! and not one result may ever come of it. From time to time the storm pauses: then a deployment has to come to its end, and
//! every record that a boot has numbered has to be at the hub, or declared as a gap.

mod ledger;
mod storm;

use anyhow::{Result, ensure};
use floorhand_tests::say;
use storm::Storm;

/// How often the device is killed, when `FLOORHAND_KILLS` doesn't say: about two minutes.
const KILLS: usize = 60;
/// Kills between two looks at the books.
const UNTIL_RECKONING: usize = 50;
/// A run of this many kills has to hit every durable step this often.
const WHOLE_RUN: usize = 500;
const HITS_OF_EACH_STEP: usize = 5;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn whenever_it_is_killed_a_device_serves_what_was_committed_and_no_record_is_lost() -> Result<()> {
    let kills = setting("FLOORHAND_KILLS", KILLS);
    let seed = setting("FLOORHAND_KILL_SEED", 1);
    let mut storm = Storm::begin(seed as u64)?;
    storm.learn_steps()?;
    let enough = if kills >= WHOLE_RUN { HITS_OF_EACH_STEP } else { 0 };
    storm.kill_first_starts(kills / 5, enough)?;
    let mut reckoned = storm.kills();
    while storm.kills() < kills {
        storm.kill_at_step()?;
        storm.kill_at_random()?;
        if storm.kills() - reckoned >= UNTIL_RECKONING {
            reckoned = storm.kills();
            storm.reckon()?;
        }
    }
    storm.hit_each(enough)?;
    storm.reckon()?;
    say(&storm.report());
    ensure!(storm.kills() >= kills, "{} kills", storm.kills());
    Ok(())
}
