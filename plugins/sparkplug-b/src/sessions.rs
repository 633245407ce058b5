//! What is known of edge nodes and devices between messages: the latest values, the aliases and types that births have told,
//! and the sequence number. It is the plugin's state.

use crate::{
    payload::{Metric, NoNumber},
    topic::{MAX_KEY_BYTES, Topic},
};
use floorhand_plugin_sdk::{Error, Number, state};
use std::collections::BTreeMap;

/// The format of the snapshot.
const STATE_VERSION: u32 = 1;

/// In place of a sequence number that isn't known.
const NO_SEQUENCE: u32 = 256;

/// All sessions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sessions {
    /// Edge nodes by `group/node`.
    nodes: BTreeMap<String, Node>,
    /// By `group/node` or `group/node/device`.
    sources: BTreeMap<String, Source>,
    /// The most of each.
    max_sources: usize,
    /// Configured metrics.
    metrics: usize,
}

/// An edge node.
#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    sequence: Option<u8>,
    /// The number of its birth.
    birth: Option<u64>,
}

/// An edge node's own metrics, or those of a device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// Whether its birth has been seen, and so all aliases are known.
    pub(crate) is_born: bool,
    slots: Vec<Slot>,
}

/// What is known of a configured metric.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Slot {
    alias: Option<u64>,
    datatype: Option<u32>,
    value: Option<Number>,
}

impl Sessions {
    pub(crate) const fn new(max_sources: usize, metrics: usize) -> Self {
        Self {
            nodes: BTreeMap::new(),
            sources: BTreeMap::new(),
            max_sources,
            metrics,
        }
    }

    /// Makes sure that there is room for who sent a message; changes nothing.
    pub(crate) fn check_room(&self, topic: &Topic) -> Result<(), Error> {
        let no_source = self.sources.len() >= self.max_sources && !self.sources.contains_key(&topic.source);
        let no_node = self.nodes.len() >= self.max_sources && !self.knows_node(topic);
        if no_source || no_node {
            return Err(Error::Exhausted(format!(
                "{:?} is more than the {} nodes and devices of max_sources",
                topic.source, self.max_sources
            )));
        }
        Ok(())
    }

    /// Whether anything was heard of the node since it last died.
    pub(crate) fn knows_node(&self, topic: &Topic) -> bool {
        self.nodes.contains_key(&topic.node)
    }

    /// Takes in a message's sequence number; false if some are missing before it.
    pub(crate) fn follow(&mut self, topic: &Topic, sequence: Option<u8>) -> bool {
        let node = self.nodes.entry(topic.node.clone()).or_default();
        let Some(sequence) = sequence else {
            return true;
        };
        let before = node.sequence.replace(sequence);
        before.is_none_or(|before| before.wrapping_add(1) == sequence)
    }

    /// A node has been born: what was known of it and its devices is no longer so.
    pub(crate) fn begin(&mut self, topic: &Topic, sequence: Option<u8>, birth: Option<u64>) {
        self.forget_node(topic);
        self.nodes.insert(topic.node.clone(), Node { sequence, birth });
    }

    /// A node has died, unless it has been born again since.
    pub(crate) fn end(&mut self, topic: &Topic, birth: Option<u64>) {
        let known = self.nodes.get(&topic.node).and_then(|node| node.birth);
        if known.is_none() || birth.is_none() || known == birth {
            self.forget_node(topic);
        }
    }

    /// A device has died, or is born anew.
    pub(crate) fn forget_source(&mut self, topic: &Topic) {
        self.sources.remove(&topic.source);
    }

    fn forget_node(&mut self, topic: &Topic) {
        self.nodes.remove(&topic.node);
        let is_of_node = |key: &str| {
            key.strip_prefix(&topic.node)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.sources.retain(|key, _| !is_of_node(key));
    }

    /// What is known of who sent a message.
    pub(crate) fn source(&mut self, topic: &Topic) -> &mut Source {
        let metrics = self.metrics;
        self.sources.entry(topic.source.clone()).or_insert_with(|| Source {
            is_born: false,
            slots: vec![Slot::default(); metrics],
        })
    }

    /// The most bytes that [`snapshot`](Self::snapshot) gives.
    pub(crate) const fn state_bytes(&self) -> usize {
        let key = state::LENGTH_BYTES + MAX_KEY_BYTES;
        let (node, source) = (key + 4 + 4 + 8, key + 4 + 24 * self.metrics);
        state::VERSION_BYTES + 4 + 4 + self.max_sources * (node + source)
    }

    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut writer = state::Writer::new(STATE_VERSION);
        writer.u32(self.nodes.len() as u32);
        for (key, node) in &self.nodes {
            writer.bytes(key.as_bytes());
            writer.u32(node.sequence.map_or(NO_SEQUENCE, u32::from));
            writer.flag(node.birth.is_some());
            writer.u64(node.birth.unwrap_or_default());
        }
        writer.u32(self.sources.len() as u32);
        for (key, source) in &self.sources {
            writer.bytes(key.as_bytes());
            writer.flag(source.is_born);
            source.slots.iter().for_each(|slot| slot.write(&mut writer));
        }
        writer.finish()
    }

