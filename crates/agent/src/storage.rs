//! The state directory at the start of the daemon: the store, the state record in it, the spool.
//!
//! A disk that can't be written is no reason not to serve what is on it. What this module opens may fail at every write from
//! then on, and whoever writes says so.

use crate::config::Config;
use floorhand_lifecycle::State;
use floorhand_store::{Spool, SpoolConfig, SpoolError, Store, StoreOptions};

/// What is in the state directory.
pub(crate) struct Storage {
    pub(crate) store: Store,
    pub(crate) state: State,
    pub(crate) spool: Spool,
}

/// Opens it for one boot.
pub(crate) fn open(config: &Config, boot_id: u64) -> Result<Storage, String> {
    let store = open_store(config)?;
    let state = match store.state().load().map_err(|error| error.to_string())? {
        Some(bytes) => State::decode(&bytes).map_err(|error| error.to_string())?,
        None => State::default(),
    };
    let spool = open_spool(config, &store, boot_id)?;
    Ok(Storage { store, state, spool })
}

fn options(config: &Config) -> StoreOptions {
    StoreOptions {
        blob_budget_bytes: config.store.blob_budget_bytes,
    }
}

fn open_store(config: &Config) -> Result<Store, String> {
    let keys = config.storage_keys()?;
    #[cfg(debug_assertions)]
    if let Some(point) = killing::kill_point(config) {
        let disk = std::sync::Arc::new(point);
        return match &keys {
            Some(keys) => Store::open_sealed_on(disk, &config.state_dir, options(config), keys),
            None => Store::open_on(disk, &config.state_dir, options(config)),
        }
        .map_err(|error| error.to_string());
    }
    match &keys {
        Some(keys) => Store::open_sealed(&config.state_dir, options(config), keys),
        None => Store::open(&config.state_dir, options(config)),
    }
    .map_err(|error| error.to_string())
}

fn open_spool(config: &Config, store: &Store, boot_id: u64) -> Result<Spool, String> {
    let (path, spool_config) = (
        store.spool_path(),
        SpoolConfig {
            budget_bytes: config.telemetry.spool_budget_bytes,
            high_reserve_bytes: config.telemetry.high_reserve_bytes,
        },
    );
    #[cfg(debug_assertions)]
    if let Some(point) = killing::kill_point(config) {
        let medium = std::sync::Arc::new(point);
        return Spool::open_on(medium, &path, boot_id, spool_config).map_err(|error| error.to_string());
    }
    let spool = match Spool::open(&path, boot_id, spool_config) {
        Err(error @ (SpoolError::BudgetUsedUp { .. } | SpoolError::Full { .. } | SpoolError::Storage { .. })) => {
            tracing::error!(%error, "telemetry can't be kept; what was committed is served, and it is tried again");
            Spool::open_later(&path, boot_id, spool_config)
        }
        opened => opened,
    };
    let spool = spool.map_err(|error| error.to_string())?;
    if let Some(aside) = spool.moved_aside() {
        tracing::error!(path = %aside.display(), "the spool was damaged and was moved aside; a new one is begun");
    }
    Ok(spool)
}

/// How a test of the whole program has it end at one durable step. In no program that is shipped.
#[cfg(debug_assertions)]
mod killing {
    use crate::config::Config;
    use floorhand_store::KillPoint;
    use std::fs::File;
    use std::sync::OnceLock;

    /// The step, as [`KillPoint::parse`] reads it.
    const KILL_AT: &str = "FLOORHAND_KILL_AT";
    /// A file to which every durable step is noted.
    const STEPS: &str = "FLOORHAND_STEPS";

    pub(super) fn kill_point(config: &Config) -> Option<KillPoint> {
        static POINT: OnceLock<Option<KillPoint>> = OnceLock::new();
        let read = || {
            let (at, note) = (std::env::var(KILL_AT).ok(), std::env::var_os(STEPS));
            if at.is_none() && note.is_none() {
                return None;
            }
            let note = note.and_then(|path| File::options().create(true).append(true).open(path).ok());
            Some(KillPoint::parse(&at.unwrap_or_default(), &config.state_dir, note))
        };
        POINT.get_or_init(read).clone()
    }
}
