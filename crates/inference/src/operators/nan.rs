//! What is not a number stays none: operators through which tract 0.23.9 loses NaN, and curves that end before their limits.
//!
//! Its kernels for the larger and the smaller of two numbers take the other one where one is NaN, those for sigmoid, tanh
//! and their like take it for a large number, and pooling passes it over. So NaN that a model is given (which its bundle has
//! to allow) or makes came out of a network with ReLUs as an answer like any other, where ONNX Runtime gives NaN. Before a
//! model is planned they are replaced, also in the bodies of a Scan. It can go when tract's operators let NaN through.

use super::kernel::{self, Fact, Kernel};
use super::wide::wide;
use std::fmt::Debug;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Topk;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::MaxPool;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::scan::Scan;
use tract_onnx::tract_core::tract_linalg::element_wise::ElementWise;
use tract_onnx::tract_core::tract_linalg::routines::Func;

/// Numbers that are copied before a kernel of tract's runs over them: they stay near the core.
const COPIED: usize = 512;

/// Replaces them in a model, and in all bodies inside it.
pub(crate) fn replace(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        if let Some(op) = in_place(model, node) {
            model.node_mut(id).op = Box::new(op);
        } else if let Some(scan) = node.op_as::<Scan>() {
            let mut scan = scan.clone();
            replace(&mut scan.body)?;
            model.node_mut(id).op = Box::new(scan);
        }
    }
    bounded(model)?;
    kernel::replace(model, "Max or Min", 2, |model, node| {
        let which = which(model, node)?;
        Some(Extreme { which })
    })?;
    guard(model)?;
    kernel::replace(model, "MaxPool", 1, |model, node| {
        let pool = node.op_as::<MaxPool>()?.clone();
        let is_plain = pool.with_index_outputs.is_none() && is_float(model, node);
        is_plain.then_some(Pool { pool })
    })
}

/// Puts [`Numbers`] before what has no place for NaN.
fn guard(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let has_places = node
            .op_as::<MaxPool>()
            .is_some_and(|pool| pool.with_index_outputs.is_some());
        if !(has_places || node.op_is::<Topk>()) || !is_float(model, node) {
            continue;
        }
        let mut patch = TypedModelPatch::new("numbers");
        let mut inputs = patch.taps(model, &node.inputs)?;
        let site = format!("node {:?}, operator {}", node.name, node.op.name()).into();
        let name = format!("{}.numbers", node.name);
        if let Some(x) = inputs.first_mut() {
            *x = kernel::wire(&mut patch, &name, &site, Numbers, &[*x])?.remove(0);
        }
        let outputs = patch.wire_node(&node.name, node.op.clone(), &inputs)?;
        for (slot, output) in outputs.into_iter().enumerate() {
            patch.shunt_outside(model, OutletId::new(id, slot), output)?;
        }
        patch.apply(model)?;
    }
    Ok(())
}

/// Lets numbers through, and NaN not: what comes behind it tells where the largest stand, and NaN stands in no order.
#[derive(Debug)]
struct Numbers;

impl Kernel for Numbers {
    fn name(&self) -> &'static str {
        "Numbers"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        Ok(inputs.iter().cloned().collect())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = *inputs.first().context("no input")?;
        let plain = input.try_as_plain_ram()?;
        let has_nan = match input.datum_type() {
            DatumType::F16 => plain.as_slice::<f16>()?.iter().any(|x| x.is_none()),
            DatumType::F64 => plain.as_slice::<f64>()?.iter().any(|x| x.is_none()),
            _ => plain.as_slice::<f32>()?.iter().any(|x| x.is_none()),
        };
        ensure!(
            !has_nan,
            "there is NaN among its numbers, which has no place in their order"
        );
        Ok(tvec![input.clone()])
    }
}

fn is_float(model: &TypedModel, node: &TypedNode) -> bool {
    let fact = node.inputs.first().and_then(|input| model.outlet_fact(*input).ok());
    fact.is_some_and(|fact| fact.datum_type.is_float())
}

/// A sigmoid and its like that is computed by tract's kernel.
fn in_place(model: &TypedModel, node: &TypedNode) -> Option<ElementWiseOp> {
    let op = node.op_as::<ElementWiseOp>()?;
    let function = match op.0.name().as_str() {
        "Sigmoid" => Func::Sigmoid,
        "Tanh" => Func::Tanh,
        "Silu" => Func::Silu,
        _ => return None,
    };
    let input = model.outlet_fact(*node.inputs.first()?).ok()?;
    let has_kernel = matches!(input.datum_type, DatumType::F32 | DatumType::F16);
    has_kernel.then(|| ElementWiseOp(Box::new(Curve { function }), op.1))
}

