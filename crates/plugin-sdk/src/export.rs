//! The macro that makes a component of a plugin, and what only the component needs.
//!
//! The exported functions are static and an instance of the component holds one plugin, so the plugin stands in a
//! thread-local; there is one thread.

/// Exports a type as a component: `export!(MyPlugin as processor)`, `export!(MyPlugin as monitor)` or
/// `export!(MyPlugin as decoder)`.
///
/// Once in a crate, in its `lib.rs`. Outside of WebAssembly, where a plugin is a plain struct, it gives a test instead:
/// that `schema.json` beside `Cargo.toml` is the JSON Schema of the plugin's configuration. `FLOORHAND_WRITE_SCHEMA=1
/// cargo test` writes the file.
#[macro_export]
macro_rules! export {
    ($plugin:ty as processor) => {
        $crate::export!(@component $plugin, processor, processing, export_processor, {
            fn process(
                samples: ::std::vec::Vec<$crate::Context>,
                inputs: ::std::vec::Vec<$crate::bindings::types::Tensor>,
            ) -> ::std::result::Result<wire::Outcome, $crate::Error> {
                INSTANCE.with_borrow_mut(|instance| instance.exported_process(samples, inputs))
            }
        }, wire::Signature, $crate::bindings::types::TensorSpec);
        $crate::export!(@schema <$plugin as $crate::Processor>::Config);
    };
    ($plugin:ty as monitor) => {
        $crate::export!(@component $plugin, monitor, monitoring, export_monitor, {
            fn observe(
                samples: ::std::vec::Vec<$crate::Context>,
                tensors: ::std::vec::Vec<$crate::bindings::types::Tensor>,
            ) -> ::std::result::Result<wire::Report, $crate::Error> {
                INSTANCE.with_borrow_mut(|instance| instance.exported_observe(samples, tensors))
            }
        }, wire::Subscription, wire::Watch);
        $crate::export!(@schema <$plugin as $crate::Monitor>::Config);
    };
    ($plugin:ty as decoder) => {
        $crate::export!(@component $plugin, decoder, decoding, export_decoder, {
            fn decode(
                messages: ::std::vec::Vec<$crate::Message>,
            ) -> ::std::result::Result<wire::Decoded, $crate::Error> {
                INSTANCE.with_borrow_mut(|instance| instance.exported_decode(messages))
            }
        }, wire::Production, $crate::bindings::types::TensorSpec);
        $crate::export!(@schema <$plugin as $crate::Decoder>::Config);
    };
    (@component $plugin:ty, $world:ident, $interface:ident, $export:ident, { $($call:item)* },
        $configured:ty, $given:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::$world::exports::floorhand::plugin::$interface as wire;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<$crate::$world::Instance<$plugin>> =
                    const { ::std::cell::RefCell::new($crate::$world::Instance::new()) };
            }

            struct Component;

            impl wire::Guest for Component {
                fn configure(
                    config: ::std::string::String,
                    assets: ::std::vec::Vec<$crate::Asset>,
                    given: ::std::vec::Vec<$given>,
                ) -> ::std::result::Result<$configured, $crate::Error> {
                    $crate::install_panic_hook();
                    INSTANCE.with_borrow_mut(|instance| instance.exported_configure(&config, assets, given))
                }

                $($call)*

                fn snapshot() -> ::std::result::Result<::std::vec::Vec<u8>, $crate::Error> {
                    ::std::result::Result::Ok(INSTANCE.with_borrow(|instance| instance.snapshot()))
                }

                fn restore(state: ::std::vec::Vec<u8>) -> ::std::result::Result<(), $crate::Error> {
                    INSTANCE.with_borrow_mut(|instance| instance.restore(&state))
                }
            }

            $crate::bindings::$world::$export!(Component with_types_in $crate::bindings::$world);
        };
    };
    (@schema $config:ty) => {
        #[cfg(all(test, not(target_arch = "wasm32")))]
        mod configuration_schema {
            #[allow(unused_imports, reason = "the type may be named by a path of its own")]
            use super::*;

            #[test]
            fn schema_json_is_that_of_the_configuration() {
                $crate::testing::check_schema::<$config>(::core::env!("CARGO_MANIFEST_DIR"));
            }
        }
    };
}

/// Makes a panic say where it was before it traps: a trap alone carries no text.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| crate::host::error(&panic.to_string())));
}
