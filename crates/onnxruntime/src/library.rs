//! The library: opened once, for the life of the process.

use crate::session::Model;
use floorhand_inference::{Engine, InferenceError, LoadOptions, Session};
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::fmt;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The oldest version that is taken: that whose interface is used.
pub const LEAST_VERSION: &str = "1.17";

/// How much of the library's file is searched for its version: its symbols' names, of which there are few, stand in front.
const SEARCHED_BYTES: u64 = 4 << 20;
/// What stands before the version there.
const VERSION_MARK: &[u8] = b"VERS_";
/// No version is longer.
const MAX_VERSION: usize = 32;

/// Why there is no ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The path is relative: it would depend on who starts the process, and from where.
    #[error("{path} is no absolute path")]
    Relative {
        /// The path.
        path: String,
    },
    /// There is no such file, it is no library, or not this one.
    #[error("{path} can't be used as ONNX Runtime: {reason}")]
    Library {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The library is too old.
    #[error("{path} is ONNX Runtime {version}; it has to be {least} or newer", least = LEAST_VERSION)]
    TooOld {
        /// The path.
        path: String,
        /// Its version.
        version: String,
    },
    /// Another one is in use: a process has one for its life.
    #[error("this process has {opened} already, and can't open {path}, too")]
    Another {
        /// The one that is open.
        opened: String,
        /// The one that was asked for.
        path: String,
    },
}

/// ONNX Runtime, opened.
#[derive(Clone)]
pub struct OnnxRuntime {
    name: String,
    path: PathBuf,
    environment: Arc<Environment>,
}

/// The one of this process: ONNX Runtime has one environment, and its library isn't unloaded.
static OPENED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Opens the library at an absolute path. A second time the same one is given.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let text = path.display().to_string();
        if !path.is_absolute() {
            return Err(OpenError::Relative { path: text });
        }
        let failed = |reason: String| OpenError::Library {
            path: text.clone(),
            reason,
        };
        let file = path.canonicalize().map_err(|error| failed(error.to_string()))?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = opened.as_ref() {
            return if runtime.path == file {
                Ok(runtime.clone())
            } else {
                Err(OpenError::Another {
                    opened: runtime.path.display().to_string(),
                    path: text,
                })
            };
        }
        // A library that isn't ONNX Runtime, but has its entry, makes the binding panic.
        let built = catch_unwind(AssertUnwindSafe(|| environment(&file, &text)));
        let environment = built.unwrap_or_else(|_| Err(failed("it has no interface of ONNX Runtime".to_owned())))?;
        let name = match version(&file) {
            Some(version) => format!("onnxruntime {version}"),
            None => "onnxruntime".to_owned(),
        };
        let runtime = Self {
            name,
            path: file,
            environment: Arc::new(environment),
        };
        *opened = Some(runtime.clone());
        Ok(runtime)
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &str {
        &self.name
    }

    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, InferenceError> {
        Model::load(&self.name, &self.environment, onnx, options).map(|model| Box::new(model) as Box<dyn Session>)
    }

    fn library(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

impl fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxRuntime")
            .field("name", &self.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The library's environment: no telemetry, and what it logs goes where our log goes.
fn environment(file: &Path, path: &str) -> Result<Environment, OpenError> {
    let failed = |reason: String| OpenError::Library {
        path: path.to_owned(),
        reason,
    };
    let builder = ort::init_from(file).map_err(|error| match error {
        ort::LoadDynamicError::BadVersion { version_str, .. } => OpenError::TooOld {
            path: path.to_owned(),
            version: version_str,
        },
        other => failed(other.to_string()),
    })?;
    let log = |level: LogLevel, _: &str, _: &str, place: &str, message: &str| match level {
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(place, "ONNX Runtime: {message}"),
        _ => tracing::debug!(place, "ONNX Runtime: {message}"),
    };
    let built = builder.with_name("floorhand").with_telemetry(false);
    let environment = built.with_logger(Arc::new(log)).build();
    let environment = environment.map_err(|error| failed(error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

/// The version that the library's symbols carry; the binding checks the one that it tells, and doesn't pass it on.
fn version(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).ok()?;
    opened.take(SEARCHED_BYTES).read_to_end(&mut bytes).ok()?;
    let at = bytes
        .windows(VERSION_MARK.len())
        .position(|part| part == VERSION_MARK)?;
    let behind = bytes.get(at + VERSION_MARK.len()..)?.iter();
    let version = behind
        .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
        .take(MAX_VERSION);
    let version: Vec<u8> = version.copied().collect();
    String::from_utf8(version).ok().filter(|version| !version.is_empty())
}
