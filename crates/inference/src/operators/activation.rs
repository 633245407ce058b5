//! Activations that tract 0.23.9 answers otherwise: `Celu` with another alpha than 1 in half precision came out divided by
//! it, `Swish` took any alpha for 1, and `Softplus` was infinite from 89 on.

use super::kernel::{Built, site};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::ops::element_wise::ElementWiseIntoHir as _;

pub(super) fn celu(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    build(node, Kind::Celu)
}

pub(super) fn swish(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    build(node, Kind::Swish)
}

pub(super) fn softplus(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    build(node, Kind::Softplus)
}

fn build(node: &NodeProto, kind: Kind) -> TractResult<Built> {
    let alpha = node.attribute.iter().find(|attribute| attribute.name == "alpha");
    let alpha = alpha.map_or(1.0, |alpha| alpha.f);
    ensure!(
        alpha.is_finite() && (alpha != 0.0 || kind == Kind::Swish),
        "{}, attribute \"alpha\": is {alpha}, which has no answer",
        site(node)
    );
    let op = ElementWiseOp(Box::new(Activation { kind, alpha }), None);
    Ok((op.into_hir(), Vec::new()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// max(0, x) + min(0, alpha (e^(x / alpha) - 1))
    Celu,
    /// x / (1 + e^(-alpha x))
    Swish,
    /// log(1 + e^x)
    Softplus,
}

#[derive(Debug, Clone, PartialEq)]
struct Activation {
    kind: Kind,
    alpha: f32,
}

impl Eq for Activation {}

impl Activation {
    fn apply(&self, x: f32) -> f32 {
        match self.kind {
            // NaN goes the way of the exponential.
            Kind::Celu if x > 0.0 => x,
            Kind::Celu => self.alpha * (x / self.alpha).exp_m1(),
            Kind::Swish => x / (1.0 + (-self.alpha * x).exp()),
            Kind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

impl ElementWiseMiniOp for Activation {
    fn name(&self) -> String {
        format!("{:?}", self.kind)
    }

    fn eval_in_place(&self, x: &mut Tensor, _out: Option<DatumType>) -> TractResult<()> {
        let datum_type = x.datum_type();
        let mut plain = x.try_as_plain_ram_mut()?;
        match datum_type {
            DatumType::F32 => plain
                .as_slice_mut::<f32>()?
                .iter_mut()
                .for_each(|x| *x = self.apply(*x)),
            DatumType::F16 => {
                let halves = plain.as_slice_mut::<f16>()?;
                halves
                    .iter_mut()
                    .for_each(|x| *x = f16::from_f32(self.apply(x.to_f32())));
            }
            DatumType::F64 => {
                let doubles = plain.as_slice_mut::<f64>()?;
                let alpha = f64::from(self.alpha);
                doubles.iter_mut().for_each(|x| {
                    *x = match self.kind {
                        Kind::Celu if *x > 0.0 => *x,
                        Kind::Celu => alpha * (*x / alpha).exp_m1(),
                        Kind::Swish => *x / (1.0 + (-alpha * *x).exp()),
                        Kind::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
                    }
                });
            }
            other => bail!("{:?} takes floats, is given {other:?}; cast the input", self.kind),
        }
        Ok(())
    }
}
