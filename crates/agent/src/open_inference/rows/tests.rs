use super::*;
use floorhand_open_inference::{ModelRef, Parameters};
use floorhand_tensor::Datatype;

fn spec(name: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec::new(name, Datatype::Fp32, shape.iter().copied().map(Dim::from).collect())
}

fn inputs(specs: &[TensorSpec]) -> Vec<InputSpec> {
    let input = |tensor: &TensorSpec| InputSpec {
        tensor: tensor.clone(),
        fields: Vec::new(),
    };
    specs.iter().map(input).collect()
}

fn request(inputs: Vec<Tensor>) -> InferRequest {
    InferRequest {
        model: ModelRef {
            name: "m".to_owned(),
            version: None,
        },
        id: None,
        parameters: Parameters::default(),
        inputs,
        outputs: Vec::new(),
    }
}

/// A tensor of 0, 1, 2, ...
fn counting(name: &str, shape: &[u64]) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product::<u64>()).map(|value| value as f32).collect();
    Tensor::from_f32(name, shape.to_vec(), &values).unwrap()
}

/// What comes back when each sample's answer is its first input as the output `y`, and how many samples there were.
fn check(specs: &[TensorSpec], given: Vec<Tensor>, output: &TensorSpec, expected: &[u64]) -> usize {
    let (inputs, request) = (inputs(specs), request(given));
    let plan = plan(&request, &inputs, std::slice::from_ref(output)).unwrap();
    let samples = split(&request, &inputs, plan).unwrap();
    for sample in &samples {
        for (tensor, spec) in sample.iter().zip(specs) {
            spec.check(tensor).unwrap();
        }
    }
    let answer = |sample: Vec<Tensor>| {
        let tensor = sample.into_iter().next().unwrap();
        let shape = output.shape.iter().map(|dim| i64::from(*dim) as u64).collect();
        let (_, datatype, _, data) = tensor.into_parts();
        vec![Tensor::new("y", datatype, shape, data).unwrap()]
    };
    let answers = samples.into_iter().map(answer).collect();
    let joined = join(answers, std::slice::from_ref(output), plan.layout).unwrap();
    assert_eq!(joined[0].shape(), expected);
    assert_eq!(
        joined[0].data(),
        request.inputs[0].data(),
        "in the order of the samples"
    );
    plan.rows
}

#[test]
fn a_batch_is_samples_along_the_first_dimension() {
    let (one, row, scalar) = (spec("x", &[1, 2]), spec("x", &[2]), spec("x", &[]));
    let (y_one, y_row, y_scalar) = (spec("y", &[1, 2]), spec("y", &[2]), spec("y", &[]));
    let x = |shape: &[u64]| vec![counting("x", shape)];
    // The first dimension is 1, and stands for the batch.
    assert_eq!(check(std::slice::from_ref(&one), x(&[1, 2]), &y_one, &[1, 2]), 1);
    assert_eq!(check(std::slice::from_ref(&one), x(&[1, 2]), &y_row, &[1, 2]), 1);
    assert_eq!(check(std::slice::from_ref(&one), x(&[3, 2]), &y_one, &[3, 2]), 3);
    assert_eq!(check(std::slice::from_ref(&one), x(&[3, 2]), &y_row, &[3, 2]), 3);
    // One more in front.
    assert_eq!(check(std::slice::from_ref(&one), x(&[3, 1, 2]), &y_one, &[3, 1, 2]), 3);
    assert_eq!(check(std::slice::from_ref(&row), x(&[2]), &y_row, &[2]), 1);
    assert_eq!(check(std::slice::from_ref(&row), x(&[2]), &y_one, &[1, 2]), 1);
    assert_eq!(check(std::slice::from_ref(&row), x(&[1, 2]), &y_row, &[1, 2]), 1);
    assert_eq!(check(std::slice::from_ref(&row), x(&[3, 2]), &y_one, &[3, 2]), 3);
    assert_eq!(check(std::slice::from_ref(&scalar), x(&[4]), &y_scalar, &[4]), 4);
    assert_eq!(check(&[scalar], x(&[]), &y_scalar, &[]), 1);
    // Several inputs, each as the metadata shows it, and each exactly.
    let z = spec("z", &[3]);
    let both = |first: &[u64], second: &[u64]| vec![counting("x", first), counting("z", second)];
    assert_eq!(
        check(&[one.clone(), z.clone()], both(&[2, 2], &[2, 3]), &y_one, &[2, 2]),
        2
    );
    assert_eq!(check(&[row, z], both(&[2], &[3]), &y_row, &[2]), 1);
    // A size that is open is the sample's own.
    let open = spec("x", &[-1]);
    assert_eq!(check(std::slice::from_ref(&open), x(&[5]), &spec("y", &[5]), &[5]), 1);
    assert_eq!(check(&[open], x(&[2, 5]), &spec("y", &[5]), &[2, 5]), 2);
}

