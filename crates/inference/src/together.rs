//! What an engine has to show before it runs several samples at once: that it answers them as one by one.
//!
//! Owns the rows that it is tried on, how far its answers may differ, and for how many rows it is compared. Of models and
//! engines it knows nothing: each engine asks it. A model whose samples act on each other, say by a mean over the first
//! dimension, is found out on random rows or on the first real ones, which may all be the same.

use floorhand_tensor::{Datatype, Dim, Signature, Tensor, TensorSpec};

/// Most samples of one run. What a run costs beside its samples is spread over enough of them by then, and each more is
/// kept waiting by all others.
pub const MAX_ROWS: usize = 64;

/// Rows that have to have had the same answer in a batch and one by one before batches are relied on.
pub const COMPARED: usize = 24;

/// Rows of one of the batches of random rows, and how many such batches there are: one for each range of numbers.
const RANDOM_ROWS: usize = 5;
const RANGES: [f32; 3] = [1.0, 100.0, 0.01];

/// How far an answer may be from that of one by one, of the largest number in it or of 1: sums in another order.
const ROUNDING: f64 = 1e-5;

/// The same for half precision, which has 11 bits.
const ROUNDING_HALF: f64 = 4e-3;

/// Whether two answers are the same up to rounding.
#[must_use]
pub fn alike(one: &[Tensor], other: &[Tensor]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike_tensors(one, other))
}

fn alike_tensors(one: &Tensor, other: &Tensor) -> bool {
    if one == other {
        return true;
    }
    let allowed = match one.datatype() {
        Datatype::Fp16 => ROUNDING_HALF,
        Datatype::Fp32 | Datatype::Fp64 => ROUNDING,
        _ => return false,
    };
    let (Ok(a), Ok(b)) = (one.to_f64(), other.to_f64()) else {
        return false;
    };
    let finite = a.iter().map(|a| a.abs()).filter(|a| a.is_finite());
    let allowed = allowed * finite.fold(1.0, f64::max);
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed;
    (one.datatype(), one.shape()) == (other.datatype(), other.shape()) && a.iter().zip(&b).all(close)
}

/// Rows of random values that a model may have an answer to, always the same: for each range a few.
#[must_use]
pub fn random_rows(signature: &Signature) -> Vec<Vec<Vec<Tensor>>> {
    // A generator of the SplitMix64 family: any seed but the same one each time.
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40
    };
    let mut tensor = |spec: &TensorSpec, range: f32| {
        let shape: Vec<u64> = spec
            .shape
            .iter()
            .map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 })
            .collect();
        let count = spec.fixed_len().unwrap_or(0);
        if spec.datatype == Datatype::Bytes {
            let texts: Vec<String> = (0..count).map(|_| (next() % 10).to_string()).collect();
            return Tensor::from_elements(&spec.name, shape, &texts).ok();
        }
        let is_float = matches!(spec.datatype, Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64);
        let values = (0..count).map(|_| {
            let drawn = next();
            match spec.datatype {
                _ if is_float => (drawn as f64 / f64::from(1 << 23) - 1.0) * f64::from(range),
                Datatype::Bool => (drawn % 2) as f64,
                // Few enough to be places in a table.
                _ => (drawn % 3) as f64,
            }
        });
        Tensor::from_f64(&spec.name, spec.datatype, shape, &values.collect::<Vec<_>>()).ok()
    };
    let mut rows = |range: f32| {
        let row = |_| {
            signature
                .inputs
                .iter()
                .map(|spec| tensor(spec, range))
                .collect::<Option<Vec<_>>>()
        };
        (0..RANDOM_ROWS).filter_map(row).collect::<Vec<_>>()
    };
    RANGES.into_iter().map(&mut rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_number_is_alike_only_in_its_place() {
        let tensor = |values: &[f32]| vec![Tensor::from_f32("y", vec![1, 3], values).unwrap()];
        let one = tensor(&[f32::NAN, 1000.0, 0.0]);
        assert!(alike(&one, &tensor(&[f32::NAN, 1000.0, 0.005])));
        assert!(!alike(&one, &tensor(&[f32::NAN, 1000.0, 0.02])));
        assert!(!alike(&one, &tensor(&[0.0, 1000.0, f32::NAN])));
        let label = |text: &str| vec![Tensor::from_elements("y", vec![1], &[text]).unwrap()];
        assert!(alike(&label("a"), &label("a")) && !alike(&label("a"), &label("b")));
    }
}