/// One of tract's functions, and NaN of NaN.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Curve {
    function: Func,
}

impl ElementWiseMiniOp for Curve {
    fn name(&self) -> String {
        format!("{:?}", self.function)
    }

    fn eval_in_place(&self, x: &mut Tensor, _out: Option<DatumType>) -> TractResult<()> {
        let datum_type = x.datum_type();
        let mut plain = x.try_as_plain_ram_mut()?;
        match datum_type {
            DatumType::F32 => of_floats(plain.as_slice_mut::<f32>()?, self.function, &*self.function.ew_f32()?),
            DatumType::F16 => of_numbers(plain.as_slice_mut::<f16>()?, &*self.function.ew_f16()?, |_, _| {}),
            other => bail!("{:?} takes floats, is given {other:?}; cast the input", self.function),
        }
    }
}

/// From here on tanh is 1, to the last digit of a float, and from here on a sigmoid.
const TANH_IS_ONE: f32 = 9.02;
const SIGMOID_IS_ONE: f32 = 17.0;
/// Below, a sigmoid is computed number by number: tract's is right to seven digits behind the point, and ends at 0.0000004.
const SIGMOID_IS_SMALL: f32 = -8.0;

/// Applies one of tract's functions to floats; what is none stays as it is, and what is far out comes to the function's limit.
/// tract's tanh ends at 0.9999994: of -1000 a `Gelu` by tanh was -0.0003 in place of 0.
pub(super) fn of_floats(numbers: &mut [f32], function: Func, kernel: &dyn ElementWise<f32>) -> TractResult<()> {
    of_numbers(numbers, kernel, |numbers, before| match function {
        Func::Tanh => wide(|| {
            for (number, &before) in numbers.iter_mut().zip(before) {
                *number = if before >= TANH_IS_ONE { 1.0 } else { *number };
                *number = if before <= -TANH_IS_ONE { -1.0 } else { *number };
            }
        }),
        Func::Sigmoid | Func::Silu => {
            let is_silu = function == Func::Silu;
            let mut is_small = false;
            wide(|| {
                for (number, &before) in numbers.iter_mut().zip(before) {
                    let limit = if is_silu { before } else { 1.0 };
                    *number = if before >= SIGMOID_IS_ONE { limit } else { *number };
                    is_small |= before < SIGMOID_IS_SMALL;
                }
            });
            let far = numbers
                .iter_mut()
                .zip(before)
                .filter(|(_, before)| **before < SIGMOID_IS_SMALL);
            for (number, &before) in far.take(if is_small { usize::MAX } else { 0 }) {
                let exp = before.exp();
                *number = exp / (1.0 + exp) * if is_silu { before } else { 1.0 };
            }
        }
        _ => {}
    })
}

/// Applies a function to numbers; what is none stays as it is. `finish` is given the answers and the numbers before.
fn of_numbers<T: Number>(
    numbers: &mut [T],
    function: &dyn ElementWise<T>,
    finish: impl Fn(&mut [T], &[T]),
) -> TractResult<()> {
    let mut before = [T::default(); COPIED];
    for numbers in numbers.chunks_mut(COPIED) {
        before.iter_mut().zip(&*numbers).for_each(|(to, &number)| *to = number);
        function.run(numbers)?;
        wide(|| {
            for (number, &before) in numbers.iter_mut().zip(&before) {
                *number = if before.is_none() { before } else { *number };
            }
        });
        finish(numbers, &before);
    }
    Ok(())
}

/// What may be NaN.
pub(super) trait Number: Copy + Default + Debug + PartialOrd + Datum {
    /// Whether it is no number: only then it isn't itself.
    #[inline(always)]
    #[expect(clippy::eq_op, reason = "a compiler makes one comparison of it, of vectors, too")]
    fn is_none(self) -> bool {
        self != self
    }

    /// The larger one, or the smaller; NaN if one is.
    #[inline(always)]
    fn extreme(self, which: Which, other: Self) -> Self {
        let is_it = match which {
            Which::Max => self > other,
            Which::Min => self < other,
        };
        if is_it || self.is_none() { self } else { other }
    }
}

impl Number for f16 {}
impl Number for f32 {}
impl Number for f64 {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Max,
    Min,
}

/// Which one a node computes, if of floats.
fn which(model: &TypedModel, node: &TypedNode) -> Option<Which> {
    let op = node.op_as::<TypedBinOp>()?;
    let which = match op.0.name() {
        "Max" => Which::Max,
        "Min" => Which::Min,
        _ => return None,
    };
    (op.1.is_none() && is_float(model, node)).then_some(which)
}

