//! Arrays of JSON with an end, which is held while they are read.

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// More than any server takes ([`crate::Limits::tensors`] is the limit that is meant). An output of ten characters takes
/// hundreds of bytes once it is read, so that a long body may not have as many as fit.
const MAX_LISTED: usize = 1024;

/// What an array lists, at most [`MAX_LISTED`].
#[derive(Debug)]
pub(super) struct Listed<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List(PhantomData))
    }
}

struct List<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Listed<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Listed<T>, A::Error> {
        let mut listed = Vec::new();
        while let Some(element) = array.next_element()? {
            if listed.len() == MAX_LISTED {
                return Err(de::Error::custom(format_args!("an array of more than {MAX_LISTED}")));
            }
            listed.push(element);
        }
        Ok(Listed(listed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_an_array() {
        let array = |count| serde_json::to_string(&vec![0; count]).unwrap();
        let read = |text: &str| serde_json::from_str::<Listed<u8>>(text).map(|listed| listed.0.len());
        assert_eq!(read(&array(MAX_LISTED)).unwrap(), MAX_LISTED);
        assert!(read(&array(MAX_LISTED + 1)).is_err());
        assert!(read("{}").is_err());
    }
}
