//! In which order numbers lie between convolutions: place by place wherever all that takes part can, else as ONNX has them.
//!
//! What a convolution answers goes through operators that take number by number (a ReLU, the sum of two ways round) to other convolutions. Values that
//! such operators connect lie in the same order. They lie place by place if convolutions that can make and take them, and nobody else, do.

use super::by_place::{self, ByPlace, UNBOUNDED};
use super::{Convolution, Order, Plain, Way};
use crate::operators::kernel;
use crate::operators::nan::Bound;
use std::collections::BTreeMap;
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

/// Fewer places in a picture are no work for whole tiles.
const FEW_PLACES: usize = 8;

/// A convolution of a model: one node, or several that are one.
struct Site {
    /// What it reads, and where: its nodes stay while others are replaced, and what they read may not.
    input: OutletId,
    inlet: InletId,
    /// What it answers.
    output: OutletId,
    /// Those of its nodes that only it uses.
    nodes: TVec<usize>,
    plain: Plain,
    /// What its answers are kept between.
    bounds: [f32; 2],
}

/// Chooses the order of all values, and puts the operator in the place of every convolution that takes part in another than ONNX's.
pub(super) fn choose(model: &mut TypedModel) -> TractResult<()> {
    let sites: Vec<Site> = model.nodes().iter().filter_map(|node| site(model, node)).collect();
    let by_place = lie_by_place(model, &sites)?;
    for outlet in &by_place {
        let outputs = &mut model.node_mut(outlet.node).outputs;
        let fact = &mut outputs.get_mut(outlet.slot).context("no such output")?.fact;
        let mut shape: TVec<TDim> = fact.shape.iter().cloned().collect();
        let channels = channel_axis(shape.len());
        shape.get_mut(channels..).context("it has no channels")?.rotate_left(1);
        *fact = fact.datum_type.fact(shape);
    }
    let order = |outlet: &OutletId| match by_place.binary_search(outlet) {
        Ok(_) => Order::ByPlace,
        Err(_) => Order::ByChannel,
    };
    for site in &sites {
        let orders = [order(&site.input), order(&site.output)];
        if orders == [Order::ByChannel; 2] {
            continue;
        }
        let way = ByPlace::of(&site.plain, orders, site.bounds).context("it was of a fitting size")?;
        let name = &model.node(site.output.node).name;
        let own = site.nodes.first().context("it has no node")?;
        let called: Arc<str> = format!("node {:?}, operator Conv", model.node(*own).name).into();
        let mut patch = TypedModelPatch::new("by place");
        let first = model.node(site.inlet.node);
        let input = *first.inputs.get(site.inlet.slot).context("it reads nothing")?;
        let ranks = [model.outlet_fact(input)?.rank(), model.outlet_fact(site.output)?.rank()];
        let convolution = Convolution {
            samples: (ranks[0] != ranks[1]).then(|| channel_axis(ranks[1])),
            ..Convolution::by(&site.plain, Way::ByPlace(way), orders)
        };
        let input = patch.tap_model(model, input)?;
        let wires = kernel::wire(&mut patch, name, &called, convolution, &[input])?;
        patch.shunt_outside(model, site.output, *wires.first().context("no output")?)?;
        patch.apply(model)?;
    }
    Ok(())
}

/// The axis of the channels, of a picture's sample: in front of rows and columns.
const fn channel_axis(rank: usize) -> usize {
    rank.saturating_sub(3)
}

/// The values that lie place by place, in their own order.
fn lie_by_place(model: &TypedModel, sites: &[Site]) -> TractResult<Vec<OutletId>> {
    let mut groups = Groups::default();
    let inside: Vec<usize> = sites.iter().flat_map(|site| site.nodes.iter().copied()).collect();
    for site in sites {
        groups.note(site.input, |group| group.is_taken = true);
        groups.note(site.output, |group| group.is_made = true);
    }
    for node in model.nodes().iter().filter(|node| !inside.contains(&node.id)) {
        let own = (0..node.outputs.len()).map(|slot| OutletId::new(node.id, slot));
        let values: Vec<OutletId> = own.chain(node.inputs.iter().copied()).collect();
        if let Some(alike) = number_by_number(model, node) {
            for (one, other) in alike.iter().zip(alike.iter().skip(1)) {
                groups.join(*one, *other);
            }
        } else {
            values
                .iter()
                .for_each(|value| groups.note(*value, |group| group.is_fixed = true));
        }
    }
    for output in model.output_outlets()? {
        groups.note(*output, |group| group.is_fixed = true);
    }
    Ok(groups.all(|group| group.is_made && group.is_taken && !group.is_fixed))
}

