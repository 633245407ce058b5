//! What an operator of ours is, and the one place where it meets tract.
//!
//! Owns the adapter between a [`Kernel`] and tract's two graphs: the one in which types are still being found out, and
//! the one that runs. A kernel itself knows nothing of graphs: facts in, facts out; tensors in, tensors out.
//!
//! An `i64` may reach an operator as tract's symbolic integer. The adapter shows it as the `i64` that it is in ONNX, so
//! that no kernel has to think of it.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::infer::rules::{InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, InferenceOp, expand};

/// What is known of a tensor before it is there. A dimension may be symbolic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) datum_type: DatumType,
    pub(crate) shape: TVec<TDim>,
}

impl Fact {
    pub(crate) fn new(datum_type: DatumType, shape: impl IntoIterator<Item = TDim>) -> Self {
        let shape = shape.into_iter().collect();
        Self { datum_type, shape }
    }
}

/// An operator: its attributes, parsed, and what they do to tensors.
///
/// Errors say what is wrong and what to do; the adapter puts the node's and the operator's name before them.
pub(crate) trait Kernel: Any + Debug + Send + Sync {
    /// The operator's name in ONNX.
    fn name(&self) -> &'static str;

    /// The outputs' types and shapes, all of them, or why these inputs are refused.
    fn output_facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>>;

    /// Computes the outputs, all of them. The inputs' types and ranks are those that `output_facts` has accepted.
    fn eval(&self, inputs: &[&Tensor]) -> TractResult<TVec<Tensor>>;

    /// The same kernel, for inputs of which these are known to be always the same, where it is quicker so.
    fn settled(&self, constants: &[Option<&Tensor>]) -> TractResult<Option<Arc<dyn Kernel>>> {
        let _ = constants;
        Ok(None)
    }

    /// What stands in its place once types, shapes and constants are known, before anything is simplified; None where it
    /// stays.
    fn planned(&self, facts: &[&TypedFact]) -> TractResult<Option<Planned>> {
        let _ = facts;
        Ok(None)
    }
}

/// What stands in a kernel's place.
pub(crate) enum Planned {
    /// Another kernel, for this input alone.
    Kernel(Arc<dyn Kernel>, usize),
    /// This input.
    Input(usize),
}

/// What tract's register wants of an operator's builder.
pub(crate) type Built = (Box<dyn InferenceOp>, Vec<String>);

/// A kernel as an operator of tract's, for the outputs that the node names.
pub(crate) fn wrap(node: &NodeProto, kernel: impl Kernel) -> Built {
    let named = |(slot, name): (usize, &String)| (!name.is_empty()).then_some(slot);
    let wanted = node.output.iter().enumerate().filter_map(named).collect();
    (expand(adapter(site(node).into(), kernel, wanted)), Vec::new())
}

/// The kernel that a node is, if it is of this kind.
pub(crate) fn of<K: Kernel>(node: &TypedNode) -> Option<&K> {
    let kernel = node.op_as::<Adapter>().map(|adapter| &*adapter.kernel)?;
    (kernel as &dyn Any).downcast_ref()
}

/// Wires a kernel of one output into a graph whose types are known.
pub(crate) fn wire(
    model: &mut TypedModel,
    prefix: &str,
    site: &Arc<str>,
    kernel: impl Kernel,
    inputs: &[OutletId],
) -> TractResult<TVec<OutletId>> {
    model.wire_node(prefix, adapter(Arc::clone(site), kernel, tvec![0]), inputs)
}

/// Puts a kernel of one output in the place of every node that `made` makes one of; it is given the first of the node's
/// inputs, as many as it takes.
pub(crate) fn replace<K: Kernel>(
    model: &mut TypedModel,
    operator: &str,
    inputs: usize,
    made: impl Fn(&TypedModel, &TypedNode) -> Option<K>,
) -> TractResult<()> {
    let nodes: Vec<usize> = model.nodes().iter().map(|node| node.id).collect();
    for id in nodes {
        let node = model.node(id);
        let Some(kernel) = made(model, node) else {
            continue;
        };
        let site: Arc<str> = format!("node {:?}, operator {operator}", node.name).into();
        let mut patch = TypedModelPatch::new(operator);
        let tapped = node
            .inputs
            .iter()
            .take(inputs)
            .map(|input| patch.tap_model(model, *input));
        let tapped = tapped.collect::<TractResult<TVec<_>>>()?;
        let wires = wire(&mut patch, &node.name, &site, kernel, &tapped)?;
        let output = wires.first().context("no output")?;
        patch.shunt_outside(model, OutletId::new(id, 0), *output)?;
        patch.apply(model)?;
    }
    Ok(())
}

/// Puts in the place of all kernels of one output what they plan for the types and shapes of a model.
pub(crate) fn plan(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        if let Some(patch) = planned(model, model.node(id))? {
            patch.apply(model)?;
        }
    }
    Ok(())
}

