//! Tensors of several samples, taken apart.

use floorhand_tensor::{Parts, Tensor, TensorError};

/// A tensor of several samples, to be handed out one by one; that of one sample without a copy.
pub(crate) struct Split {
    tensor: Option<Tensor>,
    count: usize,
    parts: Parts,
}

impl Split {
    pub(crate) fn new(tensor: Tensor, count: usize) -> Self {
        Self {
            parts: tensor.parts(count),
            tensor: Some(tensor),
            count,
        }
    }

    pub(crate) fn take(&mut self, index: usize) -> Result<Tensor, TensorError> {
        if self.count == 1
            && let Some(tensor) = self.tensor.take()
        {
            let (name, datatype, mut shape, data) = tensor.into_parts();
            shape.remove(0);
            return Tensor::new(name, datatype, shape, data);
        }
        let Some(tensor) = &self.tensor else {
            return Tensor::from_f32("", vec![0], &[]);
        };
        tensor.part(&self.parts, index)
    }
}
