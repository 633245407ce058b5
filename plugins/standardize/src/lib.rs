//! `standardize`: (x - mean) / scale, element by element, along a tensor's last dimension.
//!
//! Arithmetic is FP32 throughout, with one rounding for the difference and one for the quotient, because that is what
//! scikit-learn's `StandardScaler.transform` does with FP32 input: mean and scale are rounded to FP32 first. The result
//! is the same to the last bit. README.md has the configuration.

use floorhand_plugin_sdk::{Assets, Context, Datatype, Error, Processor, Signature, Tensor, TensorSpec, take};
use floorhand_statistics::scaling;
use schemars::JsonSchema;
use serde::Deserialize;

floorhand_plugin_sdk::export!(Standardize as processor);

/// More columns than any sensor table has; bounds the parameters' memory at 512 KiB.
const MAX_COLUMNS: usize = 1 << 16;

/// The plugin's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The FP32 tensor to take.
    pub input: String,
    /// What the result is called. The input's name by default.
    #[serde(default)]
    pub output: Option<String>,
    /// The input's shape; -1 for any size. `[-1, n]` by default for n means or scales, `[-1, -1]` for one of each.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
    /// Taken off each column, in the column's unit; one for all columns, or one each. 0 by default.
    #[serde(default)]
    pub mean: Option<Vec<f64>>,
    /// What each column is divided by, in the column's unit, never 0. 1 by default.
    #[serde(default)]
    pub scale: Option<Vec<f64>>,
    /// A JSON asset with `mean` and `scale`, instead of those two here.
    #[serde(default)]
    pub asset: Option<String>,
}

/// A fitted scaler as an asset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaler {
    /// `StandardScaler.mean_`.
    pub mean: Option<Vec<f64>>,
    /// `StandardScaler.scale_`.
    pub scale: Option<Vec<f64>>,
}

/// The configured plugin. Has no state.
#[derive(Debug)]
pub struct Standardize {
    input: TensorSpec,
    output: String,
    columns: Columns,
}

/// Mean and scale, rounded to FP32.
#[derive(Debug)]
enum Columns {
    /// The same for every element.
    Same { mean: f32, scale: f32 },
    /// One of each for every column; equally many, at least one.
    Each { mean: Vec<f32>, scale: Vec<f32> },
}

impl Processor for Standardize {
    type Config = Config;

    fn configure(config: Config, assets: &Assets) -> Result<Self, Error> {
        let (mean, scale) = parameters(&config, assets)?;
        let mean = rounded("mean", &mean)?;
        let scale = rounded("scale", &scale)?;
        if let Some(column) = scale.iter().position(|&scale| scale == 0.0) {
            return Err(bad(format!(
                "scale of column {column} is 0 in FP32: a constant column has to have scale 1"
            )));
        }
        let columns = columns(mean, scale)?;
        let shape = shape(config.shape, &columns)?;
        let output = config.output.unwrap_or_else(|| config.input.clone());
        Ok(Self {
            input: TensorSpec::new(config.input, Datatype::Fp32, shape),
            output,
            columns,
        })
    }

    fn signature(&self) -> Signature {
        let output = TensorSpec {
            name: self.output.clone(),
            ..self.input.clone()
        };
        Signature {
            inputs: vec![self.input.clone()],
            outputs: vec![output],
            state_bytes: 0,
        }
    }

    fn process(&mut self, _context: Context, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let mut tensor = take(inputs, &self.input.name)?;
        tensor.check(&self.input)?;
        let elements = tensor.f32_bytes_mut()?;
        match &self.columns {
            Columns::Same { mean, scale } => scaling::standardize(elements, *mean, *scale),
            Columns::Each { mean, scale } => scaling::standardize_columns(elements, mean, scale),
        }
        tensor.name.clone_from(&self.output);
        Ok(vec![tensor])
    }
}

fn parameters(config: &Config, assets: &Assets) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let (mean, scale) = match &config.asset {
        None => (config.mean.clone(), config.scale.clone()),
        Some(_) if config.mean.is_some() || config.scale.is_some() => {
            return Err(bad("asset stands beside mean or scale: give one or the other".into()));
        }
        Some(name) => {
            let scaler: Scaler = assets.json(name)?;
            (scaler.mean, scaler.scale)
        }
    };
    if mean.is_none() && scale.is_none() {
        return Err(bad("neither mean nor scale is given, nor an asset with them".into()));
    }
    Ok((mean.unwrap_or_else(|| vec![0.0]), scale.unwrap_or_else(|| vec![1.0])))
}

