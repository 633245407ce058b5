//! What can go wrong between source and component, each a line for people that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no compiler that can build for WebAssembly, or an old one.
    #[error("{0}")]
    Toolchain(String),
    /// A program couldn't be started.
    #[error("{program} can't be started: {source}")]
    Start {
        /// Its name or path.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// A compiler has found something wrong; it has said so itself.
    #[error("{0}")]
    Compile(String),
    /// A file can't be read or written.
    #[error("{path} can't be {operation}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        operation: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A folder isn't a plugin, or a file in it isn't what it has to be.
    #[error("{0}")]
    Project(String),
    /// What came out isn't a component that a device takes.
    #[error("{0}")]
    Component(String),
}

impl BuildError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::file(path, "read")
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::file(path, "written")
    }

    fn file(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            path,
            operation,
            source,
        }
    }
}
