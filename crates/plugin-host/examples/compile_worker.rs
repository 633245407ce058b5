//! The smallest program that can compile for a host: what a daemon does behind a hidden subcommand.

fn main() -> std::process::ExitCode {
    floorhand_plugin_host::compile_worker()
}
