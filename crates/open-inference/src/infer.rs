//! An inference, however it came: its request, its answer, and what holds for every one of them.

use crate::classes::{self, Labels};
use crate::error::shortened;
use crate::{Error, ModelRef, Parameters};
use floorhand_tensor::{Signature, Tensor};
use std::collections::BTreeSet;

/// A camera's picture as FP32 (1920 x 1080 x 3 x 4 bytes) and some; a device has memory for a few of them.
pub const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// More inputs, or outputs, than any model has that people run on a device.
pub const MAX_TENSORS: usize = 64;
/// More dimensions than any model's tensors have.
pub const MAX_DIMENSIONS: usize = 16;
/// Longer than any tensor's name. Names come back in answers and errors.
pub const MAX_NAME_BYTES: usize = 256;

/// How much is read of a request. What is decoded takes at most some four times the bytes of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest body or message in bytes; [`MAX_BODY_BYTES`] unless told.
    pub body_bytes: usize,
    /// The most inputs, and the most outputs; [`MAX_TENSORS`] unless told.
    pub tensors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: MAX_BODY_BYTES,
            tensors: MAX_TENSORS,
        }
    }
}

impl Limits {
    pub(crate) fn check_body(&self, bytes: usize) -> Result<(), Error> {
        let most = self.body_bytes;
        if bytes <= most {
            return Ok(());
        }
        Err(Error::TooLarge { bytes, most })
    }

    pub(crate) fn check_count(&self, subject: &'static str, count: usize) -> Result<(), Error> {
        let most = self.tensors;
        if count <= most {
            return Ok(());
        }
        Err(Error::TooMany { subject, count, most })
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// The model, and perhaps its version.
    pub model: ModelRef,
    /// The client's own name for the request; it comes back in the answer.
    pub id: Option<String>,
    /// What the client sent along (`timeout` in microseconds, `priority`, `sequence_id`, ...), without what only says
    /// how tensors are sent.
    pub parameters: Parameters,
    /// What the model is to take, in the request's order, names differing.
    pub inputs: Vec<Tensor>,
    /// What to give, in this order; all that the model gives if empty.
    pub outputs: Vec<RequestedOutput>,
}

/// An output that a client asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Instead of the numbers so many of the largest, as classes: see [`Labels`].
    pub classes: Option<u32>,
    /// What the client sent along.
    pub parameters: Parameters,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq)]
pub struct InferResponse {
    /// The model, and the version that answered.
    pub model: ModelRef,
    /// The request's.
    pub id: Option<String>,
    /// What the server says beside the outputs.
    pub parameters: Parameters,
    /// What the model gave, selected and in the order that was asked for.
    pub outputs: Vec<Tensor>,
}

impl InferRequest {
    /// Whether the model can take this at all: each input there once, of its type and shape, none that the model doesn't
    /// have, and no output asked for that it doesn't give. Worth asking before the model runs.
    pub fn check(&self, signature: &Signature) -> Result<(), Error> {
        self.check_names(signature)?;
        for spec in &signature.inputs {
            if let Some(input) = self.inputs.iter().find(|tensor| tensor.name() == spec.name) {
                spec.check(input)?;
            }
        }
        Ok(())
    }

    /// The same without types and shapes: of a server that takes tensors in more shapes than one.
    pub fn check_names(&self, signature: &Signature) -> Result<(), Error> {
        for spec in &signature.inputs {
            if !self.inputs.iter().any(|tensor| tensor.name() == spec.name) {
                let problem = format!("is missing: the model takes it as {spec}");
                return Err(Error::input(&spec.name, problem));
            }
        }
        for tensor in &self.inputs {
            if !signature.inputs.iter().any(|spec| spec.name == tensor.name()) {
                let known: Vec<_> = signature.inputs.iter().map(|spec| &spec.name).collect();
                let problem = format!("is none that the model takes, which are {known:?}");
                return Err(Error::input(tensor.name(), problem));
            }
        }
        for output in &self.outputs {
            if !signature.outputs.iter().any(|spec| spec.name == output.name) {
                return Err(no_output(
                    &output.name,
                    signature.outputs.iter().map(|spec| spec.name.as_str()),
                ));
            }
        }
        Ok(())
    }

    /// The answer: of what the model gave that which was asked for, in that order, as classes where that was asked for.
    pub fn respond(self, version: Option<String>, given: Vec<Tensor>, labels: &Labels) -> Result<InferResponse, Error> {
        let outputs = if self.outputs.is_empty() {
            given
        } else {
            select(&self.outputs, given, labels)?
        };
        Ok(InferResponse {
            model: ModelRef {
                name: self.model.name,
                version,
            },
            id: self.id,
            parameters: Parameters::default(),
            outputs,
        })
    }

    /// What no transport lets through: too many tensors, names twice or too long.
    pub(crate) fn checked(self, limits: &Limits) -> Result<Self, Error> {
        limits.check_count("inputs", self.inputs.len())?;
        limits.check_count("outputs", self.outputs.len())?;
        let twice = "is there twice";
        if let Some(name) = repeated(self.inputs.iter().map(Tensor::name)) {
            return Err(Error::input(name, twice));
        }
        let names = self.outputs.iter().map(|output| output.name.as_str());
        if let Some(name) = repeated(names.clone()) {
            return Err(Error::output(name, twice));
        }
        if let Some(name) = names.into_iter().find(|name| name.len() > MAX_NAME_BYTES) {
            return Err(Error::output(name, "has too long a name"));
        }
        Ok(self)
    }
}

