//! What each engine answers is held against the definition, in integers of 64 bits: equal, not near.

use super::*;
use crate::operators::convolution::Way;
use tract_onnx::pb::AttributeProto;
use tract_onnx::pb::attribute_proto::AttributeType;

/// Always the same numbers.
struct Lot(u32);

impl Lot {
    fn next(&mut self, least: i64, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        least + i64::from(self.0 >> 8) % (most - least + 1)
    }
}

/// A convolution, and the numbers that go into it.
#[derive(Debug, Clone)]
struct Case {
    channels: usize,
    outputs: usize,
    groups: usize,
    picture: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
    of: (DatumType, i32),
    to: (DatumType, i32),
    of_weights: (DatumType, i32),
    is_cut_off: bool,
    x: Vec<i64>,
    weights: Vec<i64>,
    bias: Vec<i32>,
    scales: Vec<f32>,
}

fn constant(tensor: Tensor) -> TypedFact {
    TypedFact::try_from(tensor.into_arc_tensor()).unwrap()
}

const OF_SCALE: f32 = 0.05;

impl Case {
    fn new(
        channels: [usize; 3],
        picture: [usize; 2],
        kernel: [usize; 2],
        strides: [usize; 2],
        pads: [usize; 4],
    ) -> Self {
        let [channels, outputs, groups] = channels;
        let case = Self {
            channels,
            outputs,
            groups,
            picture,
            kernel,
            strides,
            dilations: [1, 1],
            pads,
            of: (DatumType::I8, -3),
            to: (DatumType::I8, 5),
            of_weights: (DatumType::I8, 0),
            is_cut_off: false,
            x: Vec::new(),
            weights: Vec::new(),
            bias: Vec::new(),
            scales: Vec::new(),
        };
        case.filled()
    }

    /// Draws all numbers anew, the extremes among them.
    fn filled(mut self) -> Self {
        let mut lot = Lot(7);
        let mut some = |(datum_type, _): (DatumType, i32), count: usize| -> Vec<i64> {
            let (least, most) = range(datum_type).unwrap();
            let (least, most) = (i64::from(least), i64::from(most));
            let extremes = [least, most].repeat(3);
            let lots = (0..count).map(|_| lot.next(least, most));
            lots.enumerate()
                .map(|(at, lot)| extremes.get(at).copied().unwrap_or(lot))
                .collect()
        };
        self.x = some(self.of, self.channels * self.picture[0] * self.picture[1]);
        let inner = self.channels / self.groups;
        self.weights = some(self.of_weights, self.outputs * inner * self.kernel[0] * self.kernel[1]);
        self.bias = (0..self.outputs).map(|_| lot.next(-9000, 9000) as i32).collect();
        self.scales = (0..self.outputs).map(|_| 0.001 * lot.next(1, 9) as f32).collect();
        self
    }

    /// So that most answers are in range.
    fn to_scale(&self) -> f32 {
        let length = self.channels / self.groups * self.kernel[0] * self.kernel[1];
        0.03 * (length as f32).sqrt()
    }

    fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            (self.picture[axis] + self.pads[axis] + self.pads[axis + 2] - reach) / self.strides[axis] + 1
        })
    }

    fn by_definition(&self) -> Vec<i64> {
        let [rows, columns] = self.output();
        let inner = self.channels / self.groups;
        let (least, most) = range(self.to.0).unwrap();
        let least = if self.is_cut_off { least.max(self.to.1) } else { least };
        let mut answers = Vec::new();
        for (output, row, column) in (0..self.outputs)
            .flat_map(|output| (0..rows).map(move |row| (output, row)))
            .flat_map(|(output, row)| (0..columns).map(move |column| (output, row, column)))
        {
            let mut sum = i64::from(self.bias[output]);
            for (channel, down, across) in (0..inner)
                .flat_map(|channel| (0..self.kernel[0]).map(move |down| (channel, down)))
                .flat_map(|(channel, down)| (0..self.kernel[1]).map(move |across| (channel, down, across)))
            {
                let inside = |axis: usize, place: usize, tap: usize| {
                    (place * self.strides[axis] + tap * self.dilations[axis])
                        .checked_sub(self.pads[axis])
                        .filter(|&at| at < self.picture[axis])
                };
                let (Some(y), Some(x)) = (inside(0, row, down), inside(1, column, across)) else {
                    continue;
                };
                let of = output / (self.outputs / self.groups) * inner + channel;
                let number = self.x[(of * self.picture[0] + y) * self.picture[1] + x] - i64::from(self.of.1);
                let weight =
                    self.weights[((output * inner + channel) * self.kernel[0] + down) * self.kernel[1] + across];
                sum += number * (weight - i64::from(self.of_weights.1));
            }
            let steps = (sum as f32 * (OF_SCALE * self.scales[output] / self.to_scale())).round_ties_even() as i64;
            answers.push((steps + i64::from(self.to.1)).clamp(i64::from(least), i64::from(most)));
        }
        answers
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            strides: Some(self.strides.to_vec()),
            dilations: Some(self.dilations.to_vec()),
            pads: Some(self.pads.to_vec()),
            groups: self.groups,
            same: None,
            is_cut_off: self.is_cut_off,
            is_by_output: true,
            is_linear: false,
            output_axis: None,
        }
    }

    fn facts(&self) -> Vec<TypedFact> {
        let typed = |datum_type: DatumType, shape: &[usize], numbers: &[i64]| {
            let tensor = Tensor::from_shape(shape, numbers).unwrap();
            constant(tensor.cast_to_dt(datum_type).unwrap().into_owned())
        };
        let scale = |scale: f32| constant(tensor0(scale));
        let zero_point = |(datum_type, zero_point): (DatumType, i32)| typed(datum_type, &[], &[i64::from(zero_point)]);
        let [rows, columns] = self.output();
        let [height, width] = self.picture;
        let inner = self.channels / self.groups;
        let [down, across] = self.kernel;
        let bias: Vec<i64> = self.bias.iter().map(|&bias| i64::from(bias)).collect();
        vec![
            self.to.0.fact([1, self.outputs, rows, columns]),
            self.of.0.fact([1, self.channels, height, width]),
            scale(OF_SCALE),
            zero_point(self.of),
            typed(self.of_weights.0, &[self.outputs, inner, down, across], &self.weights),
            constant(tensor1(&self.scales)),
            typed(
                self.of_weights.0,
                &[self.outputs],
                &vec![i64::from(self.of_weights.1); self.outputs],
            ),
            scale(self.to_scale()),
            zero_point(self.to),
            typed(DatumType::I32, &[self.outputs], &bias),
        ]
    }

    fn plan(&self) -> Option<Quantised> {
        let facts = self.facts();
        self.wanted().plan(&facts.iter().collect::<Vec<_>>())
    }

    /// The case's answers by every engine that this processor has for it.
    fn check(&self) {
        let expected = self.by_definition();
        let kinds = expected.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(kinds > 5, "the case shows nothing: {expected:?}");
        let Some(mut planned) = self.plan() else {
            let is_depthwise = self.groups == self.channels && self.outputs == self.channels && self.groups > 1;
            assert!(!(has_tiles() || is_depthwise && self.dilations == [1, 1]), "{self:?}");
            return;
        };
        self.check_answer(&planned, &expected);
        for engine in self.engines() {
            planned.engine = engine;
            self.check_answer(&planned, &expected);
        }
    }

    fn check_answer(&self, planned: &Quantised, expected: &[i64]) {
        let shape = [2, self.channels, self.picture[0], self.picture[1]];
        let twice: Vec<i64> = self.x.iter().chain(self.x.iter().rev()).copied().collect();
        let input = Tensor::from_shape(&shape, &twice).unwrap();
        let input = input.cast_to_dt(self.of.0).unwrap();
        let answer = planned.eval(&[&input]).unwrap().remove(0);
        let fact = planned
            .output_facts(&[Fact::new(self.of.0, shape.map(|size| size.to_dim()))])
            .unwrap();
        assert_eq!(answer.datum_type(), self.to.0);
        assert!(
            fact[0]
                .shape
                .iter()
                .cloned()
                .eq(answer.shape().iter().map(|size| size.to_dim()))
        );
        let answer = answer.cast_to::<i64>().unwrap();
        let answer = answer.try_as_plain_ram().unwrap().as_slice::<i64>().unwrap().to_vec();
        let (first, second) = answer.split_at(expected.len());
        assert_eq!(first, expected, "{planned:?}");
        let mut turned = self.clone();
        turned.x.reverse();
        assert_eq!(second, turned.by_definition(), "the second sample");
    }

    fn engines(&self) -> Vec<Engine> {
        let facts = self.facts();
        let facts: Vec<&TypedFact> = facts.iter().collect();
        let weights = self
            .weights
            .iter()
            .map(|weight| (weight - i64::from(self.of_weights.1)) as f32);
        let kernel = [
            self.outputs,
            self.channels / self.groups,
            self.kernel[0],
            self.kernel[1],
        ];
        let wanted = self.wanted();
        let plain = wanted
            .geometry(self.channels, &self.picture, &kernel, weights.collect(), &self.bias)
            .unwrap();
        assert!(facts[X].shape.as_concrete().is_some());
        let mut engines: Vec<Engine> = Vec::new();
        engines.extend(Way::to(&plain).map(|way| Engine::Floats {
            way,
            zero_point: self.of.1,
        }));
        #[cfg(target_arch = "x86_64")]
        for dots in dots::Dots::all() {
            let is_signed = self.of.0 == DatumType::I8;
            let bytes = bytes::Bytes::of(&plain, &self.bias, self.of.1, is_signed, dots);
            engines.extend(bytes.map(Engine::Bytes));
        }
        engines
    }
}

