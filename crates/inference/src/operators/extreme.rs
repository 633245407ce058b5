//! `ReduceMax` and `ReduceMin`: the largest and the smallest along axes.
//!
//! Ours are in the place of tract 0.23.9's, which begin with the largest finite number instead of with infinity: of a row
//! that is infinite throughout, as masks make them, or of none at all, the answer was finite. A NaN among the numbers is
//! the answer, as in numpy; in tract it depended on the place. Integers go tract's way.

use super::kernel::{self, Built, Fact, Kernel, site, wire};
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::tract_ndarray::Axis;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, expand};

pub(super) fn most(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    Ok((expand(Along::parse(node, true)), Vec::new()))
}

pub(super) fn least(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    Ok((expand(Along::parse(node, false)), Vec::new()))
}

/// A node, until its input's rank is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Along {
    most: bool,
    /// None: they are an input, or there are none.
    axes: Option<Vec<i64>>,
    keep: bool,
    /// Whether no axes mean that nothing is done, instead of all of them.
    none_is_none: bool,
    site: Arc<str>,
}

impl Along {
    fn parse(node: &NodeProto, most: bool) -> Self {
        let find = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        Self {
            most,
            axes: find("axes").map(|axes| axes.ints.clone()),
            keep: find("keepdims").is_none_or(|keep| keep.i != 0),
            none_is_none: find("noop_with_empty_axes").is_some_and(|noop| noop.i != 0),
            site: site(node).into(),
        }
    }

    /// The axes of an input of this rank, in rising order.
    fn resolve(&self, given: &[i64], rank: usize) -> TractResult<Vec<usize>> {
        if given.is_empty() {
            return Ok(if self.none_is_none {
                Vec::new()
            } else {
                (0..rank).collect()
            });
        }
        let one = |&axis: &i64| {
            let place = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis });
            let place = place.ok().filter(|&place| place < rank);
            place.with_context(|| format!("{}: there is no axis {axis} of {rank}", self.site))
        };
        let mut axes = given.iter().map(one).collect::<TractResult<Vec<_>>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    fn reduced(&self, shape: &[TDim], axes: &[usize]) -> TVec<TDim> {
        let sizes = shape
            .iter()
            .enumerate()
            .filter_map(|(axis, size)| match axes.contains(&axis) {
                true => self.keep.then(|| 1.into()),
                false => Some(size.clone()),
            });
        sizes.collect()
    }
}

fn integers(tensor: &Tensor) -> TractResult<Vec<i64>> {
    let wide = tensor.cast_to::<i64>()?;
    Ok(wide.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
}

impl Expansion for Along {
    fn name(&self) -> StaticName {
        if self.most {
            "ReduceMax".into()
        } else {
            "ReduceMin".into()
        }
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([x, axes @ ..], [y]) = (inputs, outputs) else {
            bail!("{}: has no input, or several outputs", self.site);
        };
        solver.equals(&x.datum_type, &y.datum_type)?;
        let equal = move |solver: &mut Solver<'r>, given: &[i64], shape: TVec<TDim>| {
            let axes = self.resolve(given, shape.len())?;
            solver.equals(&y.shape, self.reduced(&shape, &axes))
        };
        match axes.first() {
            Some(axes) => solver.given_2(&x.shape, &axes.value, move |solver, shape, axes| {
                equal(solver, &integers(&axes)?, shape)
            }),
            None => solver.given(&x.shape, move |solver, shape| {
                equal(solver, self.axes.as_deref().unwrap_or_default(), shape)
            }),
        }
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let [x, axes @ ..] = inputs else {
            bail!("{}: has no input", self.site);
        };
        let given = match axes.first() {
            Some(axes) => {
                let constant = model.outlet_fact(*axes)?.konst.clone();
                integers(&*constant.with_context(|| format!("{}: its axes are no constant", self.site))?)?
            }
            None => self.axes.clone().unwrap_or_default(),
        };
        let fact = model.outlet_fact(*x)?;
        let (axes, datum_type) = (self.resolve(&given, fact.rank())?, fact.datum_type);
        let most = self.most;
        let mut outlets = if datum_type.is_float() {
            let kernel = Extreme {
                most,
                axes: axes.clone(),
            };
            wire(model, &format!("{prefix}.reduce"), &self.site, kernel, &[*x])?
        } else {
            let reducer = if most { Reducer::Max } else { Reducer::Min };
            model.wire_node(
                format!("{prefix}.reduce"),
                Reduce::new(axes.iter().copied().collect(), reducer),
                &[*x],
            )?
        };
        if !self.keep {
            for axis in axes.into_iter().rev() {
                outlets = model.wire_node(format!("{prefix}.without-{axis}"), AxisOp::Rm(axis), &outlets)?;
            }
        }
        Ok(outlets)
    }
}