/// The values that a node takes number by number, and what it makes of them; None for other nodes.
fn number_by_number(model: &TypedModel, node: &TypedNode) -> Option<TVec<OutletId>> {
    let output = OutletId::new(node.id, 0);
    if node.op_is::<ElementWiseOp>() {
        return Some(tvec![*node.inputs.first()?, output]);
    }
    node.op_as::<TypedBinOp>()?;
    let fact = |outlet: OutletId| model.outlet_fact(outlet).ok();
    let shape = &fact(output)?.shape;
    let mut alike = tvec![output];
    for input in &node.inputs {
        let fact = fact(*input)?;
        let is_one = fact.konst.as_ref().is_some_and(|constant| constant.len() == 1);
        if fact.shape == *shape && fact.konst.is_none() {
            alike.push(*input);
        } else if !is_one {
            return None;
        }
    }
    Some(alike)
}

/// A convolution whose last node this is.
fn site(model: &TypedModel, node: &TypedNode) -> Option<Site> {
    let mut site = if let Some(conv) = node.op_as::<Conv>() {
        Site {
            input: *node.inputs.first()?,
            inlet: InletId::new(node.id, 0),
            output: node.id.into(),
            nodes: tvec![node.id],
            plain: Plain::read(model, node, conv)?,
            bounds: UNBOUNDED,
        }
    } else {
        pointwise(model, node)?
    };
    while let Some((behind, bounds)) = bound(model, &site) {
        site.bounds = bounds;
        site.output = behind.into();
        site.nodes.push(behind);
    }
    let plain = &site.plain;
    let fits = plain.is_picture && plain.output[0] * plain.output[1] >= FEW_PLACES && by_place::takes(plain);
    fits.then_some(site)
}

/// The bound that the only node behind a convolution keeps its answers to, with those that they have.
fn bound(model: &TypedModel, site: &Site) -> Option<(usize, [f32; 2])> {
    if model.output_outlets().ok()?.contains(&site.output) {
        return None;
    }
    let behind = model.single_succ(site.output.node).ok()??;
    let bound = Bound::of(behind.op_as::<ElementWiseOp>()?)?;
    let bounds = bound.narrowed(site.bounds);
    (bounds[0] <= bounds[1]).then_some((behind.id, bounds))
}

/// A convolution of one place each, of which tract 0.23.9 has made a product of matrices, with its bias behind it and its stride in front.
fn pointwise(model: &TypedModel, node: &TypedNode) -> Option<Site> {
    let product = Product::read(model, node)?;
    let outputs = product.outputs;
    let mut nodes = tvec![node.id];
    let (output, bias) = match bias(model, node, outputs) {
        Some((behind, bias)) => {
            nodes.push(behind);
            (behind, bias)
        }
        None => (node.id, vec![0.0; outputs]),
    };
    let (mut inlet, mut strides) = (product.inlet, [1, 1]);
    let reads = |inlet: InletId| model.node(inlet.node).inputs.get(inlet.slot).copied();
    while let Some((axis, stride)) = downsample(model, reads(inlet)?) {
        *strides.get_mut(axis)? *= stride;
        inlet = InletId::new(reads(inlet)?.node, 0);
        nodes.push(inlet.node);
    }
    let input = reads(inlet)?;
    let sizes = |outlet: OutletId| {
        let shape = &model.outlet_fact(outlet).ok()?.shape;
        shape.as_concrete()?.last_chunk::<2>().copied()
    };
    let plain = Plain {
        is_picture: true,
        channels: product.channels,
        outputs,
        groups: 1,
        picture: sizes(input)?,
        kernel: [1, 1],
        strides,
        dilations: [1, 1],
        padding: [0; 4],
        output: sizes(node.id.into())?,
        weights: product.weights,
        bias,
    };
    plain.fits().then_some(Site {
        input,
        inlet,
        output: output.into(),
        nodes,
        plain,
        bounds: UNBOUNDED,
    })
}

/// Weights times the channels of each place.
struct Product {
    inlet: InletId,
    channels: usize,
    outputs: usize,
    /// Each output's behind the one before.
    weights: Vec<f32>,
}

impl Product {
    fn read(model: &TypedModel, node: &TypedNode) -> Option<Self> {
        let product = node.op_as::<EinSum>()?;
        let [one, other] = *node.inputs else {
            return None;
        };
        let fact = |outlet: OutletId| model.outlet_fact(outlet).ok();
        let (slot, input, constant) = match (&fact(one)?.konst, &fact(other)?.konst) {
            (None, Some(constant)) => (0, one, constant),
            (Some(constant), None) => (1, other, constant),
            _ => return None,
        };
        let input_fact = fact(input)?;
        let rank = input_fact.rank();
        if product.q_params.is_some() || input_fact.datum_type != DatumType::F32 || !(3..=4).contains(&rank) {
            return None;
        }
        let answered = model.outlet_fact(node.id.into()).ok()?;
        let (from, to) = (channel_axis(rank), channel_axis(answered.rank()));
        let is_one_sample = |fact: &TypedFact| fact.shape.first().is_some_and(|samples| samples.is_one());
        let mut outputs_first = None;
        for axis in product.axes.iter_all_axes() {
            let (given, weights) = (axis.inputs.get(slot)?, axis.inputs.get(1 - slot)?);
            match (&**given, &**weights, &**axis.outputs.first()?) {
                ([at], [place], []) if *at == from => outputs_first = Some(*place == 1),
                ([], [_], [at]) if *at == to => {}
                // Rows and columns, and samples.
                ([one], [], [other]) if one + to == other + from => {}
                ([0], [], []) if from == 1 && is_one_sample(input_fact) => {}
                ([], [], [0]) if to == 1 && is_one_sample(answered) => {}
                _ => return None,
            }
        }
        let inlet = InletId::new(node.id, slot);
        let plain = constant.try_as_plain_ram().ok()?;
        let weights = plain.as_slice::<f32>().ok()?;
        let [rows, columns] = *constant.shape() else {
            return None;
        };
        Some(if outputs_first? {
            Self {
                inlet,
                channels: columns,
                outputs: rows,
                weights: weights.to_vec(),
            }
        } else {
            let turned = (0..columns).flat_map(|output| weights.iter().skip(output).step_by(columns));
            Self {
                inlet,
                channels: rows,
                outputs: columns,
                weights: turned.copied().collect(),
            }
        })
    }
}

