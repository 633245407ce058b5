//! Two ends that pass `(topic, bytes)` to each other as a broker would, without one.
//!
//! Faults are asked for by number, so that a test says exactly what is lost or comes twice.

use std::collections::VecDeque;

use tokio::sync::mpsc;

/// One end of a fake transport.
#[derive(Debug)]
pub struct FakeEnd {
    to_other: mpsc::Sender<(String, Vec<u8>)>,
    from_other: mpsc::Receiver<(String, Vec<u8>)>,
    lose_next: usize,
    repeat_next: usize,
    /// Everything this end was asked to send, in order, what was lost too.
    pub sent: VecDeque<(String, Vec<u8>)>,
}

/// Two connected ends, each with room for `capacity` messages that the other hasn't taken yet.
#[must_use]
pub fn fake_transport(capacity: usize) -> (FakeEnd, FakeEnd) {
    let (to_right, from_left) = mpsc::channel(capacity.max(1));
    let (to_left, from_right) = mpsc::channel(capacity.max(1));
    (FakeEnd::new(to_right, from_right), FakeEnd::new(to_left, from_left))
}

impl FakeEnd {
    fn new(to_other: mpsc::Sender<(String, Vec<u8>)>, from_other: mpsc::Receiver<(String, Vec<u8>)>) -> Self {
        Self {
            to_other,
            from_other,
            lose_next: 0,
            repeat_next: 0,
            sent: VecDeque::new(),
        }
    }

    /// Sends a message, or loses or repeats it when that was asked for.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn send(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        let message = (topic.to_owned(), payload.to_vec());
        self.sent.push_back(message.clone());
        if self.lose_next > 0 {
            self.lose_next -= 1;
            return Ok(());
        }
        if self.repeat_next > 0 {
            self.repeat_next -= 1;
            self.to_other.send(message.clone()).await?;
        }
        self.to_other.send(message).await?;
        Ok(())
    }

    /// The next message, or `None` when the other end is gone.
    pub async fn recv(&mut self) -> Option<(String, Vec<u8>)> {
        self.from_other.recv().await
    }

    /// A message that is there already.
    pub fn try_recv(&mut self) -> Option<(String, Vec<u8>)> {
        self.from_other.try_recv().ok()
    }

    /// Loses the next `count` messages that this end sends.
    pub fn lose_next(&mut self, count: usize) {
        self.lose_next = count;
    }

    /// Delivers each of the next `count` messages that this end sends twice.
    pub fn repeat_next(&mut self, count: usize) {
        self.repeat_next = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loses_and_repeats_what_it_was_told() {
        let (mut left, mut right) = fake_transport(8);
        left.lose_next(1);
        left.repeat_next(1);
        for payload in [b"a", b"b", b"c"] {
            left.send("t", payload).await.unwrap();
        }
        let mut got = Vec::new();
        while let Some((_, payload)) = right.try_recv() {
            got.push(payload);
        }
        assert_eq!(got, vec![b"b".to_vec(), b"b".to_vec(), b"c".to_vec()]);
        assert_eq!(left.sent.len(), 3);
    }
}
