//! From the bytes of a component to something that can be started: checks, compiles, caches, links.

use crate::cache::{self, CacheConfig, Lookup};
use crate::compile::{Compiler, compile};
use crate::engine::engine;
use crate::ticker::Ticker;
use crate::{CompileLimits, HostError, track_0_1};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use wasmtime::Engine;
use wasmtime::component::Component;

/// How a component begins: the magic number, the binary format's version, and the layer that sets it apart from a core
/// module.
const COMPONENT_HEADER: &[u8; 8] = b"\0asm\x0d\0\x01\0";

/// How a core module begins.
const MODULE_HEADER: &[u8; 8] = b"\0asm\x01\0\0\0";

/// How a host is set up. The default compiles in this process and keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct HostConfig {
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Where compiled ones are kept, if they are.
    pub cache: Option<CacheConfig>,
    /// What compiling may use.
    pub limits: CompileLimits,
}

/// What a host has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Components that were in use already.
    pub shared: u64,
    /// Components compiled.
    pub compiled: u64,
    /// Components taken from the cache.
    pub cache_hits: u64,
    /// Files in the cache that this device didn't make. Somebody tampered with them, or a disk is failing.
    pub cache_rejected: u64,
    /// Reads and writes of the cache that failed.
    pub cache_errors: u64,
}

/// The world that a component was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// Tensors in, tensors out.
    Processor,
    /// Watches tensors, reports findings.
    Monitor,
    /// Bytes in, samples out.
    Decoder,
}

impl World {
    /// Every world.
    pub const ALL: [Self; 3] = [Self::Processor, Self::Monitor, Self::Decoder];

    /// The world's name, as in the interface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Monitor => "monitor",
            Self::Decoder => "decoder",
        }
    }

    /// The interface that a component of this world exports.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Processor => "processing",
            Self::Monitor => "monitoring",
            Self::Decoder => "decoding",
        }
    }
}

/// Makes components ready to run. One per process: what it starts shares its engine and its ticker.
pub struct Host {
    engine: Engine,
    ticker: Arc<Ticker>,
    linker: track_0_1::Linker,
    config: HostConfig,
    stats: Counters,
    /// What is in use, by the digest of the component: stages of the same plugin share its machine code.
    loaded: Mutex<BTreeMap<[u8; 32], Weak<track_0_1::Linked>>>,
}

#[derive(Debug, Default)]
struct Counters {
    shared: AtomicU64,
    compiled: AtomicU64,
    cache_hits: AtomicU64,
    cache_rejected: AtomicU64,
    cache_errors: AtomicU64,
}

/// A component that can be started, as often as one likes. Cheap to clone.
#[derive(Clone)]
pub struct CompiledPlugin {
    pub(crate) engine: Engine,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) linked: Arc<track_0_1::Linked>,
}

