//! Standardising: (x - mean) / scale over many FP32 elements at once.
//!
//! Elements are little-endian bytes, the way they cross the plugin boundary, and are replaced in place. The loops stand
//! here and not in the plugin because this crate is compiled for speed and plugins for size (`cargo xtask plugins`):
//! only then do they become vector instructions.

/// Replaces every element by (x - mean) / scale, one rounding for the difference and one for the quotient.
pub fn standardize(elements: &mut [[u8; 4]], mean: f32, scale: f32) {
    elements.iter_mut().for_each(|element| replace(element, mean, scale));
}

/// The same with a mean and a scale for each column of row-major rows. Elements after the last whole row stay.
pub fn standardize_columns(elements: &mut [[u8; 4]], mean: &[f32], scale: &[f32]) {
    if mean.is_empty() {
        return;
    }
    for row in elements.chunks_exact_mut(mean.len()) {
        row.iter_mut()
            .zip(mean)
            .zip(scale)
            .for_each(|((element, &mean), &scale)| replace(element, mean, scale));
    }
}

#[inline]
fn replace(element: &mut [u8; 4], mean: f32, scale: f32) {
    *element = ((f32::from_le_bytes(*element) - mean) / scale).to_le_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_rows_are_replaced() {
        let mut elements = [1.0_f32, 2.0, 3.0, 6.0, 9.0].map(f32::to_le_bytes);
        standardize_columns(&mut elements, &[1.0, 2.0], &[2.0, 4.0]);
        assert_eq!(elements.map(f32::from_le_bytes), [0.0, 0.0, 1.0, 1.0, 9.0]);
        standardize(&mut elements, 1.0, 0.5);
        assert_eq!(elements.map(f32::from_le_bytes), [-2.0, -2.0, 0.0, 0.0, 16.0]);
        standardize_columns(&mut elements, &[], &[]);
    }
}
