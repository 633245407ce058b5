//! `bundle.toml`: what a person writes beside models and plugins, and how it becomes a manifest.

mod keys;

use crate::chunks::BlobRef;
use crate::digest::Digest;
use crate::explain::ExplainSpec;
use crate::gates::{Gates, Golden};
use crate::lineage::Lineage;
use crate::manifest::{
    Component, ComponentRole, InputSpec, Manifest, ModelSpec, OnBreak, PipelineSpec, StageLimits, StageSpec, StateSpec,
};
use crate::names::{BundleName, ComponentName, EngineName, HardwareClass, StageName};
use floorhand_tensor::{Datatype, Dim, Signature, TensorSpec};
use semver::Version;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// What stands before the name of a first-party plugin that comes with the tool: `builtin:standardize`.
pub const BUILTIN_PREFIX: &str = "builtin:";

/// All that is wrong with a `bundle.toml` and the files it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RecipeError {
    /// One line each, naming the key or the file.
    pub problems: Vec<String>,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bundle.toml: {}", self.problems.join("\nbundle.toml: "))
    }
}

/// A `bundle.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Recipe {
    /// `[bundle]`
    pub bundle: Identity,
    /// `[lineage]`
    #[serde(default)]
    pub lineage: Lineage,
    /// `[decoder]`
    #[serde(default)]
    pub decoder: Option<RecipeStage>,
    /// `[[input]]`
    #[serde(rename = "input")]
    pub inputs: Vec<RecipeInput>,
    /// `[[preprocess]]`
    #[serde(default)]
    pub preprocess: Vec<RecipeStage>,
    /// `[model]`
    pub model: RecipeModel,
    /// `[[postprocess]]`
    #[serde(default)]
    pub postprocess: Vec<RecipeStage>,
    /// `[[monitor]]`
    #[serde(default, rename = "monitor")]
    pub monitors: Vec<RecipeStage>,
    /// `[golden]`
    pub golden: RecipeGolden,
    /// `[explain]`
    #[serde(default)]
    pub explain: Option<ExplainSpec>,
    /// `[gates]`
    #[serde(default)]
    pub gates: Gates,
}

/// `[bundle]`: who the bundle is and where it may run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Identity {
    /// The same in all versions.
    pub name: BundleName,
    /// For people.
    pub version: Version,
    /// Rises with every release.
    pub release_counter: u64,
    /// The oldest release a device may go back to once this one is committed. Left out: any.
    #[serde(default)]
    pub floor: u64,
    /// Hardware classes. Left out: any.
    #[serde(default = "any_hardware")]
    pub hardware: Vec<HardwareClass>,
    /// The oldest agent that can run it. Left out: any.
    #[serde(default = "any_agent")]
    pub min_agent: Version,
}

/// `[[input]]`: one tensor of a sample.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RecipeInput {
    /// The tensor's name.
    pub name: String,
    /// Its type.
    pub datatype: Datatype,
    /// Its shape, `-1` for any size.
    pub shape: Vec<Dim>,
    /// The names of its elements, as a CSV header or a JSON object has them.
    #[serde(default)]
    pub fields: Vec<String>,
}

/// `[decoder]`, `[[preprocess]]`, `[[postprocess]]`, `[[monitor]]`: one plugin.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RecipeStage {
    /// The stage's name.
    pub name: StageName,
    /// A file beside `bundle.toml`, or `builtin:NAME`.
    pub plugin: String,
    /// The plugin's configuration.
    #[serde(default)]
    pub config: toml::Table,
    /// Files that the plugin is handed.
    #[serde(default)]
    pub assets: Vec<ComponentName>,
    /// What it may use.
    #[serde(default)]
    pub limits: StageLimits,
    /// What happens when its breaker opens.
    #[serde(default)]
    pub on_break: OnBreak,
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RecipeModel {
    /// The ONNX file.
    pub file: ComponentName,
    /// Whether the model was trained with missing values, which it is then handed as NaN.
    #[serde(default)]
    pub allow_nan: bool,
    /// The engines that may run it, the one to be preferred first. Left out: tract.
    #[serde(default)]
    pub engines: Vec<EngineName>,
    /// `[[model.state]]`: which outputs are inputs of the next sample.
    #[serde(default)]
    pub state: Vec<StateSpec>,
}

