//! Which features are explained together.
//!
//! Owns the partition of a row's columns into groups. A group is one player: its features are shown or hidden together and
//! share one attribution. A window of a sensor, the one-hot columns of a category or the bins of a band are such groups;
//! hiding one of their columns alone makes rows that no machine ever had, and costs evaluations.

use crate::{Error, MAX_FEATURES, MAX_GROUPS};

/// A partition of the columns of a row. Every column belongs to one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    features: usize,
    /// The columns of each group, rising.
    columns: Vec<Vec<usize>>,
}

impl Groups {
    /// Each feature by itself: `features` groups, 1 to [`MAX_GROUPS`].
    pub fn single(features: usize) -> Result<Self, Error> {
        Self::from_labels(&labels(features, |column| column)?)
    }

    /// Neighbouring columns, `width` to a group: rows hold one sensor's window after the other. `features` has to be a
    /// multiple of `width`.
    pub fn consecutive(features: usize, width: usize) -> Result<Self, Error> {
        even(features, width)?;
        Self::from_labels(&labels(features, |column| column / width)?)
    }

    /// Every `groups`-th column: rows hold the values of all sensors at one time, then those at the next. `features` has to
    /// be a multiple of `groups`.
    pub fn interleaved(features: usize, groups: usize) -> Result<Self, Error> {
        even(features, groups)?;
        Self::from_labels(&labels(features, |column| column % groups)?)
    }

    /// `labels[column]` is the column's group, numbered from 0 without a gap.
    pub fn from_labels(labels: &[usize]) -> Result<Self, Error> {
        if !(1..=MAX_FEATURES).contains(&labels.len()) {
            return Err(Error::Features(labels.len()));
        }
        let groups = labels.iter().max().map_or(0, |largest| largest.saturating_add(1));
        if groups > MAX_GROUPS {
            return Err(Error::Groups(groups));
        }
        let mut columns = vec![Vec::new(); groups];
        for (column, &label) in labels.iter().enumerate() {
            if let Some(group) = columns.get_mut(label) {
                group.push(column);
            }
        }
        if let Some(empty) = columns.iter().position(Vec::is_empty) {
            return Err(Error::EmptyGroup(empty));
        }
        Ok(Self {
            features: labels.len(),
            columns,
        })
    }

    /// Features of a row.
    #[must_use]
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many groups there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.columns.len()
    }

    /// The columns of each group, rising.
    #[must_use]
    pub fn columns(&self) -> &[Vec<usize>] {
        &self.columns
    }
}

/// A label for each feature; refuses too many before they are made.
fn labels(features: usize, label: impl Fn(usize) -> usize) -> Result<Vec<usize>, Error> {
    if features > MAX_FEATURES {
        return Err(Error::Features(features));
    }
    Ok((0..features).map(label).collect())
}

fn even(features: usize, by: usize) -> Result<(), Error> {
    if by == 0 || !features.is_multiple_of(by) {
        return Err(Error::Uneven { features, by });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_side_by_side_or_interleaved() {
        assert_eq!(Groups::single(3).unwrap().columns(), [[0], [1], [2]]);
        assert_eq!(Groups::consecutive(6, 3).unwrap().columns(), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(Groups::interleaved(6, 3).unwrap().columns(), [[0, 3], [1, 4], [2, 5]]);
        assert_eq!(
            Groups::from_labels(&[1, 0, 1]).unwrap().columns(),
            [vec![1], vec![0, 2]]
        );
    }

    #[test]
    fn what_is_no_partition_is_refused() {
        assert_eq!(Groups::single(0), Err(Error::Features(0)));
        assert_eq!(Groups::single(MAX_GROUPS + 1), Err(Error::Groups(MAX_GROUPS + 1)));
        assert_eq!(Groups::single(usize::MAX), Err(Error::Features(usize::MAX)));
        assert_eq!(Groups::from_labels(&[0, 2]), Err(Error::EmptyGroup(1)));
        assert_eq!(Groups::from_labels(&[usize::MAX]), Err(Error::Groups(usize::MAX)));
        assert_eq!(Groups::consecutive(7, 2), Err(Error::Uneven { features: 7, by: 2 }));
        assert_eq!(Groups::interleaved(7, 0), Err(Error::Uneven { features: 7, by: 0 }));
    }
}
