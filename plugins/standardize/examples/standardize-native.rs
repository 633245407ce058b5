//! The native baseline of `floorhand plugin bench`.

fn main() -> std::process::ExitCode {
    floorhand_plugin_sdk::testing::bench::processor::<floorhand_plugin_standardize::Standardize>()
}
