//! What a reload takes over, and what needs a restart.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Config;

/// Keys whose new values the running agent takes over at SIGHUP. All others are wired into what runs.
const RELOADABLE: [&str; 5] = [
    "fetch.deadline_s",
    "fetch.min_rate_bytes_per_s",
    "fetch.timeout_s",
    "log.filter",
    "telemetry.metrics_interval_s",
];

impl Config {
    /// This configuration with what can be taken over from `new`, and the keys that differ and need a restart, in
    /// alphabetical order.
    #[must_use]
    pub fn reloadable_changes(&self, new: &Self) -> (Self, Vec<String>) {
        let mut merged = self.clone();
        merged.log.filter.clone_from(&new.log.filter);
        merged.telemetry.metrics_interval_s = new.telemetry.metrics_interval_s;
        merged.fetch = new.fetch.clone();
        let (old, new) = (leaves(self), leaves(new));
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
        let stuck = differing.filter(|key| !RELOADABLE.contains(&key.as_str()));
        (merged, stuck.cloned().collect())
    }
}

/// Every key with its value; a list is one value.
fn leaves(config: &Config) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    // A configuration has nothing in it that JSON hasn't.
    for (key, value) in object(serde_json::to_value(config).unwrap_or_default()) {
        match value {
            Value::Object(section) => {
                leaves.extend(
                    section
                        .into_iter()
                        .map(|(inner, value)| (format!("{key}.{inner}"), value)),
                );
            }
            value => drop(leaves.insert(key, value)),
        }
    }
    // A key that was left out and has no default.
    leaves.retain(|_, value| !value.is_null());
    leaves
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}
