//! Tests of the plugin as the component runs it: JSON in, frames in and tensors out.

use super::*;
use floorhand_plugin_sdk::{
    Datatype,
    processor::Instance,
    testing::{
        self, cases,
        streams::{self, Sample},
    },
};
use serde_json::{Value, json};

type Plugin = Instance<ImageNormalize>;

fn config(changes: Value) -> String {
    let mut config = json!({"input": "x", "shape": [2, 3, 3]});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

fn frame(shape: &[u64], values: &[u8]) -> Tensor {
    Tensor {
        name: "x".into(),
        datatype: Datatype::Uint8,
        shape: shape.to_vec(),
        data: values.to_vec(),
    }
}

fn prepared(changes: Value, shape: &[u64], values: &[u8]) -> Tensor {
    let mut plugin = Plugin::new();
    plugin.configure(&config(changes), vec![]).unwrap();
    let mut outputs = plugin.process(testing::context(0), vec![frame(shape, values)]).unwrap();
    outputs.remove(0)
}

/// All bits: the tolerance is 0, and what is expected was FP32 before it was written.
#[test]
fn recorded_cases_of_the_definition() {
    assert_eq!(cases::check_processor::<ImageNormalize>(env!("CARGO_MANIFEST_DIR")), 11);
}

#[test]
fn a_frame_is_scaled_and_laid_out() {
    let values: Vec<u8> = (0..18).collect();
    let result = prepared(json!({"divisor": 1}), &[2, 3, 3], &values);
    assert_eq!(result.shape, [1, 3, 2, 3]);
    let expected: Vec<f32> = (0..3)
        .flat_map(|channel| (0..6).map(move |pixel| (3 * pixel + channel) as f32))
        .collect();
    assert_eq!(result.to_f32().unwrap(), expected);
    let planes = prepared(
        json!({"shape": [1, 3, 2, 3], "layout": "chw", "output_layout": "hwc", "datatype": "UINT8", "output": "y"}),
        &[1, 3, 2, 3],
        &values,
    );
    assert_eq!(
        (planes.shape.as_slice(), planes.name.as_str()),
        (&[1, 2, 3, 3][..], "y")
    );
    assert_eq!(planes.data[..6], [0, 6, 12, 1, 7, 13]);
    let grey = prepared(
        json!({"shape": [1, 1, 1], "batch_dimension": false}),
        &[1, 1, 1],
        &[255],
    );
    assert_eq!(
        (grey.shape.as_slice(), grey.to_f32().unwrap()),
        (&[1, 1, 1][..], vec![1.0])
    );
}

#[test]
fn steps_are_rounded_to_even_and_cut_off() {
    let steps = |datatype: &str, zero_point: i16, values: &[u8]| {
        let changes = json!({
            "shape": [1, values.len(), 1], "divisor": 1, "mean": [100], "datatype": datatype,
            "quantization": {"scale": 2, "zero_point": zero_point},
        });
        prepared(changes, &[1, values.len() as u64, 1], values).data
    };
    // -50, -0.5, 0.5, 1.5, 77.5 steps.
    assert_eq!(steps("UINT8", 0, &[0, 99, 101, 103, 255]), [0, 0, 0, 2, 78]);
    assert_eq!(steps("UINT8", 200, &[0, 255]), [150, 255]);
    assert_eq!(steps("INT8", -100, &[0, 255]).map_signed(), [-128, -22]);
    assert_eq!(steps("INT8", 100, &[0, 255]).map_signed(), [50, 127]);
}

trait MapSigned {
    fn map_signed(self) -> Vec<i8>;
}

impl MapSigned for Vec<u8> {
    fn map_signed(self) -> Vec<i8> {
        self.into_iter().map(u8::cast_signed).collect()
    }
}

fn stream() -> Vec<Sample> {
    let values = |seed: u8| -> Vec<u8> { (0..18_u8).map(|n| n.wrapping_mul(83) ^ seed).collect() };
    (0..7)
        .map(|sequence| {
            (
                testing::context(sequence),
                vec![frame(&[2, 3, 3], &values(sequence as u8))],
            )
        })
        .collect()
}

#[test]
fn several_frames_in_a_call_are_one_after_the_other() {
    for changes in [
        json!({}),
        json!({"datatype": "UINT8", "width": 2, "batch_dimension": false}),
    ] {
        let answers = streams::check::<ImageNormalize>(&config(changes), &[], &stream());
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().len() == 1));
    }
}

#[test]
fn hostile_inputs_are_refused_where_they_do_not_fit() {
    for met in streams::meet_hostile::<ImageNormalize>(&config(json!({})), &[], &stream()) {
        assert_eq!(met.answer.is_ok(), met.fits, "{:?}", met.tensor.shape);
    }
}

#[test]
fn configurations_that_are_refused() {
    for (changes, expected) in [
        (json!({"widht": 1}), "configuration, key widht: unknown field `widht`"),
        (
            json!({"shape": [2, 3]}),
            "shape is [2, 3], and has to be a height, a width and channels",
        ),
        (json!({"shape": [2, 2, 3, 3]}), "shape is [2, 2, 3, 3], and has to be"),
        (
            json!({"shape": [-1, 3, 3]}),
            "shape is [-1, 3, 3]: a frame's size is fixed",
        ),
        (json!({"shape": [2, 3, 5]}), "shape, width or height: channels is 5"),
        (json!({"shape": [0, 3, 3]}), "shape, width or height: height is 0"),
        (
            json!({"width": 8193}),
            "shape, width or height: width of the result is 8193",
        ),
        (
            json!({"shape": [4000, 4000, 3]}),
            "shape: 48000000 values, and at most 4194304",
        ),
        (
            json!({"width": 4000, "height": 4000}),
            "width and height: 48000000 values",
        ),
        (
            json!({"layout": "hcw"}),
            "configuration, key layout: unknown variant `hcw`",
        ),
        (
            json!({"method": "cubic"}),
            "configuration, key method: unknown variant `cubic`",
        ),
        (
            json!({"datatype": "FP64"}),
            "datatype is FP64, and has to be FP32, UINT8 or INT8",
        ),
        (json!({"datatype": "INT8"}), "quantization is missing: INT8"),
        (
            json!({"datatype": "UINT8", "mean": [0, 0, 0]}),
            "quantization is missing: UINT8",
        ),
        (
            json!({"quantization": {"scale": 1, "zero_point": 0}}),
            "quantization is given, and datatype is FP32",
        ),
        (
            json!({"datatype": "INT8", "quantization": {"scale": 0, "zero_point": 0}}),
            "quantization.scale is 0",
        ),
        (
            json!({"datatype": "INT8", "quantization": {"scale": 1e60, "zero_point": 0}}),
            "configuration, key quantization.scale: number out of range",
        ),
        (
            json!({"datatype": "INT8", "quantization": {"scale": 1, "zero_point": 128}}),
            "quantization.zero_point is 128, and has to be -128 to 127",
        ),
        (
            json!({"datatype": "UINT8", "quantization": {"scale": 1, "zero_point": -1}}),
            "quantization.zero_point is -1",
        ),
        (json!({"mean": [0]}), "mean has 1 values for 3 channels"),
        (json!({"deviation": [1, 0, 1]}), "deviation is 0"),
        (json!({"divisor": 0}), "divisor is 0"),
    ] {
        let message = testing::message(Plugin::new().configure(&config(changes), vec![]));
        assert!(message.starts_with(expected), "{message}");
    }
}
