//! The last rows of a stream: a ring of bytes that is ready every `hop` rows.
//!
//! Owns the rows and when they make a window; knows no datatypes and no time.

/// Nothing of these may be 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Rows in a window.
    pub(crate) length: usize,
    /// Rows between two windows, at most `length`.
    pub(crate) hop: usize,
    /// Bytes in a row.
    pub(crate) row_bytes: usize,
}

/// At most `length` rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Grows up to `length` rows, then is a ring.
    ring: Vec<u8>,
    /// Where the next row goes, and so the oldest stands, once the ring is full. In bytes.
    next: usize,
    /// Rows until the next window: 1 to `length`.
    wanted: usize,
    sizes: Sizes,
}

impl Rows {
    /// A window is ready when `length` rows have come and then every `hop`.
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            ring: Vec::new(),
            next: 0,
            wanted: sizes.length,
            sizes,
        }
    }

    /// Rows until the next window.
    pub(crate) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether no row has come.
    pub(crate) const fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Takes rows in, and gives the windows that get full on the way, one after the other.
    pub(crate) fn extend(&mut self, rows: &[u8]) -> Vec<Vec<u8>> {
        let mut windows = Vec::new();
        for row in rows.chunks_exact(self.sizes.row_bytes) {
            self.push(row);
            self.wanted -= 1;
            if self.wanted == 0 {
                self.wanted = self.sizes.hop;
                windows.push(self.in_order());
            }
        }
        windows
    }

    /// The rows there are, oldest first.
    pub(crate) fn in_order(&self) -> Vec<u8> {
        let (newer, older) = self.ring.split_at_checked(self.next).unwrap_or((&self.ring, &[]));
        [older, newer].concat()
    }

    /// Forgets the rows.
    pub(crate) fn clear(&mut self) {
        self.ring.clear();
        self.next = 0;
        self.wanted = self.sizes.length;
    }

    /// Goes on from saved `rows` and `wanted`; says whether they can be those of this window.
    pub(crate) fn restore(&mut self, wanted: usize, rows: &[u8]) -> bool {
        let count = rows.len() / self.sizes.row_bytes;
        let filling = count < self.sizes.length && wanted == self.sizes.length - count;
        let sliding = count == self.sizes.length && (1..=self.sizes.hop).contains(&wanted);
        if !(filling || sliding) || !rows.len().is_multiple_of(self.sizes.row_bytes) {
            return false;
        }
        self.clear();
        self.ring.extend_from_slice(rows);
        self.wanted = wanted;
        true
    }

    fn push(&mut self, row: &[u8]) {
        if self.ring.len() < self.sizes.length * self.sizes.row_bytes {
            self.ring.extend_from_slice(row);
        } else if let Some(oldest) = self.ring.get_mut(self.next..self.next + self.sizes.row_bytes) {
            oldest.copy_from_slice(row);
            self.next = (self.next + self.sizes.row_bytes) % self.ring.len();
        }
    }
}
