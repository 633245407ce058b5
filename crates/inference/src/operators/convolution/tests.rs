//! What the operator answers is held against the definition, and against tract's in a model.

#[cfg(target_arch = "x86_64")]
mod by_place;
#[cfg(target_arch = "x86_64")]
mod orders;

use super::*;
use crate::operators::kernel::Kernel as _;
use tract_onnx::tract_core::ops::cnn::{PaddingSpec, PoolSpec};

/// Always the same numbers, between -1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A convolution over pictures; `channels` are those of the input, of the output, and groups.
fn plain(
    channels: [usize; 3],
    picture: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    padding: [usize; 4],
) -> Plain {
    let [channels, outputs, groups] = channels;
    let output = [0, 1].map(|axis| {
        let padded = picture[axis] + padding[axis] + padding[axis + 2];
        (padded - (kernel[axis] - 1) * dilations[axis] - 1) / strides[axis] + 1
    });
    let plain = Plain {
        is_picture: true,
        channels,
        outputs,
        groups,
        picture,
        kernel,
        strides,
        dilations,
        padding,
        output,
        weights: numbers(outputs * (channels / groups) * kernel[0] * kernel[1]),
        bias: numbers(outputs),
    };
    assert!(plain.fits(), "{plain:?}");
    plain
}

/// One sample's outputs, number by number, as ONNX writes it; and what is summed up in each, without signs.
fn by_definition(of: &Plain, picture: &[f32]) -> Vec<[f64; 2]> {
    let [height, width] = of.picture;
    let [kernel_height, kernel_width] = of.kernel;
    let inner = of.channels / of.groups;
    let inside = |axis: usize, place: usize, tap: usize| {
        (place * of.strides[axis] + tap * of.dilations[axis])
            .checked_sub(of.padding[axis])
            .filter(|&at| at < of.picture[axis])
    };
    let mut answer = Vec::new();
    for output in 0..of.outputs {
        let group = output / (of.outputs / of.groups);
        for (y, x) in (0..of.output[0]).flat_map(|y| (0..of.output[1]).map(move |x| (y, x))) {
            let bias = f64::from(of.bias[output]);
            let mut sums = [bias, bias.abs()];
            for (channel, down, across) in (0..inner).flat_map(|channel| {
                (0..kernel_height).flat_map(move |down| (0..kernel_width).map(move |across| (channel, down, across)))
            }) {
                if let (Some(row), Some(column)) = (inside(0, y, down), inside(1, x, across)) {
                    let weight =
                        of.weights[((output * inner + channel) * kernel_height + down) * kernel_width + across];
                    let number = picture[((group * inner + channel) * height + row) * width + column];
                    let product = f64::from(weight) * f64::from(number);
                    sums = [sums[0] + product, sums[1] + product.abs()];
                }
            }
            answer.push(sums);
        }
    }
    answer
}

/// Whether one sample's outputs are those of the definition; returns them.
fn check(name: &str, of: &Plain, eval: impl Fn(&[f32], &mut [f32])) -> Vec<f32> {
    let picture = numbers(of.channels * of.picture[0] * of.picture[1]);
    let expected = by_definition(of, &picture);
    // Whatever is left of what isn't written is found.
    let mut answers = vec![f32::NAN; expected.len()];
    eval(&picture, &mut answers);
    for (place, (answer, [expected, size])) in answers.iter().zip(&expected).enumerate() {
        let difference = (f64::from(*answer) - expected).abs();
        assert!(
            difference <= 1e-6 * size,
            "{name}, {place}: {answer}, not {expected}; {:?}",
            (of.channels, of.outputs, of.groups, of.picture, of.kernel)
        );
    }
    answers
}