/// Whether this processor has what all convolutions are computed by, not depthwise ones alone.
fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    return crate::operators::tiles::Vectors::of_this_processor().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Convolutions of all kinds, and a few of each.
fn cases() -> Vec<Case> {
    vec![
        Case::new([8, 6, 1], [5, 7], [1, 1], [1, 1], [0, 0, 0, 0]),
        Case::new([20, 33, 1], [25, 5], [1, 1], [1, 1], [0, 0, 0, 0]),
        Case::new([3, 9, 1], [9, 8], [3, 3], [2, 2], [0, 1, 1, 1]),
        Case::new([6, 12, 1], [6, 6], [3, 3], [1, 1], [1, 1, 1, 1]),
        Case::new([3, 9, 1], [12, 300], [3, 3], [1, 1], [1, 1, 1, 1]),
        Case::new([1, 17, 1], [13, 9], [10, 4], [2, 2], [4, 1, 5, 1]),
        Case::new([1, 3, 1], [6, 20], [3, 7], [1, 1], [1, 3, 1, 3]),
        Case::new([2, 5, 1], [9, 21], [2, 9], [3, 2], [0, 5, 1, 2]),
        Case::new([1, 1, 1], [3, 500], [3, 3], [1, 1], [1, 1, 1, 1]),
        Case::new([9, 9, 9], [25, 5], [3, 3], [1, 1], [1, 1, 1, 1]),
        Case::new([5, 5, 5], [8, 9], [3, 3], [2, 2], [0, 0, 1, 1]),
        Case::new([3, 3, 3], [4, 4], [1, 1], [1, 1], [0, 0, 0, 0]),
        Case::new([4, 8, 4], [6, 6], [5, 1], [1, 1], [2, 0, 2, 0]),
        Case::new([4, 8, 4], [1, 16], [1, 3], [1, 1], [0, 1, 0, 1]),
        Case::new([8, 8, 2], [5, 5], [3, 2], [1, 2], [2, 0, 2, 1]),
        Case::new([6, 4, 2], [30, 40], [2, 2], [2, 2], [0, 0, 0, 0]),
        Case::new([3, 3, 3], [8, 10], [5, 5], [2, 2], [2, 2, 1, 1]),
        Case::new([1, 6, 1], [7, 12], [3, 6], [1, 2], [1, 5, 1, 0]),
        Case::new([2, 3, 1], [6, 8], [3, 7], [2, 2], [1, 5, 1, 1]),
        Case::new([2, 2, 2], [9, 6], [1, 1], [3, 2], [0, 0, 0, 0]),
    ]
}

#[test]
fn answers_are_those_of_the_definition() {
    for case in cases() {
        case.check();
        let unsigned = Case {
            of: (DatumType::U8, 250),
            to: (DatumType::U8, 0),
            is_cut_off: true,
            ..case.clone()
        };
        unsigned.filled().check();
        let mixed = Case {
            of: (DatumType::U8, 0),
            to: (DatumType::I8, -100),
            of_weights: (DatumType::U8, 128),
            is_cut_off: true,
            ..case
        };
        mixed.filled().check();
    }
}

#[test]
fn dilated_kernels_see_further() {
    for (channels, dilations) in [([2, 4, 1], [1, 2]), ([4, 4, 4], [2, 3]), ([8, 4, 1], [2, 2])] {
        let mut case = Case::new(channels, [9, 18], [2, 5], [1, 1], [0, 4, 2, 8]);
        case.dilations = dilations;
        case.check();
    }
}

