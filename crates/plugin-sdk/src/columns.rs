//! The columns of a watched tensor: what monitors that look at one field at a time have in common.

use crate::{Datatype, Error, Origin, Tensor, TensorSpec, Watch};

/// Fields of a monitor: each has statistics of its own, and so a share of the plugin's memory and state.
pub const MAX_FIELDS: usize = 256;

/// A tensor whose last dimension holds fields; each row along the others is an observation of all of them.
///
/// ```
/// use floorhand_plugin_sdk::{Columns, Datatype, Origin, Tensor};
///
/// let names = vec!["pressure".to_owned(), "flow".to_owned()];
/// let columns = Columns::new("x", Origin::Input, Datatype::Fp32, None, names)?;
/// assert_eq!(columns.watch().spec.shape, [-1, 2]);
/// let tensors = [Tensor::from_f32("x", vec![2, 2], &[1.0, 10.0, 2.0, 20.0])];
/// let mut sums = [0.0; 2];
/// columns.each(&tensors, |column, value| sums[column] += value)?;
/// assert_eq!(sums, [3.0, 30.0]);
/// # Ok::<(), floorhand_plugin_sdk::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Columns {
    watch: Watch,
    names: Vec<String>,
}

impl Columns {
    /// `fields` names the columns in order: 1 to [`MAX_FIELDS`], none twice. The shape is `[-1, n]` for n fields unless
    /// given; it has to end in n or -1.
    pub fn new(
        tensor: impl Into<String>,
        origin: Origin,
        datatype: Datatype,
        shape: Option<Vec<i64>>,
        fields: Vec<String>,
    ) -> Result<Self, Error> {
        if fields.is_empty() || fields.len() > MAX_FIELDS {
            return Err(Error::BadConfig(format!(
                "fields has {} names: 1 to {MAX_FIELDS}",
                fields.len()
            )));
        }
        for (index, name) in fields.iter().enumerate() {
            if fields.iter().take(index).any(|earlier| earlier == name) {
                return Err(Error::BadConfig(format!("fields has {name:?} twice")));
            }
        }
        if datatype == Datatype::Bytes {
            return Err(Error::BadConfig(
                "datatype is BYTES, and has to be one of numbers".into(),
            ));
        }
        let width = fields.len() as i64;
        let shape = shape.unwrap_or_else(|| vec![-1, width]);
        if !shape.last().is_some_and(|&last| last == width || last < 0) {
            return Err(Error::BadConfig(format!(
                "shape has to end in {width}, the number of fields"
            )));
        }
        let spec = TensorSpec::new(tensor, datatype, shape);
        Ok(Self {
            watch: Watch { origin, spec },
            names: fields,
        })
    }

    /// What a subscription needs to see the tensor.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The fields' names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Calls `see` with column and value for every element, as [`values`](Self::values) gives them; nothing is called if the
    /// tensor isn't what was asked for.
    pub fn each(&self, tensors: &[Tensor], mut see: impl FnMut(usize, f64)) -> Result<(), Error> {
        self.values(tensors)?.for_each(|(column, value)| see(column, value));
        Ok(())
    }

    /// Column and value of every element, row by row. `tensors` is what `observe` was given, the watched tensor alone;
    /// [`Error::BadInput`] if it isn't what was asked for.
    pub fn values<'a>(&self, tensors: &'a [Tensor]) -> Result<impl Iterator<Item = (usize, f64)> + use<'a>, Error> {
        let [tensor] = tensors else {
            return Err(Error::BadInput(format!(
                "{} tensors where one is watched",
                tensors.len()
            )));
        };
        tensor.check(&self.watch.spec)?;
        let width = self.names.len();
        if tensor.shape.last() != Some(&(width as u64)) {
            return Err(Error::BadInput(format!(
                "tensor {:?} has shape {:?}, not {width} columns",
                tensor.name, tensor.shape
            )));
        }
        Ok(tensor
            .numbers()?
            .enumerate()
            .map(move |(index, value)| (index % width, value)))
    }
}
