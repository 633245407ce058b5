//! A model whose engine knows less of its shapes than the manifest says: each answer is held against that.

use floorhand_inference::{InferenceError, Session};
use floorhand_tensor::{Dim, Signature, Tensor, TensorSpec};

/// A session that keeps to a signature.
#[derive(Debug)]
pub(crate) struct Held {
    signature: Signature,
    session: Box<dyn Session>,
}

impl Held {
    /// Holds a session to the manifest's signature, if it differs from the engine's in nothing but output dimensions that the
    /// engine leaves open. Gives the session back if it doesn't.
    pub(crate) fn to(signature: Signature, session: Box<dyn Session>) -> Result<Box<dyn Session>, Box<dyn Session>> {
        let own = session.signature();
        let fits = own.inputs == signature.inputs
            && own.outputs.len() == signature.outputs.len()
            && own
                .outputs
                .iter()
                .zip(&signature.outputs)
                .all(|(own, said)| leaves_open(own, said));
        if fits {
            Ok(Box::new(Self { signature, session }))
        } else {
            Err(session)
        }
    }

    fn check(&self, answer: Result<Vec<Tensor>, InferenceError>) -> Result<Vec<Tensor>, InferenceError> {
        let outputs = answer?;
        let specs = self.signature.outputs.iter();
        specs.zip(&outputs).try_for_each(|(spec, output)| spec.check(output))?;
        Ok(outputs)
    }
}

fn leaves_open(own: &TensorSpec, said: &TensorSpec) -> bool {
    let dims = || own.shape.iter().zip(&said.shape);
    own.name == said.name
        && own.datatype == said.datatype
        && own.shape.len() == said.shape.len()
        && dims().all(|(own, said)| own == said || *own == Dim::Any)
}

impl Session for Held {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
        let answer = self.session.run(inputs);
        self.check(answer)
    }

    fn runs_together(&self) -> bool {
        self.session.runs_together()
    }

    fn expect_batches(&mut self, expected: bool) {
        self.session.expect_batches(expected);
    }

    fn leave_thread(&mut self) {
        self.session.leave_thread();
    }

    fn share(&self) -> Option<Box<dyn Session>> {
        let session = self.session.share()?;
        Some(Box::new(Self {
            signature: self.signature.clone(),
            session,
        }))
    }

    fn run_batch(&mut self, samples: &[&[Tensor]]) -> Vec<Result<Vec<Tensor>, InferenceError>> {
        let answers = self.session.run_batch(samples);
        answers.into_iter().map(|answer| self.check(answer)).collect()
    }

    fn warm_up(&mut self) -> Result<(), InferenceError> {
        self.session.warm_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_tensor::Datatype;

    /// Answers what it is given.
    #[derive(Debug)]
    struct Echo(Signature);

    impl Session for Echo {
        fn signature(&self) -> &Signature {
            &self.0
        }

        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, InferenceError> {
            Ok(inputs.to_vec())
        }

        fn warm_up(&mut self) -> Result<(), InferenceError> {
            Ok(())
        }
    }

    fn signature(output: &[i64]) -> Signature {
        let spec = |name: &str, shape: &[i64]| {
            TensorSpec::new(
                name,
                Datatype::Fp32,
                shape.iter().map(|&size| Dim::from(size)).collect(),
            )
        };
        Signature {
            inputs: vec![spec("x", &[1])],
            outputs: vec![spec("y", output)],
        }
    }

    #[test]
    fn what_an_engine_leaves_open_is_as_the_manifest_says() {
        let held = |own: &[i64], said: &[i64]| Held::to(signature(said), Box::new(Echo(signature(own))));
        for (own, said) in [(&[1, 2][..], &[1, 3][..]), (&[2], &[1, 2]), (&[1, 2], &[1, -1])] {
            assert!(held(own, said).is_err(), "{own:?} {said:?}");
        }
        let mut session = held(&[-1, -1], &[1, 2]).unwrap();
        assert_eq!(*session.signature(), signature(&[1, 2]));
        let tensor = |shape: &[u64]| Tensor::from_f32("y", shape.to_vec(), &[0.5; 2]).unwrap();
        assert!(session.run(&[tensor(&[1, 2])]).is_ok());
        let error = session.run(&[tensor(&[2, 1])]).unwrap_err().to_string();
        assert!(error.contains("[1, 2]") && error.contains("[2, 1]"), "{error}");
        let (fits, other) = ([tensor(&[1, 2])], [tensor(&[2])]);
        let answers = session.run_batch(&[&fits, &other]);
        assert!(answers[0].is_ok() && answers[1].is_err());
    }
}
