//! Where a bundle comes from, so that a prediction can be traced to the data its model was trained on.

use serde::{Deserialize, Serialize};

/// Where a bundle comes from. All of it is text for people and for other systems; nothing is acted on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// The training run: an MLflow or Comet run, a pipeline's id, or how it was started.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub training_run: String,
    /// The digest of the training data.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data_digest: String,
    /// The commit of the training code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The component that holds the model card.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model_card: String,
}