#[test]
fn weights_of_more_than_a_byte_are_summed_up_in_floats() {
    // One way is by floats; beyond what they hold exactly there is none.
    let mut case = Case::new([4, 4, 4], [6, 6], [3, 3], [1, 1], [1, 1, 1, 1]);
    case.of_weights = (DatumType::U8, 3);
    let case = case.filled();
    case.check();
    assert!(matches!(case.plan().unwrap().engine, Engine::Floats { .. }));
    let mut case = Case::new([4096, 1, 1], [1, 1], [1, 1], [1, 1], [0, 0, 0, 0]);
    case.of_weights = (DatumType::U8, 3);
    assert!(case.filled().plan().is_none());
}

#[test]
fn what_is_not_as_exporters_write_it_stays_in_floats() {
    // Depthwise, which all processors compute here.
    let case = Case::new([6, 6, 6], [5, 7], [1, 1], [1, 1], [0, 0, 0, 0]);
    let with = |slot: usize, fact: TypedFact| {
        let mut facts = case.facts();
        facts.resize(facts.len().max(slot), constant(tensor0(0_i32)));
        facts.insert(slot, fact);
        facts.remove(slot + 1);
        case.wanted().plan(&facts.iter().collect::<Vec<_>>()).is_some()
    };
    assert!(with(OF_X, constant(tensor0(OF_SCALE))));
    assert!(!with(OF_X, DatumType::F32.fact([0; 0])), "a scale that is fed");
    assert!(!with(OF_X, constant(tensor1(&[0.1_f32, 0.2]))), "scales by channel");
    assert!(!with(OF_Y, constant(tensor0(0.0_f32))), "a scale of 0");
    assert!(!with(W, DatumType::I8.fact([6, 1, 1, 1])), "weights that are fed");
    assert!(!with(X, DatumType::I16.fact([1, 6, 5, 7])), "16 bits");
    assert!(!with(BIAS, constant(tensor1(&[0.5_f32; 6]))), "a bias in floats");
    let facts = case.facts();
    let of_inputs = Wanted {
        is_by_output: false,
        ..case.wanted()
    };
    let plan = of_inputs.plan(&facts.iter().collect::<Vec<_>>());
    assert!(plan.is_none(), "scales along another axis");
    let with_scale = |scale: f32| {
        let mut facts = case.facts();
        let scales: Vec<f32> = case.scales.iter().map(|of| OF_SCALE * of * scale).collect();
        facts.push(constant(tensor1(&scales)));
        facts.push(constant(tensor1(&[0_i32; 6])));
        case.wanted().plan(&facts.iter().collect::<Vec<_>>()).is_some()
    };
    assert!(with_scale(1.0));
    assert!(!with_scale(1.01), "a bias in other steps");
}

#[test]
fn what_takes_too_much_memory_is_not_planned() {
    // A mask for each place and each four columns, or a channel that is mostly padding.
    let mut wide = Case::new([2, 2, 2], [128, 100], [1, 40_001], [1, 1], [0, 20_000, 0, 20_000]);
    assert!(wide.plan().is_none());
    wide = Case::new([1, 1, 1], [1, 16], [1, 3], [1, 1], [0; 4]);
    wide.dilations = [1, 1 << 40];
    wide.pads = [0, 1 << 40, 0, 1 << 40];
    assert!(wide.plan().is_none());
}

#[test]
fn scales_that_give_no_steps_are_refused_where_there_is_nothing_else() {
    let case = Case::new([6, 6, 6], [5, 7], [1, 1], [1, 1], [0; 4]);
    let mut facts = case.facts();
    facts[OF_X] = constant(tensor0(1e-30_f32));
    facts[OF_W] = constant(tensor1(&[1e-30_f32; 6]));
    let facts: Vec<&TypedFact> = facts.iter().collect();
    let planned = |is_linear: bool| {
        Wanted {
            is_linear,
            ..case.wanted()
        }
        .planned(&facts)
    };
    assert!(matches!(planned(false), Ok(Some(Planned::Input(0)))));
    let error = planned(true).err().unwrap().to_string();
    assert!(error.contains("too small or large for a product"), "{error}");
}

