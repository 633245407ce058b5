//! The activations of recurrent layers.

use super::super::kernel::site;
use super::super::nan::of_floats;
use super::super::wide::wide;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::tract_linalg::element_wise::ElementWise;
use tract_onnx::tract_core::tract_linalg::routines::Func;

/// An activation. All give NaN of NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Curve {
    Sigmoid,
    Tanh,
    Relu,
    /// x / (1 + |x|)
    Softsign,
    /// alpha x + beta, and not below 0 or above 1.
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
}

impl Curve {
    /// A node's activations, those of the second direction behind those of the first; `own` are one direction's where it
    /// names none.
    pub(super) fn of_node(node: &NodeProto, own: &[Self], directions: usize) -> TractResult<Vec<Self>> {
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        let Some(named) = attribute("activations").filter(|attribute| !attribute.strings.is_empty()) else {
            return Ok(own.repeat(directions));
        };
        let count = own.len() * directions;
        ensure!(
            named.strings.len() == count,
            "{}, attribute \"activations\": has {} names, and takes {count}",
            site(node),
            named.strings.len()
        );
        // Each list has a number for every activation that takes one, in their order.
        let floats = |name: &str| attribute(name).map_or(&[][..], |attribute| &attribute.floats).iter();
        let (mut alphas, mut betas) = (floats("activation_alpha"), floats("activation_beta"));
        let curve = |name: &Vec<u8>| match name.to_ascii_lowercase().as_slice() {
            b"sigmoid" => Ok(Self::Sigmoid),
            b"tanh" => Ok(Self::Tanh),
            b"relu" => Ok(Self::Relu),
            b"softsign" => Ok(Self::Softsign),
            b"hardsigmoid" => Ok(Self::HardSigmoid {
                alpha: alphas.next().copied().unwrap_or(0.2),
                beta: betas.next().copied().unwrap_or(0.5),
            }),
            _ => Err(format_err!(
                "{}, attribute \"activations\": {:?} is not supported; train with Sigmoid, Tanh, Relu, HardSigmoid or Softsign",
                site(node),
                String::from_utf8_lossy(name)
            )),
        };
        named.strings.iter().map(curve).collect()
    }
}

/// The kernels of those activations that tract has kernels for.
pub(super) struct Kernels {
    sigmoid: Box<dyn ElementWise<f32>>,
    tanh: Box<dyn ElementWise<f32>>,
}

impl Kernels {
    pub(super) fn new() -> TractResult<Self> {
        Ok(Self {
            sigmoid: Func::Sigmoid.ew_f32()?,
            tanh: Func::Tanh.ew_f32()?,
        })
    }

    pub(super) fn apply(&self, curve: Curve, numbers: &mut [f32]) -> TractResult<()> {
        match curve {
            Curve::Sigmoid => return of_floats(numbers, Func::Sigmoid, &*self.sigmoid),
            Curve::Tanh => return of_floats(numbers, Func::Tanh, &*self.tanh),
            Curve::Relu => wide(|| numbers.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x })),
            Curve::Softsign => wide(|| numbers.iter_mut().for_each(|x| *x /= 1.0 + x.abs())),
            Curve::HardSigmoid { alpha, beta } => {
                wide(|| {
                    numbers
                        .iter_mut()
                        .for_each(|x| *x = (alpha * *x + beta).clamp(0.0, 1.0))
                });
            }
        }
        Ok(())
    }
}