/// Replaces a maximum or minimum of anything and one number: a ReLU, a clip. It is computed in place.
fn bounded(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some((bound, of)) = which(model, node).and_then(|which| bound(model, node, which)) else {
            continue;
        };
        let mut patch = TypedModelPatch::new("bound");
        let of = patch.tap_model(model, of)?;
        let wires = patch.wire_node(&node.name, ElementWiseOp(Box::new(bound), None), &[of])?;
        let output = wires.first().context("no output")?;
        patch.shunt_outside(model, OutletId::new(id, 0), *output)?;
        patch.apply(model)?;
    }
    Ok(())
}

fn bound(model: &TypedModel, node: &TypedNode, which: Which) -> Option<(Bound, OutletId)> {
    let [one, other] = *node.inputs else {
        return None;
    };
    let number = |outlet: OutletId| {
        let constant = model.outlet_fact(outlet).ok()?.konst.clone()?;
        if constant.len() != 1 {
            return None;
        }
        let number = constant.cast_to::<f64>().ok()?;
        let plain = number.try_as_plain_ram().ok()?;
        plain.as_slice::<f64>().ok()?.first().copied()
    };
    let (number, of) = number(other)
        .map(|number| (number, one))
        .or_else(|| Some((number(one)?, other)))?;
    let shape = |outlet: OutletId| model.outlet_fact(outlet).ok().map(|fact| &fact.shape);
    let keeps_shape = shape(of)? == shape(OutletId::new(node.id, 0))?;
    keeps_shape.then_some((Bound { which, number }, of))
}

/// The larger, or smaller, of each number and one number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    which: Which,
    number: f64,
}

impl Eq for Bound {}

impl Bound {
    /// The one that an operator is, if it is one.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn of(op: &ElementWiseOp) -> Option<&Self> {
        op.0.downcast_ref().filter(|bound: &&Self| !bound.number.is_nan())
    }

    /// Where numbers are that lie between these.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn narrowed(&self, [low, high]: [f32; 2]) -> [f32; 2] {
        let number = self.number as f32;
        match self.which {
            Which::Max => [low.max(number), high],
            Which::Min => [low, high.min(number)],
        }
    }

    fn apply<T: Number>(&self, numbers: &mut [T], bound: T) {
        // Which one is asked once, not for each number.
        match self.which {
            Which::Max => wide(|| numbers.iter_mut().for_each(|x| *x = x.extreme(Which::Max, bound))),
            Which::Min => wide(|| numbers.iter_mut().for_each(|x| *x = x.extreme(Which::Min, bound))),
        }
    }
}

impl ElementWiseMiniOp for Bound {
    fn name(&self) -> String {
        format!("{:?}", self.which)
    }

    fn eval_in_place(&self, x: &mut Tensor, _out: Option<DatumType>) -> TractResult<()> {
        let datum_type = x.datum_type();
        let mut plain = x.try_as_plain_ram_mut()?;
        match datum_type {
            DatumType::F32 => self.apply(plain.as_slice_mut::<f32>()?, self.number as f32),
            DatumType::F16 => self.apply(plain.as_slice_mut::<f16>()?, f16::from_f64(self.number)),
            DatumType::F64 => self.apply(plain.as_slice_mut::<f64>()?, self.number),
            other => bail!("{:?} takes floats, is given {other:?}; cast the input", self.which),
        }
        Ok(())
    }
}

/// The larger, or smaller, numbers of two tensors, each of which may be one of many along an axis.
#[derive(Debug)]
struct Extreme {
    which: Which,
}

impl Extreme {
    fn of<T: Number>(&self, one: &Tensor, other: &Tensor, shape: &[usize]) -> TractResult<Tensor> {
        let (one, other) = (one.to_plain_array_view::<T>()?, other.to_plain_array_view::<T>()?);
        let one = one.broadcast(shape).context("its shapes don't fit")?;
        let other = other.broadcast(shape).context("its shapes don't fit")?;
        let numbers = one
            .iter()
            .zip(&other)
            .map(|(one, other)| one.extreme(self.which, *other));
        Tensor::from_shape(shape, &numbers.collect::<Vec<T>>())
    }
}

