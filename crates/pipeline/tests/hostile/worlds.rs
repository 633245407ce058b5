//! A monitor and a decoder of WebAssembly text, with a place for what is to go wrong.

use crate::guests::{COMMON, encode};

/// A monitor of the feature `x: FP32[-1]` that finds nothing. What `configure` answers stands at 96 (watches at 40), what
/// `observe` answers at 160.
pub(crate) fn monitor(pages: u32, configure: &str, observe: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (memory (export "memory") {pages})
        {COMMON}
        (data (i32.const 40) "\01\00\00\00\10\00\00\00\01\00\00\00\0a\00\00\00\20\00\00\00\01\00\00\00")
        (data (i32.const 96) "\00\00\00\00\28\00\00\00\01\00\00\00\04\00\00\00\00\04\00\00")
        (func (export "floorhand:plugin/monitoring@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32)
            (local $i i32)
            {configure}
            (i32.const 96))
        (func (export "floorhand:plugin/monitoring@0.1.0#observe") (param i32 i32 i32 i32) (result i32)
            (i32.store (i32.const 164) (i32.const 65536))
            {observe}
            (i32.const 160))
        (func (export "cabi_post_floorhand:plugin/monitoring@0.1.0#observe") (param i32)
            (global.set $heap (i32.const 4096)))
        (func (export "floorhand:plugin/monitoring@0.1.0#snapshot") (result i32)
            (i32.store (i32.const 260) (i32.const 128))
            (i32.store (i32.const 264) (i32.const 4))
            (i32.const 256))
        (func (export "floorhand:plugin/monitoring@0.1.0#restore") (param i32 i32) (result i32) (i32.const 272)))"#
    );
    encode(&text, "monitor")
}

/// A decoder of a sample `x: FP32[-1]` a call. What `decode` answers stands at 160, a batch at 288, its sample at 320, its
/// tensor at 192, the shape of which at 224. Local: $i.
pub(crate) fn decoder(pages: u32, decode: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (memory (export "memory") {pages})
        {COMMON}
        (data (i32.const 40) "\10\00\00\00\01\00\00\00\0a\00\00\00\20\00\00\00\01\00\00\00")
        (data (i32.const 96) "\00\00\00\00\28\00\00\00\01\00\00\00\04\00\00\00\00\04\00\00")
        (data (i32.const 160) "\00\00\00\00\20\01\00\00\01\00\00\00")
        (data (i32.const 192) "\0a\00\00\00\e0\00\00\00\02\00\00\00\00\02\00\00\04\00\00\00")
        (data (i32.const 224) "\01\00\00\00\01\00\00\00")
        (data (i32.const 288) "\40\01\00\00\01\00\00\00\c0\00\00\00\01\00\00\00")
        (func (export "floorhand:plugin/decoding@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32)
            (i32.const 96))
        (func (export "floorhand:plugin/decoding@0.1.0#decode") (param i32 i32) (result i32)
            (local $i i32)
            {decode}
            (i32.const 160))
        (func (export "cabi_post_floorhand:plugin/decoding@0.1.0#decode") (param i32)
            (global.set $heap (i32.const 4096)))
        (func (export "floorhand:plugin/decoding@0.1.0#snapshot") (result i32)
            (i32.store (i32.const 404) (i32.const 128))
            (i32.store (i32.const 408) (i32.const 4))
            (i32.const 400))
        (func (export "floorhand:plugin/decoding@0.1.0#restore") (param i32 i32) (result i32) (i32.const 420)))"#
    );
    encode(&text, "decoder")
}
