//! The native baseline of `floorhand plugin bench`.

fn main() -> std::process::ExitCode {
    floorhand_plugin_sdk::testing::bench::decoder::<floorhand_plugin_sparkplug_b::SparkplugB>()
}
