//! A bundle's manifest: everything that is activated and rolled back together, by digest.

use crate::cbor;
use crate::chunks::BlobRef;
use crate::digest::Digest;
use crate::envelope::{Domain, Envelope};
use crate::explain::ExplainSpec;
use crate::gates::{Gates, Golden};
use crate::lineage::Lineage;
use crate::names::{BundleName, ComponentName, EngineName, HardwareClass, StageName};
use crate::root::{Role, TrustRoot};
use crate::signer::Signer;
use crate::verified::{DocumentError, Verified, check_critical};
use floorhand_tensor::{Signature, TensorSpec};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The largest manifest in bytes: chunk lists of some 500 MB of components.
pub const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
/// What a manifest with a decoder lists as critical. An agent that knew none would take its messages for JSON.
const CRITICAL_DECODER: &str = "pipeline.decoder";
/// What a manifest lists that asks for another engine and doesn't let tract stand in. An agent that knew no engines would run
/// its model in tract.
const CRITICAL_ENGINES: &str = "pipeline.model.engines";
/// More engines than there are.
const MAX_ENGINES: usize = 8;
/// What a manifest whose model has a state lists as critical. An agent that knew none would ask samples for it.
const CRITICAL_STATE: &str = "pipeline.model.state";
/// More tensors of a model's state than any has: a layer has two.
const MAX_STATE: usize = 64;
/// More stages of one kind than any pipeline has.
const MAX_STAGES: usize = 32;

/// What is in a bundle, and how it is to be run and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The bundle's name, the same in all its versions.
    pub name: BundleName,
    /// The version for people.
    pub version: Version,
    /// Rises with every release of this name. A device refuses one below its floor.
    pub release_counter: u64,
    /// What a device's floor becomes once this bundle is committed: the oldest release it may still go back to.
    pub floor: u64,
    /// The hardware classes it is made for.
    pub hardware: Vec<HardwareClass>,
    /// The oldest agent that can run it.
    pub min_agent: Version,
    /// Names of fields that a reader has to know.
    #[serde(default)]
    pub critical: Vec<String>,
    /// Every file, by digest.
    pub components: Vec<Component>,
    /// How they are put together.
    pub pipeline: PipelineSpec,
    /// What the pipeline has to answer before it may serve.
    pub golden: Golden,
    /// What it has to show before it is committed.
    pub gates: Gates,
    /// Where it comes from.
    #[serde(default)]
    pub lineage: Lineage,
}

/// What a component is to the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentRole {
    /// An ONNX model.
    Model,
    /// A WebAssembly component.
    Plugin,
    /// A file that is handed to a plugin: parameters, a drift reference.
    Asset,
    /// Golden cases.
    Golden,
    /// A model card, for people.
    ModelCard,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its name, by which stages refer to it.
    pub name: ComponentName,
    /// What it is.
    pub role: ComponentRole,
    /// Its content.
    pub blob: BlobRef,
}

/// The stages of a pipeline, in the order of a sample's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineSpec {
    /// The plugin that makes samples of a source's messages. Without one a message is one sample, as JSON, CSV or raw bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<StageSpec>,
    /// The tensors of a sample.
    pub inputs: Vec<InputSpec>,
    /// Processors before the model.
    #[serde(default)]
    pub preprocess: Vec<StageSpec>,
    /// The model.
    pub model: ModelSpec,
    /// Processors behind it.
    #[serde(default)]
    pub postprocess: Vec<StageSpec>,
    /// Monitors, which see the sample's inputs, features and outputs.
    #[serde(default)]
    pub monitors: Vec<StageSpec>,
    /// How the model's answers are explained. Without it they aren't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<ExplainSpec>,
}

impl PipelineSpec {
    /// Every plugin stage: the decoder, processors and monitors.
    pub fn stages(&self) -> impl Iterator<Item = &StageSpec> {
        let behind = self.preprocess.iter().chain(&self.postprocess).chain(&self.monitors);
        self.decoder.iter().chain(behind)
    }