#[derive(Debug)]
struct Extreme {
    most: bool,
    /// Their sizes become 1.
    axes: Vec<usize>,
}

/// Puts it in the place of tract's, which other operators are made of: `GlobalMaxPool`.
pub(super) fn replace(model: &mut TypedModel) -> TractResult<()> {
    kernel::replace(model, "ReduceMax or ReduceMin", 1, |model, node| {
        let reduce = node.op_as::<Reduce>()?;
        let most = match reduce.reducer {
            Reducer::Max => true,
            Reducer::Min => false,
            _ => return None,
        };
        let input = model.outlet_fact(*node.inputs.first()?).ok()?;
        let axes = reduce.axes.to_vec();
        input.datum_type.is_float().then_some(Extreme { most, axes })
    })
}

impl Kernel for Extreme {
    fn name(&self) -> &'static str {
        if self.most { "ReduceMax" } else { "ReduceMin" }
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let mut fact = inputs.first().context("has no input")?.clone();
        for &axis in &self.axes {
            *fact.shape.get_mut(axis).context("has no such axis")? = 1.into();
        }
        Ok(tvec![fact])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = inputs.first().context("has no input")?;
        macro_rules! reduce {
            ($type:ident) => {{
                let start = if self.most {
                    $type::NEG_INFINITY
                } else {
                    $type::INFINITY
                };
                let pick = |best: &$type, x: &$type| {
                    let better = if self.most { x > best } else { x < best };
                    if better || x.is_nan() { *x } else { *best }
                };
                let mut array = input.to_plain_array_view::<$type>()?.to_owned();
                for &axis in &self.axes {
                    array = array.fold_axis(Axis(axis), start, pick).insert_axis(Axis(axis));
                }
                array.into()
            }};
        }
        Ok(tvec![match input.datum_type() {
            DatumType::F32 => reduce!(f32),
            DatumType::F64 => reduce!(f64),
            DatumType::F16 => reduce!(f16),
            other => bail!("takes floats, is given {other:?}"),
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_the_operator_keeps_nan_wherever_it_stands() {
        for (reducer, expected) in [(Reducer::Max, 7.0), (Reducer::Min, -4.0)] {
            for nan in [None, Some(0), Some(1), Some(3)] {
                let mut numbers = [1.0_f32, 7.0, -4.0, 0.5];
                if let Some(place) = nan {
                    numbers[place] = f32::NAN;
                }
                let mut model = TypedModel::default();
                let x = model.add_source("x", f32::fact([1, 2, 2])).unwrap();
                let reduce = Reduce {
                    axes: tvec![1, 2],
                    reducer,
                };
                let y = model.wire_node("y", reduce, &[x]).unwrap();
                model.select_output_outlets(&y).unwrap();
                replace(&mut model).unwrap();
                let input = Tensor::from_shape(&[1, 2, 2], &numbers).unwrap();
                let answers = model.into_runnable().unwrap().run(tvec![input.into()]).unwrap();
                assert_eq!(answers[0].shape(), [1, 1, 1]);
                let answer = *answers[0]
                    .try_as_plain_ram()
                    .unwrap()
                    .as_slice::<f32>()
                    .unwrap()
                    .first()
                    .unwrap();
                assert!(
                    if nan.is_some() {
                        answer.is_nan()
                    } else {
                        answer == expected
                    },
                    "{reducer:?} {nan:?}: {answer}"
                );
            }
        }
    }
}
