//! Topics of Sparkplug B: `spBv1.0/group/TYPE/node[/device]`.

use floorhand_plugin_sdk::{Error, host};

/// The most bytes of `group/node/device`: they stand in the snapshot.
pub(crate) const MAX_KEY_BYTES: usize = 256;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Birth,
    Data,
    Death,
}

/// Who sent a message, and what it is.
#[derive(Debug, PartialEq)]
pub(crate) struct Topic {
    pub(crate) kind: Kind,
    /// `group/node`.
    pub(crate) node: String,
    /// `group/node/device`, or `group/node` where it is the node's own.
    pub(crate) source: String,
}

impl Topic {
    /// `None` for what carries no metrics of a node: commands, the states of hosts, and what isn't Sparkplug's at all. That is
    /// counted: a subscription may be wider than it has to be, and nothing of a node is missing.
    pub(crate) fn read(topic: &str) -> Result<Option<Self>, Error> {
        let bad = || {
            let shown: String = topic.chars().take(100).collect();
            Error::BadInput(format!(
                "topic {shown:?} isn't spBv1.0/group/TYPE/node or spBv1.0/group/TYPE/node/device"
            ))
        };
        let Some(rest) = topic.strip_prefix("spBv1.0/") else {
            host::counter("foreign-topics", 1);
            return Ok(None);
        };
        let mut parts = rest.split('/');
        let (group, kind) = (parts.next().ok_or_else(bad)?, parts.next().ok_or_else(bad)?);
        if group == "STATE" {
            return Ok(None);
        }
        let (node, device) = (parts.next().ok_or_else(bad)?, parts.next());
        let kind = match (kind, device) {
            ("NBIRTH", None) | ("DBIRTH", Some(_)) => Kind::Birth,
            ("NDATA", None) | ("DDATA", Some(_)) => Kind::Data,
            ("NDEATH", None) | ("DDEATH", Some(_)) => Kind::Death,
            ("NCMD", None) | ("DCMD", Some(_)) => return Ok(None),
            _ => return Err(bad()),
        };
        let empty = group.is_empty() || node.is_empty() || device.is_some_and(str::is_empty);
        if empty || parts.next().is_some() {
            return Err(bad());
        }
        let node = format!("{group}/{node}");
        let source = device.map_or_else(|| node.clone(), |device| format!("{node}/{device}"));
        if source.len() > MAX_KEY_BYTES {
            return Err(Error::BadInput(format!(
                "group, node and device have {} bytes, and {MAX_KEY_BYTES} are the most",
                source.len()
            )));
        }
        Ok(Some(Self { kind, node, source }))
    }

    /// Whether it is about the node itself and not one of its devices.
    pub(crate) fn is_node(&self) -> bool {
        self.node == self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read() {
        let topic = Topic::read("spBv1.0/plant/DDATA/press/motor").unwrap().unwrap();
        assert_eq!(
            (topic.kind, topic.node.as_str(), topic.source.as_str()),
            (Kind::Data, "plant/press", "plant/press/motor")
        );
        assert!(Topic::read("spBv1.0/plant/NBIRTH/press").unwrap().unwrap().is_node());
        let nothing = ["spBv1.0/STATE/scada", "spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d"];
        let foreign = ["", "spBv1.0", "spAv1.0/g/NDATA/n", "plant/status"];
        for topic in nothing.into_iter().chain(foreign) {
            assert_eq!(Topic::read(topic).unwrap(), None);
        }
        for topic in [
            "spBv1.0/g",
            "spBv1.0/g/NDATA",
            "spBv1.0/g/NDATA/n/d",
            "spBv1.0/g/DDATA/n",
            "spBv1.0/g/DDATA/n/d/e",
            "spBv1.0/g/DDATA/n/",
            "spBv1.0//NDATA/n",
            "spBv1.0/g/XDATA/n",
        ] {
            assert!(Topic::read(topic).is_err(), "{topic}");
        }
        assert!(Topic::read(&format!("spBv1.0/g/NDATA/{}", "n".repeat(254))).is_ok());
        assert!(Topic::read(&format!("spBv1.0/g/NDATA/{}", "n".repeat(255))).is_err());
    }
}