impl Host {
    /// A host with an engine and a ticker of its own.
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        let engine = engine()?;
        let ticker = Ticker::start(engine.clone()).map_err(|error| HostError::Engine(error.to_string()))?;
        let linker = track_0_1::linker(&engine).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        Ok(Self {
            engine,
            ticker: Arc::new(ticker),
            linker,
            config,
            stats: Counters::default(),
            loaded: Mutex::default(),
        })
    }

    /// Makes a component ready: as one that is in use has it, else from the cache if it is there, else by compiling it.
    ///
    /// Refuses what is no component, imports anything but `floorhand:plugin`'s `host` and `types`, has more than one
    /// memory, or is of no known world. Machine code is never taken from outside.
    pub fn component(&self, wasm: &[u8]) -> Result<CompiledPlugin, HostError> {
        self.check_bytes(wasm)?;
        let digest = Sha256::digest(wasm).into();
        let linked = match self.in_use(&digest) {
            Some(linked) => linked,
            None => self.link(wasm, digest)?,
        };
        Ok(CompiledPlugin {
            engine: self.engine.clone(),
            ticker: Arc::clone(&self.ticker),
            linked,
        })
    }

    fn in_use(&self, digest: &[u8; 32]) -> Option<Arc<track_0_1::Linked>> {
        let linked = self.loaded().get(digest)?.upgrade()?;
        self.stats.shared.fetch_add(1, Ordering::Relaxed);
        Some(linked)
    }

    fn link(&self, wasm: &[u8], digest: [u8; 32]) -> Result<Arc<track_0_1::Linked>, HostError> {
        let component = match self.cached(wasm) {
            Some(component) => component,
            None => self.compile(wasm)?,
        };
        check_imports(&self.engine, &component)?;
        check_memories(&component)?;
        let linked = Arc::new(track_0_1::link(&self.engine, &self.linker, &component)?);
        let mut loaded = self.loaded();
        loaded.retain(|_, linked| linked.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&linked));
        Ok(linked)
    }

    fn loaded(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Weak<track_0_1::Linked>>> {
        // Whoever held it can't have left it half changed.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            shared: self.stats.shared.load(Ordering::Relaxed),
            compiled: self.stats.compiled.load(Ordering::Relaxed),
            cache_hits: self.stats.cache_hits.load(Ordering::Relaxed),
            cache_rejected: self.stats.cache_rejected.load(Ordering::Relaxed),
            cache_errors: self.stats.cache_errors.load(Ordering::Relaxed),
        }
    }

    fn check_bytes(&self, wasm: &[u8]) -> Result<(), HostError> {
        if wasm.len() as u64 > self.config.limits.component_bytes {
            return Err(HostError::TooLarge {
                what: "component",
                max: self.config.limits.component_bytes,
            });
        }
        match wasm.first_chunk() {
            Some(COMPONENT_HEADER) => Ok(()),
            Some(MODULE_HEADER) => Err(HostError::NotAComponent("it is a core module")),
            Some(header) if header.starts_with(b"\x7fELF") => Err(HostError::NotAComponent("it is machine code")),
            _ => Err(HostError::NotAComponent("it is no WebAssembly")),
        }
    }

    fn cached(&self, wasm: &[u8]) -> Option<Component> {
        let config = self.config.cache.as_ref()?;
        let key = cache::key(&self.engine, wasm);
        match cache::read(config, &key, self.config.limits.compiled_bytes) {
            Ok(Lookup::Miss) => None,
            Ok(Lookup::Hit(code)) => match self.load(&code) {
                Ok(component) => {
                    self.stats.cache_hits.fetch_add(1, Ordering::Relaxed);
                    Some(component)
                }
                Err(error) => {
                    tracing::warn!(key, %error, "a cached plugin cannot be loaded; compiling it again");
                    self.stats.cache_errors.fetch_add(1, Ordering::Relaxed);
                    None
                }
            },
            Ok(Lookup::Rejected) => {
                tracing::warn!(
                    key,
                    "a cached plugin was not written by this device, and has been deleted"
                );
                self.stats.cache_rejected.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(error) => {
                self.cache_failed("read", &error);
                None
            }
        }
    }

    fn compile(&self, wasm: &[u8]) -> Result<Component, HostError> {
        let code = compile(&self.engine, &self.config.compiler, &self.config.limits, wasm)?;
        self.stats.compiled.fetch_add(1, Ordering::Relaxed);
        if let Some(config) = &self.config.cache
            && let Err(error) = cache::write(config, &cache::key(&self.engine, wasm), &code)
        {
            self.cache_failed("write", &error);
        }
        self.load(&code)
    }

    fn cache_failed(&self, operation: &str, error: &io::Error) {
        tracing::warn!(%error, "the plugin cache cannot be used: {operation}");
        self.stats.cache_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Loads machine code that this process, its worker, or an earlier run of this device made.
    #[expect(
        unsafe_code,
        reason = "the code is our own: just compiled, or authenticated by the cache's MAC"
    )]
    fn load(&self, code: &[u8]) -> Result<Component, HostError> {
        // SAFETY: `deserialize` asks for bytes that `precompile_component` made, unmodified. They come from `compile`,
        // which is our compiler or a worker that runs it, or from `cache::read`, which checks them against a MAC that
        // only `cache::write` on this device can have made over such bytes. That they fit this engine it checks itself.
        unsafe { Component::deserialize(&self.engine, code) }.map_err(|error| HostError::Refused(format!("{error:#}")))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl CompiledPlugin {
    /// The world that the component was made for.
    #[must_use]
    pub fn world(&self) -> World {
        self.linked.world()
    }
}

impl fmt::Debug for CompiledPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledPlugin")
            .field("world", &self.world())
            .finish_non_exhaustive()
    }
}

fn check_imports(engine: &Engine, component: &Component) -> Result<(), HostError> {
    let ty = component.component_type();
    ty.imports(engine)
        .try_for_each(|(name, _)| track_0_1::check_import(name))
}

fn check_memories(component: &Component) -> Result<(), HostError> {
    // Without a number the component would import modules, which the imports' check refuses.
    let count = component
        .resources_required()
        .map_or(u32::MAX, |required| required.num_memories);
    if count > 1 {
        Err(HostError::Memories { count })
    } else {
        Ok(())
    }
}
