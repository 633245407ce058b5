//! The world `processor`: tensors in, tensors out.

use crate::{Asset, Assets, Context, Error, Signature, Tensor, config, state};
use serde::de::DeserializeOwned;

/// A plugin that turns tensors into tensors.
pub trait Processor: Sized {
    /// The configuration's JSON object. `()` takes `null` only: use a struct without fields for "nothing to configure".
    type Config: DeserializeOwned;

    /// Makes the plugin ready, or says with [`Error::BadConfig`] what is wrong with which key.
    fn configure(config: Self::Config, assets: &Assets) -> Result<Self, Error>;

    /// The tensors it takes and gives under this configuration, and the most bytes that a snapshot can have.
    fn signature(&self) -> Signature;

    /// Works on one sample. Inputs are those of the signature; find them by name ([`take`](crate::take)). No outputs
    /// mean "not yet".
    fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error>;

    /// All that later answers depend on besides the configuration. Empty by default.
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
pub struct Instance<P> {
    plugin: Option<P>,
}

impl<P> Instance<P> {
    /// Not configured yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { plugin: None }
    }

    /// The plugin, once it is configured.
    #[must_use]
    pub const fn plugin(&self) -> Option<&P> {
        self.plugin.as_ref()
    }
}

impl<P> Default for Instance<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Processor> Instance<P> {
    /// Configures the plugin from JSON text. A second time is refused.
    pub fn configure(&mut self, text: &str, assets: Vec<Asset>) -> Result<Signature, Error> {
        config::refuse_second(self.plugin.is_some())?;
        let plugin = P::configure(config::parse("configuration", text.as_bytes())?, &Assets::new(assets))?;
        let signature = plugin.signature();
        self.plugin = Some(plugin);
        Ok(signature)
    }

    /// Hands over one sample; [`Error::NotReady`] before `configure`.
    pub fn process(&mut self, context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        self.configured()?.process(context, inputs)
    }

    /// The plugin's snapshot; empty before `configure`.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.plugin.as_ref().map(P::snapshot).unwrap_or_default()
    }

    /// Restores a snapshot; [`Error::NotReady`] before `configure`.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        self.configured()?.restore(state)
    }

    fn configured(&mut self) -> Result<&mut P, Error> {
        self.plugin.as_mut().ok_or_else(config::not_configured)
    }
}
