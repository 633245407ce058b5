//! What is said of a model beside its bytes.

use floorhand_tensor::Signature;
use std::collections::BTreeMap;

/// How a model is to be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The concrete shape of an input, by the input's name. A dimension that is left open, here by not naming the
    /// input, gets the size that another input's shape gives to its name, else 1.
    pub shapes: BTreeMap<String, Vec<u64>>,
}

impl LoadOptions {
    /// Every input as a signature has it, where that is fixed throughout.
    #[must_use]
    pub fn of(signature: &Signature) -> Self {
        let inputs = signature.inputs.iter();
        let shapes = inputs.filter_map(|spec| Some((spec.name.clone(), spec.fixed_shape()?)));
        Self {
            shapes: shapes.collect(),
        }
    }
}
