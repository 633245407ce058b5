//! Frames of a stream for a short-time transform: a fixed length of samples, every `hop` samples.
//!
//! The first frame is ready when its last sample has come: there is no padding at the start, in which a device would
//! wait for nothing (librosa's `center=False`).

use crate::StatisticsError;
use alloc::vec::Vec;

/// The longest frame, that of the longest transform.
pub const MAX_LENGTH: usize = crate::spectrum::MAX_WINDOW;

/// Gathers samples into frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    /// At most `length`, oldest first; a full frame stays until the next sample.
    samples: Vec<f64>,
    length: usize,
    hop: usize,
}

impl Frames {
    /// Frames of `length` samples, 1 to [`MAX_LENGTH`], of which each begins `hop` samples after the one before, 1 to
    /// `length`.
    pub fn new(length: usize, hop: usize) -> Result<Self, StatisticsError> {
        for (name, value, most, expected) in [
            ("frame length", length, MAX_LENGTH, "1 to 65536"),
            ("hop", hop, length, "1 to the frame's length"),
        ] {
            if !(1..=most).contains(&value) {
                return Err(StatisticsError::Parameter {
                    name,
                    value: value as f64,
                    expected,
                });
            }
        }
        Ok(Self {
            samples: Vec::with_capacity(length),
            length,
            hop,
        })
    }

    /// Takes one sample in, and gives the frame that it completes, oldest sample first.
    pub fn push(&mut self, sample: f64) -> Option<&[f64]> {
        if self.samples.len() == self.length {
            self.samples.drain(..self.hop);
        }
        self.samples.push(sample);
        (self.samples.len() == self.length).then_some(self.samples.as_slice())
    }

    /// Samples in a frame.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Samples from one frame's start to the next's.
    #[must_use]
    pub const fn hop(&self) -> usize {
        self.hop
    }

    /// Forgets the samples: what comes next is no continuation.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// The samples: all that the next frames depend on.
    #[must_use]
    pub fn state(&self) -> &[f64] {
        &self.samples
    }

    /// Goes on from what [`state`](Self::state) gave with the same length and hop.
    pub fn restore(&mut self, samples: &[f64]) -> Result<(), StatisticsError> {
        if samples.len() > self.length {
            return Err(StatisticsError::State("more samples than a frame holds"));
        }
        self.samples.clear();
        self.samples.extend_from_slice(samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_begin_a_hop_apart_wherever_it_went_on_from() {
        for hop in 1..=4 {
            let mut frames = Frames::new(4, hop).unwrap();
            let mut found = Vec::new();
            for sample in 0..13 {
                let mut restored = Frames::new(4, hop).unwrap();
                restored.restore(frames.state()).unwrap();
                frames = restored;
                found.extend(frames.push(f64::from(sample)).map(<[f64]>::to_vec));
            }
            let expected: Vec<Vec<f64>> = (0..=9)
                .step_by(hop)
                .map(|start| (start..start + 4).map(f64::from).collect())
                .collect();
            assert_eq!(found, expected, "{hop}");
        }
    }

    #[test]
    fn a_cleared_frame_begins_anew() {
        let mut frames = Frames::new(2, 1).unwrap();
        frames.push(1.0);
        frames.clear();
        assert_eq!(frames.push(2.0), None);
        assert_eq!(frames.push(3.0), Some(&[2.0, 3.0][..]));
        assert!(frames.restore(&[0.0; 3]).is_err());
    }

    #[test]
    fn lengths_are_bounded() {
        for (length, hop) in [(0, 1), (MAX_LENGTH + 1, 1), (4, 0), (4, 5)] {
            assert!(Frames::new(length, hop).is_err(), "{length} {hop}");
        }
    }
}