fn rounded(key: &str, values: &[f64]) -> Result<Vec<f32>, Error> {
    if values.is_empty() || values.len() > MAX_COLUMNS {
        return Err(bad(format!(
            "{key} has {} values: there have to be 1 to {MAX_COLUMNS}",
            values.len()
        )));
    }
    let rounded: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    match rounded.iter().position(|value| !value.is_finite()) {
        Some(column) => Err(bad(format!("{key} of column {column} is beyond FP32"))),
        None => Ok(rounded),
    }
}

/// Brings both to one length.
fn columns(mean: Vec<f32>, scale: Vec<f32>) -> Result<Columns, Error> {
    match (mean.as_slice(), scale.as_slice()) {
        (&[mean], &[scale]) => Ok(Columns::Same { mean, scale }),
        (&[mean], scales) => Ok(Columns::Each {
            mean: vec![mean; scales.len()],
            scale,
        }),
        (means, &[one]) => Ok(Columns::Each {
            scale: vec![one; means.len()],
            mean,
        }),
        (means, scales) if means.len() == scales.len() => Ok(Columns::Each { mean, scale }),
        (means, scales) => Err(bad(format!(
            "mean has {} values and scale {}: they have to be equally many, or one of them 1",
            means.len(),
            scales.len()
        ))),
    }
}

fn shape(given: Option<Vec<i64>>, columns: &Columns) -> Result<Vec<i64>, Error> {
    let Columns::Each { mean, .. } = columns else {
        return Ok(given.unwrap_or_else(|| vec![-1, -1]));
    };
    let width = mean.len() as i64;
    let mut shape = given.unwrap_or_else(|| vec![-1, width]);
    match shape.last_mut() {
        Some(last) if *last == width || *last < 0 => *last = width,
        _ => {
            return Err(bad(format!(
                "shape has to end in {width}, the number of means and scales"
            )));
        }
    }
    Ok(shape)
}

