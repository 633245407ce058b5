//! The recorded models, evaluated here, in f64 as they were where their attributions were recorded.

use serde_json::Value;

/// A model that gives some outputs for a row.
pub(crate) enum Model {
    /// The start, and to each output the sum of the trees' leaves times the scale.
    Trees {
        trees: Vec<Vec<Node>>,
        start: Vec<f64>,
        scale: f64,
    },
    Linear {
        weights: Vec<f64>,
        intercept: f64,
    },
    /// The mean squared difference between a row and what comes out of the layers; tanh between them.
    Autoencoder {
        layers: Vec<(Vec<Vec<f64>>, Vec<f64>)>,
    },
}

pub(crate) enum Node {
    Leaf(Vec<f64>),
    Split {
        feature: usize,
        threshold: f64,
        left: usize,
        right: usize,
    },
}

impl Model {
    pub(crate) fn read(value: &Value) -> Self {
        if let Some(trees) = value.get("trees") {
            let nodes = |tree: &Value| array(tree).iter().map(Node::read).collect();
            return Self::Trees {
                trees: array(trees).iter().map(nodes).collect(),
                start: numbers(&value["start"]),
                scale: value["scale"].as_f64().unwrap(),
            };
        }
        if let Some(layers) = value.get("layers") {
            let weights = |layer: &Value| array(&layer["weights"]).iter().map(numbers).collect();
            let layers = array(layers).iter();
            return Self::Autoencoder {
                layers: layers
                    .map(|layer| (weights(layer), numbers(&layer["biases"])))
                    .collect(),
            };
        }
        Self::Linear {
            weights: numbers(&value["weights"]),
            intercept: value["intercept"].as_f64().unwrap(),
        }
    }

    /// The outputs for each row, one after the other.
    pub(crate) fn outputs(&self, rows: &[f32], count: usize) -> Vec<f64> {
        let rows = rows.chunks_exact(rows.len() / count);
        rows.flat_map(|row| self.row(row)).collect()
    }

    fn row(&self, row: &[f32]) -> Vec<f64> {
        let row: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
        match self {
            Self::Linear { weights, intercept } => vec![intercept + dot(weights, &row)],
            Self::Autoencoder { layers } => vec![reconstruction_error(layers, &row)],
            Self::Trees { trees, start, scale } => {
                let mut sums = start.clone();
                for tree in trees {
                    for (sum, value) in sums.iter_mut().zip(leaf(tree, &row)) {
                        *sum += scale * value;
                    }
                }
                sums
            }
        }
    }
}

impl Node {
    fn read(value: &Value) -> Self {
        if let Some(leaf) = value.get("leaf") {
            return Self::Leaf(numbers(leaf));
        }
        let split = &value["split"];
        let index = |place: usize| split[place].as_u64().unwrap() as usize;
        Self::Split {
            feature: index(0),
            threshold: split[1].as_f64().unwrap(),
            left: index(2),
            right: index(3),
        }
    }
}

fn leaf<'a>(tree: &'a [Node], row: &[f64]) -> &'a [f64] {
    let mut node = &tree[0];
    loop {
        match node {
            Node::Leaf(values) => return values,
            Node::Split {
                feature,
                threshold,
                left,
                right,
            } => node = &tree[if row[*feature] <= *threshold { *left } else { *right }],
        }
    }
}

fn reconstruction_error(layers: &[(Vec<Vec<f64>>, Vec<f64>)], row: &[f64]) -> f64 {
    let mut values = row.to_vec();
    for (index, (weights, biases)) in layers.iter().enumerate() {
        let sums = weights
            .iter()
            .zip(biases)
            .map(|(weights, bias)| bias + dot(weights, &values));
        values = if index + 1 < layers.len() {
            sums.map(f64::tanh).collect()
        } else {
            sums.collect()
        };
    }
    let squares = values.iter().zip(row).map(|(out, original)| (out - original).powi(2));
    squares.sum::<f64>() / row.len() as f64
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    array(value).iter().map(|number| number.as_f64().unwrap()).collect()
}