impl RequestedOutput {
    /// An output of which a request says this; parameters that were understood are taken out.
    pub(crate) fn with_parameters(name: String, mut parameters: Parameters) -> Result<Self, Error> {
        if parameters.get("shared_memory_region").is_some() {
            return Err(Error::Unsupported {
                subject: format!("output {:?} in shared memory", shortened(&name)),
                instead: "ask for it as binary data",
            });
        }
        let count = parameters.unsigned("classification")?.unwrap_or(0);
        parameters.remove("classification");
        Ok(Self {
            name,
            classes: u32::try_from(count.min(u32::MAX.into()))
                .ok()
                .filter(|&count| count > 0),
            parameters,
        })
    }
}

/// A shape, refusing what no tensor can have.
pub(crate) fn checked_shape(name: &str, shape: &[i64]) -> Result<Vec<u64>, Error> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::input(name, "has too long a name"));
    }
    if shape.len() > MAX_DIMENSIONS {
        let problem = format!("has {} dimensions, more than {MAX_DIMENSIONS}", shape.len());
        return Err(Error::input(name, problem));
    }
    let sizes: Result<_, _> = shape.iter().map(|&size| u64::try_from(size)).collect();
    sizes.map_err(|_| Error::input(name, format!("has shape {shape:?}: no size is below 0 in a request")))
}

/// A BOOL is 0 or 1: a model may do anything with another byte.
pub(crate) fn checked_truths(tensor: &Tensor) -> Result<(), Error> {
    let wrong = tensor.data().iter().position(|&byte| byte > 1);
    let is_bool = tensor.datatype() == floorhand_tensor::Datatype::Bool;
    match wrong.filter(|_| is_bool) {
        None => Ok(()),
        Some(at) => Err(Error::input(
            tensor.name(),
            format!("is BOOL, and its byte {at} is neither 0 nor 1"),
        )),
    }
}

fn select(wanted: &[RequestedOutput], given: Vec<Tensor>, labels: &Labels) -> Result<Vec<Tensor>, Error> {
    let mut rest = given;
    let mut outputs = Vec::with_capacity(wanted.len());
    for output in wanted {
        let Some(at) = rest.iter().position(|tensor| tensor.name() == output.name) else {
            return Err(no_output(&output.name, rest.iter().map(Tensor::name)));
        };
        let tensor = rest.swap_remove(at);
        outputs.push(match output.classes {
            None => tensor,
            Some(count) => classes::largest(&tensor, count, labels.get(&output.name))?,
        });
    }
    Ok(outputs)
}

fn no_output<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<_> = known.collect();
    Error::output(
        name,
        format!(
            "is none that the model gives, which are {}",
            shortened(format!("{known:?}"))
        ),
    )
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_tensor::{Datatype, Dim, TensorSpec};

    fn request(inputs: Vec<Tensor>, outputs: &[&str]) -> InferRequest {
        let output = |name: &&str| RequestedOutput {
            name: (*name).to_owned(),
            ..RequestedOutput::default()
        };
        InferRequest {
            model: ModelRef {
                name: "m".to_owned(),
                version: None,
            },
            id: Some("7".to_owned()),
            parameters: Parameters::default(),
            inputs,
            outputs: outputs.iter().map(output).collect(),
        }
    }

    fn tensor(name: &str, values: &[f32]) -> Tensor {
        Tensor::from_f32(name, vec![1, values.len() as u64], values).unwrap()
    }

    #[test]
    fn a_request_is_held_against_the_signature() {
        let spec = |name| TensorSpec::new(name, Datatype::Fp32, vec![Dim::Any, Dim::Fixed(2)]);
        let signature = Signature {
            inputs: vec![spec("x")],
            outputs: vec![spec("y")],
        };
        let check = |inputs: Vec<Tensor>, outputs: &[&str], problem: &str| {
            let error = request(inputs, outputs).check(&signature).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.http_status()), (problem, 400));
        };
        let x = tensor("x", &[1.0, 2.0]);
        assert_eq!(request(vec![x.clone()], &["y"]).check(&signature), Ok(()));
        check(
            vec![],
            &[],
            r#"input "x" is missing: the model takes it as FP32[-1, 2]"#,
        );
        let extra = vec![x.clone(), tensor("z", &[])];
        check(extra, &[], r#"input "z" is none that the model takes, which are ["x"]"#);
        let wide = vec![tensor("x", &[1.0])];
        check(wide, &[], r#"tensor "x" has shape [1, 1], expected [-1, 2]"#);
        check(
            vec![x],
            &["q"],
            r#"output "q" is none that the model gives, which are ["y"]"#,
        );
    }

    #[test]
    fn outputs_come_in_the_order_that_was_asked_for() {
        let given = || vec![tensor("a", &[1.0]), tensor("b", &[2.0]), tensor("c", &[3.0])];
        let names = |outputs: &[&str]| {
            let answer = request(vec![], outputs).respond(None, given(), &Labels::new())?;
            assert_eq!(answer.id.as_deref(), Some("7"));
            Ok::<Vec<String>, Error>(answer.outputs.iter().map(|tensor| tensor.name().to_owned()).collect())
        };
        assert_eq!(names(&[]).unwrap(), ["a", "b", "c"]);
        assert_eq!(names(&["c", "a"]).unwrap(), ["c", "a"]);
        assert!(names(&["d"]).is_err());
    }

    #[test]
    fn limits_hold_however_a_request_came() {
        let limits = Limits {
            tensors: 2,
            ..Limits::default()
        };
        let refused = |request: InferRequest| request.checked(&limits).unwrap_err().to_string();
        let x = || tensor("x", &[]);
        assert_eq!(
            refused(request(vec![x(), x(), x()], &[])),
            "the request has 3 inputs, more than 2"
        );
        assert_eq!(refused(request(vec![x(), x()], &[])), r#"input "x" is there twice"#);
        assert_eq!(refused(request(vec![], &["y", "y"])), r#"output "y" is there twice"#);
    }
}
