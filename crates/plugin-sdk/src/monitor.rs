//! The world `monitor`: watches a pipeline's inputs, features and outputs, and says what it finds.

use crate::{Asset, Assets, Error, Finding, Observation, Origin, Subscription, config, state};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};

/// A plugin that watches.
pub trait Monitor: Sized {
    /// The configuration's JSON object.
    type Config: DeserializeOwned;

    /// Makes the plugin ready, or says with [`Error::BadConfig`] what is wrong with which key.
    fn configure(config: Self::Config, assets: &Assets) -> Result<Self, Error>;

    /// The tensors it wants to see under this configuration, and the most bytes that a snapshot can have.
    fn subscription(&self) -> Subscription;

    /// Looks at one sample; its tensors stand in the order of the subscription's watches.
    fn observe(&mut self, observation: Observation) -> Result<Vec<Finding>, Error>;

    /// All that later findings depend on besides the configuration. Empty by default.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Goes on from a snapshot that was taken under the same configuration. By default only an empty one is taken.
    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        state::none(state)
    }
}

/// A plugin from the component's point of view: there before it is configured, and configured once.
#[derive(Debug)]
pub struct Instance<M> {
    plugin: Option<M>,
}

impl<M> Instance<M> {
    /// Not configured yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { plugin: None }
    }

    /// The plugin, once it is configured.
    #[must_use]
    pub const fn plugin(&self) -> Option<&M> {
        self.plugin.as_ref()
    }
}

impl<M> Default for Instance<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Monitor> Instance<M> {
    /// Configures the plugin from JSON text. A second time is refused.
    pub fn configure(&mut self, text: &str, assets: Vec<Asset>) -> Result<Subscription, Error> {
        config::refuse_second(self.plugin.is_some())?;
        let plugin = M::configure(config::parse("configuration", text.as_bytes())?, &Assets::new(assets))?;
        let subscription = plugin.subscription();
        self.plugin = Some(plugin);
        Ok(subscription)
    }

    /// Hands over one sample; [`Error::NotReady`] before `configure`.
    pub fn observe(&mut self, observation: Observation) -> Result<Vec<Finding>, Error> {
        self.configured()?.observe(observation)
    }

    /// The plugin's snapshot; empty before `configure`.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.plugin.as_ref().map(M::snapshot).unwrap_or_default()
    }

    /// Restores a snapshot; [`Error::NotReady`] before `configure`.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        self.configured()?.restore(state)
    }

    fn configured(&mut self) -> Result<&mut M, Error> {
        self.plugin.as_mut().ok_or_else(config::not_configured)
    }
}

/// In a configuration an origin is written as in the WIT: `"input"`, `"features"` or `"output"`.
impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "input" => Ok(Self::Input),
            "features" => Ok(Self::Features),
            "output" => Ok(Self::Output),
            other => Err(D::Error::unknown_variant(other, &["input", "features", "output"])),
        }
    }
}
