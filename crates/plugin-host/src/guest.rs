//! One plugin at work, of any world: its instance, its limits, and how it comes back after a fault.
//!
//! An instance that trapped, overran or answered wrongly is dropped at once, memory and all. What it reported stays, and
//! so does the last good snapshot, from which [`Guest::restart`] goes on.

use crate::monitor::Origin;
use crate::promise::Field;
use crate::sandbox::Sandbox;
use crate::telemetry::{Outlet, Telemetry};
use crate::ticker::Overrun;
use crate::{CompiledPlugin, Fault, Limits, PluginError};
use floorhand_tensor::TensorSpec;
use wasmtime::Store;

/// What an answer may take besides the bytes that are limited: records, names and shapes of sixty-four tensors, with
/// room. Keeps a plugin from answering with a million tensors of nothing.
const ANSWER_OVERHEAD: u64 = 64 << 10;

/// What an answer may take where there is hardly any: `configure`, `restore`, a start function. Counts for each log line
/// too before it is cut, and nobody's is longer.
const SETUP_ANSWER_BYTES: u64 = 1 << 20;

/// Samples of one call. Bounds what a refusal or a place for each can take.
pub(crate) const MAX_BATCH: usize = 1024;

/// What an answer may take for each sample of a call, besides tensors: its place, and a refusal's text.
const SAMPLE_OVERHEAD: u64 = 2 << 10;

/// The same for a message: heads and failures of all samples that it may have.
const MESSAGE_OVERHEAD: u64 = 2 << 20;

/// What it may take for all of a call together: without it a call with 1,024 messages could make the host take 2 GiB.
const CALL_OVERHEAD: u64 = 32 << 20;

/// Bytes that are kept of a plugin's or the engine's account of a fault.
const MAX_REASON_BYTES: usize = 1 << 10;

/// How the engine calls an answer that is over its budget; its error's type is private. A test notices if it changes.
const BUDGET_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// A file of the bundle that the manifest hands to a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// The name by which the plugin knows it.
    pub name: String,
    /// Its content.
    pub data: Vec<u8>,
}

/// Where a sample stands in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// Counts the samples of this pipeline since it was started.
    pub sequence: u64,
    /// The sample's own time, in nanoseconds since 1970-01-01 UTC. May go backwards.
    pub time_ns: u64,
    /// Whether samples before this one may be missing that the plugin would otherwise have seen.
    pub gap: bool,
    /// What the sample is of, e.g. a machine.
    pub key: Option<String>,
    /// By what its source knows the sample.
    pub id: Option<String>,
}

/// A tensor that the pipeline can give a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Where it is seen. Only monitors are told.
    pub origin: Origin,
    /// What it looks like.
    pub spec: TensorSpec,
    /// What the columns of its last dimension are called; empty if they have no names.
    pub fields: Vec<Field>,
}

/// What a plugin is started with, and again after a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The name under which it logs.
    pub name: String,
    /// Its configuration, a JSON object.
    pub config: String,
    /// The files it is given.
    pub assets: Vec<Asset>,
    /// What the pipeline around it has: for a processor what the stage before gives, for a monitor all that can be watched,
    /// for a decoder what the bundle says a sample has.
    pub given: Vec<Given>,
    /// What it may use.
    pub limits: Limits,
}

/// What a track of the interface offers for one world. The outer result is the engine's, the inner one the plugin's.
pub(crate) trait Exports: Sized {
    /// The world's name.
    const NAME: &'static str;
    /// What `configure` promises.
    type Promise: PartialEq;

    /// Instantiates the component; none if it is of another world.
    fn instantiate(plugin: &CompiledPlugin, store: &mut Store<Sandbox>) -> Option<wasmtime::Result<Self>>;
    fn configure(&self, store: &mut Store<Sandbox>, setup: &Setup) -> Answer<Promised<Self>>;
    fn snapshot(&self, store: &mut Store<Sandbox>) -> Answer<Vec<u8>>;
    fn restore(&self, store: &mut Store<Sandbox>, state: &[u8]) -> Answer<()>;
}

/// Bounds that a plugin promises to keep, or asks the host to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The largest snapshot in bytes.
    pub(crate) state_bytes: u32,
    /// The most samples, or messages, of a call.
    pub(crate) max_batch: u32,
}

