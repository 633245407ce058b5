//! What stands around one instance: its ceilings, its stopwatch, its outlet.

use crate::limits::Limits;
use crate::telemetry::Outlet;
use crate::ticker::Stopwatch;
use wasmtime::{ResourceLimiter, Result};

/// Core instances in one component. A compiled one has three or four: the code itself, shims for its imports, adapters. One
/// of componentize-py has 108: Python's libraries, and a stub for each interface that they would import.
const MAX_INSTANCES: usize = 128;

/// Tables in one component: the code's own and one for shims, with room for adapters.
const MAX_TABLES: usize = 4;

/// The data of a store: everything the host keeps for one instance.
pub(crate) struct Sandbox {
    pub(crate) ceiling: Ceiling,
    pub(crate) stopwatch: Stopwatch,
    pub(crate) outlet: Outlet,
}

impl Sandbox {
    pub(crate) fn new(limits: &Limits, outlet: Outlet) -> Self {
        let ceiling = Ceiling {
            memory_bytes: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
            table_elements: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
            hit: false,
        };
        Self {
            ceiling,
            stopwatch: Stopwatch::default(),
            outlet,
        }
    }

    /// Begins a call.
    pub(crate) fn begin(&mut self, deadline_ms: u32) {
        self.stopwatch.begin(deadline_ms);
        self.outlet.begin_call();
        self.ceiling.hit = false;
    }
}

/// Memory and tables. A refusal is told to the plugin, as a failed `memory.grow`, and noted: most plugins trap next, and
/// then this is why.
#[derive(Debug)]
pub(crate) struct Ceiling {
    memory_bytes: usize,
    table_elements: usize,
    /// Whether something was refused during this call.
    pub(crate) hit: bool,
}

impl Ceiling {
    fn allow(&mut self, allowed: bool) -> bool {
        self.hit |= !allowed;
        allowed
    }
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.allow(desired <= self.memory_bytes))
    }

    /// The device itself has no more, or the plugin's own maximum is reached.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.hit = true;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.allow(desired <= self.table_elements))
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        1
    }
}
