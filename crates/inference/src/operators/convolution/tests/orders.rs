//! Networks in which values lie place by place, against the same without.

use super::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// A network that grows layer by layer.
struct Network {
    model: TypedModel,
    last: OutletId,
    layers: usize,
}

impl Network {
    fn of(shape: &[usize]) -> Self {
        let mut model = TypedModel::default();
        let last = model.add_source("x", f32::fact(shape)).unwrap();
        Self { model, last, layers: 0 }
    }

    fn name(&mut self, what: &str) -> String {
        self.layers += 1;
        format!("{what}{}", self.layers)
    }

    fn shape(&self) -> Vec<usize> {
        self.model
            .outlet_fact(self.last)
            .unwrap()
            .shape
            .as_concrete()
            .unwrap()
            .to_vec()
    }

    /// A convolution with a bias, and with padding that keeps the size where its stride is 1.
    fn conv(mut self, outputs: usize, group: usize, kernel: usize, stride: usize) -> Self {
        let channels = self.shape()[1];
        let around = kernel / 2;
        let conv = Conv {
            pool_spec: PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: tvec![kernel; 2],
                padding: PaddingSpec::Explicit(tvec![around; 2], tvec![around; 2]),
                dilations: None,
                strides: Some(tvec![stride; 2]),
                input_channels: channels,
                output_channels: outputs,
            },
            kernel_fmt: KernelFormat::OIHW,
            group,
            q_params: None,
        };
        let name = self.name("conv");
        let sizes = [outputs, channels / group, kernel, kernel];
        let weights = Tensor::from_shape(&sizes, &numbers(sizes.iter().product())).unwrap();
        let weights = self.model.add_const(format!("{name}.weights"), weights).unwrap();
        let bias = self
            .model
            .add_const(format!("{name}.bias"), tensor1(&numbers(outputs)))
            .unwrap();
        self.last = self.model.wire_node(&name, conv, &[self.last, weights, bias]).unwrap()[0];
        self
    }

    /// Something of each number and a constant.
    fn with(mut self, op: TypedBinOp, number: f32) -> Self {
        let name = self.name("op");
        let one = Tensor::from_shape(&[1, 1, 1, 1], &[number]).unwrap();
        let one = self.model.add_const(format!("{name}.one"), one).unwrap();
        self.last = self.model.wire_node(&name, op, &[self.last, one]).unwrap()[0];
        self
    }

    fn relu(self) -> Self {
        self.with(math::max(), 0.0)
    }

    /// The sum with what another way round has made.
    fn add(mut self, other: OutletId) -> Self {
        let name = self.name("sum");
        self.last = self.model.wire_node(&name, math::add(), &[self.last, other]).unwrap()[0];
        self
    }

    fn mean(mut self) -> Self {
        let name = self.name("mean");
        let reduce = Reduce {
            axes: tvec![2, 3],
            reducer: Reducer::Sum,
        };
        self.last = self.model.wire_node(&name, reduce, &[self.last]).unwrap()[0];
        self
    }

    /// How many of its convolutions are computed place by place, of a model that answers as it does without them.
    fn by_place(mut self, outputs: &[OutletId]) -> usize {
        let outputs = if outputs.is_empty() {
            vec![self.last]
        } else {
            outputs.to_vec()
        };
        self.model.select_output_outlets(&outputs).unwrap();
        let shape = self.model.input_fact(0).unwrap().shape.as_concrete().unwrap().to_vec();
        let input = Tensor::from_shape(&shape, &numbers(shape.iter().product())).unwrap();
        let mut ours = self.model.clone().into_decluttered().unwrap();
        crate::operators::replace(&mut ours).unwrap();
        let count = ours
            .nodes()
            .iter()
            .filter(|node| node.op.name() == "ConvByPlace")
            .count();
        let [ours, plain] = [ours, self.model].map(|model| {
            let plan = model.into_optimized().unwrap().into_runnable().unwrap();
            plan.run(tvec![input.clone().into()]).unwrap()
        });
        for (ours, plain) in ours.iter().zip(&plain) {
            assert_eq!(ours.shape(), plain.shape());
            let all = |tensor: &TValue| tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
            let (ours, plain) = (all(ours), all(plain));
            let largest = plain.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
            for (one, other) in ours.iter().zip(&plain) {
                assert!((one - other).abs() <= 1e-5 * largest.max(1.0), "{one} {other}");
            }
        }
        count
    }
}

