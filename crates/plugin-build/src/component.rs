//! From a core module to a component, and whether it is one that a device takes.

use crate::BuildError;
use std::fmt;
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{Resolve, WorldItem};

/// The only package whose interfaces a plugin may import.
pub const PACKAGE: &str = "floorhand:plugin/";

/// What a plugin is for: each world is known by the one interface that it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// Tensors in, tensors out.
    Processor,
    /// Watches a pipeline and reports what it finds.
    Monitor,
    /// Bytes of a source to samples.
    Decoder,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Processor, Self::Monitor, Self::Decoder];

    /// As in the WIT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Monitor => "monitor",
            Self::Decoder => "decoder",
        }
    }

    /// The interface that a plugin of this world exports.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Processor => "processing",
            Self::Monitor => "monitoring",
            Self::Decoder => "decoding",
        }
    }

    /// By its name in the WIT.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.name() == name)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a component takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// Full names of what it imports, types aside.
    pub imports: Vec<String>,
    /// Full names of what it exports.
    pub exports: Vec<String>,
}

impl Interfaces {
    /// Of a component.
    pub fn of(component: &[u8]) -> Result<Self, BuildError> {
        let decoded = wit_component::decode(component);
        let Ok(DecodedWasm::Component(resolve, world)) = decoded else {
            return Err(BuildError::Component(
                "this is no WebAssembly component: `floorhand plugin build` makes one".to_owned(),
            ));
        };
        let Some(world) = resolve.worlds.get(world) else {
            return Err(BuildError::Component("the component has no world".to_owned()));
        };
        Ok(Self {
            imports: names(&resolve, world.imports.iter()),
            exports: names(&resolve, world.exports.iter()),
        })
    }

    /// The world of ours that it is of, with the version of the interface.
    #[must_use]
    pub fn world(&self) -> Option<(World, &str)> {
        World::ALL.into_iter().find_map(|world| {
            let exported = self.exports.iter().find_map(|name| {
                let rest = name.strip_prefix(PACKAGE)?.strip_prefix(world.interface())?;
                rest.strip_prefix('@')
            });
            exported.map(|version| (world, version))
        })
    }

    /// What it imports and may not.
    pub fn foreign(&self) -> impl Iterator<Item = &str> {
        let imports = self.imports.iter().map(String::as_str);
        imports.filter(|name| !name.starts_with(PACKAGE))
    }
}

/// A world's types are listed among its imports; they are names for what the interfaces have.
fn names<'a>(resolve: &Resolve, items: impl Iterator<Item = (&'a wit_parser::WorldKey, &'a WorldItem)>) -> Vec<String> {
    items
        .filter(|(_, item)| !matches!(item, WorldItem::Type { .. }))
        .map(|(key, _)| resolve.name_world_key(key))
        .collect()
}

/// A core module with wit-bindgen's custom section to a validated component.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut encoder = ComponentEncoder::default();
    let encoded = encoder
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|error| {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        let causes = causes.join(": ").replace('\n', " ");
        BuildError::Component(format!(
            "no component can be made of the module: {causes}: does the source export a plugin, and use nothing that needs \
             an operating system?"
        ))
    })
}

/// Makes sure that it exports one of our worlds and imports nothing but our package.
pub fn check(component: &[u8]) -> Result<World, BuildError> {
    let interfaces = Interfaces::of(component)?;
    if let Some(name) = interfaces.foreign().next() {
        return Err(BuildError::Component(format!(
            "the component imports {name}, and may import {PACKAGE}* alone: take out what needs it (clocks, files, random \
             numbers, printing)"
        )));
    }
    interfaces.world().map(|(world, _)| world).ok_or_else(|| {
        BuildError::Component(format!(
            "the component exports {:?}, none of them a plugin's: export a processor, a monitor or a decoder",
            interfaces.exports
        ))
    })
}
