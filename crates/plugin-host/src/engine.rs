//! The engine's configuration: the same on every device, and in the process that compiles for it.

use crate::HostError;
use wasmtime::{Config, Engine, OptLevel};

/// Address space set aside for a memory when it is made, in bytes: the default limit of 16 MiB and as much again. The
/// engine's own default, 4 GiB each, fails on small devices and under emulation. A plugin with a higher limit gets there
/// too; its memory is then moved as it grows.
const MEMORY_RESERVATION: u64 = 32 << 20;

/// Address space set aside after a memory that had to be moved, in bytes.
const MEMORY_RESERVATION_FOR_GROWTH: u64 = 16 << 20;

/// Unmapped bytes after a memory: lets accesses at neighbouring offsets share one bounds check.
const MEMORY_GUARD: u64 = 64 << 10;

/// Stack of a plugin's call, in bytes: it is part of the calling thread's stack, 2 MiB by default.
const WASM_STACK: usize = 512 << 10;

/// The engine that plugins run on, or are compiled for.
pub(crate) fn engine() -> Result<Engine, HostError> {
    Engine::new(&config()).map_err(|error| HostError::Engine(format!("{error:#}")))
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_reservation_for_growth(MEMORY_RESERVATION_FOR_GROWTH)
        .memory_guard_size(MEMORY_GUARD)
        .guard_before_linear_memory(false)
        .max_wasm_stack(WASM_STACK)
        .wasm_simd(true)
        // Its results depend on the CPU, and a plugin's must not.
        .wasm_relaxed_simd(false)
        // One memory per plugin, addressed with 32 bits: that is what the memory limit is made for.
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        // Calls are synchronous; without it a call has less to set up.
        .concurrency_support(false);
    config
}