impl Bounds {
    fn check(self) -> Result<(), PluginError> {
        if self.max_batch == 0 || self.max_batch as usize > MAX_BATCH {
            let reason = format!("it takes {} samples in a call, not 1 to {MAX_BATCH}", self.max_batch);
            return Err(PluginError::BadOutput {
                function: "configure",
                reason,
            });
        }
        Ok(())
    }
}

/// What comes back from a plugin: the engine may fail, and the plugin may refuse.
pub(crate) type Answer<T> = wasmtime::Result<Result<T, PluginError>>;

/// One plugin at work.
pub(crate) struct Guest<E: Exports> {
    plugin: CompiledPlugin,
    setup: Setup,
    promise: E::Promise,
    bounds: Bounds,
    state: State<E>,
    /// Whether the instance has been given a sample or a snapshot, after which it can't be restored any more.
    touched: bool,
    last_good: Option<Vec<u8>>,
}

enum State<E> {
    Running(Box<Instance<E>>),
    /// Between instances, with what the last one reported.
    Stopped(Box<Outlet>),
}

struct Instance<E> {
    store: Store<Sandbox>,
    exports: E,
}

impl<E: Exports> Guest<E> {
    /// Instantiates and configures the plugin. `check` looks at what it promises.
    pub(crate) fn start(
        plugin: &CompiledPlugin,
        setup: Setup,
        check: impl FnOnce(&E::Promise) -> Result<(), PluginError>,
    ) -> Result<Self, PluginError> {
        let limits = &setup.limits;
        let outlet = Outlet::new(
            setup.name.clone(),
            limits.log_bytes_per_call,
            limits.log_lines_per_second,
        );
        let (instance, (promise, bounds)) = instantiate::<E>(plugin, &setup, outlet).map_err(|failed| failed.0)?;
        check(&promise)?;
        bounds.check()?;
        let state = State::Running(Box::new(instance));
        Ok(Self {
            plugin: plugin.clone(),
            setup,
            promise,
            bounds,
            state,
            touched: false,
            last_good: None,
        })
    }

    pub(crate) fn promise(&self) -> &E::Promise {
        &self.promise
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.setup.limits
    }

    /// The most samples, or messages, of a call.
    pub(crate) const fn max_batch(&self) -> usize {
        self.bounds.max_batch as usize
    }

    /// Whether so many samples, or messages, may be given at once.
    pub(crate) fn check_samples(&self, samples: usize) -> Result<(), PluginError> {
        let max = self.max_batch();
        if (1..=max).contains(&samples) {
            return Ok(());
        }
        Err(PluginError::BadInput(format!(
            "{samples} samples in a call, not 1 to {max}"
        )))
    }

    /// Calls the plugin with so many samples, or messages, within the deadline of each and `answer_bytes`.
    pub(crate) fn sample<T>(
        &mut self,
        function: &'static str,
        samples: usize,
        answer_bytes: u64,
        work: impl FnOnce(&E, &mut Store<Sandbox>, &E::Promise) -> Answer<T>,
    ) -> Result<T, PluginError> {
        self.touched = true;
        let deadline_ms = self.setup.limits.deadline_ms;
        let budget = Budget {
            function,
            deadline_ms: deadline_ms.saturating_mul(u32::try_from(samples).unwrap_or(u32::MAX)),
            answer_bytes,
            samples,
        };
        self.call(budget, work)
    }