#[test]
fn depthwise_answers_are_those_of_the_definition() {
    for (channels, picture, kernel, strides, padding) in [
        (64, [25, 5], [3, 3], [1, 1], [1, 1, 1, 1]),
        (3, [48, 48], [3, 3], [2, 2], [0, 0, 1, 1]),
        (2, [49, 10], [10, 4], [2, 2], [4, 1, 5, 1]),
        (2, [6, 6], [3, 3], [1, 1], [0, 0, 0, 0]),
        (5, [9, 11], [1, 5], [2, 3], [0, 2, 0, 1]),
        (2, [3, 3], [3, 3], [3, 5], [1, 1, 1, 1]),
        (2, [1, 40], [1, 7], [1, 4], [0, 6, 0, 6]),
        (2, [2, 2], [5, 5], [1, 1], [2, 2, 2, 2]),
        (3, [7, 6], [3, 4], [2, 1], [1, 2, 1, 1]),
        (2, [3, 70], [3, 3], [1, 1], [1, 1, 1, 1]),
        (2, [5, 4], [2, 6], [1, 1], [0, 5, 1, 5]),
        (2, [4, 3], [1, 9], [1, 2], [0, 8, 0, 8]),
        (2, [9, 1], [3, 1], [2, 1], [1, 0, 1, 0]),
        (3, [8, 10], [5, 5], [2, 2], [2, 2, 1, 1]),
        (3, [7, 12], [3, 3], [1, 2], [1, 1, 1, 0]),
        (2, [6, 8], [3, 7], [2, 2], [1, 5, 1, 1]),
        (2, [5, 6], [1, 1], [3, 2], [0, 0, 0, 0]),
    ] {
        let of = plain([channels; 3], picture, kernel, strides, [1, 1], padding);
        let Some(Way::Depthwise(mut depthwise)) = Way::to(&of) else {
            panic!("{of:?}");
        };
        check("as it comes", &of, |numbers, answers| depthwise.eval(numbers, answers));
        depthwise.without_vectors();
        check("without vectors", &of, |numbers, answers| {
            depthwise.eval(numbers, answers)
        });
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn dense_answers_are_those_of_the_definition_in_all_vectors_alike() {
    for (channels, picture, kernel, strides, dilations, padding) in [
        ([3, 16, 1], [32, 32], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([16, 32, 1], [32, 32], [3, 3], [2, 2], [1, 1], [0, 0, 1, 1]),
        ([64, 64, 1], [8, 8], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([5, 7, 1], [9, 11], [3, 2], [2, 3], [1, 1], [2, 0, 0, 1]),
        ([4, 9, 1], [12, 10], [3, 3], [1, 2], [2, 3], [2, 3, 2, 3]),
        ([4, 8, 1], [7, 7], [1, 1], [2, 2], [1, 1], [0, 0, 0, 0]),
        ([4, 6, 2], [6, 5], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ([6, 24, 2], [6, 5], [2, 2], [1, 1], [1, 1], [0, 1, 1, 0]),
        ([3, 3, 3], [6, 5], [3, 3], [1, 1], [2, 2], [2, 2, 2, 2]),
        ([1, 16, 1], [1, 200], [1, 15], [1, 1], [1, 1], [0, 7, 0, 7]),
        ([2, 3, 1], [1, 64], [1, 7], [1, 3], [1, 4], [0, 0, 0, 0]),
        ([2, 1, 1], [1, 1], [1, 1], [1, 1], [1, 1], [0, 0, 0, 0]),
        ([1, 2, 1], [2, 2], [5, 5], [4, 4], [1, 1], [3, 3, 3, 3]),
        ([2, 2, 1], [3, 3], [2, 2], [3, 5], [1, 1], [1, 1, 1, 1]),
        // More rows than are worked on at once.
        ([40, 3, 1], [70, 60], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
    ] {
        let of = plain(channels, picture, kernel, strides, dilations, padding);
        let mut before: Option<Vec<f32>> = None;
        for vectors in tiles::Vectors::all() {
            let dense = dense::Dense::of(&of, vectors).unwrap();
            let answers = check(&format!("{vectors:?}"), &of, |numbers, answers| {
                dense.eval(numbers, answers)
            });
            assert!(before.is_none_or(|before| before == answers), "{of:?}");
            before = Some(answers);
        }
    }
}

#[test]
fn several_samples_are_answered_one_after_the_other() {
    for channels in [[3, 3, 3], [3, 5, 1]] {
        let of = plain(channels, [6, 5], [3, 3], [1, 2], [1, 1], [1, 1, 1, 1]);
        let Some(operator) = Convolution::of(&of) else {
            println!("SKIPPED: this processor leaves {channels:?} to tract");
            continue;
        };
        let input = numbers(4 * 3 * 30);
        let answer = |shape: &[usize], numbers: &[f32]| {
            let tensor = Tensor::from_shape(shape, numbers).unwrap();
            operator.eval(&[&tensor]).unwrap().remove(0)
        };
        let together = answer(&[4, 3, 6, 5], &input);
        assert_eq!(together.shape(), [4, channels[1], 6, 3]);
        for (sample, numbers) in input.chunks(90).enumerate() {
            // One sample without a dimension for samples.
            let alone = answer(&[3, 6, 5], numbers);
            assert_eq!(alone.shape(), [channels[1], 6, 3]);
            let of_it = together
                .slice(0, sample, sample + 1)
                .unwrap()
                .into_shape(alone.shape())
                .unwrap();
            assert_eq!(alone, of_it, "{sample}");
        }
        let facts = |shape: &[usize]| {
            let shape = shape.iter().map(|size| size.to_dim());
            operator.output_facts(&[Fact::new(DatumType::F32, shape)])
        };
        assert_eq!(facts(&[9, 3, 6, 5]).unwrap()[0].shape[0], 9.to_dim());
        assert!(
            facts(&[3, 6, 4])
                .unwrap_err()
                .to_string()
                .contains("is planned for [3, 6, 5]")
        );
    }
}

/// A model of one convolution of 3 wide kernels over four channels, and its answer to numbers; with one weight in the place of the last.
fn convolution(change: impl FnOnce(&mut Conv), shape: &[usize], last: f32, ours: bool) -> (TypedModel, Option<Tensor>) {
    let pool_spec = PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec![3, 3],
        padding: PaddingSpec::SameUpper,
        dilations: None,
        strides: Some(tvec![1, 2]),
        input_channels: 4,
        output_channels: 4,
    };
    let mut conv = Conv {
        pool_spec,
        kernel_fmt: KernelFormat::OIHW,
        group: 4,
        q_params: None,
    };
    change(&mut conv);
    let each: TVec<usize> = tvec![4, 4 / conv.group]
        .into_iter()
        .chain(conv.pool_spec.kernel_shape.iter().copied())
        .collect();
    let mut weights = numbers(each.iter().product());
    *weights.last_mut().unwrap() = last;
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact(shape)).unwrap();
    let weights = Tensor::from_shape(&each, &weights).unwrap();
    let weights = model.add_const("weights", weights).unwrap();
    let bias = model.add_const("bias", tensor1(&[0.5_f32, -1.0, 0.0, 2.0])).unwrap();
    let y = model.wire_node("y", conv, &[x, weights, bias]).unwrap();
    model.select_output_outlets(&y).unwrap();
    if ours {
        replace(&mut model).unwrap();
    }
    let input = Tensor::from_shape(shape, &numbers(shape.iter().product())).unwrap();
    let plan = model.clone().into_optimized().unwrap().into_runnable().unwrap();
    let answers = plan.run(tvec![input.into()]).ok();
    (model, answers.map(|answers| answers[0].clone().into_tensor()))
}

/// Which operator of ours a model has.
fn ours(model: &TypedModel) -> Option<String> {
    let mut names = model.nodes().iter().map(|node| node.op.name().to_string());
    names.find(|name| name.contains("DepthwiseConv") || name.contains("DenseConv"))
}

#[test]
fn a_model_gets_the_operator_where_it_can() {
    type Change = fn(&mut Conv);
    let as_it_is: Change = |_| ();
    let one_sample: Change = |conv| conv.pool_spec.data_format = DataFormat::CHW;
    let explicit: Change = |conv| conv.pool_spec.padding = PaddingSpec::Explicit(tvec![2, 0], tvec![1, 2]);
    let dilated: Change = |conv| conv.pool_spec.dilations = Some(tvec![2, 1]);
    let grouped: Change = |conv| conv.group = 2;
    let together: Change = |conv| conv.group = 1;
    let last_channels: Change = |conv| (conv.group, conv.pool_spec.data_format) = (1, DataFormat::NHWC);
    let row: Change = |conv| {
        conv.group = 1;
        conv.pool_spec.kernel_shape = tvec![3];
        conv.pool_spec.strides = Some(tvec![2]);
    };
    #[cfg(target_arch = "x86_64")]
    let dense = tiles::Vectors::of_this_processor().map(|_| "DenseConv");
    #[cfg(not(target_arch = "x86_64"))]
    let dense = None;
    let depthwise = Some("DepthwiseConv");
    for (change, shape, last, expected) in [
        (as_it_is, &[2, 4, 6, 7][..], 0.5, depthwise),
        (one_sample, &[4, 6, 7], 0.5, depthwise),
        (explicit, &[1, 4, 6, 7], 0.5, depthwise),
        (dilated, &[1, 4, 6, 7], 0.5, None),
        (grouped, &[1, 4, 6, 7], 0.5, dense),
        (together, &[3, 4, 6, 7], 0.5, dense),
        (row, &[2, 4, 33], 0.5, dense),
        (last_channels, &[1, 6, 7, 4], 0.5, None),
        (as_it_is, &[1, 4, 6, 7], f32::INFINITY, None),
        (together, &[1, 4, 6, 7], f32::NAN, None),
    ] {
        let (model, answer) = convolution(change, shape, last, true);
        assert_eq!(
            ours(&model)
                .as_deref()
                .map(|name| name.contains(expected.unwrap_or("no name"))),
            expected.map(|_| true),
            "{shape:?} {last}"
        );
        let (_, other) = convolution(change, shape, last, false);
        let (answer, other) = (answer.unwrap(), other.unwrap());
        if last.is_finite() {
            let numbers = |tensor: &Tensor| tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
            for (one, other) in numbers(&answer).iter().zip(numbers(&other)) {
                assert!((one - other).abs() <= 1e-5, "{one} {other}");
            }
        }
    }
}

#[test]
fn what_is_beyond_measure_is_left_to_tract() {
    let of = plain([4, 4, 1], [4, 4], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]);
    for padding in [1 << 40, usize::MAX] {
        let padded = Plain {
            padding: [padding, 0, 0, 0],
            ..of.clone()
        };
        assert!(!padded.fits() && Way::to(&padded).is_none(), "{padding}");
    }
    for wrong in [
        Plain {
            picture: [0, 4],
            ..of.clone()
        },
        Plain {
            picture: [1, 1],
            ..of.clone()
        },
        Plain {
            strides: [1, 0],
            ..of.clone()
        },
        Plain {
            kernel: [9, 9],
            ..of.clone()
        },
        Plain {
            groups: 3,
            ..of.clone()
        },
        Plain {
            output: [4, 5],
            ..of.clone()
        },
        Plain {
            bias: vec![0.0; 3],
            ..of.clone()
        },
    ] {
        assert!(!wrong.fits(), "{wrong:?}");
    }
    let wide = plain([1, 4, 1], [1, 5 << 20], [1, 3], [1, 1], [1, 1], [0, 1, 0, 1]);
    assert!(Way::dense(&wide).is_none(), "20 MiB");
    let heavy = plain([384, 384, 1], [3, 3], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]);
    assert!(Way::dense(&heavy).is_none(), "5 MiB of weights");
}