#[test]
fn texts_are_taken_apart_by_their_own_lengths() {
    let spec = TensorSpec::new("x", Datatype::Bytes, vec![Dim::Fixed(1), Dim::Fixed(2)]);
    let texts = Tensor::from_elements("x", vec![2, 2], &["", "longer", "b", "cc"]).unwrap();
    let (inputs, request) = (inputs(std::slice::from_ref(&spec)), request(vec![texts.clone()]));
    let plan = plan(&request, &inputs, &[]).unwrap();
    let samples = split(&request, &inputs, plan).unwrap();
    assert_eq!(samples[1][0].elements().unwrap(), [b"b".as_slice(), b"cc"]);
    assert_eq!(samples[1][0].shape(), [1, 2]);
    assert_eq!(join(samples, &[spec], plan.layout).unwrap(), [texts]);
}

#[test]
fn what_is_no_batch_is_refused_with_the_tensor() {
    let check = |specs: &[TensorSpec], given: Vec<Tensor>, said: &str| {
        let error = plan(&request(given), &inputs(specs), &[]).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.http_status()), (said, 400));
    };
    let (one, row) = (spec("x", &[1, 2]), spec("x", &[2]));
    let x = |shape: &[u64]| vec![counting("x", shape)];
    check(
        std::slice::from_ref(&one),
        x(&[3, 3]),
        r#"tensor "x" has shape [3, 3], expected [-1, 2]"#,
    );
    check(
        std::slice::from_ref(&one),
        x(&[2]),
        r#"tensor "x" has shape [2], expected [1, 2]"#,
    );
    check(
        std::slice::from_ref(&row),
        x(&[3]),
        r#"tensor "x" has shape [3], expected [2]"#,
    );
    check(
        std::slice::from_ref(&row),
        x(&[1, 1, 2]),
        r#"tensor "x" has shape [1, 1, 2], expected [2]"#,
    );
    check(std::slice::from_ref(&row), x(&[0, 2]), r#"input "x" has no samples"#);
    let both = vec![counting("x", &[2, 2]), counting("z", &[3, 2])];
    let said = r#"input "z" has 3 samples, and "x" has 2"#;
    check(&[row.clone(), spec("z", &[2])], both, said);
    check(
        &[row.clone(), spec("z", &[2])],
        x(&[2, 2]),
        r#"input "z" is missing: the model takes it as FP32[-1, 2]"#,
    );
    let many = x(&[MAX_ROWS as u64 + 1, 2]);
    check(
        &[row],
        many,
        "the request can't be read: 4097 samples are more than 4096: send them in several requests",
    );
    let wrong = vec![Tensor::from_f64("x", Datatype::Fp64, vec![1, 2], &[0.0, 1.0]).unwrap()];
    check(&[one], wrong, r#"tensor "x" is FP64, expected FP32"#);
}

#[test]
fn answers_of_different_shapes_are_no_batch() {
    let answers = vec![vec![counting("y", &[2])], vec![counting("y", &[3])]];
    let error = join(answers, &[spec("y", &[-1])], Layout::Batch).unwrap_err();
    assert!(
        error.to_string().starts_with("row 1 of the batch: output \"y\""),
        "{error}"
    );
}