    /// The fields of it that a manifest has to list as critical: a reader that passed them over would run something else.
    #[must_use]
    pub fn critical(&self) -> Vec<String> {
        let elsewhere = !self.model.engines().contains(&EngineName::tract());
        let fields = [
            (CRITICAL_DECODER, self.decoder.is_some()),
            (CRITICAL_ENGINES, elsewhere),
            (CRITICAL_STATE, !self.model.state.is_empty()),
        ];
        let there = fields.into_iter().filter(|(_, is_there)| *is_there);
        there.map(|(field, _)| field.to_owned()).collect()
    }
}

/// One tensor of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Its name, type and shape.
    pub tensor: TensorSpec,
    /// The names of its elements in order, as a CSV header or a JSON object has them. Empty: the tensor is given as one
    /// array under its own name.
    #[serde(default)]
    pub fields: Vec<String>,
}

/// The model of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// The component that holds it.
    pub component: ComponentName,
    /// The tensors it takes and gives, with every dimension fixed.
    pub signature: Signature,
    /// Whether it was made to take NaN, for values that are missing. Otherwise a sample fails whose features, or whose
    /// answer, hold NaN or infinity: engines make plausible numbers of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_nan: bool,
    /// The engines that may run it, in the order of preference. Empty: tract alone; see [`ModelSpec::engines`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<EngineName>,
    /// Which outputs of a sample are inputs of the next one. They are no part of what a sample gives or of a result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<StateSpec>,
}

/// A tensor that a model hands itself from sample to sample, as recurrent layers do. It begins with zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSpec {
    /// The model's input.
    pub input: String,
    /// The output of the same type and shape.
    pub output: String,
}

impl ModelSpec {
    /// The engines that may run it, the one to be preferred first.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineName> {
        if self.engines.is_empty() {
            vec![EngineName::tract()]
        } else {
            self.engines.clone()
        }
    }

    /// What the model takes of a sample and gives for it: its signature without its state.
    #[must_use]
    pub fn signature_of_a_sample(&self) -> Signature {
        let without = |specs: &[TensorSpec], name: fn(&StateSpec) -> &String| {
            let is_state = |spec: &&TensorSpec| self.state.iter().any(|state| *name(state) == spec.name);
            specs.iter().filter(|spec| !is_state(spec)).cloned().collect()
        };
        Signature {
            inputs: without(&self.signature.inputs, |state| &state.input),
            outputs: without(&self.signature.outputs, |state| &state.output),
        }
    }

    /// Whether the state is made of inputs and outputs that there are, and that fit.
    pub fn check_state(&self) -> Result<(), String> {
        fn find<'s>(kind: &str, specs: &'s [TensorSpec], name: &str) -> Result<&'s TensorSpec, String> {
            specs.iter().find(|spec| spec.name == name).ok_or_else(|| {
                let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                format!(
                    "model.state names the {kind} {name:?}, and the model's are {}",
                    known.join(", ")
                )
            })
        }
        if self.state.len() > MAX_STATE {
            return Err(format!("model.state has more than {MAX_STATE} tensors"));
        }
        let (mut inputs, mut outputs) = (BTreeSet::new(), BTreeSet::new());
        for StateSpec { input, output } in &self.state {
            let twice = [(&mut inputs, input), (&mut outputs, output)];
            for (seen, name) in twice {
                if !seen.insert(name) {
                    return Err(format!("model.state names {name:?} twice"));
                }
            }
            let to = find("input", &self.signature.inputs, input)?;
            let from = find("output", &self.signature.outputs, output)?;
            let fits = (to.datatype, &to.shape) == (from.datatype, &from.shape);
            if !fits || to.fixed_len().is_none() || to.datatype.size().is_none() {
                return Err(format!(
                    "model.state feeds {output:?} ({from}) to {input:?} ({to}); they have to be numbers of the same type and \
                     fixed shape"
                ));
            }
        }
        Ok(())
    }
}