    /// What a snapshot holds, under the same configuration.
    pub(crate) fn restored(&self, bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = state::Reader::new(STATE_VERSION, bytes)?;
        let mut sessions = Self::new(self.max_sources, self.metrics);
        for _ in 0..self.count(reader.u32()?)? {
            let key = read_key(&mut reader)?;
            let sequence = match reader.u32()? {
                NO_SEQUENCE => None,
                sequence => Some(u8::try_from(sequence).map_err(|_| wrong())?),
            };
            let (is_known, birth) = (reader.flag()?, reader.u64()?);
            let birth = is_known.then_some(birth);
            if sessions.nodes.insert(key, Node { sequence, birth }).is_some() {
                return Err(wrong());
            }
        }
        for _ in 0..self.count(reader.u32()?)? {
            let key = read_key(&mut reader)?;
            let is_born = reader.flag()?;
            let slots = (0..self.metrics)
                .map(|_| Slot::read(&mut reader))
                .collect::<Result<_, _>>()?;
            if sessions.sources.insert(key, Source { is_born, slots }).is_some() {
                return Err(wrong());
            }
        }
        reader.finish()?;
        Ok(sessions)
    }

    fn count(&self, count: u32) -> Result<usize, Error> {
        let count = usize::try_from(count).map_err(|_| wrong())?;
        if count > self.max_sources {
            Err(wrong())
        } else {
            Ok(count)
        }
    }
}

impl Source {
    /// The configured metrics' indices by their aliases.
    pub(crate) fn aliases(&self) -> BTreeMap<u64, usize> {
        let alias = |(index, slot): (usize, &Slot)| Some((slot.alias?, index));
        self.slots.iter().enumerate().filter_map(alias).collect()
    }

    /// Takes in the value of a configured metric; of a birth also its alias and type.
    pub(crate) fn take(&mut self, index: usize, metric: &Metric, is_birth: bool) -> Result<(), NoNumber> {
        let Some(slot) = self.slots.get_mut(index) else {
            return Ok(());
        };
        if is_birth {
            slot.alias = metric.alias;
        }
        // Types are told by births; some nodes repeat them.
        slot.datatype = metric.datatype.or(slot.datatype);
        let number = metric.number(slot.datatype);
        slot.value = *number.as_ref().unwrap_or(&None);
        number.map(drop)
    }

    /// The latest value of a configured metric.
    pub(crate) fn value(&self, index: usize) -> Option<Number> {
        self.slots.get(index)?.value
    }
}

impl Slot {
    fn write(self, writer: &mut state::Writer) {
        let (kind, bits) = match self.value {
            None => (0, 0),
            Some(Number::Signed(value)) => (1, value as u64),
            Some(Number::Unsigned(value)) => (2, value),
            Some(Number::Float(value)) => (3, value.to_bits()),
        };
        writer.u32(kind << 2 | u32::from(self.datatype.is_some()) << 1 | u32::from(self.alias.is_some()));
        writer.u32(self.datatype.unwrap_or_default());
        writer.u64(self.alias.unwrap_or_default());
        writer.u64(bits);
    }

    fn read(reader: &mut state::Reader<'_>) -> Result<Self, Error> {
        let flags = reader.u32()?;
        let (datatype, alias, bits) = (reader.u32()?, reader.u64()?, reader.u64()?);
        Ok(Self {
            alias: (flags & 1 != 0).then_some(alias),
            datatype: (flags & 2 != 0).then_some(datatype),
            value: match flags >> 2 {
                0 => None,
                1 => Some(Number::Signed(bits as i64)),
                2 => Some(Number::Unsigned(bits)),
                3 => Some(Number::Float(f64::from_bits(bits))),
                _ => return Err(wrong()),
            },
        })
    }
}

fn read_key(reader: &mut state::Reader<'_>) -> Result<String, Error> {
    let key = std::str::from_utf8(reader.bytes()?).map_err(|_| wrong())?;
    if key.len() > MAX_KEY_BYTES {
        Err(wrong())
    } else {
        Ok(key.to_owned())
    }
}

fn wrong() -> Error {
    Error::BadConfig("saved state holds what no session has".into())
}
