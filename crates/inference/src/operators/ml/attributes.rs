//! A node's attributes, read once and to the last.
//!
//! An attribute that is of another type than the operator's, or that the operator doesn't have, is refused: it asks for
//! something that wouldn't be done.

use crate::operators::kernel::site;
use std::collections::BTreeSet;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::{Tensor, TractError, TractResult};
use tract_onnx::tract_core::internal::format_err;

/// The domain of the operators here.
const DOMAIN: &str = "ai.onnx.ml";

/// The attributes of one node. Each is asked for by name; [`Attributes::finish`] refuses what nobody asked for.
pub(crate) struct Attributes<'n> {
    context: &'n ParsingContext<'n>,
    node: &'n NodeProto,
    known: BTreeSet<&'static str>,
}

impl<'n> Attributes<'n> {
    /// The attributes of a node that is really of the domain `ai.onnx.ml`: tract looks at the operator's name only.
    pub(crate) fn new(context: &'n ParsingContext<'n>, node: &'n NodeProto) -> TractResult<Self> {
        if node.domain != DOMAIN {
            return Err(format_err!(
                "{}: is not supported; the one that is supported is of domain {DOMAIN}",
                site(node)
            ));
        }
        let known = BTreeSet::new();
        Ok(Self { context, node, known })
    }

    /// The version of the operator set that the model is written for.
    pub(crate) fn opset(&self) -> i64 {
        let imports = self.context.model.opset_import.iter();
        imports
            .filter(|import| import.domain == DOMAIN)
            .map(|import| import.version)
            .max()
            .unwrap_or(1)
    }

    /// An attribute's values; none if the node doesn't have it.
    pub(crate) fn floats(&mut self, name: &'static str) -> TractResult<&'n [f32]> {
        let found = self.find(name, AttributeType::Floats)?;
        Ok(found.map_or(&[], |attribute| attribute.floats.as_slice()))
    }

    /// An attribute's values; none if the node doesn't have it.
    pub(crate) fn ints(&mut self, name: &'static str) -> TractResult<&'n [i64]> {
        let found = self.find(name, AttributeType::Ints)?;
        Ok(found.map_or(&[], |attribute| attribute.ints.as_slice()))
    }

    /// An attribute's values; none if the node doesn't have it.
    pub(crate) fn strings(&mut self, name: &'static str) -> TractResult<Vec<String>> {
        let Some(found) = self.find(name, AttributeType::Strings)? else {
            return Ok(Vec::new());
        };
        let text = |bytes: &Vec<u8>| self.text(name, bytes);
        found.strings.iter().map(text).collect()
    }

    pub(crate) fn float(&mut self, name: &'static str) -> TractResult<Option<f32>> {
        let found = self.find(name, AttributeType::Float)?;
        Ok(found.map(|attribute| attribute.f))
    }

    pub(crate) fn int(&mut self, name: &'static str) -> TractResult<Option<i64>> {
        let found = self.find(name, AttributeType::Int)?;
        Ok(found.map(|attribute| attribute.i))
    }

    /// A switch: an int of which everything but 0 means yes.
    pub(crate) fn flag(&mut self, name: &'static str, default: bool) -> TractResult<bool> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }

    pub(crate) fn string(&mut self, name: &'static str) -> TractResult<Option<String>> {
        let found = self.find(name, AttributeType::String)?;
        found.map(|attribute| self.text(name, &attribute.s)).transpose()
    }

    pub(crate) fn tensor(&mut self, name: &'static str) -> TractResult<Option<Tensor>> {
        let Some(found) = self.find(name, AttributeType::Tensor)? else {
            return Ok(None);
        };
        let proto = found.t.as_ref();
        let proto = proto.ok_or_else(|| self.refuse(name, "holds no tensor; export the model again"))?;
        let tensor = self.context.load_tensor(proto);
        tensor
            .map(Some)
            .map_err(|error| self.refuse(name, format!("holds a tensor that can't be read: {error:#}")))
    }

    /// An error about one attribute.
    pub(crate) fn refuse(&self, name: &str, problem: impl AsRef<str>) -> TractError {
        format_err!("{}, attribute {name:?}: {}", site(self.node), problem.as_ref())
    }

    /// Refuses the attributes that nobody asked for.
    pub(crate) fn finish(self) -> TractResult<()> {
        let mut names = self.node.attribute.iter().map(|attribute| attribute.name.as_str());
        match names.find(|name| !self.known.contains(name)) {
            Some(name) => {
                let problem = format!(
                    "is not one that version {} of the operator set has; export the model for the version it means",
                    self.opset()
                );
                Err(self.refuse(name, problem))
            }
            None => Ok(()),
        }
    }

    fn find(&mut self, name: &'static str, wanted: AttributeType) -> TractResult<Option<&'n AttributeProto>> {
        self.known.insert(name);
        let mut named = self.node.attribute.iter().filter(|attribute| attribute.name == name);
        let Some(found) = named.next() else {
            return Ok(None);
        };
        if named.next().is_some() {
            return Err(self.refuse(name, "is there twice; leave one out"));
        }
        if found.r#type != wanted as i32 {
            let own = AttributeType::try_from(found.r#type).map_or("of unknown type", |own| own.as_str_name());
            let problem = format!("is {own}, not {}; export the model again", wanted.as_str_name());
            return Err(self.refuse(name, problem));
        }
        Ok(Some(found))
    }

    fn text(&self, name: &str, bytes: &[u8]) -> TractResult<String> {
        String::from_utf8(bytes.to_vec()).map_err(|_| self.refuse(name, "holds a string that is no UTF-8"))
    }
}