fn has_vectors() -> bool {
    let has = tiles::Vectors::of_this_processor().is_some();
    if !has {
        println!("SKIPPED: this processor leaves convolutions to tract");
    }
    has
}

#[test]
fn one_behind_the_other() {
    if !has_vectors() {
        return;
    }
    // The first reads channel by channel, and the last answers so.
    let network = Network::of(&[1, 3, 12, 12])
        .conv(16, 1, 3, 2)
        .relu()
        .conv(16, 16, 3, 1)
        .relu();
    let network = network.conv(24, 1, 1, 1).with(math::max(), 0.0).with(math::min(), 6.0);
    assert_eq!(network.conv(32, 1, 3, 1).mean().by_place(&[]), 4);
    // Several samples, and one without a dimension for it inside.
    for samples in [1, 3] {
        let network = Network::of(&[samples, 6, 5, 7])
            .conv(12, 1, 1, 1)
            .relu()
            .conv(12, 12, 3, 1)
            .relu();
        assert_eq!(network.conv(12, 1, 1, 1).by_place(&[]), 3, "{samples}");
    }
}

#[test]
fn what_goes_two_ways_round() {
    if !has_vectors() {
        return;
    }
    let network = Network::of(&[1, 3, 16, 16]).conv(16, 1, 3, 1).relu();
    let shortcut = network.last;
    let network = network.conv(16, 1, 3, 1).relu().conv(16, 1, 3, 1).add(shortcut).relu();
    // Every second place, for a convolution of one.
    let (wide, before) = (network.last, network.layers);
    let mut network = network.conv(32, 1, 1, 2);
    let shortcut = network.last;
    network.last = wide;
    assert!(network.layers > before);
    let network = network.conv(32, 1, 3, 2).relu().conv(32, 1, 3, 1).add(shortcut).relu();
    assert_eq!(network.mean().by_place(&[]), 6);
}

#[test]
fn what_others_take_lies_as_they_know_it() {
    if !has_vectors() {
        return;
    }
    // An output of the model.
    let network = Network::of(&[1, 4, 6, 6]).conv(16, 1, 3, 1).relu();
    let shown = network.last;
    let network = network.conv(16, 1, 3, 1).relu().conv(12, 1, 1, 1);
    let last = network.last;
    assert_eq!(network.by_place(&[shown, last]), 2);
    // Something that is no convolution between two of them: then there is nothing to gain.
    let mut network = Network::of(&[1, 4, 6, 6]).conv(16, 1, 3, 1);
    let first = network.last;
    network = network.mean();
    let sum = network.last;
    network.last = first;
    let network = network.conv(16, 1, 3, 1);
    let last = network.last;
    assert_eq!(network.by_place(&[sum, last]), 0);
    // Too few outputs, too few places.
    assert_eq!(
        Network::of(&[1, 4, 6, 6])
            .conv(2, 1, 3, 1)
            .conv(12, 1, 3, 1)
            .by_place(&[]),
        0
    );
    assert_eq!(
        Network::of(&[1, 4, 2, 3])
            .conv(16, 1, 3, 1)
            .conv(12, 1, 3, 1)
            .by_place(&[]),
        0
    );
    // A bound that nothing lies within makes no difference to who computes it.
    let network = Network::of(&[1, 4, 6, 6]).conv(16, 1, 3, 1).with(math::max(), 2.0);
    assert_eq!(network.with(math::min(), 1.0).conv(12, 1, 3, 1).by_place(&[]), 2);
}
