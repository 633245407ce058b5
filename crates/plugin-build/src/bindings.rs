//! Bindings in C: what wit-bindgen's generator makes of the interface.

use crate::{BuildError, WIT, World};
use std::fs;
use std::path::{Path, PathBuf};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

/// The files that a plugin in C is compiled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bindings {
    /// The functions' glue, to be compiled.
    pub source: PathBuf,
    /// The interface itself as an object file, to be linked: what makes a component of the module.
    pub object: PathBuf,
}

/// Writes the bindings of a world into a folder: `WORLD.h`, `WORLD.c` and an object file.
pub fn write(world: World, folder: &Path) -> Result<Bindings, BuildError> {
    let files =
        generate(world).map_err(|reason| BuildError::Component(format!("no bindings for {world}: {reason}")))?;
    fs::create_dir_all(folder).map_err(BuildError::write(folder))?;
    for (name, bytes) in files.iter() {
        let path = folder.join(name);
        // The compiler's own check of what is new is left to it; an editor shouldn't see the file change for nothing.
        if fs::read(&path).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::write(&path, bytes).map_err(BuildError::write(&path))?;
    }
    Ok(Bindings {
        source: folder.join(format!("{world}.c")),
        object: folder.join(format!("{world}_component_type.o")),
    })
}

fn generate(world: World) -> Result<Files, String> {
    let flat = |error: &dyn std::fmt::Display| error.to_string();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("plugin.wit", WIT).map_err(|error| flat(&error))?;
    let id = resolve.select_world(&[package], Some(world.name()));
    let id = id.map_err(|error| flat(&error))?;
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    let generated = WorldGenerator::generate(generator.as_mut(), &mut resolve, id, &mut files);
    generated.map_err(|error| flat(&error))?;
    Ok(files)
}
