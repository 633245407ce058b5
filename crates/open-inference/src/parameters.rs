//! Parameters: what requests, tensors and answers carry beside what the protocol itself knows.

use crate::Error;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// More than any client sends; keeps a small request from becoming a large map.
pub const MAX_PARAMETERS: usize = 64;

/// A parameter's value. The protocol knows texts, numbers and truths, and no more.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer beyond those, or one that gRPC calls unsigned.
    Uint(u64),
    /// Any other number.
    Double(f64),
    /// A text.
    Text(String),
}

/// Parameters by name, at most [`MAX_PARAMETERS`] where they are read. Those that nobody knows are kept and do nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, Parameter>);

impl Parameters {
    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.get(name)
    }

    /// Sets one.
    pub fn insert(&mut self, name: impl Into<String>, value: Parameter) {
        self.0.insert(name.into(), value);
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One that has to be true or false, if it is there.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Parameter::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(Error::parameter(name, "has to be true or false")),
        }
    }

    /// One that has to be an integer of at least 0, if it is there, as `timeout` and `priority` have to.
    pub fn unsigned(&self, name: &str) -> Result<Option<u64>, Error> {
        let value = match self.get(name) {
            None => return Ok(None),
            Some(Parameter::Int(value)) => u64::try_from(*value).ok(),
            Some(Parameter::Uint(value)) => Some(*value),
            Some(_) => None,
        };
        let refused = || Error::parameter(name, "has to be an integer of at least 0");
        value.map(Some).ok_or_else(refused)
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl FromIterator<(String, Parameter)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, Parameter)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Uint(value) => serializer.serialize_u64(*value),
            Self::Double(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Map)
    }
}

struct Map;

impl<'de> Visitor<'de> for Map {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of parameters")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Parameters, E> {
        Ok(Parameters::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
        let mut parameters = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if parameters.len() == MAX_PARAMETERS {
                return Err(de::Error::custom(format_args!("more than {MAX_PARAMETERS} parameters")));
            }
            parameters.insert(name, map.next_value()?);
        }
        Ok(Parameters(parameters))
    }
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar)
    }
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter: a string, a number, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parameter, E> {
        Ok(Parameter::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parameter, E> {
        Ok(Parameter::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parameter, E> {
        Ok(i64::try_from(value).map_or(Parameter::Uint(value), Parameter::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parameter, E> {
        Ok(Parameter::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Parameter, E> {
        Ok(Parameter::Text(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_and_go_as_they_are() {
        let text = r#"{"a":true,"b":-1,"c":18446744073709551615,"d":0.5,"e":"x"}"#;
        let parameters: Parameters = serde_json::from_str(text).unwrap();
        assert_eq!(parameters.get("c"), Some(&Parameter::Uint(u64::MAX)));
        assert_eq!(serde_json::to_string(&parameters).unwrap(), text);
        assert_eq!(parameters.bool("a"), Ok(Some(true)));
        assert_eq!(parameters.unsigned("c"), Ok(Some(u64::MAX)));
        assert_eq!(parameters.unsigned("none"), Ok(None));
        assert!(
            parameters.bool("b").is_err() && parameters.unsigned("b").is_err() && parameters.unsigned("d").is_err()
        );
    }

    #[test]
    fn there_is_an_end_to_them() {
        let many: Vec<String> = (0..=MAX_PARAMETERS).map(|n| format!("\"{n}\":1")).collect();
        let text = format!("{{{}}}", many.join(","));
        assert!(serde_json::from_str::<Parameters>(&text).is_err());
        for text in ["[]", r#"{"a":null}"#, r#"{"a":[1]}"#, r#"{"a":{}}"#] {
            assert!(serde_json::from_str::<Parameters>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Parameters>("null").unwrap().is_empty());
    }
}