/// What happens when a plugin's breaker opens: three faults within a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBreak {
    /// Samples fail at this stage until the breaker closes again.
    #[default]
    Fail,
    /// Samples pass the stage by, where the signatures around it allow that; monitors always can be passed by.
    Bypass,
    /// The bundle is rolled back.
    Rollback,
}

/// One plugin of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// The stage's name, unique in the pipeline.
    pub name: StageName,
    /// The component that holds the plugin.
    pub plugin: ComponentName,
    /// Its configuration, a JSON object as text.
    pub config: String,
    /// The components it is handed.
    #[serde(default)]
    pub assets: Vec<ComponentName>,
    /// What it may use.
    #[serde(default)]
    pub limits: StageLimits,
    /// What happens when its breaker opens.
    #[serde(default)]
    pub on_break: OnBreak,
}

/// What a plugin may use. What isn't given has the plugin host's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StageLimits {
    /// Linear memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CPU time of one call in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Bytes of tensors given to one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// Bytes of tensors taken from one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Bytes of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<u64>,
}

impl Manifest {
    /// Encodes the manifest: the bytes that are signed, and whose digest is the bundle's.
    pub fn encode(&self) -> Result<Vec<u8>, DocumentError> {
        self.check()?;
        Ok(cbor::encode("manifest", self)?)
    }

    /// Encodes and signs the manifest.
    pub fn seal<S: Signer + ?Sized>(&self, keys: &[&S]) -> Result<Vec<u8>, DocumentError> {
        Ok(Envelope::seal(Domain::Manifest, &self.encode()?, keys)?)
    }

    /// Opens a manifest under a trust root.
    pub fn open(bytes: &[u8], root: &TrustRoot, now_ms: u64) -> Result<Verified<Self>, DocumentError> {
        let payload = root.verify(Role::Release, Domain::Manifest, bytes, MAX_MANIFEST_BYTES, now_ms)?;
        let manifest: Self = cbor::decode("manifest", &payload, MAX_MANIFEST_BYTES)?;
        manifest.check()?;
        Ok(Verified::new(manifest, &payload, bytes))
    }

    /// Reads a manifest without checking who signed it, for tools that show it to a person who holds no trust root.
    /// Nothing that is read in this way may be run.
    pub fn inspect_unverified(bytes: &[u8]) -> Result<(Self, Digest, Envelope), DocumentError> {
        let envelope = Envelope::open(Domain::Manifest, bytes, MAX_MANIFEST_BYTES)?;
        let manifest: Self = cbor::decode("manifest", envelope.payload_unverified(), MAX_MANIFEST_BYTES)?;
        manifest.check()?;
        let digest = Digest::of(envelope.payload_unverified());
        Ok((manifest, digest, envelope))
    }

    /// The component of a name.
    #[must_use]
    pub fn component(&self, name: &ComponentName) -> Option<&Component> {
        self.components.iter().find(|component| component.name == *name)
    }