/// What a node's only successor adds to each of so many outputs.
fn bias(model: &TypedModel, node: &TypedNode, outputs: usize) -> Option<(usize, Vec<f32>)> {
    let output = OutletId::new(node.id, 0);
    let behind = model.single_succ(node.id).ok()??;
    let is_sum = behind.op_as::<TypedBinOp>()?.0.name() == "Add";
    if !is_sum || model.output_outlets().ok()?.contains(&output) {
        return None;
    }
    let shape = |outlet: OutletId| Some(&model.outlet_fact(outlet).ok()?.shape);
    let other = behind.inputs.iter().find(|input| **input != output)?;
    let constant = model.outlet_fact(*other).ok()?.konst.as_ref()?;
    let rank = shape(output)?.rank();
    let is_by_channel = constant.rank() == rank && constant.shape().get(channel_axis(rank)) == Some(&constant.len());
    if !(is_by_channel || constant.len() == 1) || shape(output)? != shape(behind.id.into())? {
        return None;
    }
    let plain = constant.try_as_plain_ram().ok()?;
    let bias = plain.as_slice::<f32>().ok()?;
    match *bias {
        [one] => Some((behind.id, vec![one; outputs])),
        _ => (bias.len() == outputs).then(|| (behind.id, bias.to_vec())),
    }
}

/// If a value is every so-manyth row or column of another and has one use: of which of the two, and the step.
fn downsample(model: &TypedModel, value: OutletId) -> Option<(usize, usize)> {
    let node = model.node(value.node);
    let op = node.op_as::<Downsample>()?;
    let rank = model.outlet_fact(value).ok()?.rank();
    let axis = op.axis.checked_sub(channel_axis(rank) + 1)?;
    let is_own = model.outlet_successors(value).len() == 1 && !model.output_outlets().ok()?.contains(&value);
    let stride = usize::try_from(op.stride).ok().filter(|stride| *stride > 0)?;
    (is_own && op.modulo == 0).then_some((axis, stride))
}

/// Values that have to lie in the same order.
#[derive(Debug, Default)]
struct Groups {
    numbers: BTreeMap<OutletId, usize>,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Group {
    /// The group that this one has become part of.
    within: Option<usize>,
    /// Whether a convolution makes one of its values, and one takes one.
    is_made: bool,
    is_taken: bool,
    /// Whether somebody else makes or takes one.
    is_fixed: bool,
}

impl Groups {
    fn find(&mut self, value: OutletId) -> usize {
        let mut number = *self.numbers.entry(value).or_insert_with(|| {
            self.groups.push(Group::default());
            self.groups.len() - 1
        });
        while let Some(within) = self.groups.get(number).and_then(|group| group.within) {
            number = within;
        }
        number
    }

    fn note(&mut self, value: OutletId, what: impl Fn(&mut Group)) {
        let number = self.find(value);
        self.groups.get_mut(number).into_iter().for_each(what);
    }

    fn join(&mut self, one: OutletId, other: OutletId) {
        let (one, other) = (self.find(one), self.find(other));
        let Some(part) = self.groups.get(other).copied().filter(|_| one != other) else {
            return;
        };
        if let Some(whole) = self.groups.get_mut(one) {
            whole.is_made |= part.is_made;
            whole.is_taken |= part.is_taken;
            whole.is_fixed |= part.is_fixed;
        }
        if let Some(part) = self.groups.get_mut(other) {
            part.within = Some(one);
        }
    }

    /// The values of groups, in their own order.
    fn all(&mut self, which: impl Fn(&Group) -> bool) -> Vec<OutletId> {
        let values: Vec<OutletId> = self.numbers.keys().copied().collect();
        let mut found = Vec::new();
        for value in values {
            let number = self.find(value);
            if self.groups.get(number).is_some_and(&which) {
                found.push(value);
            }
        }
        found
    }
}
