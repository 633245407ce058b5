//! The world `monitor`: watches a pipeline's inputs, features and outputs, and says what it finds.

use crate::bindings::monitor::exports::floorhand::plugin::monitoring as wire;
use crate::bindings::processor::floorhand::plugin::types;
use crate::{
    Assets, Context, Error, Finding, Origin, Refusal, Subscription, Tensor, TensorSpec, Watch, batch,
    instance::instance, state,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Serialize, Serializer,
    de::{Deserialize, DeserializeOwned, Deserializer, Error as _},
};
use std::borrow::Cow;

/// A plugin that watches.
pub trait Monitor: Sized {
    /// The configuration's JSON object.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the plugin ready, or says with [`Error::BadConfig`] what is wrong with which key.
    fn configure(config: Self::Config, assets: &Assets) -> Result<Self, Error>;

    /// The same, knowing all that can be watched. Override it where that makes keys of the configuration superfluous.
    fn configure_given(config: Self::Config, assets: &Assets, _given: &[Watch]) -> Result<Self, Error> {
        Self::configure(config, assets)
    }

    /// The tensors it wants to see under this configuration, and the most bytes that a snapshot can have.
    fn subscription(&self) -> Subscription;

    /// The most samples that a call may hold. By default so many that their tensors have room, as far as their sizes are known.
    fn max_samples(&self) -> u32 {
        batch::most(
            FINDINGS_BYTES,
            1,
            self.subscription().watches.iter().map(|watch| &watch.spec),
        )
    }

    /// Looks at one sample; its tensors stand in the order of the subscription's watches.
    fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error>;

    /// All that later findings depend on besides the configuration. Empty by default.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Goes on from a snapshot that was taken under the same configuration. By default only an empty one is taken.
    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        state::none(state)
    }
}

/// What a sample's findings may take without much ado.
const FINDINGS_BYTES: u64 = 4 << 10;

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// By the sample's place in the call, in their order.
    pub findings: Vec<(u32, Finding)>,
    /// Samples that couldn't be looked at.
    pub refusals: Vec<Refusal>,
}

instance!(Monitor, Subscription, subscription, Watch);

impl<P: Monitor> Instance<P> {
    /// Hands over one sample; [`Error::NotReady`] before `configure`.
    pub fn observe(&mut self, context: Context, tensors: Vec<Tensor>) -> Result<Vec<Finding>, Error> {
        self.configured()?.0.observe(context, tensors)
    }

    /// A call as the host makes it: all samples at once, their number as first dimension of each tensor.
    pub fn call(&mut self, samples: Vec<Context>, tensors: Vec<Tensor>) -> Result<Report, Error> {
        let plugin = self.configured()?.0;
        let mut report = Report::default();
        let tensors = batch::split(samples.len(), tensors)?;
        for ((index, context), tensors) in (0..).zip(samples).zip(tensors) {
            match plugin.observe(context, tensors) {
                Ok(findings) => report
                    .findings
                    .extend(findings.into_iter().map(|finding| (index, finding))),
                Err(error) => report.refusals.push(Refusal { index, error }),
            }
        }
        Ok(report)
    }

    #[doc(hidden)]
    pub fn exported_configure(
        &mut self,
        text: &str,
        assets: Vec<crate::Asset>,
        given: Vec<wire::Watch>,
    ) -> Result<wire::Subscription, Error> {
        let given = given.into_iter().map(|watch| Watch {
            origin: watch.origin,
            spec: TensorSpec::from_wire(watch.spec),
        });
        let subscription = self.configure_given(text, assets, given.collect())?;
        let watches = subscription.watches.into_iter().map(|watch| wire::Watch {
            origin: watch.origin,
            spec: watch.spec.into_wire(),
        });
        Ok(wire::Subscription {
            max_samples: self.configured()?.0.max_samples(),
            watches: watches.collect(),
            state_bytes: subscription.state_bytes,
        })
    }

    #[doc(hidden)]
    pub fn exported_observe(
        &mut self,
        samples: Vec<Context>,
        tensors: Vec<types::Tensor>,
    ) -> Result<wire::Report, Error> {
        let (_, subscription) = self.configured()?;
        let names = subscription.watches.iter().map(|watch| watch.spec.name.as_str());
        let tensors = Tensor::named(names, tensors);
        let report = self.call(samples, tensors)?;
        Ok(wire::Report {
            findings: report
                .findings
                .into_iter()
                .map(|(index, finding)| found(index, finding))
                .collect(),
            refusals: report.refusals,
        })
    }
}

fn found(index: u32, finding: Finding) -> wire::Finding {
    wire::Finding {
        index,
        kind: finding.kind,
        severity: finding.severity,
        phase: finding.phase,
        watch: finding.watch,
        subject: finding.subject,
        value: finding.value,
        threshold: finding.threshold,
        unit: finding.unit,
        message: finding.message,
        details: finding.details,
    }
}

impl Origin {
    /// Every origin, in the order of the WIT.
    pub const ALL: [Self; 5] = [Self::Input, Self::Features, Self::Prediction, Self::Output, Self::Label];

    /// The origin as it is written: `input`, `features`, `prediction`, `output` or `label`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Features => "features",
            Self::Prediction => "prediction",
            Self::Output => "output",
            Self::Label => "label",
        }
    }
}

/// In a configuration an origin is written as in the WIT, e.g. `"features"`.
impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: [&str; 5] = ["input", "features", "prediction", "output", "label"];
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.into_iter().find(|origin| origin.name() == name);
        found.ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for Origin {
    fn schema_name() -> Cow<'static, str> {
        "Origin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where in the pipeline a tensor is seen.",
            "enum": Self::ALL.map(Self::name),
        })
    }
}