/// A convolution of 1 x 1 of one place is a product.
#[test]
fn products_are_those_of_the_definition() {
    for (length, outputs) in [(1, 1), (3, 5), (8, 16), (41, 130), (640, 128)] {
        for (of, to, of_weights, is_cut_off) in [
            ((DatumType::I8, -7), (DatumType::I8, 3), (DatumType::I8, 0), false),
            ((DatumType::U8, 200), (DatumType::I8, -128), (DatumType::U8, 128), true),
        ] {
            let case = Case {
                of,
                to,
                of_weights,
                is_cut_off,
                ..Case::new([length, outputs, 1], [1, 1], [1, 1], [1, 1], [0; 4])
            };
            let case = case.filled();
            let expected = case.by_definition();
            for (axis, leading) in [(0, 0), (1, 1), (0, 2)] {
                check_product(&case, axis, leading, &expected);
            }
        }
    }
}

fn check_product(case: &Case, axis: usize, leading: usize, expected: &[i64]) {
    let typed = |datum_type: DatumType, shape: &[usize], numbers: &[i64]| {
        let tensor = Tensor::from_shape(shape, numbers).unwrap();
        tensor.cast_to_dt(datum_type).unwrap().into_owned()
    };
    let (length, outputs) = (case.channels, case.outputs);
    let shape = |last: usize| [vec![2, 1][..leading].to_vec(), vec![last]].concat();
    let mut facts = case.facts();
    facts[0] = case.to.0.fact(shape(outputs));
    facts[X] = case.of.0.fact(shape(length));
    let by_column =
        (0..length).flat_map(|number| (0..outputs).map(move |output| case.weights[output * length + number]));
    facts[W] = constant(if axis == 0 {
        typed(case.of_weights.0, &[outputs, length], &case.weights)
    } else {
        typed(case.of_weights.0, &[length, outputs], &by_column.collect::<Vec<_>>())
    });
    let wanted = Wanted {
        output_axis: Some(axis),
        ..case.wanted()
    };
    let planned = wanted.plan(&facts.iter().collect::<Vec<_>>());
    if !has_products() {
        assert!(planned.is_none());
        return;
    }
    let mut planned = planned.unwrap();
    let rows = if leading == 0 { 1 } else { 2 };
    let x = typed(case.of.0, &shape(length), &case.x.repeat(rows));
    let expected = typed(case.to.0, &shape(outputs), &expected.repeat(rows));
    assert_eq!(planned.eval(&[&x]).unwrap()[0], expected, "{case:?}");
    for engine in product_engines(case) {
        planned.engine = engine;
        assert_eq!(planned.eval(&[&x]).unwrap()[0], expected, "{case:?}");
    }
}

#[cfg(target_arch = "x86_64")]
fn product_engines(case: &Case) -> Vec<Engine> {
    let weights = case
        .weights
        .iter()
        .map(|weight| (weight - i64::from(case.of_weights.1)) as f32);
    let weights: Vec<f32> = weights.collect();
    let is_signed = case.of.0 == DatumType::I8;
    let product = |dots| product::Product::of(&weights, &case.bias, case.of.1, is_signed, dots).unwrap();
    dots::Dots::all().map(product).map(Engine::Product).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn product_engines(_: &Case) -> Vec<Engine> {
    Vec::new()
}

fn has_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    return dots::Dots::of_this_processor().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[test]
fn padding_that_is_asked_for_by_name_is_that_of_onnx() {
    for (name, strides, expected) in [
        ("SAME_UPPER", [1, 1], [1, 1, 1, 2]),
        ("SAME_LOWER", [1, 1], [1, 2, 1, 1]),
        ("SAME_UPPER", [2, 3], [0, 0, 1, 1]),
        ("SAME_LOWER", [2, 3], [1, 1, 0, 0]),
        ("VALID", [2, 3], [0, 0, 0, 0]),
    ] {
        let attribute = |name: &str, ints: &[i64]| AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Ints as i32,
            ints: ints.to_vec(),
            ..Default::default()
        };
        let auto = AttributeProto {
            name: "auto_pad".to_owned(),
            r#type: AttributeType::String as i32,
            s: name.as_bytes().to_vec(),
            ..Default::default()
        };
        let node = NodeProto {
            attribute: vec![attribute("strides", &strides), auto],
            ..Default::default()
        };
        let wanted = Wanted::parse(&node).unwrap();
        let plain = wanted.geometry(1, &[6, 6], &[1, 1, 3, 4], vec![1.0; 12], &[0]).unwrap();
        assert_eq!(plain.padding, expected, "{name}");
    }
}
