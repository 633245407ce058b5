//! The bytes of requests that are under way, of all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes there may be.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    free: Arc<AtomicUsize>,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(AtomicUsize::new(bytes)),
        }
    }

    /// A share that is empty.
    pub(crate) fn share(&self) -> Held {
        Held {
            free: Arc::clone(&self.free),
            bytes: 0,
        }
    }
}

/// A share of the room; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    free: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    /// How many it has.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many more. False when there is no room.
    pub(crate) fn grow(&mut self, by: usize) -> bool {
        let less = |free: usize| free.checked_sub(by);
        let taken = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok();
        if taken {
            self.bytes += by;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let room = Room::new(10);
        let (mut one, mut other) = (room.share(), room.share());
        assert!(one.grow(6) && other.grow(4) && !other.grow(1) && other.grow(0));
        drop(one);
        assert!(other.grow(6) && !other.grow(1));
        drop(other);
        assert!(room.share().grow(10));
    }
}
