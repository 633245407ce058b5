//! `QuantizeLinear` and `DequantizeLinear`: floats to small integers and back.
//!
//! Ours are in the place of tract 0.23.9's, whose `DequantizeLinear` makes a table of 256 answers of all that follows up to
//! the next `QuantizeLinear`, if no axis changes on the way. A softmax changes none, and yet each of its answers depends on
//! all inputs: the tail of every int8 classifier came out as a constant. (Theirs can be used again when
//! `DequantizeLinearF32::declutter` asks whether each operator looks at one element at a time.) They multiply by the
//! reciprocal of the scale, too, which rounds otherwise than ONNX's division.
//!
//! A pair of the two, which is how exporters say that a value has 256 steps only, becomes one operator on floats.

use super::kernel::{Built, Fact, Kernel, site, wire};
use super::wide::wide;
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, expand};

/// 1.5 * 2^23: a float to which a smaller one is added has no digits behind the point left, and the processor has rounded
/// it, halves to even.
pub(super) const ROUNDER: f32 = 12_582_912.0;

pub(super) fn quantize(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    Ok((expand(Linear::parse(node, Direction::Quantize)?), Vec::new()))
}

pub(super) fn dequantize(_context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    Ok((expand(Linear::parse(node, Direction::Dequantize)?), Vec::new()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Quantize,
    Dequantize,
}

/// A node, until its scale and zero point are known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Linear {
    direction: Direction,
    axis: i64,
    site: Arc<str>,
}

impl Linear {
    fn parse(node: &NodeProto, direction: Direction) -> TractResult<Self> {
        let site = site(node);
        let mut axis = 1;
        for attribute in &node.attribute {
            match (attribute.name.as_str(), attribute.i) {
                ("axis", value) => axis = value,
                // Of float8 alone; whole blocks of 0 are no blocks; a type of 0 is that of the zero point.
                ("saturate", _) | ("block_size" | "output_dtype" | "precision", 0) => {}
                (name, _) => bail!("{site}, attribute {name:?}: is not supported; quantise by tensor or by axis"),
            }
        }
        ensure!(
            matches!(node.input.len(), 2 | 3),
            "{site}: has {} inputs, and takes 2 or 3",
            node.input.len()
        );
        let site = site.into();
        Ok(Self { direction, axis, site })
    }

    /// The scale and the zero point of a node, which have to be constants.
    fn steps(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Steps> {
        let constant = |outlet: &OutletId, what: &str| {
            let constant = model.outlet_fact(*outlet)?.konst.clone();
            constant.with_context(|| format!("{}: its {what} is no constant, which isn't supported", self.site))
        };
        let [x, scale, zero_points @ ..] = inputs else {
            bail!("{}: has no scale", self.site);
        };
        let scales = constant(scale, "scale")?;
        let scales = scales.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        let zero_point = zero_points
            .first()
            .map(|outlet| constant(outlet, "zero point"))
            .transpose()?;
        let stored = match (self.direction, &zero_point) {
            (Direction::Dequantize, _) => model.outlet_fact(*x)?.datum_type,
            (Direction::Quantize, Some(zero_point)) => zero_point.datum_type(),
            (Direction::Quantize, None) => DatumType::U8,
        };
        let zero_points = match zero_point {
            None => vec![0; scales.len()],
            Some(zero_point) => {
                ensure!(
                    zero_point.datum_type() == stored,
                    "{}: its zero point is {:?}, and its values {stored:?}",
                    self.site,
                    zero_point.datum_type()
                );
                let wide = zero_point.cast_to::<i32>()?;
                wide.try_as_plain_ram()?.as_slice::<i32>()?.to_vec()
            }
        };
        ensure!(
            scales.len() == zero_points.len() && !scales.is_empty(),
            "{}: has {} scales and {} zero points",
            self.site,
            scales.len(),
            zero_points.len()
        );
        ensure!(
            scales.iter().all(|scale| scale.is_finite() && *scale > 0.0),
            "{}: has a scale that is not above 0",
            self.site
        );
        let range = range(stored).with_context(|| format!("{}: {stored:?} is not supported", self.site))?;
        let pairs = scales.into_iter().zip(zero_points);
        let steps = pairs.map(|(scale, zero_point)| Step::new(scale, zero_point, range));
        Ok(Steps {
            stored,
            steps: steps.collect(),
        })
    }
}

/// The least and the greatest value of a type. That of 32 bits, of biases, is only taken back to floats.
pub(super) fn range(stored: DatumType) -> Option<(i32, i32)> {
    Some(match stored {
        DatumType::U8 => (0, 255),
        DatumType::I8 => (-128, 127),
        DatumType::U16 => (0, 65_535),
        DatumType::I16 => (-32_768, 32_767),
        DatumType::I32 => (i32::MIN, i32::MAX),
        _ => return None,
    })
}

/// What an integer means: (value - zero point) * scale.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    scale: f32,
    zero_point: i32,
    /// The range, counted from the zero point.
    least: f32,
    most: f32,
}

impl Step {
    fn new(scale: f32, zero_point: i32, (least, most): (i32, i32)) -> Self {
        Self {
            scale,
            zero_point,
            least: least.wrapping_sub(zero_point) as f32,
            most: most.wrapping_sub(zero_point) as f32,
        }
    }

    /// How many steps a float is from 0, in range; NaN is at the lower end.
    #[inline(always)]
    fn count(&self, x: f32) -> f32 {
        self.rounded(x) - ROUNDER
    }

    /// The count, and the rounder.
    #[inline(always)]
    fn rounded(&self, x: f32) -> f32 {
        // Of two that can't be compared these are the second, which is one instruction each; `max` and `min` are five.
        let steps = x / self.scale;
        let above = if steps > self.least { steps } else { self.least };
        let within = if above < self.most { above } else { self.most };
        within + ROUNDER
    }

    /// For counts of 16 bits, which stand in the last bits behind the rounder.
    #[inline(always)]
    fn quantize(&self, x: f32) -> i32 {
        let bits = self.rounded(x).to_bits().wrapping_sub(ROUNDER.to_bits());
        bits.cast_signed().wrapping_add(self.zero_point)
    }

    #[inline(always)]
    fn dequantize(&self, x: i32) -> f32 {
        x.wrapping_sub(self.zero_point) as f32 * self.scale
    }
}

/// One step for all of a tensor, or one for each place of an axis.
#[derive(Debug, Clone, PartialEq)]
struct Steps {
    stored: DatumType,
    steps: Vec<Step>,
}

impl Expansion for Linear {
    fn name(&self) -> StaticName {
        match self.direction {
            Direction::Quantize => "QuantizeLinear".into(),
            Direction::Dequantize => "DequantizeLinear".into(),
        }
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([x, scale, zero_point @ ..], [y]) = (inputs, outputs) else {
            bail!("{}: has {} inputs", self.site, inputs.len());
        };
        solver.equals(&scale.datum_type, f32::datum_type())?;
        solver.equals(&x.shape, &y.shape)?;
        match (self.direction, zero_point.first()) {
            (Direction::Quantize, Some(zero_point)) => solver.equals(&y.datum_type, &zero_point.datum_type)?,
            (Direction::Quantize, None) => solver.equals(&y.datum_type, u8::datum_type())?,
            (Direction::Dequantize, _) => solver.equals(&y.datum_type, f32::datum_type())?,
        }
        Ok(())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let Steps { stored, steps } = self.steps(model, inputs)?;
        let x = inputs.first().copied().context("has no input")?;
        let fact = model.outlet_fact(x)?;
        ensure!(
            self.direction == Direction::Dequantize || (fact.datum_type == DatumType::F32 && stored != DatumType::I32),
            "{}: makes {stored:?} of {:?}, which is not supported; quantise floats to 8 or 16 bits",
            self.site,
            fact.datum_type
        );
        if let [step] = steps.as_slice() {
            let op: Box<dyn ElementWiseMiniOp> = match self.direction {
                Direction::Quantize => Box::new(Quantize { step: *step, stored }),
                Direction::Dequantize => Box::new(Dequantize { step: *step }),
            };
            return model.wire_node(prefix, ElementWiseOp(op, None), &[x]);
        }
        let rank = fact.rank() as i64;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        ensure!((0..rank).contains(&axis), "{}: has no axis {}", self.site, self.axis);
        let direction = self.direction;
        let kernel = ByAxis {
            direction,
            axis: axis as usize,
            steps,
            stored,
        };
        wire(model, prefix, &self.site, kernel, &[x])
    }
}

/// Runs a loop over the elements of an integer tensor, whatever its type.
macro_rules! each_integer {
    ($datum_type:expr, $macro:ident) => {
        match $datum_type {
            DatumType::U8 => $macro!(u8),
            DatumType::I8 => $macro!(i8),
            DatumType::U16 => $macro!(u16),
            DatumType::I16 => $macro!(i16),
            DatumType::I32 => $macro!(i32),
            other => bail!("{other:?} is no integer to quantise to"),
        }
    };
}

/// Floats to integers, all of a tensor by the same step.
#[derive(Debug, Clone, PartialEq)]
struct Quantize {
    step: Step,
    stored: DatumType,
}

impl Eq for Quantize {}

impl ElementWiseMiniOp for Quantize {
    fn name(&self) -> String {
        "QuantizeLinear".to_owned()
    }

    fn output_type(&self, _input: DatumType) -> Option<DatumType> {
        Some(self.stored)
    }

    fn eval_out_of_place(&self, x: &Tensor, _out: Option<DatumType>) -> TractResult<Tensor> {
        let plain = x.try_as_plain_ram()?;
        let values = plain.as_slice::<f32>()?;
        macro_rules! to {
            ($type:ty) => {{
                let mut answer = Tensor::zero::<$type>(x.shape())?;
                let mut integers = answer.try_as_plain_ram_mut()?;
                let integers = integers.as_slice_mut::<$type>()?.iter_mut().zip(values);
                wide(|| integers.for_each(|(to, &x)| *to = self.step.quantize(x) as $type));
                Ok(answer)
            }};
        }
        each_integer!(self.stored, to)
    }
}

/// Integers to floats, all of a tensor by the same step.
#[derive(Debug, Clone, PartialEq)]
struct Dequantize {
    step: Step,
}

impl Eq for Dequantize {}

impl ElementWiseMiniOp for Dequantize {
    fn name(&self) -> String {
        "DequantizeLinear".to_owned()
    }

    fn output_type(&self, _input: DatumType) -> Option<DatumType> {
        Some(DatumType::F32)
    }

    fn eval_out_of_place(&self, x: &Tensor, _out: Option<DatumType>) -> TractResult<Tensor> {
        let plain = x.try_as_plain_ram()?;
        macro_rules! from {
            ($type:ty) => {{
                let mut answer = Tensor::zero::<f32>(x.shape())?;
                let mut floats = answer.try_as_plain_ram_mut()?;
                let floats = floats
                    .as_slice_mut::<f32>()?
                    .iter_mut()
                    .zip(plain.as_slice::<$type>()?);
                wide(|| floats.for_each(|(to, &x)| *to = self.step.dequantize(i32::from(x))));
                Ok(answer)
            }};
        }
        each_integer!(x.datum_type(), from)
    }

    /// There and back by the same step: floats that are rounded, without integers between.
    fn declutter(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
        let Some(before) = node.inputs.first().map(|input| model.node(input.node)) else {
            return Ok(None);
        };
        let quantize = before
            .op_as::<ElementWiseOp>()
            .and_then(|op| op.0.downcast_ref::<Quantize>());
        let (Some(quantize), Some(&x)) = (quantize, before.inputs.first()) else {
            return Ok(None);
        };
        if quantize.step != self.step {
            return Ok(None);
        }
        let mut patch = TypedModelPatch::default();
        let x = patch.tap_model(model, x)?;
        let round = ElementWiseOp(Box::new(RoundToStep { step: self.step }), None);
        let rounded = patch.wire_node(&node.name, round, &[x])?;
        for outlet in rounded {
            patch.shunt_outside(model, node.id.into(), outlet)?;
        }
        Ok(Some(patch))
    }
}

/// Floats to the nearest step.
#[derive(Debug, Clone, PartialEq)]
struct RoundToStep {
    step: Step,
}

impl Eq for RoundToStep {}

impl ElementWiseMiniOp for RoundToStep {
    fn name(&self) -> String {
        "RoundToStep".to_owned()
    }

    fn eval_in_place(&self, x: &mut Tensor, _out: Option<DatumType>) -> TractResult<()> {
        let mut plain = x.try_as_plain_ram_mut()?;
        let (step, values) = (self.step, plain.as_slice_mut::<f32>()?);
        wide(|| values.iter_mut().for_each(|x| *x = step.count(*x) * step.scale));
        Ok(())
    }
}

/// Either direction, by a step for each place of an axis: weights, nearly always, and so done when a model is loaded.
#[derive(Debug)]
struct ByAxis {
    direction: Direction,
    axis: usize,
    steps: Vec<Step>,
    stored: DatumType,
}

impl Kernel for ByAxis {
    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Quantize => "QuantizeLinear",
            Direction::Dequantize => "DequantizeLinear",
        }
    }

    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let input = inputs.first().context("has no input")?;
        let length = input.shape.get(self.axis).context("has no such axis")?;
        ensure!(
            length.to_usize().is_ok_and(|length| length == self.steps.len()),
            "has {} scales for {length} places of axis {}",
            self.steps.len(),
            self.axis
        );
        let datum_type = match self.direction {
            Direction::Quantize => self.stored,
            Direction::Dequantize => DatumType::F32,
        };
        Ok(tvec![Fact::new(datum_type, input.shape.iter().cloned())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>> {
        let x = inputs.first().context("has no input")?;
        let plain = x.try_as_plain_ram()?;
        // How many elements lie behind one another at each place of the axis.
        let run: usize = x.shape().iter().skip(self.axis + 1).product();
        let steps = self
            .steps
            .iter()
            .flat_map(|step| std::iter::repeat_n(step, run))
            .cycle();
        macro_rules! to {
            ($type:ty) => {{
                let values = plain.as_slice::<f32>()?.iter().zip(steps);
                let integers: Vec<$type> = values.map(|(&x, step)| step.quantize(x) as $type).collect();
                Tensor::from_shape(x.shape(), &integers)?
            }};
        }
        macro_rules! from {
            ($type:ty) => {{
                let values = plain.as_slice::<$type>()?.iter().zip(steps);
                let floats: Vec<f32> = values.map(|(&x, step)| step.dequantize(i32::from(x))).collect();
                Tensor::from_shape(x.shape(), &floats)?
            }};
        }
        Ok(tvec![match self.direction {
            Direction::Quantize => each_integer!(self.stored, to),
            Direction::Dequantize => each_integer!(x.datum_type(), from),
        }])
    }
}