fn bad(what: String) -> Error {
    Error::BadConfig(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_plugin_sdk::{Asset, processor::Instance, testing};

    fn configured(config: &str) -> Instance<Standardize> {
        let mut instance = Instance::new();
        instance.configure(config, vec![]).unwrap();
        instance
    }

    fn run(instance: &mut Instance<Standardize>, shape: &[u64], values: &[f32]) -> Vec<f32> {
        let input = Tensor::from_f32("x", shape.to_vec(), values);
        let output = instance.process(testing::context(0), vec![input]).unwrap();
        assert_eq!(output[0].shape, shape);
        output[0].to_f32().unwrap()
    }

    #[test]
    fn columns_and_broadcasts() {
        let mut each = configured(r#"{"input": "x", "mean": [1, 2], "scale": [2, 4]}"#);
        assert_eq!(run(&mut each, &[2, 2], &[1.0, 2.0, 3.0, 6.0]), [0.0, 0.0, 1.0, 1.0]);
        let mut same = configured(r#"{"input": "x", "mean": [1], "shape": [-1]}"#);
        assert_eq!(run(&mut same, &[3], &[1.0, 2.0, 0.0]), [0.0, 1.0, -1.0]);
        let mut mixed = configured(r#"{"input": "x", "output": "y", "mean": [1, 2], "scale": [2]}"#);
        assert_eq!(run(&mut mixed, &[1, 2], &[3.0, 3.0]), [1.0, 0.5]);
    }

    /// `StandardScaler` of scikit-learn 1.9 with these parameters on these FP32 rows (`tests/oracle.py`).
    #[test]
    fn the_same_bits_as_scikit_learn() {
        let cases: serde_json::Value = serde_json::from_str(include_str!("../tests/oracle.json")).unwrap();
        let list = |key: &str| -> Vec<u32> { serde_json::from_value(cases[key].clone()).unwrap() };
        let config = serde_json::json!({"input": "x", "mean": cases["mean"], "scale": cases["scale"]}).to_string();
        let input: Vec<f32> = list("input_bits").into_iter().map(f32::from_bits).collect();
        let columns = cases["mean"].as_array().unwrap().len() as u64;
        let output = run(
            &mut configured(&config),
            &[input.len() as u64 / columns, columns],
            &input,
        );
        assert_eq!(
            output.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
            list("output_bits")
        );
    }

    #[test]
    fn an_asset_gives_the_same_as_the_configuration() {
        let asset = |json: &str| {
            vec![Asset {
                name: "scaler.json".into(),
                data: json.as_bytes().to_vec(),
            }]
        };
        let mut instance = Instance::<Standardize>::new();
        let config = r#"{"input": "x", "asset": "scaler.json"}"#;
        let signature = instance
            .configure(config, asset(r#"{"mean": [1, 2], "scale": [2, 4]}"#))
            .unwrap();
        assert_eq!(signature.inputs[0].shape, [-1, 2]);
        assert_eq!(run(&mut instance, &[1, 2], &[3.0, 6.0]), [1.0, 1.0]);
        let message = testing::message(Instance::<Standardize>::new().configure(config, asset(r#"{"var": []}"#)));
        assert!(
            message.starts_with(r#"asset "scaler.json", key var: unknown field `var`"#),
            "{message}"
        );
    }

    #[test]
    fn configurations_that_are_refused() {
        for (config, expected) in [
            (
                r#"{"input": "x", "means": [1]}"#,
                "configuration, key means: unknown field `means`",
            ),
            (r#"{"mean": [1]}"#, "configuration: missing field `input`"),
            (r#"{"input": "x"}"#, "neither mean nor scale is given"),
            (
                r#"{"input": "x", "mean": [1], "asset": "a"}"#,
                "asset stands beside mean or scale",
            ),
            (
                r#"{"input": "x", "asset": "a"}"#,
                r#"asset "a" isn't among those of this plugin: []"#,
            ),
            (r#"{"input": "x", "mean": []}"#, "mean has 0 values"),
            (
                r#"{"input": "x", "mean": [1, 2], "scale": [1, 2, 3]}"#,
                "mean has 2 values and scale 3",
            ),
            (r#"{"input": "x", "scale": [1, 0]}"#, "scale of column 1 is 0 in FP32"),
            (r#"{"input": "x", "scale": [1e-60]}"#, "scale of column 0 is 0 in FP32"),
            (r#"{"input": "x", "mean": [1e60]}"#, "mean of column 0 is beyond FP32"),
            (
                r#"{"input": "x", "mean": [1, 2], "shape": [1, 3]}"#,
                "shape has to end in 2",
            ),
            (
                r#"{"input": "x", "mean": [1, 2], "shape": []}"#,
                "shape has to end in 2",
            ),
            ("[]", "configuration: invalid length 0"),
        ] {
            let message = testing::message(Instance::<Standardize>::new().configure(config, vec![]));
            assert!(message.starts_with(expected), "{config}: {message}");
        }
    }

    #[test]
    fn hostile_inputs_change_nothing() {
        let mut instance = configured(r#"{"input": "x", "mean": [1, 2], "scale": [2, 4]}"#);
        let spec = instance.plugin().unwrap().input.clone();
        for tensor in testing::hostile(&spec) {
            let fits = tensor.name == "x" && tensor.check(&spec).is_ok();
            assert_eq!(instance.process(testing::context(0), vec![tensor]).is_ok(), fits);
        }
        assert!(matches!(
            instance.process(testing::context(0), vec![]),
            Err(Error::BadInput(_))
        ));
        assert!(run(&mut instance, &[1, 2], &[f32::NAN, 6.0])[0].is_nan());
        assert_eq!(run(&mut instance, &[1, 2], &[3.0, 6.0]), [1.0, 1.0]);
        assert!(instance.snapshot().is_empty() && instance.restore(&[1]).is_err());
    }

    #[test]
    fn nothing_works_before_configure_or_twice() {
        let mut instance = Instance::<Standardize>::new();
        assert!(matches!(
            instance.process(testing::context(0), vec![]),
            Err(Error::NotReady(_))
        ));
        let config = r#"{"input": "x", "mean": [1]}"#;
        assert!(instance.configure(config, vec![]).is_ok());
        assert!(matches!(instance.configure(config, vec![]), Err(Error::BadConfig(_))));
    }
}