impl Kernel for Extreme {
    fn name(&self) -> &'static str {
        match self.which {
            Which::Max => "Max",
            Which::Min => "Min",
        }
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let [one, other] = inputs else {
            bail!("it has {} inputs, and takes two", inputs.len());
        };
        let shape = tract_onnx::tract_core::broadcast::multi_broadcast(&[&one.shape, &other.shape])?;
        Ok(tvec![Fact::new(one.datum_type, shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let [one, other] = *inputs else {
            bail!("it has {} inputs, and takes two", inputs.len());
        };
        let shape = tract_onnx::tract_core::broadcast::multi_broadcast(&[one.shape(), other.shape()])?;
        Ok(tvec![match one.datum_type() {
            DatumType::F16 => self.of::<f16>(one, other, &shape)?,
            DatumType::F64 => self.of::<f64>(one, other, &shape)?,
            _ => self.of::<f32>(one, other, &shape)?,
        }])
    }
}

/// tract's pooling, asked once more for where NaN is.
#[derive(Debug)]
struct Pool {
    pool: MaxPool,
}

impl Pool {
    fn run(&self, input: Tensor) -> TractResult<Tensor> {
        let turn = TurnState::default();
        let context = turn.context(SessionId::NONE, usize::MAX);
        let mut answers = self.pool.eval(&context, tvec![input.into_tvalue()])?;
        ensure!(answers.len() == 1, "pooling gave {} answers", answers.len());
        Ok(answers.remove(0).into_tensor())
    }

    fn of<T: Number>(&self, input: &Tensor, one: T) -> TractResult<Tensor> {
        let plain = input.try_as_plain_ram()?;
        let numbers = plain.as_slice::<T>()?;
        let mut answer = self.run(input.clone())?;
        let Some(&nan) = numbers.iter().find(|number| number.is_none()) else {
            return Ok(answer);
        };
        let places = numbers
            .iter()
            .map(|number| if number.is_none() { one } else { T::default() });
        let places = self.run(Tensor::from_shape(input.shape(), &places.collect::<Vec<T>>())?)?;
        let places = places.try_as_plain_ram()?;
        let mut answers = answer.try_as_plain_ram_mut()?;
        let answers = answers.as_slice_mut::<T>()?.iter_mut().zip(places.as_slice::<T>()?);
        answers
            .filter(|(_, place)| **place == one)
            .for_each(|(answer, _)| *answer = nan);
        Ok(answer)
    }
}

impl Kernel for Pool {
    fn name(&self) -> &'static str {
        "MaxPool"
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let facts: Vec<TypedFact> = inputs
            .iter()
            .map(|input| input.datum_type.fact(input.shape.iter().cloned()))
            .collect();
        let facts = self.pool.output_facts(&facts.iter().collect::<TVec<_>>())?;
        let known = |fact: TypedFact| Fact::new(fact.datum_type, fact.shape.iter().cloned());
        Ok(facts.into_iter().map(known).collect())
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let input = inputs.first().context("no input")?;
        Ok(tvec![match input.datum_type() {
            DatumType::F16 => self.of(input, f16::ONE)?,
            DatumType::F64 => self.of(input, 1.0_f64)?,
            _ => self.of(input, 1.0_f32)?,
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::nn::DataFormat;
    use tract_onnx::tract_core::ops::{math, nn};

    /// What a model of one node answers, with our operators in it.
    fn answer(op: impl Into<Box<dyn TypedOp>>, inputs: &[Tensor]) -> Tensor {
        let mut model = TypedModel::default();
        let fact = |input: &Tensor| input.datum_type().fact(input.shape());
        let sources: Vec<OutletId> = (0_u8..)
            .zip(inputs)
            .map(|(number, input)| model.add_source(number.to_string(), fact(input)).unwrap())
            .collect();
        let y = model.wire_node("y", op, &sources).unwrap();
        model.select_output_outlets(&y).unwrap();
        replace(&mut model).unwrap();
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        let inputs = inputs.iter().map(|input| input.clone().into_tvalue()).collect();
        plan.run(inputs).unwrap().remove(0).into_tensor()
    }

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        let doubles = tensor.cast_to::<f64>().unwrap();
        doubles.try_as_plain_ram().unwrap().as_slice::<f64>().unwrap().to_vec()
    }

    #[test]
    fn the_larger_and_the_smaller_of_any_floats() {
        let (one, other) = (
            [1.0, f64::NAN, -2.0, 0.5, f64::NAN],
            [0.0, 1.0, f64::NAN, 3.0, f64::NAN],
        );
        for datum_type in [DatumType::F16, DatumType::F32, DatumType::F64] {
            let typed = |numbers: &[f64]| tensor1(numbers).cast_to_dt(datum_type).unwrap().into_owned();
            let pair = [typed(&one), typed(&other)];
            for (op, larger) in [(math::max(), true), (math::min(), false)] {
                let answers = numbers(&answer(op, &pair));
                for ((one, other), answer) in one.iter().zip(other).zip(answers) {
                    let expected = if larger { one.max(other) } else { one.min(other) };
                    let is_nan = one.is_nan() || other.is_nan();
                    assert!(
                        if is_nan { answer.is_nan() } else { answer == expected },
                        "{one} {other}: {answer}"
                    );
                }
            }
        }
        let whole = answer(math::max(), &[tensor1(&[1_i64, -5]), tensor1(&[0_i64, -3])]);
        assert_eq!(whole, tensor1(&[1_i64, -3]), "whole numbers are left to tract");
    }

    #[test]
    fn curves_come_to_their_limits() {
        let infinite = f32::INFINITY;
        let x = [
            -infinite, -1000.0, -104.0, -50.0, -18.0, -15.5, -12.0, -9.1, -8.9, 0.0, 8.9, 9.1, 16.5, 17.5, 1000.0,
            infinite,
        ];
        let ops = [nn::sigmoid().into(), math::tanh().into(), nn::silu::silu().into()];
        let curves: [fn(f64) -> f64; 3] = [|x| 1.0 / (1.0 + (-x).exp()), f64::tanh, |x| x / (1.0 + (-x).exp())];
        for (op, curve) in ops.into_iter().zip(curves) {
            let op: Box<dyn TypedOp> = op;
            let name = op.name().to_string();
            let answers = numbers(&answer(op, &[tensor1(&x)]));
            for (x, answer) in x.into_iter().zip(answers) {
                let expected = curve(f64::from(x));
                // Between, tract's are right to some digits behind the point; e^-104 is hardly a float any more.
                let allowed = if (-9.0..=17.0).contains(&x) {
                    1e-6 * expected.abs().max(1.0)
                } else {
                    2e-7 * expected.abs() + 2e-43
                };
                let is_right = if expected.is_nan() {
                    answer.is_nan()
                } else {
                    answer == expected || (answer - expected).abs() <= allowed
                };
                assert!(is_right, "{name} of {x}: {answer}, not {expected}");
            }
        }
    }

    #[test]
    fn curves_longer_than_what_is_copied_at_once() {
        let mut x = vec![0.25_f32; 2 * COPIED + 7];
        let places = [0, 5, COPIED - 1, COPIED, 2 * COPIED + 6];
        for place in places {
            x[place] = f32::NAN;
        }
        for op in [nn::sigmoid(), math::tanh(), nn::silu::silu()] {
            let name = op.name().to_string();
            for datum_type in [DatumType::F32, DatumType::F16] {
                let x = tensor1(&x).cast_to_dt(datum_type).unwrap().into_owned();
                let answers = numbers(&answer(op.clone(), &[x]));
                for (place, answer) in answers.iter().enumerate() {
                    assert_eq!(answer.is_nan(), places.contains(&place), "{name}, {place}: {answer}");
                }
            }
        }
    }

    #[test]
    fn pooling_tells_of_every_window_with_nan_in_it() {
        let pool_spec = PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: tvec![2, 2],
            padding: PaddingSpec::Explicit(tvec![1, 0], tvec![0, 0]),
            dilations: None,
            strides: Some(tvec![1, 1]),
            input_channels: 1,
            output_channels: 1,
        };
        for nan in [None, Some(0), Some(4), Some(8)] {
            let mut x: Vec<f32> = (0_i8..9).map(|x| f32::from(x) - 20.0).collect();
            if let Some(place) = nan {
                x[place] = f32::NAN;
            }
            let pool = MaxPool {
                pool_spec: pool_spec.clone(),
                with_index_outputs: None,
            };
            let answers = numbers(&answer(pool, &[Tensor::from_shape(&[1, 1, 3, 3], &x).unwrap()]));
            assert_eq!(answers.len(), 6);
            for (place, answer) in answers.iter().enumerate() {
                let (row, column) = (place / 2, place % 2);
                let rows = row.saturating_sub(1)..=row;
                let mut window = rows.flat_map(|row| [row * 3 + column, row * 3 + column + 1]);
                if nan.is_some_and(|nan| window.clone().any(|place| place == nan)) {
                    assert!(answer.is_nan(), "{nan:?} {place}");
                } else {
                    assert_eq!(
                        *answer,
                        window
                            .by_ref()
                            .map(|place| f64::from(x[place]))
                            .fold(f64::MIN, f64::max)
                    );
                }
            }
        }
    }
}