impl RecipeModel {
    /// The engines for the manifest, which has none where tract is the only one.
    fn engines(&self) -> Result<Vec<EngineName>, String> {
        let known = EngineName::known();
        if let Some(unknown) = self.engines.iter().find(|engine| !known.contains(engine)) {
            let known: Vec<&str> = known.iter().map(EngineName::as_str).collect();
            return Err(format!(
                "model.engines names {unknown}; known here are {}",
                known.join(", ")
            ));
        }
        Ok(if self.engines == [EngineName::tract()] {
            Vec::new()
        } else {
            self.engines.clone()
        })
    }
}

/// `[golden]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RecipeGolden {
    /// The cases, one JSON object a line.
    pub file: ComponentName,
    /// How far an answer may be off.
    #[serde(default = "default_tolerance")]
    pub tolerance: f64,
    /// Tolerances of single outputs.
    #[serde(default)]
    pub tolerances: BTreeMap<String, f64>,
}

fn any_hardware() -> Vec<HardwareClass> {
    "*".parse().into_iter().collect()
}

fn any_agent() -> Version {
    Version::new(0, 1, 0)
}

fn default_tolerance() -> f64 {
    1e-4
}

/// A manifest and every blob it names, ready to be signed and archived.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembly {
    /// The manifest.
    pub manifest: Manifest,
    /// The components' bytes by digest.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

/// Gives the bytes of a file that a recipe names: a file name, or `builtin:NAME`. The error says what to do.
pub type Load<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

impl Recipe {
    /// Reads a `bundle.toml`. Unknown keys are refused, all of them at once.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let failed = |problem: String| RecipeError {
            problems: vec![problem.trim_end().to_owned()],
        };
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| failed(error.to_string()))?;
        let mut problems = keys::check(&table);
        if !problems.is_empty() {
            return Err(RecipeError { problems });
        }
        let deserializer = toml::Deserializer::parse(text).map_err(|error| failed(error.to_string()))?;
        let recipe: Self = serde_ignored::deserialize(deserializer, |path| {
            problems.push(format!("unknown key `{path}`"));
        })
        .map_err(|error| failed(error.to_string()))?;
        if problems.is_empty() {
            Ok(recipe)
        } else {
            Err(RecipeError { problems })
        }
    }

    /// Gathers the files and makes the manifest. `signature` reads the model's, with every dimension fixed.
    ///
    /// Golden cases are *not* run here: this crate knows no engine. Whoever signs what comes out runs them first.
    pub fn assemble(
        &self,
        load: &mut Load<'_>,
        signature: impl FnOnce(&[u8]) -> Result<Signature, String>,
    ) -> Result<Assembly, RecipeError> {
        let mut gathered = Gathered {
            load,
            components: BTreeMap::new(),
            blobs: BTreeMap::new(),
            problems: Vec::new(),
        };
        let model = gathered.take(self.model.file.as_str(), ComponentRole::Model);
        let model_bytes = model.as_ref().and_then(|name| gathered.bytes(name)).map(<[u8]>::to_vec);
        let golden = gathered.take(self.golden.file.as_str(), ComponentRole::Golden);
        let cases = golden
            .as_ref()
            .and_then(|name| gathered.bytes(name))
            .map_or(0, count_lines);
        if !self.lineage.model_card.is_empty() {
            gathered.take(&self.lineage.model_card, ComponentRole::ModelCard);
        }
        if let Some(explain) = &self.explain {
            gathered.take(explain.background.as_str(), ComponentRole::Asset);
        }
        let decoder = self.decoder.as_ref().and_then(|stage| gathered.stage(stage));
        let preprocess = gathered.stages(&self.preprocess);
        let postprocess = gathered.stages(&self.postprocess);
        let monitors = gathered.stages(&self.monitors);
        let engines = self.model.engines();
        let engines = gathered.ok(engines).unwrap_or_default();
        let signature = match model_bytes.map(|bytes| signature(&bytes)) {
            Some(Ok(signature)) => signature,
            Some(Err(problem)) => {
                gathered.problems.push(format!("model {}: {problem}", self.model.file));
                Signature::default()
            }
            None => Signature::default(),
        };
        let (Some(model), Some(golden), true) = (model, golden, gathered.problems.is_empty()) else {
            return Err(RecipeError {
                problems: gathered.problems,
            });
        };
        let pipeline = PipelineSpec {
            decoder,
            inputs: self.inputs.iter().map(RecipeInput::spec).collect(),
            preprocess,
            model: ModelSpec {
                component: model,
                signature,
                allow_nan: self.model.allow_nan,
                engines,
                state: self.model.state.clone(),
            },
            postprocess,
            monitors,
            explain: self.explain.clone(),
        };
        let golden = Golden {
            component: golden,
            cases,
            tolerance: self.golden.tolerance,
            tolerances: self.golden.tolerances.clone(),
        };
        let Gathered { components, blobs, .. } = gathered;
        let manifest = self.manifest(components.into_values().collect(), pipeline, golden);
        match manifest.encode() {
            Ok(_) => Ok(Assembly { manifest, blobs }),
            Err(error) => Err(RecipeError {
                problems: vec![error.to_string()],
            }),
        }
    }

    fn manifest(&self, components: Vec<Component>, pipeline: PipelineSpec, golden: Golden) -> Manifest {
        let Identity {
            name,
            version,
            release_counter,
            floor,
            hardware,
            min_agent,
        } = self.bundle.clone();
        Manifest {
            name,
            version,
            release_counter,
            floor,
            hardware,
            min_agent,
            critical: pipeline.critical(),
            components,
            pipeline,
            golden,
            gates: self.gates.clone(),
            lineage: self.lineage.clone(),
        }
    }
}

