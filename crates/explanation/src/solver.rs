//! Small symmetric systems of equations.
//!
//! Owns the factorisation A = L D Lᵀ of a positive definite matrix (Golub and Van Loan, Matrix Computations, 4.1), without
//! pivoting and without square roots. Sums run in one order and nothing is fused, so a machine's vector width changes no
//! bit. For a few hundred unknowns: n³ / 6 multiplications and additions.

/// A pivot smaller than this share of its diagonal element is rounding, not information.
const SMALLEST_PIVOT: f64 = 1e-11;

/// A symmetric matrix, its lower triangle row by row: row i has i + 1 elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Symmetric {
    rows: Vec<Vec<f64>>,
}

impl Symmetric {
    /// Of zeros.
    pub(crate) fn zeros(size: usize) -> Self {
        Self {
            rows: (1..=size).map(|length| vec![0.0; length]).collect(),
        }
    }

    /// Adds `factor` times the outer product of a vector with itself.
    pub(crate) fn add_outer(&mut self, factor: f64, vector: &[f64]) {
        for (row, left) in self.rows.iter_mut().zip(vector) {
            let scaled = factor * left;
            for (element, right) in row.iter_mut().zip(vector) {
                *element += scaled * right;
            }
        }
    }

    /// Adds a number to every element.
    pub(crate) fn add_everywhere(&mut self, number: f64) {
        for element in self.rows.iter_mut().flatten() {
            *element += number;
        }
    }

    /// Adds a number to every element of the diagonal.
    pub(crate) fn add_diagonal(&mut self, number: f64) {
        for element in self.rows.iter_mut().filter_map(|row| row.last_mut()) {
            *element += number;
        }
    }

    /// The sum of the diagonal.
    pub(crate) fn trace(&self) -> f64 {
        self.rows.iter().filter_map(|row| row.last()).sum()
    }

    /// L and D, or `None` if the matrix isn't positive definite beyond rounding.
    pub(crate) fn factor(&self) -> Option<Factors> {
        let mut lower: Vec<Vec<f64>> = Vec::with_capacity(self.rows.len());
        let mut pivots: Vec<f64> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let (diagonal, left) = row.split_last()?;
            let mut scaled: Vec<f64> = Vec::with_capacity(left.len());
            for (element, above) in left.iter().zip(&lower) {
                // Elements of L times their pivots: `above` ends where this row has got to.
                scaled.push(element - dot(&scaled, above));
            }
            let unit: Vec<f64> = scaled.iter().zip(&pivots).map(|(value, pivot)| value / pivot).collect();
            let pivot = diagonal - dot(&scaled, &unit);
            let is_large_enough = pivot > SMALLEST_PIVOT * diagonal;
            if !(is_large_enough && pivot.is_finite()) {
                return None;
            }
            lower.push(unit);
            pivots.push(pivot);
        }
        Some(Factors { lower, pivots })
    }
}

/// A = L D Lᵀ; L has ones on its diagonal, which aren't stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Factors {
    lower: Vec<Vec<f64>>,
    pivots: Vec<f64>,
}

impl Factors {
    /// x of A x = `right`.
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut forward: Vec<f64> = Vec::with_capacity(right.len());
        for (row, value) in self.lower.iter().zip(right) {
            forward.push(value - dot(row, &forward));
        }
        let mut solution: Vec<f64> = forward
            .iter()
            .zip(&self.pivots)
            .map(|(value, pivot)| value / pivot)
            .collect();
        for (place, row) in self.lower.iter().enumerate().rev() {
            let known = solution.get(place).copied().unwrap_or_default();
            for (value, factor) in solution.iter_mut().zip(row) {
                *value -= factor * known;
            }
        }
        solution
    }
}

/// Over the shorter one's length.
fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .fold(0.0, |sum, (left, right)| sum + left * right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symmetric(rows: &[&[f64]]) -> Symmetric {
        Symmetric {
            rows: rows.iter().map(|row| row.to_vec()).collect(),
        }
    }

    #[test]
    fn solves_a_system_by_hand() {
        let matrix = symmetric(&[&[4.0], &[2.0, 5.0], &[-2.0, 1.0, 6.0]]);
        let solution = matrix.factor().unwrap().solve(&[2.0, 15.0, 18.0]);
        for (actual, expected) in solution.iter().zip([1.0, 2.0, 3.0]) {
            assert!((actual - expected).abs() < 1e-14, "{solution:?}");
        }
    }

    #[test]
    fn a_large_system_is_solved_to_rounding() {
        let size = 200;
        let mut random = crate::random::SplitMix64::new(4);
        let mut number = || random.below(2001) as f64 / 1000.0 - 1.0;
        let mut matrix = Symmetric::zeros(size);
        for _ in 0..2 * size {
            let vector: Vec<f64> = (0..size).map(|_| number()).collect();
            matrix.add_outer(0.5, &vector);
        }
        let expected: Vec<f64> = (0..size).map(|_| number()).collect();
        let element = |i: usize, j: usize| matrix.rows[i.max(j)][i.min(j)];
        let right: Vec<f64> = (0..size)
            .map(|i| (0..size).map(|j| element(i, j) * expected[j]).sum())
            .collect();
        let solution = matrix.factor().unwrap().solve(&right);
        let error = solution
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(error < 1e-11, "{error}");
    }

    #[test]
    fn what_is_singular_is_told() {
        assert_eq!(symmetric(&[&[1.0], &[1.0, 1.0]]).factor(), None);
        assert_eq!(symmetric(&[&[1.0], &[2.0, 1.0]]).factor(), None);
        assert_eq!(symmetric(&[&[f64::NAN]]).factor(), None);
        assert_eq!(symmetric(&[&[0.0]]).factor(), None);
    }

    #[test]
    fn elements_and_the_diagonal_are_added_to() {
        let mut matrix = Symmetric::zeros(2);
        matrix.add_everywhere(1.0);
        matrix.add_diagonal(2.0);
        assert_eq!(matrix, symmetric(&[&[3.0], &[1.0, 3.0]]));
        assert_eq!(matrix.trace(), 6.0);
    }
}
