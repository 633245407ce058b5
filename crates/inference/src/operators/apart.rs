//! What rules of tract 0.23.9 would make one thing of, and another answer: held apart while a model is simplified.
//!
//! - A convolution of one place with a step, and a `Slice` with one, become a [`Downsample`], which is drawn forward through what stands
//!   before it. On the way it forgets that its first number isn't the first of all (a `Slice` from an odd place, behind a convolution), computes `SAME`
//!   padding anew for the larger step, passes through a softmax along its own axis; at a `Reshape` or an `Expand` it ends with an error. So it
//!   stays where it is: nothing is drawn through [`Apart`], which goes when the model has been simplified.
//! - What is repeated (`Expand`, `Tile`) before a product or a convolution of one place is left out, also along the axis that is summed up.
//! - A convolution of one place over one channel becomes a product of numbers, of which what stands behind it reads what nobody has written.
//! - `constant - convolution` and `constant / convolution` become one convolution, whose weights should have been negated, or can't be had. A
//!   difference is written as a sum instead, which is the same to the bit.
//!
//! In the last three [`Apart`] stays, at the cost of a copy. It can go when tract has mended `pull_downsample_up`, `declutter_broadcast`,
//! `unit_k_to_broadcast_mul` and `declutter_channel_arithmetic_succ`.

use super::kernel::{self, Fact, Kernel};
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, StridedSlice, Tile};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::math;

/// Gives what it is given; tract knows nothing of it.
#[derive(Debug)]
struct Apart {
    /// Whether it is there for good, and not for the time of simplifying alone.
    stays: bool,
}

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

/// What is done about a node.
enum Remedy {
    /// What it takes there is held apart from what makes it.
    Before { slot: usize, stays: bool },
    /// What it makes is held apart from who takes it; with a step what it takes, too.
    Behind { has_step: bool },
    /// `a - b` is `-b + a`.
    Sum,
}

/// Puts it where it is needed, into a model that has not been simplified yet.
pub(super) fn hold(model: &mut TypedModel) -> TractResult<()> {
    let has_convolution = model.nodes().iter().any(|node| node.op_is::<Conv>());
    for id in 0..model.nodes().len() {
        let Some(remedy) = remedy(model, model.node(id), has_convolution) else {
            continue;
        };
        let node = model.node(id);
        let name = format!("{}.apart", node.name);
        let site: Arc<str> = format!("node {:?}, operator {}", node.name, node.op.name()).into();
        let mut patch = TypedModelPatch::new("apart");
        let mut inputs = patch.taps(model, &node.inputs)?;
        let outputs = match remedy {
            Remedy::Before { slot, stays } => {
                let input = inputs.get_mut(slot).context("it has no such input")?;
                *input = one(&kernel::wire(&mut patch, &name, &site, Apart { stays }, &[*input])?)?;
                patch.wire_node(&node.name, node.op.clone(), &inputs)?
            }
            Remedy::Behind { has_step } => {
                if let Some(input) = inputs.first_mut().filter(|_| has_step) {
                    let (name, apart) = (format!("{name}.step"), Apart { stays: false });
                    *input = one(&kernel::wire(&mut patch, &name, &site, apart, &[*input])?)?;
                }
                let output = one(&patch.wire_node(&name, node.op.clone(), &inputs)?)?;
                kernel::wire(&mut patch, &node.name, &site, Apart { stays: true }, &[output])?
            }
            Remedy::Sum => {
                let [a, b] = *inputs else {
                    bail!("a difference of {} inputs", inputs.len());
                };
                let negative = one(&patch.wire_node(&name, math::neg(), &[b])?)?;
                patch.wire_node(&node.name, math::add(), &[negative, a])?
            }
        };
        for (slot, output) in outputs.into_iter().enumerate() {
            patch.shunt_outside(model, OutletId::new(id, slot), output)?;
        }
        patch.apply(model)?;
    }
    Ok(())
}

