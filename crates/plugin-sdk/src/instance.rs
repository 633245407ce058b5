//! A plugin from the component's point of view: there before it is configured, and configured once.

/// The instance of one world. `$described` is what the trait's `$describe` answers with, and `$given` what `configure` is
/// told about the pipeline.
macro_rules! instance {
    ($trait:ident, $described:ty, $describe:ident, $given:ty) => {
        /// A plugin from the component's point of view: there before it is configured, and configured once.
        #[derive(Debug)]
        pub struct Instance<P> {
            plugin: Option<(P, $described)>,
        }

        impl<P> Instance<P> {
            /// Not configured yet.
            #[must_use]
            pub const fn new() -> Self {
                Self { plugin: None }
            }

            /// The plugin, once it is configured.
            #[must_use]
            pub fn plugin(&self) -> Option<&P> {
                self.plugin.as_ref().map(|(plugin, _)| plugin)
            }
        }

        impl<P> Default for Instance<P> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<P: $trait> Instance<P> {
            /// Configures the plugin from JSON text, with nothing known of the pipeline. A second time is refused.
            pub fn configure(&mut self, text: &str, assets: Vec<crate::Asset>) -> Result<$described, crate::Error> {
                self.configure_given(text, assets, Vec::new())
            }

            /// Configures the plugin from JSON text. A second time is refused.
            pub fn configure_given(
                &mut self,
                text: &str,
                assets: Vec<crate::Asset>,
                given: Vec<$given>,
            ) -> Result<$described, crate::Error> {
                crate::config::refuse_second(self.plugin.is_some())?;
                let config = crate::config::parse("configuration", text.as_bytes())?;
                let plugin = P::configure_given(config, &crate::Assets::new(assets), &given)?;
                let described = plugin.$describe();
                self.plugin = Some((plugin, described.clone()));
                Ok(described)
            }

            /// The plugin's snapshot; empty before `configure`.
            #[must_use]
            pub fn snapshot(&self) -> Vec<u8> {
                self.plugin().map(P::snapshot).unwrap_or_default()
            }

            /// Restores a snapshot; [`Error::NotReady`](crate::Error::NotReady) before `configure`.
            pub fn restore(&mut self, state: &[u8]) -> Result<(), crate::Error> {
                self.configured()?.0.restore(state)
            }

            fn configured(&mut self) -> Result<(&mut P, &$described), crate::Error> {
                let configured = self.plugin.as_mut().ok_or_else(crate::config::not_configured)?;
                Ok((&mut configured.0, &configured.1))
            }
        }
    };
}

pub(crate) use instance;
