//! What `floorhand plugin bench` compares the component with: the same calls without WebAssembly.

fn main() -> std::process::ExitCode {
    floorhand_plugin_sdk::testing::bench::{{world}}::<{{library}}::{{type}}>()
}
