//! How a bundle's answers are explained: by which method, against which background, and when without being asked.
//!
//! Owns the declaration and the bounds of its numbers. Whether it fits the model is found where the model is loaded.

use crate::names::ComponentName;
use serde::{Deserialize, Serialize};

/// Rows that a sample is compared with: evaluations go up with them, what is learned with their square root.
const MAX_ROWS: u64 = 100;
/// Coalitions of one explanation: 16 for each of the most groups that can be told apart.
const MAX_EVALUATIONS: u64 = 4_096;
/// Nobody waits longer for an answer, and the next one waits behind it.
const MAX_BUDGET_MS: u64 = 600_000;
/// Ten a second: more than anybody reads, and than a device should spend its time on.
const MAX_PER_MINUTE: u64 = 600;
/// As many as there can be groups.
const MAX_TOP: u64 = 256;

/// How a model's answers are explained. `[explain]` of a `bundle.toml`, and the same in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainSpec {
    /// The component with the samples to compare with: CSV with a header, or one JSON object a line.
    pub background: ComponentName,
    /// The most rows of it that are used, from evenly over all of them.
    #[serde(default = "default_rows")]
    pub rows: u64,
    /// How.
    #[serde(default)]
    pub method: ExplainMethod,
    /// Of KernelSHAP: the most coalitions of features that are evaluated, each with every row of the background. Ten groups and
    /// fewer take all there are, at most 1,022.
    #[serde(default = "default_evaluations")]
    pub evaluations: u64,
    /// Which coalitions are drawn. The same seed gives the same explanation.
    #[serde(default)]
    pub seed: u64,
    /// The model's output that is explained. Left out: the first of floating-point numbers, else the first of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Which of its elements, from 0. Left out: the one that is largest for the sample, as a classifier's answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u64>,
    /// What of the output is explained.
    #[serde(default)]
    pub measure: Measure,
    /// Which features are explained together.
    #[serde(default)]
    pub groups: FeatureGroups,
    /// Time for one explanation, in milliseconds. What is known then is the answer.
    #[serde(default = "default_budget_ms")]
    pub budget_ms: u64,
    /// When samples are explained without being asked for.
    #[serde(default)]
    pub when: ExplainWhen,
    /// Every so many results one is explained, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// The most explanations a minute that nobody asked for.
    #[serde(default = "default_per_minute")]
    pub per_minute: u64,
    /// The most features that an explanation lists, the largest contributions first. The others are added up.
    #[serde(default = "default_top")]
    pub top: u64,
}

/// How an answer is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExplainMethod {
    /// Shapley values: exact for ten groups and fewer, else estimated. Additive.
    #[default]
    KernelShap,
    /// What the answer loses when a group is replaced by the background's mean: one evaluation for each.
    Occlusion,
}

impl ExplainMethod {
    /// The method as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KernelShap => "kernel-shap",
            Self::Occlusion => "occlusion",
        }
    }
}

/// What of an output is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// One element.
    #[default]
    Value,
    /// Of an autoencoder: the mean squared difference between its input and its output.
    ReconstructionError,
}

/// Which features are explained together, and share one contribution.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureGroups {
    /// Each by itself.
    #[default]
    Single,
    /// So many neighbours: rows hold one sensor's window after the other.
    Consecutive(u64),
    /// So many groups, whose features take turns: rows hold the values of all sensors at one time, then those at the next.
    Interleaved(u64),
    /// Rectangles of a picture or a spectrogram.
    Patches(Patches),
    /// The name of each feature's group, in the features' order.
    Labels(Vec<String>),
}

/// Rectangles of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patches {
    /// Lines of a rectangle.
    pub height: u64,
    /// Columns of a rectangle.
    pub width: u64,
    /// How the picture lies in its tensor.
    pub layout: Layout,
}

/// How a picture lies in its tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Channels first: one picture for each.
    Nchw,
    /// Channels last: all of a pixel's together.
    Nhwc,
}