fn planned(model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
    let Some(adapter) = node.op_as::<Adapter>() else {
        return Ok(None);
    };
    let facts = node.inputs.iter().map(|input| model.outlet_fact(*input));
    let planned = adapter.kernel.planned(&facts.collect::<TractResult<TVec<_>>>()?);
    let Some(planned) = planned.with_context(|| adapter.site.to_string())? else {
        return Ok(None);
    };
    let (Planned::Kernel(_, input) | Planned::Input(input)) = &planned;
    let mut patch = TypedModelPatch::new("plan");
    let mut output = patch.tap_model(model, *node.inputs.get(*input).context("an input is missing")?)?;
    if let Planned::Kernel(kernel, _) = planned {
        let (site, wanted) = (Arc::clone(&adapter.site), adapter.wanted.clone());
        let adapter = Adapter { kernel, site, wanted };
        let outputs = patch.wire_node(&node.name, adapter, &[output])?;
        output = *outputs.first().context("no output")?;
    }
    patch.shunt_outside(model, node.id.into(), output)?;
    Ok(Some(patch))
}

/// Tells all kernels of a model which of their inputs are constants.
pub(crate) fn settle(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        if let Some(adapter) = settled(model, model.node(id))? {
            model.node_mut(id).op = Box::new(adapter);
        }
    }
    Ok(())
}

fn settled(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Adapter>> {
    let Some(adapter) = node.op_as::<Adapter>() else {
        return Ok(None);
    };
    let facts = node.inputs.iter().map(|input| model.outlet_fact(*input));
    let facts = facts.collect::<TractResult<TVec<_>>>()?;
    let constants: TVec<Option<&Tensor>> = facts.iter().map(|fact| fact.konst.as_deref()).collect();
    let settled = adapter.kernel.settled(&constants);
    let kernel = settled.with_context(|| adapter.site.to_string())?;
    Ok(kernel.map(|kernel| Adapter {
        kernel,
        ..adapter.clone()
    }))
}

fn adapter(site: Arc<str>, kernel: impl Kernel, wanted: TVec<usize>) -> Adapter {
    let kernel = Arc::new(kernel);
    Adapter { kernel, site, wanted }
}

/// The node and its operator, as errors name them.
pub(crate) fn site(node: &NodeProto) -> String {
    let name = if node.name.is_empty() {
        node.output.first().map_or("", String::as_str)
    } else {
        node.name.as_str()
    };
    let separator = if node.domain.is_empty() { "" } else { "." };
    format!("node {name:?}, operator {}{separator}{}", node.domain, node.op_type)
}

/// A kernel inside tract, before and after types are known.
#[derive(Debug, Clone)]
struct Adapter {
    kernel: Arc<dyn Kernel>,
    site: Arc<str>,
    /// The slots of the outputs that the node names. tract numbers only those.
    wanted: TVec<usize>,
}

impl Adapter {
    fn facts(&self, inputs: &[Fact]) -> TractResult<TVec<Fact>> {
        let facts = self
            .kernel
            .output_facts(inputs)
            .with_context(|| self.site.to_string())?;
        let pick = |&slot: &usize| {
            let fact = facts.get(slot).cloned();
            fact.with_context(|| format!("{}: it has {} outputs at most", self.site, facts.len()))
        };
        self.wanted.iter().map(pick).collect()
    }
}

/// The integer that ONNX knows, for the symbolic one that tract may make of it.
fn plain(datum_type: DatumType) -> DatumType {
    if datum_type == DatumType::TDim {
        DatumType::I64
    } else {
        datum_type
    }
}

impl Expansion for Adapter {
    fn name(&self) -> StaticName {
        self.kernel.name().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.wanted.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        solver.given_all(inputs.iter().map(|input| &input.datum_type), move |solver, types| {
            solver.given_all(inputs.iter().map(|input| &input.shape), move |solver, shapes| {
                let known = types.iter().zip(shapes);
                let known: TVec<Fact> = known.map(|(&own, shape)| Fact::new(plain(own), shape)).collect();
                for (output, fact) in outputs.iter().zip(self.facts(&known)?) {
                    solver.equals(&output.datum_type, fact.datum_type)?;
                    solver.equals(&output.shape, fact.shape)?;
                }
                Ok(())
            })
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl PartialEq for Adapter {
    /// Two nodes are one only if they came from one: kernels don't compare their weights.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel) && self.wanted == other.wanted
    }
}

impl Eq for Adapter {}

impl Op for Adapter {
    fn name(&self) -> StaticName {
        self.kernel.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Adapter {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plain: TVec<Cow<Tensor>> = inputs
            .iter()
            .map(|input| input.cast_to_dt(plain(input.datum_type())))
            .collect::<TractResult<_>>()?;
        let tensors: TVec<&Tensor> = plain.iter().map(Cow::as_ref).collect();
        let outputs = self.kernel.eval(&tensors).with_context(|| self.site.to_string())?;
        let wanted = |(slot, _): &(usize, Tensor)| self.wanted.contains(slot);
        let kept = outputs.into_iter().enumerate().filter(wanted);
        Ok(kept.map(|(_, output)| output.into_tvalue()).collect())
    }
}

impl TypedOp for Adapter {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let known: TVec<Fact> = inputs
            .iter()
            .map(|input| Fact::new(plain(input.datum_type), input.shape.iter().cloned()))
            .collect();
        let typed = |fact: Fact| fact.datum_type.fact(fact.shape);
        Ok(self.facts(&known)?.into_iter().map(typed).collect())
    }

    as_op!();
}
