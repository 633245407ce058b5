//! From a plugin's source to a component that a device takes.
//!
//! Owns everything between an author's folder and a `.wasm` file: what a new project looks like ([`template`]), which
//! compiler there is ([`Toolchain`], [`c::Compiler`]), how it is called ([`rust`], [`c`]), how a core module becomes a
//! component ([`component`]), what is written into it for people and for `pack` ([`Stamp`]), and what can be read from one
//! ([`Inspection`]). It runs compilers and nothing else: no component is executed here, and nothing of ours but this crate is
//! needed, so that `cargo xtask plugins` builds the first-party plugins with the same code.
//!
//! An error is one line that names the thing and says what to do ([`BuildError`]).
//!
//! ```no_run
//! use floorhand_plugin_build::{Project, build};
//!
//! let project = Project::open("my-filter".as_ref())?;
//! let built = build(&project)?;
//! println!("{}: {} bytes", built.path.display(), built.component.len());
//! # Ok::<(), floorhand_plugin_build::BuildError>(())
//! ```
//!
//! # Testing
//!
//! [`Toolchain::find_in`] takes the places where it looks, so that a test can put programs of its own there. What a built
//! plugin does is tested where plugins can be run, by the tests of the command line.

pub mod bindings;
pub mod c;
pub mod component;
mod error;
mod inspect;
mod project;
pub mod rust;
mod stamp;
pub mod template;
mod toolchain;

pub use component::{PACKAGE, World};
pub use error::BuildError;
pub use inspect::{Inspection, Producer, schema_of};
pub use project::{Built, Language, Project, build};
pub use stamp::{SCHEMA_SECTION, Stamp};
pub use toolchain::{Surroundings, TARGET, Toolchain, needed_version};

/// The interface that plugins are built against.
pub const WIT: &str = include_str!("../../../wit/0.1.0/plugin.wit");
