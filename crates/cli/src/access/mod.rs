//! Who may ask the hub, and what they changed: `floorhand hub token` and `floorhand audit`.
//!
//! Both work through the hub's API, for admins, or on its database, for those who have that in hand: so the first token is
//! made, and so the log is verified without believing a running hub.

pub mod audit;
pub mod token;

use crate::exit::Failure;
use crate::fleet::client::{Hub, HubOptions};
use anyhow::Result;
use clap::{Args, FromArgMatches as _};
use floorhand_hub::offline::{self, Offline, OfflineError};
use std::path::{Path, PathBuf};

/// Where a hub's tokens and its audit log are.
#[derive(Debug, Args)]
pub struct Place {
    #[command(flatten)]
    hub: HubOptions,
    /// Work on the database itself instead of asking the hub: sqlite://PATH or postgres://...
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    database: Option<String>,
    /// Work on the database of this hub configuration instead of asking the hub
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A hub, or its database.
pub(crate) enum Opened {
    /// The hub itself, by its API.
    Hub(Box<Hub>),
    /// Its database.
    Database(Offline),
}

impl Place {
    /// Opens what the options name, to change something. A database that isn't there is made.
    pub(crate) fn open(&self) -> Result<Opened> {
        self.open_by(Offline::open)
    }

    /// Opens what the options name, to look at it. A database stays as it is.
    pub(crate) fn open_to_read(&self) -> Result<Opened> {
        self.open_by(Offline::open_existing)
    }

    fn open_by(&self, open: fn(&str) -> Result<Offline, OfflineError>) -> Result<Opened> {
        let url = match (&self.database, &self.config) {
            (Some(url), _) => url.clone(),
            (None, Some(config)) => url_of(config)?,
            (None, None) => return Ok(Opened::Hub(Box::new(Hub::new(&self.hub)?))),
        };
        Ok(Opened::Database(open(&url).map_err(failed)?))
    }
}

/// The database of a hub's configuration.
fn url_of(config: &Path) -> Result<String> {
    let matches = floorhand_hub::HubArgs::augment_args(clap::Command::new("hub")).try_get_matches_from([
        Path::new("hub"),
        Path::new("--config"),
        config,
    ])?;
    let args = floorhand_hub::HubArgs::from_arg_matches(&matches)?;
    Ok(offline::database_url(&args).map_err(failed)?)
}

/// What the database says, as a failure of the command.
pub(crate) fn failed(error: OfflineError) -> Failure {
    Failure::new(crate::exit::Exit::Failed, error)
}
