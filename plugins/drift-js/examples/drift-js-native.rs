//! The native baseline of `floorhand plugin bench`.

fn main() -> std::process::ExitCode {
    floorhand_plugin_sdk::testing::bench::monitor::<floorhand_plugin_drift_js::Plugin>()
}
