//! What wit-bindgen makes of the interface: the vocabulary's types, the host's functions, and a macro per world that
//! exports a component's functions.
//!
//! Generated once, here, so that all plugins share one copy. All worlds use the same types. Not for plugin authors: the
//! types are re-exported from the crate's root, and [`export!`](crate::export) wraps the rest.

pub use processor::floorhand::plugin::types;

/// The world `processor`, and the types that all worlds share.
pub mod processor {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "processor",
        additional_derives: [PartialEq],
        export_macro_name: "export_processor",
        pub_export_macro: true,
        default_bindings_module: "floorhand_plugin_sdk::bindings::processor",
        type_section_suffix: "processor",
    });
}

/// The world `monitor`.
pub mod monitor {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "monitor",
        additional_derives: [PartialEq],
        export_macro_name: "export_monitor",
        pub_export_macro: true,
        default_bindings_module: "floorhand_plugin_sdk::bindings::monitor",
        type_section_suffix: "monitor",
        with: {
            "floorhand:plugin/types@0.1.0": crate::bindings::processor::floorhand::plugin::types,
            "floorhand:plugin/host@0.1.0": crate::bindings::processor::floorhand::plugin::host,
        },
    });
}

/// The world `decoder`.
pub mod decoder {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "decoder",
        additional_derives: [PartialEq],
        export_macro_name: "export_decoder",
        pub_export_macro: true,
        default_bindings_module: "floorhand_plugin_sdk::bindings::decoder",
        type_section_suffix: "decoder",
        with: {
            "floorhand:plugin/types@0.1.0": crate::bindings::processor::floorhand::plugin::types,
            "floorhand:plugin/host@0.1.0": crate::bindings::processor::floorhand::plugin::host,
        },
    });
}
