//! What a tensor of probabilities says of each answer, and a tensor of labels of whether it was right.

use floorhand_plugin_sdk::{Error, Tensor, Watch, host};
use floorhand_statistics::softmax::{argmax, confidence, entropy, softmax};

/// How far the probabilities of a row may be from adding up to 1: those of FP16 models are.
const SUM_TOLERANCE: f64 = 0.01;

/// One row. All `None` where it isn't one of probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Answer {
    /// The largest probability.
    pub(crate) confidence: Option<f64>,
    /// In nats.
    pub(crate) entropy: Option<f64>,
    /// Whether the class of the largest is the label; `None` without one.
    pub(crate) correct: Option<bool>,
}

impl Answer {
    /// What is watched, each with its field. Of an answer without a label the error takes no notice: its window is of those
    /// that have one.
    pub(crate) fn values(self, low_confidence: f64) -> impl Iterator<Item = (usize, f64)> {
        let low = self
            .confidence
            .map(|confidence| f64::from(u8::from(confidence < low_confidence)));
        let known = [self.confidence, self.entropy, low].map(|value| Some(value.unwrap_or(f64::NAN)));
        let signed = self.confidence.zip(self.correct);
        let error = signed.map(|(confidence, correct)| if correct { confidence } else { -confidence });
        known
            .into_iter()
            .chain([error])
            .enumerate()
            .filter_map(|(column, value)| Some((column, value?)))
    }
}

/// The answers of a sample.
pub(crate) fn read(watches: &[Watch], tensors: &[Tensor], logits: bool) -> Result<Vec<Answer>, Error> {
    if tensors.len() != watches.len() {
        let (found, watched) = (tensors.len(), watches.len());
        return Err(Error::BadInput(format!("{found} tensors where {watched} are watched")));
    }
    for (tensor, watch) in tensors.iter().zip(watches) {
        tensor.check(&watch.spec)?;
    }
    let Some((outputs, labels)) = tensors.split_first() else {
        return Ok(Vec::new());
    };
    let classes = outputs
        .shape
        .last()
        .map_or(0, |&classes| usize::try_from(classes).unwrap_or(0));
    if classes < 2 {
        return Err(Error::BadInput(format!(
            "tensor {:?} has {classes} classes, not 2 or more",
            outputs.name
        )));
    }
    let values: Vec<f64> = outputs.numbers()?.collect();
    let rows = values.len() / classes;
    let labels = match labels.first() {
        Some(labels) => labels.numbers()?.map(Some).collect(),
        None => vec![None; rows],
    };
    if labels.len() != rows {
        return Err(Error::BadInput(format!("{} labels of {rows} answers", labels.len())));
    }
    let both = values.chunks_exact(classes).zip(labels);
    Ok(both.map(|(row, label)| answer(row.to_vec(), label, logits)).collect())
}

fn answer(mut row: Vec<f64>, label: Option<f64>, logits: bool) -> Answer {
    let are_probabilities = if logits {
        softmax(&mut row)
    } else {
        (row.iter().sum::<f64>() - 1.0).abs() <= SUM_TOLERANCE
    };
    let entropy = entropy(&row).filter(|_| are_probabilities);
    if entropy.is_none() {
        host::counter("calibration/not-probabilities", 1);
        return Answer::default();
    }
    let label = label.filter(|&label| label >= 0.0);
    Answer {
        confidence: confidence(&row),
        entropy,
        correct: label.and_then(|label| argmax(&row).map(|class| class as f64 == label)),
    }
}
