//! The macro that makes a component of a plugin, and what only the component needs.
//!
//! The exported functions are static and an instance of the component holds one plugin, so the plugin stands in a
//! thread-local; there is one thread.

/// Exports a type as a component: `export!(MyPlugin as processor)` or `export!(MyPlugin as monitor)`.
///
/// Once in a crate. Expands to nothing outside of WebAssembly, where a plugin is a plain struct.
#[macro_export]
macro_rules! export {
    ($plugin:ty as processor) => {
        $crate::export!(@component $plugin, processor, export_processor, {
            fn process(
                context: $crate::Context,
                inputs: ::std::vec::Vec<$crate::Tensor>,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Tensor>, $crate::Error> {
                INSTANCE.with_borrow_mut(|instance| instance.process(context, inputs))
            }
        }, $crate::Signature);
    };
    ($plugin:ty as monitor) => {
        $crate::export!(@component $plugin, monitor, export_monitor, {
            fn observe(
                observation: $crate::Observation,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Finding>, $crate::Error> {
                INSTANCE.with_borrow_mut(|instance| instance.observe(observation))
            }
        }, $crate::Subscription);
    };
    (@component $plugin:ty, $world:ident, $export:ident, { $($call:item)* }, $configured:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<$crate::$world::Instance<$plugin>> =
                    const { ::std::cell::RefCell::new($crate::$world::Instance::new()) };
            }

            struct Component;

            impl $crate::bindings::$world::Guest for Component {
                fn configure(
                    config: ::std::string::String,
                    assets: ::std::vec::Vec<$crate::Asset>,
                ) -> ::std::result::Result<$configured, $crate::Error> {
                    $crate::install_panic_hook();
                    INSTANCE.with_borrow_mut(|instance| instance.configure(&config, assets))
                }

                $($call)*

                fn snapshot() -> ::std::vec::Vec<u8> {
                    INSTANCE.with_borrow(|instance| instance.snapshot())
                }

                fn restore(state: ::std::vec::Vec<u8>) -> ::std::result::Result<(), $crate::Error> {
                    INSTANCE.with_borrow_mut(|instance| instance.restore(&state))
                }
            }

            $crate::bindings::$world::$export!(Component with_types_in $crate::bindings::$world);
        };
    };
}

/// Makes a panic say where it was before it traps: a trap alone carries no text.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| crate::host::error(&panic.to_string())));
}
