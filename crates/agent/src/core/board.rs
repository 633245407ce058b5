//! What the core tells whoever asks at the box.

use floorhand_lifecycle::State;
use floorhand_protocol::Deployment;
use std::collections::BTreeMap;

/// What the core knew when it last looked.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    /// The state as it is on the disk.
    pub(crate) state: State,
    /// How far the deployment is.
    pub(crate) deployment: Deployment,
    /// Samples the trial has seen, and needs.
    pub(crate) trial: Option<(u64, u64)>,
    /// The active generation can't be loaded: nothing serves.
    pub(crate) unserved: bool,
    /// What runs the model of each generation that was loaded, by its number.
    pub(crate) running_in: BTreeMap<u64, String>,
    /// The engines that this device offers.
    pub(crate) engines: Vec<String>,
    /// The trust root that counts.
    pub(crate) root_version: u64,
    /// When it ends, in milliseconds since 1970 UTC.
    pub(crate) root_expires_ms: u64,
}

impl Board {
    /// What is known before the core has begun.
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            deployment: Deployment::Idle,
            trial: None,
            unserved: false,
            running_in: BTreeMap::new(),
            engines: Vec::new(),
            root_version: 0,
            root_expires_ms: 0,
        }
    }
}
