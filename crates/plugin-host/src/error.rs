//! What can go wrong with a component, and with a plugin at work.

use floorhand_tensor::TensorError;
use std::io;

/// Why a component can't be made ready to run.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine can't be set up on this machine.
    #[error("set up the plugin engine: {0}")]
    Engine(String),
    /// These bytes are no WebAssembly component: a core module, machine code, or something else.
    #[error("compile the plugin: {0}; only WebAssembly components are loaded")]
    NotAComponent(&'static str),
    /// Larger than [`CompileLimits`](crate::CompileLimits) allows.
    #[error("compile the plugin: its {what} is over the limit of {max} bytes")]
    TooLarge {
        /// The component, or the machine code.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// The compiler refused it.
    #[error("compile the plugin: {0}")]
    Refused(String),
    /// Compiling took too long and was ended.
    #[error("compile the plugin: not done after {limit_ms} ms")]
    CompileTimeout {
        /// The limit.
        limit_ms: u32,
    },
    /// The compiling process can't be started or spoken to.
    #[error("{operation} the compiling process: {source}")]
    Worker {
        /// What was tried.
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The component asks for something that no plugin is given.
    #[error("load the plugin: it imports {import:?}; a plugin is given floorhand:plugin/host and nothing else")]
    Import {
        /// The import's full name.
        import: String,
    },
    /// The component was made for another version of the plugin interface.
    #[error(
        "load the plugin: it was built for {interface}, and this agent has version {known} of the interface: build it for that version, or use a newer agent"
    )]
    Version {
        /// What it imports or exports.
        interface: String,
        /// The version that this host is built with.
        known: &'static str,
    },
    /// The component has more memories than one, so that its memory limit would be none.
    #[error("load the plugin: it has {count} memories, at most one is allowed")]
    Memories {
        /// How many.
        count: u32,
    },
    /// The component is of no world that this host knows.
    #[error("load the plugin: {0}")]
    World(String),
}

/// Why a plugin gave no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PluginError {
    /// It trapped: unreachable code, an access out of bounds, a malformed answer.
    #[error("{function}: the plugin trapped: {reason}")]
    Trap {
        /// The function that was called.
        function: &'static str,
        /// The engine's account.
        reason: String,
    },
    /// It used more CPU time than it may.
    #[error("{function}: the plugin was still running after its {deadline_ms} ms of CPU time")]
    Deadline {
        /// The function that was called.
        function: &'static str,
        /// The limit.
        deadline_ms: u32,
    },
    /// It was ended because the clock ran on, though it had hardly been given the CPU. Not the plugin's fault.
    #[error("{function}: the plugin got no answer done in {wall_ms} ms, on a machine too busy to give it its CPU time")]
    Starved {
        /// The function that was called.
        function: &'static str,
        /// The time on the clock.
        wall_ms: u64,
    },
    /// It asked for more memory than it may have, and then trapped.
    #[error("{function}: the plugin needs more than its limit of {limit_bytes} bytes of memory, or its table entries")]
    MemoryLimit {
        /// The function that was called.
        function: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
    /// It answered with more than it may.
    #[error("{function}: the plugin's answer is over its limit of {limit_bytes} bytes")]
    OutputTooLarge {
        /// The function that was called.
        function: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
    /// It answered with something that doesn't fit what it promised, or what any answer has to be.
    #[error("{function}: the plugin's answer is wrong: {reason}")]
    BadOutput {
        /// The function that was called.
        function: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// More input than it may be given. The plugin wasn't called.
    #[error("process: {bytes} bytes of input are over the plugin's limit of {limit_bytes}")]
    InputTooLarge {
        /// What there is.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The input isn't what its signature says. The plugin wasn't called.
    #[error(transparent)]
    Input(#[from] TensorError),
    /// The plugin says that it can't work with this sample.
    #[error("the plugin can't use this sample: {0}")]
    BadInput(String),
    /// The plugin says that its configuration, an asset or a snapshot is wrong.
    #[error("the plugin refuses its configuration: {0}")]
    BadConfig(String),
    /// The plugin says that a bound of its configuration is reached.
    #[error("the plugin has no room for this sample: {0}")]
    Exhausted(String),
    /// The plugin says that something else has to happen first.
    #[error("the plugin is not ready: {0}")]
    NotReady(String),
    /// The plugin says that it failed.
    #[error("the plugin failed: {0}")]
    Internal(String),
    /// An earlier trap, overrun or grab has ended the instance.
    #[error("the plugin has been stopped by an earlier fault; restart it")]
    Stopped,
    /// The component is of the other world.
    #[error("the plugin is a {actual}, and is used as a {wanted}")]
    World {
        /// What it is used as.
        wanted: &'static str,
        /// What it is.
        actual: &'static str,
    },
}

/// Who is to blame for a [`PluginError`], which decides what may follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The plugin broke a rule and its instance is gone: counts towards the breaker.
    Plugin,
    /// This sample; the next one may do.
    Sample,
    /// The bundle: configuration, assets, or how stages are put together.
    Bundle,
    /// The device, which was too busy. The instance is gone.
    Device,
}

impl PluginError {
    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Trap { .. }
            | Self::Deadline { .. }
            | Self::MemoryLimit { .. }
            | Self::OutputTooLarge { .. }
            | Self::BadOutput { .. } => Fault::Plugin,
            Self::BadInput(_)
            | Self::Exhausted(_)
            | Self::NotReady(_)
            | Self::Internal(_)
            | Self::InputTooLarge { .. }
            | Self::Stopped => Fault::Sample,
            Self::Input(_) | Self::BadConfig(_) | Self::World { .. } => Fault::Bundle,
            Self::Starved { .. } => Fault::Device,
        }
    }

    /// Whether this counts towards the breaker: the plugin's own fault, after which it has to be restarted.
    #[must_use]
    pub fn is_trap(&self) -> bool {
        self.fault() == Fault::Plugin
    }
}
