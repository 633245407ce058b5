//! What a recurrent model hands itself from sample to sample, key by key.
//!
//! Owns the tensors between samples and nothing else: a sample finds what the one before of its key has left, or zeros. They
//! are zeros again once a sample of the key is missing, as a plugin's window begins anew ([`crate::gaps`]).

use crate::gaps::Missing;
use floorhand_bundle::ModelSpec;
use floorhand_tensor::{Tensor, TensorError, TensorSpec};
use std::collections::BTreeMap;

/// Keys whose state is kept, as many as stages know gaps of. With one more that which was used longest ago is dropped.
const MAX_KEYS: usize = 4096;

/// Bytes of all states together: of large ones fewer are kept.
const MAX_BYTES: usize = 32 << 20;

/// Whose samples: a key, or those without one.
type Key = Option<String>;

/// The state of a model.
pub(crate) struct State {
    /// By what the model calls its inputs, the state of a first sample.
    zeros: Vec<Tensor>,
    /// The outputs that are the next sample's inputs, in the same order.
    outputs: Vec<String>,
    /// Each with when it was last used.
    kept: BTreeMap<Key, (u64, Vec<Tensor>)>,
    /// The same the other way round.
    used: BTreeMap<u64, Key>,
    clock: u64,
    most: usize,
    dropped: u64,
}

impl State {
    /// The state of a model, none if it has none. `spec` has been checked.
    pub(crate) fn of(spec: &ModelSpec) -> Result<Option<Self>, TensorError> {
        let inputs = spec.state.iter().filter_map(|state| {
            let mut inputs = spec.signature.inputs.iter();
            inputs.find(|input| input.name == state.input)
        });
        let zeros = inputs.map(TensorSpec::zeros).collect::<Result<Vec<_>, _>>()?;
        if zeros.is_empty() {
            return Ok(None);
        }
        let bytes: usize = zeros.iter().map(|tensor| tensor.data().len()).sum();
        Ok(Some(Self {
            zeros,
            outputs: spec.state.iter().map(|state| state.output.clone()).collect(),
            kept: BTreeMap::new(),
            used: BTreeMap::new(),
            clock: 0,
            most: (MAX_BYTES / bytes.max(1)).clamp(1, MAX_KEYS),
            dropped: 0,
        }))
    }

    /// What the model is given of a sample: its state in front, which no tensor of the sample can stand for. Until what came
    /// of it is [kept](Self::keep) the key has no state: a sample that fails begins it anew.
    pub(crate) fn before(&mut self, key: Option<&str>, features: &[Tensor]) -> Vec<Tensor> {
        let state = self.take(key).unwrap_or_else(|| self.zeros.clone());
        state.into_iter().chain(features.iter().cloned()).collect()
    }

    /// Takes the state out of what the model gave, and keeps it for the next sample.
    pub(crate) fn keep(&mut self, key: Option<&str>, outputs: Vec<Tensor>) -> Vec<Tensor> {
        let mut state = self.zeros.clone();
        let mut given = Vec::with_capacity(outputs.len());
        for output in outputs {
            match self.outputs.iter().position(|name| name == output.name()) {
                Some(at) => {
                    if let Some(to) = state.get_mut(at) {
                        *to = output.renamed(to.name());
                    }
                }
                None => given.push(output),
            }
        }
        if self.kept.len() >= self.most
            && let Some((_, longest_ago)) = self.used.pop_first()
        {
            self.kept.remove(&longest_ago);
            self.dropped += 1;
        }
        self.clock += 1;
        let key = key.map(str::to_owned);
        self.used.insert(self.clock, key.clone());
        self.kept.insert(key, (self.clock, state));
        given
    }

    /// Notes that samples went by.
    pub(crate) fn miss(&mut self, missing: Missing<'_>) {
        match missing {
            Missing::Of(key) => drop(self.take(key)),
            Missing::Any => {
                self.kept.clear();
                self.used.clear();
            }
        }
    }

    fn take(&mut self, key: Option<&str>) -> Option<Vec<Tensor>> {
        let (used, state) = self.kept.remove(&key.map(str::to_owned))?;
        self.used.remove(&used);
        Some(state)
    }

    /// How many were dropped for others since the last time.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_bundle::StateSpec;
    use floorhand_tensor::{Datatype, Dim, Signature};

    fn state(size: u64) -> State {
        let spec = |name: &str| TensorSpec::new(name, Datatype::Fp32, vec![Dim::Fixed(size)]);
        let spec = ModelSpec {
            component: "model.onnx".parse().unwrap(),
            signature: Signature {
                inputs: vec![spec("x"), spec("h")],
                outputs: vec![spec("y"), spec("hn")],
            },
            allow_nan: false,
            engines: Vec::new(),
            state: vec![StateSpec {
                input: "h".to_owned(),
                output: "hn".to_owned(),
            }],
        };
        State::of(&spec).unwrap().unwrap()
    }

    fn number(name: &str, value: f32) -> Tensor {
        Tensor::from_f32(name, vec![1], &[value]).unwrap()
    }

    /// A model that adds: what it was given of its state, and gives 1 more.
    fn step(state: &mut State, key: Option<&str>) -> f32 {
        let given = state.before(key, &[number("x", 0.0), number("h", 99.0)]);
        let h = given
            .iter()
            .find(|tensor| tensor.name() == "h")
            .unwrap()
            .to_f32()
            .unwrap()[0];
        let outputs = state.keep(key, vec![number("hn", h + 1.0), number("y", h)]);
        assert_eq!(outputs, [number("y", h)], "the state is no output");
        h
    }

    #[test]
    fn each_key_goes_on_from_its_own() {
        let mut state = state(1);
        for expected in 0..3 {
            for key in [None, Some("a"), Some("b")] {
                assert_eq!(step(&mut state, key), expected as f32);
            }
        }
        state.miss(Missing::Of(Some("a")));
        assert_eq!(
            [None, Some("a"), Some("b")].map(|key| step(&mut state, key)),
            [3.0, 0.0, 3.0]
        );
        state.before(Some("b"), &[]);
        assert_eq!(step(&mut state, Some("b")), 0.0, "its sample failed");
        state.miss(Missing::Any);
        assert_eq!([None, Some("a"), Some("b")].map(|key| step(&mut state, key)), [0.0; 3]);
        assert_eq!(state.take_dropped(), 0);
    }

    #[test]
    fn ever_new_keys_take_bounded_memory() {
        let mut state = state(1);
        let key = |at: usize| at.to_string();
        for at in 0..MAX_KEYS {
            step(&mut state, Some(&key(at)));
        }
        assert_eq!(step(&mut state, Some("0")), 1.0, "used again, so that 1 is the oldest");
        step(&mut state, Some("new"));
        assert_eq!(state.take_dropped(), 1);
        assert_eq!(step(&mut state, Some("0")), 2.0);
        assert_eq!(step(&mut state, Some("1")), 0.0);
        assert_eq!(
            (state.take_dropped(), state.kept.len(), state.used.len()),
            (1, MAX_KEYS, MAX_KEYS)
        );
    }

    #[test]
    fn of_large_states_fewer_are_kept() {
        assert_eq!(state(1 << 20).most, 8, "4 MiB each");
        assert_eq!(state(1 << 25).most, 1, "one is larger than all may be");
    }
}
