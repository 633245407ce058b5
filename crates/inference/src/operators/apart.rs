//! What rules of tract 0.23.9 would make one thing of, and another answer: held apart while a model is simplified.
//!
//! - A convolution of one place with a step, and a `Slice` with one, become a [`Downsample`], which is drawn forward through what stands
//!   before it. On the way it forgets that its first number isn't the first of all (a `Slice` from an odd place, behind a convolution), computes `SAME`
//!   padding anew for the larger step, passes through a softmax along its own axis; at a `Reshape` or an `Expand` it ends with an error. So it
//!   stays where it is: nothing is drawn through [`Apart`], which goes when the model has been simplified.
//! - `constant - convolution` and `constant / convolution` become one convolution, whose weights should have been negated, or can't be had. There
//!   [`Apart`] stays, at the cost of a copy.
//!
//! It can go when tract has mended `pull_downsample_up` and `declutter_channel_arithmetic_succ`.

use super::kernel::{self, Fact, Kernel};
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::StridedSlice;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

/// The farthest that a convolution is looked for behind what may become part of it.
const FAR: usize = 64;

/// Gives what it is given; tract knows nothing of it.
#[derive(Debug)]
struct Apart;

impl Kernel for Apart {
    fn name(&self) -> &'static str {
        "Apart"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        Ok(inputs.iter().take(1).cloned().collect())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        Ok(inputs.iter().take(1).map(|&input| input.clone()).collect())
    }
}

/// Puts it where it is needed, into a model that has not been simplified yet.
pub(super) fn hold(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let Some(slot) = endangered(model, model.node(id)) else {
            continue;
        };
        let node = model.node(id);
        let name = format!("{}.apart", node.name);
        let site: Arc<str> = format!("node {:?}, operator {}", node.name, node.op.name()).into();
        let mut patch = TypedModelPatch::new("apart");
        let mut inputs = patch.taps(model, &node.inputs)?;
        let input = inputs.get_mut(slot).context("it has no such input")?;
        *input = *kernel::wire(&mut patch, &name, &site, Apart, &[*input])?
            .first()
            .context("no output")?;
        let outputs = patch.wire_node(&node.name, node.op.clone(), &inputs)?;
        for (slot, output) in outputs.into_iter().enumerate() {
            patch.shunt_outside(model, OutletId::new(id, slot), output)?;
        }
        patch.apply(model)?;
    }
    Ok(())
}

/// The input of a node that has to be held apart from what makes it.
fn endangered(model: &TypedModel, node: &TypedNode) -> Option<usize> {
    let has_step = node.op_is::<Downsample>()
        || node.op_as::<Conv>().is_some_and(becomes_downsample)
        || node
            .op_as::<StridedSlice>()
            .is_some_and(|slice| steps(model, node, slice));
    if has_step {
        return Some(0);
    }
    let op = node.op_as::<TypedBinOp>()?;
    if !["Sub", "Div"].contains(&op.0.name()) {
        return None;
    }
    let [one, other] = *node.inputs else {
        return None;
    };
    // Of each channel a number.
    let shape = &model.outlet_fact(one).ok()?.shape;
    let is_by_channel = shape.iter().filter(|size| !size.is_one()).count() <= 1;
    (is_by_channel && is_of_convolution(model, other)).then_some(1)
}

/// Whether tract takes its step from a convolution, along some axis.
fn becomes_downsample(conv: &Conv) -> bool {
    let pool = &conv.pool_spec;
    (0..pool.rank()).any(|axis| {
        let stride = pool.stride(axis);
        stride > 1 && (pool.kernel_shape.get(axis) == Some(&1) || pool.dilation(axis).is_multiple_of(stride))
    })
}

/// Whether a slice takes every so-manyth, as far as is known.
fn steps(model: &TypedModel, node: &TypedNode, slice: &StridedSlice) -> bool {
    let Some(steps) = slice.optional_steps_input.and_then(|slot| node.inputs.get(slot)) else {
        return false;
    };
    let constant = model.outlet_fact(*steps).ok().and_then(|fact| fact.konst.as_ref());
    let steps = constant.and_then(|steps| steps.cast_to::<i64>().ok());
    let is_one = |steps: &Tensor| {
        let plain = steps.try_as_plain_ram().ok();
        let steps = plain.as_ref().and_then(|plain| plain.as_slice::<i64>().ok());
        steps.is_some_and(|steps| steps.iter().all(|step| *step == 1))
    };
    !steps.is_some_and(|steps| is_one(&steps))
}

/// Whether a value may become a convolution's, once what stands behind that has become part of it.
fn is_of_convolution(model: &TypedModel, value: OutletId) -> bool {
    let mut value = value;
    for _ in 0..FAR {
        let node = model.node(value.node);
        if node.op_is::<Conv>() {
            return true;
        }
        if !(node.op_is::<TypedBinOp>() || node.op_is::<ElementWiseOp>() || node.op_is::<AxisOp>()) {
            return false;
        }
        let is_constant = |input: &OutletId| model.outlet_fact(*input).is_ok_and(|fact| fact.konst.is_some());
        let mut others = node.inputs.iter().filter(|input| !is_constant(input));
        match (others.next(), others.next()) {
            (Some(other), None) => value = *other,
            _ => return false,
        }
    }
    true
}

/// Takes it away again in front of every [`Downsample`] that another operator takes the place of, and of convolutions.
pub(super) fn release(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        if !kernel::is::<Apart>(node) {
            continue;
        }
        let successors = node.outputs.iter().flat_map(|output| &output.successors);
        let stays = |inlet: &InletId| {
            let behind = model.node(inlet.node);
            let is_ours = super::downsample::takes(model, behind);
            (behind.op_is::<Downsample>() && !is_ours) || behind.op_is::<TypedBinOp>()
        };
        if successors.into_iter().any(stays) {
            continue;
        }
        if let Some(patch) = TypedModelPatch::shunt_one_op(model, node)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}
