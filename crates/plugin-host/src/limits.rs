//! What a plugin may use, and what compiling one may.

use serde::{Deserialize, Serialize};

/// What one instance of a plugin may use. As a part of a manifest each key may be left out, and unknown ones are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Limits {
    /// Linear memory, in bytes. Default: 16 MiB.
    pub memory_bytes: u64,
    /// Elements of each of its tables. Default: 10,000.
    pub table_elements: u64,
    /// All tensors of one call in, in bytes of data. Default: 8 MiB, so that a camera's frame fits.
    pub input_bytes: u64,
    /// All tensors of one call out, in bytes of data. Default: 8 MiB.
    pub output_bytes: u64,
    /// A snapshot, in bytes. Default: 1 MiB.
    pub state_bytes: u64,
    /// Log text of one call, in bytes; longer lines are cut, and what comes after them in the same call is dropped.
    /// Default: 1 KiB.
    pub log_bytes_per_call: u32,
    /// Log lines that go on for long; twice as many may come at once. Default: 10 in a second.
    pub log_lines_per_second: u32,
    /// CPU time of one call, in milliseconds. Default: 50.
    pub deadline_ms: u32,
    /// CPU time of instantiating, configuring and restoring, each, in milliseconds: done once, and often with a file to
    /// parse. Default: 1,000.
    pub setup_deadline_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            table_elements: 10_000,
            input_bytes: 8 << 20,
            output_bytes: 8 << 20,
            state_bytes: 1 << 20,
            log_bytes_per_call: 1 << 10,
            log_lines_per_second: 10,
            deadline_ms: 50,
            setup_deadline_ms: 1_000,
        }
    }
}

/// What compiling one component may use. The device's own, not the manifest's: it is spent before anything of the
/// plugin's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct CompileLimits {
    /// The component, in bytes. Default: 32 MiB, for those that carry an interpreter.
    pub component_bytes: u64,
    /// The machine code that comes of it, in bytes. Default: 128 MiB.
    pub compiled_bytes: u64,
    /// Time on the clock, in milliseconds; as CPU time, rounded up to seconds, the compiling process limits itself to the
    /// same. Default: 60,000, for a large component on a small device.
    pub compile_ms: u32,
    /// Address space of the compiling process, in bytes. Default: 1 GiB.
    pub compile_memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            component_bytes: 32 << 20,
            compiled_bytes: 128 << 20,
            compile_ms: 60_000,
            compile_memory_bytes: 1 << 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_be_left_out_and_unknown_ones_are_refused() {
        let limits: Limits = serde_json::from_str(r#"{"deadline_ms": 5}"#).unwrap();
        assert_eq!(
            limits,
            Limits {
                deadline_ms: 5,
                ..Limits::default()
            }
        );
        let error = serde_json::from_str::<Limits>(r#"{"deadline": 5}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `deadline`"), "{error}");
    }
}
