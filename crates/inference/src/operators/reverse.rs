//! A tensor back to front along one axis: what a recurrent layer that runs backwards is made of.

use super::kernel::{Built, Fact, Kernel, wrap};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{DatumType, TVec, Tensor, TractResult, tvec};
use tract_onnx::tract_core::internal::{TractErrorContext as _, ensure};

/// Its name in tract's register. ONNX has no such operator, so that no file can ask for it.
pub(crate) const NAME: &str = "floorhand.Reverse";

pub(super) fn build(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let axis = node.attribute.iter().find(|attribute| attribute.name == "axis");
    let axis = usize::try_from(axis.context("has no axis")?.i)?;
    Ok(wrap(node, Reverse { axis }))
}

#[derive(Debug)]
struct Reverse {
    axis: usize,
}

impl Kernel for Reverse {
    fn name(&self) -> &'static str {
        "Reverse"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = inputs.first().context("has no input")?;
        ensure!(
            input.datum_type == DatumType::F32 && self.axis < input.shape.len(),
            "takes floats of more than {} dimensions, is given {input:?}; export the model in float",
            self.axis
        );
        Ok(tvec![input.clone()])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = inputs.first().context("has no input")?;
        let values = input.try_as_plain_ram()?;
        let places = input.shape().get(self.axis).copied().unwrap_or(1);
        // How many elements lie behind one another at each place of the axis.
        let run: usize = input.shape().iter().skip(self.axis + 1).product();
        let mut reversed = Vec::with_capacity(input.len());
        for block in values.as_slice::<f32>()?.chunks_exact((places * run).max(1)) {
            for place in block.chunks_exact(run.max(1)).rev() {
                reversed.extend_from_slice(place);
            }
        }
        Ok(tvec![Tensor::from_shape(input.shape(), &reversed)?])
    }
}