    /// The bytes of all its components.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.components.iter().map(|component| component.blob.length).sum()
    }

    /// What every manifest has to hold, whoever signed it.
    fn check(&self) -> Result<(), DocumentError> {
        let known = [CRITICAL_DECODER, CRITICAL_ENGINES, CRITICAL_STATE];
        check_critical("manifest", &self.critical, &known)?;
        for component in &self.components {
            component.blob.check()?;
        }
        let refused = |problem: String| DocumentError::Content {
            document: "manifest",
            problem,
        };
        self.check_critical_listed().map_err(refused)?;
        self.check_names().map_err(refused)?;
        self.check_references().map_err(refused)?;
        self.pipeline.model.check_state().map_err(refused)?;
        self.gates.check().map_err(|problem| refused(problem.to_owned()))?;
        self.golden.check().map_err(|problem| refused(problem.to_owned()))?;
        let explain = self.pipeline.explain.as_ref().map_or(Ok(()), ExplainSpec::check);
        explain.map_err(refused)?;
        if self.pipeline.explain.is_some() && !self.pipeline.model.state.is_empty() {
            return Err(refused(
                "a model with a state can't be explained: its answer hangs on the samples before; leave out explain or model.state"
                    .to_owned(),
            ));
        }
        if self.floor > self.release_counter {
            return Err(refused(format!(
                "floor {} is above release_counter {}: no device could run it twice",
                self.floor, self.release_counter
            )));
        }
        if self.hardware.is_empty() {
            return Err(refused("it names no hardware class; `*` is any".to_owned()));
        }
        Ok(())
    }

    fn check_critical_listed(&self) -> Result<(), String> {
        let needed = self.pipeline.critical();
        match needed.iter().find(|field| !self.critical.contains(field)) {
            Some(field) => Err(format!("it has {field} and doesn't list it as critical")),
            None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.components.iter().find(|component| !names.insert(&component.name)) {
            return Err(format!("component {} is listed twice", twice.name));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.pipeline.stages().find(|stage| !names.insert(&stage.name)) {
            return Err(format!("two stages are named {}", twice.name));
        }
        let mut names = BTreeSet::new();
        let engines = &self.pipeline.model.engines;
        if let Some(twice) = engines.iter().find(|engine| !names.insert(*engine)) {
            return Err(format!("engine {twice} is listed twice"));
        }
        if engines.len() > MAX_ENGINES {
            return Err(format!("more than {MAX_ENGINES} engines"));
        }
        if self.pipeline.inputs.is_empty() {
            return Err("the pipeline has no input".to_owned());
        }
        let lists = [
            &self.pipeline.preprocess,
            &self.pipeline.postprocess,
            &self.pipeline.monitors,
        ];
        if lists.iter().any(|stages| stages.len() > MAX_STAGES) {
            return Err(format!("more than {MAX_STAGES} stages of one kind"));
        }
        Ok(())
    }

    /// Every component that a stage names is there and is what the stage takes it for.
    fn check_references(&self) -> Result<(), String> {
        self.expect(&self.pipeline.model.component, ComponentRole::Model, "the model")?;
        self.expect(&self.golden.component, ComponentRole::Golden, "the golden cases")?;
        if self
            .pipeline
            .decoder
            .as_ref()
            .is_some_and(|stage| stage.on_break == OnBreak::Bypass)
        {
            return Err(
                "the decoder has on_break = \"bypass\": without it there are no samples; use \"fail\" or \"rollback\""
                    .to_owned(),
            );
        }
        for stage in self.pipeline.stages() {
            self.expect(&stage.plugin, ComponentRole::Plugin, stage.name.as_str())?;
            for asset in &stage.assets {
                self.expect(asset, ComponentRole::Asset, stage.name.as_str())?;
            }
        }
        if let Some(explain) = &self.pipeline.explain {
            self.expect(&explain.background, ComponentRole::Asset, "explain")?;
        }
        for input in &self.pipeline.inputs {
            let expected = input.tensor.fixed_len();
            if !input.fields.is_empty() && expected != Some(input.fields.len() as u64) {
                return Err(format!(
                    "input {} names {} fields, and its shape has {}",
                    input.tensor.name,
                    input.fields.len(),
                    expected.map_or_else(
                        || "no fixed number of elements".to_owned(),
                        |len| format!("{len} elements")
                    ),
                ));
            }
        }
        Ok(())
    }

    fn expect(&self, name: &ComponentName, role: ComponentRole, who: &str) -> Result<(), String> {
        match self.component(name) {
            Some(component) if component.role == role => Ok(()),
            Some(component) => Err(format!(
                "{who} needs {name} as {role:?}, and it is {:?}",
                component.role
            )),
            None => Err(format!("{who} needs {name}, which is not in the bundle")),
        }
    }
}
