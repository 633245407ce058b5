//! Refuses kernels, windows and padding of which it isn't clear what they see.
//!
//! One may be larger than what it goes over, padding and all: tract 0.23.9 answers with what it finds inside, or with nothing; ONNX
//! Runtime refuses it, or answers with nothing. And one that is smaller than its stride may be padded by name (`SAME_UPPER`): then
//! ONNX Runtime begins in the middle of what is left over, tract, as TensorFlow, with the first place. Padding of less than nothing, which is
//! to cut off, becomes a number near the largest in tract.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Pad;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};

/// Checks every convolution, pool and padding of a model whose shapes are known.
pub(crate) fn check(model: &TypedModel) -> TractResult<()> {
    for node in model.nodes() {
        if let Some(pad) = node.op_as::<Pad>() {
            let is_negative = |number: usize| number > isize::MAX as usize;
            ensure!(
                !pad.pads
                    .iter()
                    .any(|&(before, after)| is_negative(before) || is_negative(after)),
                "node {:?}: its padding is negative; cut off with Slice",
                node.name
            );
        }
        let spec = node.op_as::<Conv>().map(|conv| &conv.pool_spec);
        let spec = spec.or_else(|| node.op_as::<MaxPool>().map(|pool| &pool.pool_spec));
        let Some(spec) = spec.or_else(|| node.op_as::<SumPool>().map(|pool| &pool.pool_spec)) else {
            continue;
        };
        let input = node.inputs.first().context("a window has no input")?;
        ensure!(
            !leaves_over(spec, model.outlet_fact(*input)?)?,
            "node {:?}: its kernel is smaller than its stride, and where it begins isn't the same everywhere with auto_pad; export with \
             pads",
            node.name
        );
        if let Some((axis, size)) = too_small(spec, model.outlet_fact(*input)?)? {
            bail!(
                "node {:?}: its kernel is larger than what it goes over, which has {size} along axis {axis} of the picture; \
                 feed larger ones, or pad them",
                node.name
            );
        }
    }
    Ok(())
}

/// Whether places are left over before and behind all that a kernel sees, where its padding is given by name.
fn leaves_over(spec: &PoolSpec, input: &TypedFact) -> TractResult<bool> {
    let is_by_name = matches!(spec.padding, PaddingSpec::SameUpper | PaddingSpec::SameLower);
    let Some(shape) = input.shape.as_concrete().filter(|_| is_by_name) else {
        return Ok(false);
    };
    let shape = spec.data_format.shape(shape)?;
    let (strides, dilations) = (spec.strides(), spec.dilations());
    let kernel = spec.kernel_shape.iter().zip(dilations.iter());
    let mut axes = shape.hw_dims().iter().zip(strides.iter()).zip(kernel);
    Ok(axes.any(|((size, stride), (kernel, dilation))| {
        let last = size.div_ceil(*stride.max(&1)).saturating_sub(1).saturating_mul(*stride);
        let seen = last
            .saturating_add(kernel.saturating_sub(1).saturating_mul(*dilation))
            .saturating_add(1);
        // One alone is left over behind everywhere.
        seen.saturating_add(2) <= *size
    }))
}

/// The axis along which a kernel doesn't fit, and the size there.
fn too_small(spec: &PoolSpec, input: &TypedFact) -> TractResult<Option<(usize, usize)>> {
    let Some(shape) = input.shape.as_concrete() else {
        return Ok(None);
    };
    let shape = spec.data_format.shape(shape)?;
    let sizes = shape.hw_dims();
    let padding = spec.computed_padding(sizes);
    let dilations = spec.dilations();
    let kernel = spec.kernel_shape.iter().zip(dilations.iter());
    let mut axes = sizes.iter().zip(&padding).zip(kernel).enumerate();
    let too_small = axes.find(|(_, ((size, padding), (kernel, dilation)))| {
        let reach = (kernel.saturating_sub(1)).saturating_mul(**dilation).saturating_add(1);
        let padded = size
            .saturating_add(padding.pad_before)
            .saturating_add(padding.pad_after);
        padded < reach
    });
    Ok(too_small.map(|(axis, ((size, _), _))| (axis, *size)))
}
