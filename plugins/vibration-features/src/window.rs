//! A sliding window over a stream of samples: a ring of fixed length that is ready every `hop` samples.
//!
//! Owns the samples and when they make a window; knows no features.

/// The last samples of a stream, at most `length` of them.
#[derive(Debug, Clone)]
pub(crate) struct SlidingWindow {
    /// Grows up to `length`, then is a ring.
    ring: Vec<f32>,
    /// Where the next sample goes, and so the oldest stands, once the ring is full.
    next: usize,
    /// Samples until the window is ready again: 1 to `length`.
    wanted: usize,
    length: usize,
    hop: usize,
}

impl SlidingWindow {
    /// A window of `length` samples, ready when that many have come and then every `hop`.
    pub(crate) fn new(length: usize, hop: usize) -> Self {
        Self {
            ring: Vec::new(),
            next: 0,
            wanted: length,
            length,
            hop,
        }
    }

    /// Samples in a window.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Samples between two windows.
    pub(crate) fn hop(&self) -> usize {
        self.hop
    }

    /// Samples until the next window.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Takes in at most `hop` samples. When the window gets full on the way, `window` is replaced by it, oldest sample
    /// first, and the answer is true; the samples after it count for the next one.
    pub(crate) fn extend(&mut self, samples: impl Iterator<Item = f32>, window: &mut Vec<f64>) -> bool {
        let mut ready = false;
        for sample in samples {
            self.push(sample);
            self.wanted -= 1;
            if self.wanted == 0 {
                self.wanted = self.hop;
                self.copy_to(window);
                ready = true;
            }
        }
        ready
    }

    /// The samples there are, oldest first.
    pub(crate) fn samples(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        (0..self.ring.len()).map(|index| {
            self.ring
                .get((self.next + index) % self.length)
                .copied()
                .unwrap_or_default()
        })
    }

    /// Forgets the samples.
    pub(crate) fn clear(&mut self) {
        self.ring.clear();
        self.next = 0;
        self.wanted = self.length;
    }

    /// Goes on from saved `samples` and `wanted`; says whether they can be those of this window.
    pub(crate) fn restore(&mut self, wanted: usize, samples: &[f32]) -> bool {
        let filling = samples.len() < self.length && wanted == self.length - samples.len();
        let sliding = samples.len() == self.length && (1..=self.hop).contains(&wanted);
        if !(filling || sliding) || samples.iter().any(|sample| !sample.is_finite()) {
            return false;
        }
        self.clear();
        self.ring.extend_from_slice(samples);
        self.wanted = wanted;
        true
    }

    fn copy_to(&self, window: &mut Vec<f64>) {
        window.clear();
        let (newer, older) = self.ring.split_at_checked(self.next).unwrap_or((&self.ring, &[]));
        window.extend(older.iter().chain(newer).map(|&sample| f64::from(sample)));
    }

    fn push(&mut self, sample: f32) {
        if self.ring.len() < self.length {
            self.ring.push(sample);
        } else if let Some(oldest) = self.ring.get_mut(self.next) {
            *oldest = sample;
            self.next = (self.next + 1) % self.length;
        }
    }
}