    /// The plugin's state, which is kept as the last good one.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<u8>, PluginError> {
        if self.bounds.state_bytes == 0 && self.is_running() {
            return Ok(Vec::new());
        }
        let max = self.setup.limits.state_bytes;
        let budget = Budget {
            function: "snapshot",
            deadline_ms: self.setup.limits.deadline_ms,
            answer_bytes: max,
            samples: 0,
        };
        let state = self.call(budget, |exports, store, _| exports.snapshot(store))?;
        if state.len() as u64 > max {
            self.stop();
            return Err(PluginError::OutputTooLarge {
                function: "snapshot",
                limit_bytes: max,
            });
        }
        if state.len() as u64 > u64::from(self.bounds.state_bytes) {
            self.stop();
            return Err(PluginError::BadOutput {
                function: "snapshot",
                reason: format!(
                    "{} bytes, and it promised at most {}",
                    state.len(),
                    self.bounds.state_bytes
                ),
            });
        }
        self.last_good = Some(state.clone());
        Ok(state)
    }

    /// Puts the plugin into an earlier state: on a fresh instance, unless this one still is. The state is kept as the
    /// last good one. An empty one is that of a fresh instance, and the plugin isn't asked to take it.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), PluginError> {
        self.last_good = None;
        if self.touched || matches!(self.state, State::Stopped(_)) {
            self.renew()?;
        }
        if state.is_empty() {
            return Ok(());
        }
        if self.bounds.state_bytes == 0 {
            return Err(PluginError::BadConfig("it has no state to restore".to_owned()));
        }
        self.touched = true;
        let budget = Budget {
            function: "restore",
            deadline_ms: self.setup.limits.setup_deadline_ms,
            answer_bytes: SETUP_ANSWER_BYTES,
            samples: 0,
        };
        if let Err(error) = self.call(budget, |exports, store, _| exports.restore(store, state)) {
            // What it has taken of the state nobody knows.
            self.stop();
            return Err(error);
        }
        self.last_good = Some(state.to_vec());
        Ok(())
    }

    /// The state of its last snapshot, or the one that it was put into.
    pub(crate) fn last_good(&self) -> Option<&[u8]> {
        self.last_good.as_deref()
    }

    /// A fresh instance, configured as the first one was, in the last good state. If that state is refused it is
    /// forgotten, and the instance begins without; if it breaks the instance, the next restart does. That the device was
    /// busy says nothing of the state.
    pub(crate) fn restart(&mut self) -> Result<(), PluginError> {
        let Some(state) = self.last_good.take() else {
            return self.renew();
        };
        self.stop();
        match self.restore(&state) {
            Err(error) if error.fault() == Fault::Device => {
                self.last_good = Some(state);
                Err(error)
            }
            Err(error) if !error.is_trap() => {
                tracing::warn!(plugin = self.setup.name, %error, "a plugin refuses its last state, and begins without");
                self.renew()
            }
            restored => restored,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub(crate) fn outlet(&mut self) -> &mut Outlet {
        match &mut self.state {
            State::Running(instance) => &mut instance.store.data_mut().outlet,
            State::Stopped(outlet) => outlet,
        }
    }

    pub(crate) fn take_telemetry(&mut self) -> Telemetry {
        self.outlet().take()
    }

    /// Ends the instance and frees what it holds.
    pub(crate) fn stop(&mut self) {
        let outlet = std::mem::replace(self.outlet(), Outlet::new(String::new(), 0, 0));
        self.state = State::Stopped(Box::new(outlet));
    }

    fn renew(&mut self) -> Result<(), PluginError> {
        self.stop();
        let outlet = std::mem::replace(self.outlet(), Outlet::new(String::new(), 0, 0));
        let (instance, (promise, bounds)) = match instantiate::<E>(&self.plugin, &self.setup, outlet) {
            Ok(renewed) => renewed,
            Err(failed) => {
                let (error, outlet) = *failed;
                self.state = State::Stopped(Box::new(outlet));
                return Err(error);
            }
        };
        self.state = State::Running(Box::new(instance));
        self.touched = false;
        if promise != self.promise || bounds != self.bounds {
            self.stop();
            let reason = "it promised something else under the same configuration before".to_owned();
            return Err(PluginError::BadOutput {
                function: "configure",
                reason,
            });
        }
        Ok(())
    }

    fn call<T>(
        &mut self,
        budget: Budget,
        work: impl FnOnce(&E, &mut Store<Sandbox>, &E::Promise) -> Answer<T>,
    ) -> Result<T, PluginError> {
        let State::Running(instance) = &mut self.state else {
            return Err(PluginError::Stopped);
        };
        let inside = self.plugin.ticker.enter();
        budget.begin(&mut instance.store);
        let answer = work(&instance.exports, &mut instance.store, &self.promise);
        drop(inside);
        match answer {
            Ok(answer) => {
                if answer.as_ref().is_err_and(PluginError::is_trap) {
                    self.stop();
                }
                answer
            }
            Err(error) => {
                let error = explain(&budget, &self.setup.limits, instance.store.data(), &error);
                self.stop();
                Err(error)
            }
        }
    }
}

/// What one call may use.
struct Budget {
    function: &'static str,
    deadline_ms: u32,
    /// Besides the overhead that any answer has.
    answer_bytes: u64,
    /// Each of which has an overhead of its own.
    samples: usize,
}

impl Budget {
    fn begin(&self, store: &mut Store<Sandbox>) {
        store.data_mut().begin(self.deadline_ms);
        store.set_epoch_deadline(1);
        let each = if self.function == "decode" {
            MESSAGE_OVERHEAD
        } else {
            SAMPLE_OVERHEAD
        };
        let samples = each.saturating_mul(self.samples as u64).min(CALL_OVERHEAD);
        let bytes = self
            .answer_bytes
            .saturating_add(ANSWER_OVERHEAD)
            .saturating_add(samples);
        store.set_hostcall_fuel(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

/// What a plugin promises.
pub(crate) type Promised<E> = (<E as Exports>::Promise, Bounds);

/// An instance and what it promises, or why there is none, and the outlet back.
type Started<E> = Result<(Instance<E>, Promised<E>), Box<(PluginError, Outlet)>>;

/// A new instance and what it promises. An error gives the outlet back.
fn instantiate<E: Exports>(plugin: &CompiledPlugin, setup: &Setup, outlet: Outlet) -> Started<E> {
    let mut store = Store::new(&plugin.engine, Sandbox::new(&setup.limits, outlet));
    store.limiter(|sandbox| &mut sandbox.ceiling);
    store.epoch_deadline_callback(|mut store| Ok(store.data_mut().stopwatch.tick()));
    let _inside = plugin.ticker.enter();
    match configure::<E>(plugin, setup, &mut store) {
        Ok((exports, promised)) => Ok((Instance { store, exports }, promised)),
        Err(error) => Err(Box::new((error, store.into_data().outlet))),
    }
}

fn configure<E: Exports>(
    plugin: &CompiledPlugin,
    setup: &Setup,
    store: &mut Store<Sandbox>,
) -> Result<(E, Promised<E>), PluginError> {
    let limits = &setup.limits;
    let mut budget = Budget {
        function: "instantiate",
        deadline_ms: limits.setup_deadline_ms,
        answer_bytes: SETUP_ANSWER_BYTES,
        samples: 0,
    };
    budget.begin(store);
    let exports = E::instantiate(plugin, store)
        .ok_or(PluginError::World {
            wanted: E::NAME,
            actual: plugin.world().name(),
        })?
        .map_err(|error| explain(&budget, limits, store.data(), &error))?;
    budget.function = "configure";
    budget.begin(store);
    let (promise, bounds) = exports
        .configure(store, setup)
        .map_err(|error| explain(&budget, limits, store.data(), &error))??;
    if u64::from(bounds.state_bytes) > limits.state_bytes {
        let text = format!(
            "its snapshots may have {} bytes, and the limit is {}",
            bounds.state_bytes, limits.state_bytes
        );
        return Err(PluginError::BadConfig(text));
    }
    Ok((exports, (promise, bounds)))
}

/// What an error of the engine's comes from.
fn explain(budget: &Budget, limits: &Limits, sandbox: &Sandbox, error: &wasmtime::Error) -> PluginError {
    let function = budget.function;
    if let Some(overrun) = sandbox.stopwatch.overrun() {
        return match overrun {
            Overrun::Cpu { deadline_ms } => PluginError::Deadline { function, deadline_ms },
            Overrun::Wall { wall_ms } => PluginError::Starved { function, wall_ms },
        };
    }
    if sandbox.ceiling.hit {
        return PluginError::MemoryLimit {
            function,
            limit_bytes: limits.memory_bytes,
        };
    }
    let reason = format!("{error:#}");
    if reason.contains(BUDGET_EXHAUSTED) {
        return PluginError::OutputTooLarge {
            function,
            limit_bytes: budget.answer_bytes,
        };
    }
    PluginError::Trap {
        function,
        reason: cut(reason, MAX_REASON_BYTES),
    }
}

/// A place for each sample of a call.
pub(crate) fn unanswered<T>(samples: usize) -> Vec<Option<Result<T, PluginError>>> {
    std::iter::repeat_with(|| None).take(samples).collect()
}

/// The text, at most `max` bytes of it. What is cut off is given back at once: it may be megabytes.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.shrink_to_fit();
    }
    text
}

/// The text on one line: a plugin can't forge another line, or move a terminal's cursor.
pub(crate) fn one_line(text: String) -> String {
    if text.contains(char::is_control) {
        return text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    text
}

/// A plugin's text as it is shown: at most `max` bytes, on one line.
pub(crate) fn shown(text: String, max: usize) -> String {
    one_line(cut(text, max))
}

/// What a plugin says about a failure.
pub(crate) fn reason(text: String) -> String {
    shown(text, MAX_REASON_BYTES)
}
