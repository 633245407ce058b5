//! Which packet identifier belongs to which topic, so that a refusal can say what was refused.
//!
//! rumqttc tells identifiers when packets go out, in the order in which they were handed to it: what was handed over
//! waits in a queue until then. One tracker lasts as long as one connection.

use std::collections::{BTreeMap, VecDeque};

/// What is underway on one connection. Bounded by rumqttc's request channel and the broker's receive maximum.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    handed_publishes: VecDeque<String>,
    handed_filters: VecDeque<String>,
    publishes: BTreeMap<u16, String>,
    filters: BTreeMap<u16, String>,
}

impl Tracker {
    /// A QoS 1 publish goes into rumqttc's channel.
    pub(crate) fn publish_handed(&mut self, topic: &str) {
        self.handed_publishes.push_back(topic.to_owned());
    }

    /// A subscribe goes into rumqttc's channel.
    pub(crate) fn subscribe_handed(&mut self, filter: &str) {
        self.handed_filters.push_back(filter.to_owned());
    }

    /// A publish went out. Identifier 0 is QoS 0, which nobody answers.
    pub(crate) fn publish_sent(&mut self, id: u16) {
        if id == 0 || self.publishes.contains_key(&id) {
            return;
        }
        if let Some(topic) = self.handed_publishes.pop_front() {
            self.publishes.insert(id, topic);
        }
    }

    /// A subscribe went out.
    pub(crate) fn subscribe_sent(&mut self, id: u16) {
        if let Some(filter) = self.handed_filters.pop_front() {
            self.filters.insert(id, filter);
        }
    }

    /// The broker answered a publish; its topic.
    pub(crate) fn publish_answered(&mut self, id: u16) -> Option<String> {
        self.publishes.remove(&id)
    }

    /// The broker answered a subscribe; its filter.
    pub(crate) fn subscribe_answered(&mut self, id: u16) -> Option<String> {
        self.filters.remove(&id)
    }

    /// QoS 1 publishes that the broker hasn't answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.handed_publishes.len() + self.publishes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_find_their_topics_in_order() {
        let mut tracker = Tracker::default();
        for topic in ["a", "b"] {
            tracker.publish_handed(topic);
        }
        tracker.publish_sent(0);
        tracker.publish_sent(7);
        tracker.publish_sent(7);
        tracker.publish_sent(8);
        assert_eq!(tracker.unanswered(), 2);
        assert_eq!(tracker.publish_answered(8).as_deref(), Some("b"));
        assert_eq!(tracker.publish_answered(8), None);
        assert_eq!(tracker.publish_answered(7).as_deref(), Some("a"));
        assert_eq!(tracker.unanswered(), 0);
        tracker.subscribe_handed("f");
        tracker.subscribe_sent(3);
        assert_eq!(tracker.subscribe_answered(3).as_deref(), Some("f"));
    }
}
