//! Names that end up in topics, paths and logs, each checked where it is made and nowhere else.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A text that isn't a name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}: expected {expected}")]
pub struct NameError {
    kind: &'static str,
    text: String,
    expected: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(NameError { kind: $kind, text: text.chars().take(80).collect(), expected: $expected })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A device, as its certificate, its topics and its assignments name it.
    DeviceId, "device id", "1 to 64 of A-Z a-z 0-9 _ -", |text| plain(text, 64, "_-")
}
name! {
    /// A fleet: the devices that share a trust root.
    FleetId, "fleet id", "1 to 64 of A-Z a-z 0-9 _ -", |text| plain(text, 64, "_-")
}
name! {
    /// A bundle's name, the same in all its versions.
    BundleName, "bundle name", "1 to 64 of A-Z a-z 0-9 _ -", |text| plain(text, 64, "_-")
}
name! {
    /// A component's name inside its bundle: a file name without a folder.
    ComponentName, "component name", "1 to 128 of A-Z a-z 0-9 _ - . and no leading dot",
    |text| plain(text, 128, "_-.") && !text.starts_with('.')
}
name! {
    /// The name of a stage of a pipeline.
    StageName, "stage name", "1 to 64 of A-Z a-z 0-9 _ -", |text| plain(text, 64, "_-")
}
name! {
    /// A class of hardware that a bundle is made for; `*` in a manifest stands for all.
    HardwareClass, "hardware class", "`*`, or 1 to 64 of A-Z a-z 0-9 _ - .", |text| text == "*" || plain(text, 64, "_-.")
}
name! {
    /// An engine that runs models, by its name. A manifest may name one that a device doesn't know: it hasn't got it.
    EngineName, "engine", "1 to 64 of a-z 0-9 _ -", |text| plain(text, 64, "_-") && !text.contains(|c: char| c.is_ascii_uppercase())
}

impl EngineName {
    /// tract, which every device has.
    #[must_use]
    pub fn tract() -> Self {
        Self("tract".to_owned())
    }

    /// ONNX Runtime, which a device has where its operator offers it.
    #[must_use]
    pub fn onnxruntime() -> Self {
        Self("onnxruntime".to_owned())
    }

    /// Those that an agent of this version knows.
    #[must_use]
    pub fn known() -> [Self; 2] {
        [Self::tract(), Self::onnxruntime()]
    }
}

impl HardwareClass {
    /// Whether this class, as a manifest lists it, takes in a device of class `device`.
    #[must_use]
    pub fn takes_in(&self, device: &Self) -> bool {
        self.0 == "*" || self == device
    }
}

/// Letters and digits of ASCII and `others`, at least one, at most `longest`.
fn plain(text: &str, longest: usize, others: &str) -> bool {
    (1..=longest).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_topic_or_folder_are_refused() {
        for bad in ["", "a/b", "a+b", "#", "..", "ä", "a b", &"x".repeat(65), "a\0"] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?}");
        }
        for bad in ["", "../x", "a/b", ".hidden", ".."] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad:?}");
        }
        assert_eq!("press-07".parse::<DeviceId>().unwrap().as_str(), "press-07");
        assert_eq!("model.onnx".parse::<ComponentName>().unwrap().as_str(), "model.onnx");
    }

    #[test]
    fn hardware_classes() {
        let device: HardwareClass = "gateway-x86".parse().unwrap();
        assert!("*".parse::<HardwareClass>().unwrap().takes_in(&device));
        assert!(device.takes_in(&device));
        assert!(!"gateway-arm".parse::<HardwareClass>().unwrap().takes_in(&device));
    }
}