impl RecipeInput {
    fn spec(&self) -> InputSpec {
        InputSpec {
            tensor: TensorSpec::new(self.name.clone(), self.datatype, self.shape.clone()),
            fields: self.fields.clone(),
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .count() as u64
}

/// The components found so far, and what was wrong with the others.
struct Gathered<'a, 'b> {
    load: &'a mut Load<'b>,
    components: BTreeMap<ComponentName, Component>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    problems: Vec<String>,
}

impl Gathered<'_, '_> {
    /// Takes a file in under its role. `None` when it can't be had, which is then among the problems.
    fn take(&mut self, reference: &str, role: ComponentRole) -> Option<ComponentName> {
        let file = reference
            .strip_prefix(BUILTIN_PREFIX)
            .map_or_else(|| reference.to_owned(), |name| format!("{name}.wasm"));
        let name = self.ok(file.parse::<ComponentName>().map_err(|error| error.to_string()))?;
        if let Some(known) = self.components.get(&name) {
            if known.role != role {
                self.problems
                    .push(format!("{name} is used as {:?} and as {role:?}", known.role));
            }
            return Some(name);
        }
        let loaded = (self.load)(reference);
        let bytes = self.ok(loaded)?;
        let blob = BlobRef::of(&bytes);
        self.blobs.insert(blob.sha256, bytes);
        self.components.insert(
            name.clone(),
            Component {
                name: name.clone(),
                role,
                blob,
            },
        );
        Some(name)
    }

    fn bytes(&self, name: &ComponentName) -> Option<&[u8]> {
        self.components
            .get(name)
            .and_then(|component| self.blobs.get(&component.blob.sha256))
            .map(Vec::as_slice)
    }

    fn stages(&mut self, stages: &[RecipeStage]) -> Vec<StageSpec> {
        stages.iter().filter_map(|stage| self.stage(stage)).collect()
    }

    fn stage(&mut self, stage: &RecipeStage) -> Option<StageSpec> {
        let plugin = self.take(&stage.plugin, ComponentRole::Plugin);
        let assets: Vec<_> = stage
            .assets
            .iter()
            .filter_map(|asset| self.take(asset.as_str(), ComponentRole::Asset))
            .collect();
        let config = self.ok(serde_json::to_string(&stage.config)
            .map_err(|error| format!("stage {}: config can't be written as JSON: {error}", stage.name)))?;
        Some(StageSpec {
            name: stage.name.clone(),
            plugin: plugin?,
            config,
            assets,
            limits: stage.limits.clone(),
            on_break: stage.on_break,
        })
    }

    fn ok<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [bundle]
        name = "valve"
        version = "1.2.0"
        release_counter = 3
        floor = 1
        [[input]]
        name = "sensors"
        datatype = "FP32"
        shape = [2]
        fields = ["pressure", "flow"]
        [[preprocess]]
        name = "scale"
        plugin = "builtin:standardize"
        config = { input = "sensors", output = "x", mean = [1.5, 2.0] }
        [model]
        file = "model.onnx"
        [golden]
        file = "golden.jsonl"
        [gates]
        samples = 50
    "#;

    fn assemble(text: &str) -> Result<Assembly, RecipeError> {
        Recipe::parse(text)?.assemble(
            &mut |name| match name {
                "model.onnx" | "builtin:standardize" => Ok(name.as_bytes().to_vec()),
                "golden.jsonl" => Ok(b"{}\n\n{}\n".to_vec()),
                _ => Err(format!("{name}: no such file beside bundle.toml")),
            },
            |_| Ok(Signature::default()),
        )
    }

    #[test]
    fn a_recipe_becomes_a_manifest() {
        let assembly = assemble(TEXT).unwrap();
        let manifest = &assembly.manifest;
        assert_eq!(manifest.golden.cases, 2);
        assert_eq!(manifest.gates.samples, 50);
        assert_eq!(manifest.gates.tries, Gates::default().tries);
        assert_eq!(
            manifest.pipeline.preprocess[0].config,
            r#"{"input":"sensors","mean":[1.5,2.0],"output":"x"}"#
        );
        assert_eq!(assembly.blobs.len(), 3);
        let bytes = manifest.encode().unwrap();
        assert_eq!(
            crate::cbor::decode::<Manifest>("manifest", &bytes, bytes.len()).unwrap(),
            *manifest
        );
    }

    const DECODER: &str = r#"
        [decoder]
        name = "rows"
        plugin = "csv-row.wasm"
        config = { columns = ["pressure", "flow"] }
        [[input]]"#;

    fn with_decoder(decoder: &str) -> Result<Assembly, RecipeError> {
        Recipe::parse(&TEXT.replacen("[[input]]", decoder, 1))?.assemble(
            &mut |name| {
                Ok(if name == "golden.jsonl" {
                    b"{}".to_vec()
                } else {
                    name.as_bytes().to_vec()
                })
            },
            |_| Ok(Signature::default()),
        )
    }

    #[test]
    fn a_decoder_is_critical_to_whoever_reads_the_manifest() {
        let manifest = with_decoder(DECODER).unwrap().manifest;
        let decoder = manifest.pipeline.decoder.as_ref().unwrap();
        assert_eq!(
            (decoder.name.as_str(), decoder.plugin.as_str(), decoder.config.as_str()),
            ("rows", "csv-row.wasm", r#"{"columns":["pressure","flow"]}"#)
        );
        assert_eq!(manifest.critical, ["pipeline.decoder"]);
        assert!(assemble(TEXT).unwrap().manifest.critical.is_empty());
        let unlisted = Manifest {
            critical: Vec::new(),
            ..manifest
        };
        let error = unlisted.encode().unwrap_err().to_string();
        assert!(
            error.contains("it has pipeline.decoder and doesn't list it as critical"),
            "{error}"
        );
    }

    #[test]
    fn a_decoder_has_the_rules_of_a_stage() {
        let refused = |from: &str, to: &str, expected: &str| {
            let error = with_decoder(&DECODER.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(
            "config",
            "on_break = \"bypass\"\nconfig",
            "without it there are no samples",
        );
        refused("\"rows\"", "\"scale\"", "two stages are named scale");
        refused("plugin = \"csv-row.wasm\"", "", "missing key `decoder.plugin`");
        refused(
            "plugin = \"csv-row.wasm\"",
            "plugin = \"model.onnx\"",
            "model.onnx is used as Model and as Plugin",
        );
    }

    #[test]
    fn an_engine_that_has_to_be_there_is_critical() {
        let made = |engines: &str| {
            let model = format!("file = \"model.onnx\"\n{engines}");
            assemble(&TEXT.replace("file = \"model.onnx\"", &model)).map(|assembly| assembly.manifest)
        };
        let check = |engines: &str, listed: &[&str], critical: &[&str]| {
            let manifest = made(engines).unwrap();
            let names: Vec<&str> = manifest.pipeline.model.engines.iter().map(EngineName::as_str).collect();
            assert_eq!(
                (names.as_slice(), manifest.critical.as_slice()),
                (
                    listed,
                    critical
                        .iter()
                        .map(|&text| text.to_owned())
                        .collect::<Vec<_>>()
                        .as_slice()
                )
            );
        };
        check("", &[], &[]);
        check("engines = [\"tract\"]", &[], &[]);
        check("engines = [\"onnxruntime\", \"tract\"]", &["onnxruntime", "tract"], &[]);
        check(
            "engines = [\"onnxruntime\"]",
            &["onnxruntime"],
            &["pipeline.model.engines"],
        );
        let refused = |engines: &str, expected: &str| {
            let error = made(engines).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(
            "engines = [\"onnxruntme\"]",
            "model.engines names onnxruntme; known here are tract, onnxruntime",
        );
        refused("engines = [\"tract\", \"tract\"]", "engine tract is listed twice");
        // An older agent would run it in tract.
        let unlisted = Manifest {
            critical: Vec::new(),
            ..made("engines = [\"onnxruntime\"]").unwrap()
        };
        let error = unlisted.encode().unwrap_err().to_string();
        assert!(
            error.contains("it has pipeline.model.engines and doesn't list it as critical"),
            "{error}"
        );
    }

    #[test]
    fn an_engine_of_a_newer_packer_is_read() {
        let mut manifest = assemble(TEXT).unwrap().manifest;
        manifest.pipeline.model.engines = vec!["of-tomorrow".parse().unwrap(), EngineName::tract()];
        let bytes = manifest.encode().unwrap();
        let read: Manifest = crate::cbor::decode("manifest", &bytes, bytes.len()).unwrap();
        assert_eq!(read, manifest);
    }

    #[test]
    fn a_misspelt_key_is_told_with_what_was_meant_and_what_is_missing() {
        check_problems(
            &TEXT
                .replace("release_counter", "release_count")
                .replace("[gates]", "[gate]"),
            &[
                "unknown key `bundle.release_count`; did you mean `release_counter`?",
                "missing key `bundle.release_counter`",
                "unknown key `gate`; did you mean `gates`?",
            ],
        );
        check_problems(
            &TEXT
                .replace("shape = [2]", "shapes = [2]")
                .replace("[model]", "[models]"),
            &[
                "unknown key `input.0.shapes`; did you mean `shape`?",
                "missing key `input.0.shape`",
                "missing key `model`",
            ],
        );
        check_problems(
            &TEXT.replace("floor = 1", "zzz = 1"),
            &["unknown key `bundle.zzz`; known here are `name`, `version`, "],
        );
    }

    fn check_problems(text: &str, expected: &[&str]) {
        let error = assemble(text).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    fn with_state(state: &str) -> Result<Assembly, RecipeError> {
        let spec = |name: &str, size| TensorSpec::new(name, Datatype::Fp32, vec![Dim::Fixed(1), Dim::Fixed(size)]);
        let signature = Signature {
            inputs: vec![spec("x", 2), spec("h", 4), spec("c", 4)],
            outputs: vec![spec("y", 1), spec("hn", 4), spec("cn", 4), spec("wide", 8)],
        };
        let text = TEXT.replace("[golden]", &format!("{state}\n[golden]"));
        Recipe::parse(&text)?.assemble(
            &mut |name| {
                let cases = name == "golden.jsonl";
                Ok(if cases {
                    b"{}".to_vec()
                } else {
                    name.as_bytes().to_vec()
                })
            },
            |_| Ok(signature),
        )
    }

    #[test]
    fn a_state_is_critical_to_whoever_reads_the_manifest() {
        let state = "[[model.state]]\ninput = 'h'\noutput = 'hn'\n[[model.state]]\ninput = 'c'\noutput = 'cn'";
        let mut manifest = with_state(state).unwrap().manifest;
        assert_eq!(manifest.critical, ["pipeline.model.state"]);
        let names = |state: &StateSpec| format!("{} {}", state.input, state.output);
        let state: Vec<String> = manifest.pipeline.model.state.iter().map(names).collect();
        assert_eq!(state, ["h hn", "c cn"]);
        let model = manifest.pipeline.model.signature_of_a_sample();
        let names = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&model.inputs), names(&model.outputs)),
            (vec!["x".to_owned()], vec!["y".to_owned(), "wide".to_owned()])
        );
        let bytes = manifest.encode().unwrap();
        let read = crate::cbor::decode::<Manifest>("manifest", &bytes, bytes.len()).unwrap();
        assert_eq!(read, manifest);
        manifest.critical.clear();
        let error = manifest.encode().unwrap_err().to_string();
        assert!(
            error.contains("has pipeline.model.state and doesn't list it as critical"),
            "{error}"
        );
    }

    #[test]
    fn a_state_has_to_fit() {
        let check = |state: &str, expected: &str| {
            let error = with_state(state).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        };
        let of = |input: &str, output: &str| format!("[[model.state]]\ninput = '{input}'\noutput = '{output}'\n");
        check(&of("g", "hn"), r#"names the input "g", and the model's are x, h, c"#);
        check(
            &of("h", "gn"),
            r#"names the output "gn", and the model's are y, hn, cn, wide"#,
        );
        check(&of("h", "wide"), r#"feeds "wide" (FP32[1, 8]) to "h" (FP32[1, 4])"#);
        check(&(of("h", "hn") + &of("h", "cn")), r#"names "h" twice"#);
        check(&(of("h", "hn") + &of("c", "hn")), r#"names "hn" twice"#);
        check("[[model.state]]\ninput = 'h'", "missing field `output`");
        check(
            &format!("{}size = 3", of("h", "hn")),
            "unknown key `model.state.0.size`",
        );
        let fitting = of("h", "hn") + &of("c", "cn");
        assert!(with_state(&fitting).is_ok());
        check(
            &format!("{fitting}[explain]\nbackground = 'rows.csv'\n"),
            "a model with a state can't be explained",
        );
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        check_problems(
            &TEXT.replace("floor = 1", "flor = 1\ncolour = 'red'"),
            &["unknown key `bundle.flor`", "unknown key `bundle.colour`"],
        );
        check_problems(
            &TEXT.replace("model.onnx", "m.onnx").replace("golden.jsonl", "g.jsonl"),
            &["m.onnx: no such file", "g.jsonl: no such file"],
        );
        check_problems(
            &TEXT.replace("[gates]", "[gates]\nsamplez = 3"),
            &["unknown key `gates.samplez`"],
        );
        check_problems(
            &TEXT.replace("samples = 50", "samples = 0"),
            &["a trial that sees nothing shows nothing"],
        );
        check_problems(
            &TEXT.replace("shape = [2]", "shape = [3]"),
            &["names 2 fields, and its shape has 3 elements"],
        );
        check_problems(
            &TEXT.replace("floor = 1", "floor = 4"),
            &["floor 4 is above release_counter 3"],
        );
    }
}