fn one(outputs: &[OutletId]) -> TractResult<OutletId> {
    outputs.first().copied().context("no output")
}

fn remedy(model: &TypedModel, node: &TypedNode, has_convolution: bool) -> Option<Remedy> {
    let conv = node.op_as::<Conv>();
    let has_step = node.op_is::<Downsample>()
        || conv.is_some_and(becomes_downsample)
        || node
            .op_as::<StridedSlice>()
            .is_some_and(|slice| steps(model, node, slice));
    let first = model.outlet_fact(*node.inputs.first()?).ok()?;
    if first.datum_type == DatumType::TDim {
        // A shape that is being computed, which a kernel would make numbers of.
        return None;
    }
    let is_single = |conv: &Conv| {
        let pool = &conv.pool_spec;
        conv.group == 1 && pool.input_channels == 1 && pool.kernel_shape.iter().all(|size| *size == 1)
    };
    let is_repeated = (node.op_is::<MultiBroadcastTo>() || node.op_is::<Tile>()) && first.konst.is_none();
    if is_repeated || conv.is_some_and(is_single) {
        return Some(Remedy::Behind { has_step });
    }
    if has_step {
        return Some(Remedy::Before { slot: 0, stays: false });
    }
    let op = node.op_as::<TypedBinOp>().filter(|_| has_convolution)?;
    // Of each channel a number.
    let is_by_channel = first.shape.iter().filter(|size| !size.is_one()).count() <= 1;
    if !is_by_channel || !first.datum_type.is_float() || op.1.is_some() {
        return None;
    }
    match op.0.name() {
        "Sub" => Some(Remedy::Sum),
        "Div" => Some(Remedy::Before { slot: 1, stays: true }),
        _ => None,
    }
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

/// Takes away what isn't to stay, but in front of a [`Downsample`] that is tract's still.
pub(super) fn release(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        if kernel::of::<Apart>(node).is_none_or(|apart| apart.stays) {
            continue;
        }
        let mut successors = node.outputs.iter().flat_map(|output| &output.successors);
        let is_tracts = |inlet: &InletId| {
            let behind = model.node(inlet.node);
            behind.op_is::<Downsample>() && !super::downsample::takes(model, behind)
        };
        if successors.any(is_tracts) {
            continue;
        }
        if let Some(patch) = TypedModelPatch::shunt_one_op(model, node)? {
            patch.apply(model)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a model of one step has, once it was held apart, and once that was released.
    fn names(datum_type: DatumType, stride: isize) -> [Vec<String>; 2] {
        let mut model = TypedModel::default();
        let x = model.add_source("x", datum_type.fact([6])).unwrap();
        let step = Downsample::new(0, stride, 0);
        let y = model.wire_node("y", step, &[x]).unwrap();
        model.select_output_outlets(&y).unwrap();
        let mut names = [hold as fn(&mut TypedModel) -> TractResult<()>, release].map(|pass| {
            pass(&mut model).unwrap();
            let order = model.eval_order().unwrap();
            let names = order.iter().map(|node| model.node(*node).op.name().to_string());
            names.collect::<Vec<_>>()
        });
        names.iter_mut().for_each(|names| names.retain(|name| name != "Source"));
        names
    }

    #[test]
    fn what_is_ours_is_released() {
        for datum_type in [DatumType::F32, DatumType::I64, DatumType::Bool] {
            assert_eq!(names(datum_type, 2), [vec!["Apart", "Downsample"], vec!["Downsample"]]);
        }
    }

    #[test]
    fn what_stays_tracts_is_held_on() {
        assert_eq!(names(DatumType::F32, -1), [(); 2].map(|()| vec!["Apart", "Downsample"]));
        assert_eq!(
            names(DatumType::String, 2),
            [(); 2].map(|()| vec!["Apart", "Downsample"])
        );
    }

    #[test]
    fn shapes_that_are_being_computed_stay_as_they_are() {
        assert_eq!(names(DatumType::TDim, 2), [(); 2].map(|()| vec!["Downsample"]));
    }
}
