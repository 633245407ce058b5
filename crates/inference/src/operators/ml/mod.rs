//! The operators of `ai.onnx.ml`, as ONNX Runtime computes them.
//!
//! tract has some of them, and leaves out attributes that exporters write. Ours replace all: what an attribute asks is
//! done, or the model is refused with the node, the operator and the attribute. Each operator's mathematics are plain
//! functions over slices; what it has in common with the others is in `kernel`, `attributes` and `numbers`.

mod array_feature_extractor;
mod attributes;
mod binarizer;
mod cast;
mod category_mapper;
mod feature_vectorizer;
mod imputer;
mod label_encoder;
mod linear;
mod lookup;
mod normalizer;
mod numbers;
mod one_hot_encoder;
mod pairs;
mod scaler;
mod scores;
mod svm_classifier;
mod svm_kernel;
mod svm_regressor;
mod trees;
mod zip_map;

#[cfg(test)]
mod tests;

use crate::operators::kernel::{Built, Kernel, wrap};
use attributes::Attributes;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::TractResult;

/// Puts our operators into tract's register, in the place of its own of the same name.
pub(crate) fn register(operators: &mut OnnxOpRegister) {
    operators.insert("ArrayFeatureExtractor", |context, node| {
        build(context, node, |_| Ok(array_feature_extractor::ArrayFeatureExtractor))
    });
    operators.insert("Binarizer", |context, node| {
        build(context, node, binarizer::Binarizer::parse)
    });
    operators.insert("Cast", cast::build);
    operators.insert("CastLike", cast::build_like);
    operators.insert("CategoryMapper", |context, node| {
        build(context, node, category_mapper::CategoryMapper::parse)
    });
    operators.insert("FeatureVectorizer", |context, node| {
        build(context, node, feature_vectorizer::FeatureVectorizer::parse)
    });
    operators.insert("Imputer", |context, node| build(context, node, imputer::Imputer::parse));
    operators.insert("LabelEncoder", label_encoder);
    operators.insert("LinearClassifier", |context, node| {
        build(context, node, linear::LinearClassifier::parse)
    });
    operators.insert("LinearRegressor", |context, node| {
        build(context, node, linear::LinearRegressor::parse)
    });
    operators.insert("Normalizer", |context, node| {
        build(context, node, normalizer::Normalizer::parse)
    });
    operators.insert("OneHotEncoder", |context, node| {
        build(context, node, one_hot_encoder::OneHotEncoder::parse)
    });
    operators.insert("SVMClassifier", |context, node| {
        build(context, node, svm_classifier::SvmClassifier::parse)
    });
    operators.insert("SVMRegressor", |context, node| {
        build(context, node, svm_regressor::SvmRegressor::parse)
    });
    operators.insert("Scaler", |context, node| build(context, node, scaler::Scaler::parse));
    operators.insert("TreeEnsemble", |context, node| {
        build(context, node, trees::Regressor::parse_ensemble)
    });
    operators.insert("TreeEnsembleClassifier", |context, node| {
        build(context, node, trees::TreeEnsembleClassifier::parse)
    });
    operators.insert("TreeEnsembleRegressor", |context, node| {
        build(context, node, trees::Regressor::parse)
    });
    operators.insert("ZipMap", |context, node| build(context, node, zip_map::ZipMap::parse));
}

/// The operator changed its meaning with its second version.
fn label_encoder(context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    if Attributes::new(context, node)?.opset() < 2 {
        build(context, node, category_mapper::CategoryMapper::parse_label_encoder)
    } else {
        build(context, node, label_encoder::LabelEncoder::parse)
    }
}

/// Parses a node into a kernel, and refuses attributes that the parser hasn't asked for.
fn build<K: Kernel>(
    context: &ParsingContext,
    node: &NodeProto,
    parse: impl FnOnce(&mut Attributes) -> TractResult<K>,
) -> TractResult<Built> {
    let mut attributes = Attributes::new(context, node)?;
    let kernel = parse(&mut attributes)?;
    attributes.finish()?;
    Ok(wrap(node, kernel))
}