/// When samples are explained without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExplainWhen {
    /// Never.
    Request,
    /// When a monitor found something of severity warning or alarm.
    #[default]
    Warning,
    /// When a monitor found something of severity alarm.
    Alarm,
}

const fn default_rows() -> u64 {
    32
}

const fn default_evaluations() -> u64 {
    256
}

const fn default_budget_ms() -> u64 {
    1_000
}

/// With the default budget at most a tenth of one core.
const fn default_per_minute() -> u64 {
    6
}

const fn default_top() -> u64 {
    20
}

impl ExplainSpec {
    /// What can be said of it without a model.
    pub(crate) fn check(&self) -> Result<(), String> {
        let bounded = [
            ("rows", self.rows, 1, MAX_ROWS),
            ("evaluations", self.evaluations, 2, MAX_EVALUATIONS),
            ("budget_ms", self.budget_ms, 1, MAX_BUDGET_MS),
            ("per_minute", self.per_minute, 1, MAX_PER_MINUTE),
            ("top", self.top, 1, MAX_TOP),
        ];
        if let Some((key, value, least, most)) = bounded
            .into_iter()
            .find(|(_, value, least, most)| !(least..=most).contains(&value))
        {
            return Err(format!("explain.{key} is {value}, and {least} to {most} are allowed"));
        }
        if self.every == Some(0) {
            return Err("explain.every is 0: leave it out to explain none".to_owned());
        }
        if self.measure == Measure::ReconstructionError && self.element.is_some() {
            return Err(
                "explain.element goes with measure = \"value\": a reconstruction error is of all elements".to_owned(),
            );
        }
        let uneven = match &self.groups {
            FeatureGroups::Consecutive(size) | FeatureGroups::Interleaved(size) => *size == 0,
            FeatureGroups::Patches(patches) => patches.height == 0 || patches.width == 0,
            FeatureGroups::Labels(labels) => labels.is_empty() || labels.iter().any(String::is_empty),
            FeatureGroups::Single => false,
        };
        if uneven {
            return Err("explain.groups has a group without a size or a name".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(toml: &str) -> Result<ExplainSpec, String> {
        let spec: ExplainSpec = toml::from_str(toml).map_err(|error| error.to_string())?;
        spec.check()?;
        Ok(spec)
    }

    #[test]
    fn a_background_is_enough() {
        let least = spec("background = \"b.csv\"").unwrap();
        let all = r#"
            background = "b.csv"
            rows = 32
            method = "kernel-shap"
            evaluations = 256
            seed = 0
            measure = "value"
            groups = "single"
            budget_ms = 1000
            when = "warning"
            per_minute = 6
            top = 20
        "#;
        assert_eq!(spec(all).unwrap(), least);
        assert_eq!((least.every, least.output, least.element), (None, None, None));
    }

    #[test]
    fn a_manifest_keeps_every_form_of_groups() {
        for groups in [
            "{ consecutive = 64 }",
            "{ interleaved = 8 }",
            "{ patches = { height = 8, width = 4, layout = \"nchw\" } }",
            "{ labels = [\"pump\", \"pump\", \"motor\"] }",
        ] {
            let declared = spec(&format!("background = \"b.csv\"\nevery = 9\ngroups = {groups}")).unwrap();
            let bytes = crate::cbor::encode("explain", &declared).unwrap();
            let read: ExplainSpec = crate::cbor::decode("explain", &bytes, bytes.len()).unwrap();
            assert_eq!(read, declared);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_key() {
        for (key, part) in [
            ("evaluations = 1", "explain.evaluations is 1, and 2 to 4096 are allowed"),
            ("budget_ms = 0", "explain.budget_ms"),
            ("per_minute = 601", "explain.per_minute"),
            ("top = 0", "explain.top"),
            ("every = 0", "explain.every is 0"),
            ("measure = \"reconstruction-error\"\nelement = 0", "of all elements"),
            ("groups = { consecutive = 0 }", "without a size or a name"),
            ("groups = { labels = [\"a\", \"\"] }", "without a size or a name"),
            ("when = \"often\"", "request"),
        ] {
            let error = spec(&format!("background = \"b.csv\"\n{key}")).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
