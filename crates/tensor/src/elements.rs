//! Byte strings one behind the other, each behind its length: as they cross the plugin boundary, and as the Open Inference
//! Protocol sends them.

use std::iter;

/// Bytes of a length.
const PREFIX: usize = 4;

/// The byte strings, one behind the other.
pub(crate) fn pack<T: AsRef<[u8]>>(elements: &[T]) -> Result<Vec<u8>, String> {
    let bytes = elements.iter().map(|element| PREFIX + element.as_ref().len()).sum();
    let mut data = Vec::with_capacity(bytes);
    for element in elements.iter().map(AsRef::as_ref) {
        let length = u32::try_from(element.len()).map_err(|_| format!("a byte string of {} bytes", element.len()))?;
        data.extend(length.to_le_bytes());
        data.extend(element);
    }
    Ok(data)
}

/// The byte strings of data that was checked; of other data those before the first that is cut short.
pub(crate) fn unpack(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    iter::from_fn(move || {
        let (element, behind) = first(rest)?;
        rest = behind;
        Some(element)
    })
}

/// What is wrong with data that should be so many byte strings.
pub(crate) fn check(data: &[u8], count: u64) -> Result<(), String> {
    let mut rest = data;
    for found in 0..count {
        if rest.is_empty() {
            return Err(format!("{found} byte strings, expected {count}"));
        }
        let cut = || format!("byte string {found}, which is cut short");
        (_, rest) = first(rest).ok_or_else(cut)?;
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(format!("{} bytes behind its last byte string", rest.len()))
}

/// Where each of `count` runs of `each` byte strings begins, and the last one ends.
pub(crate) fn ends(data: &[u8], each: usize, count: usize) -> Vec<usize> {
    let mut lengths = unpack(data).map(|element| PREFIX + element.len());
    let mut end = 0;
    let mut ends = vec![end];
    for _ in 0..count {
        end += lengths.by_ref().take(each).sum::<usize>();
        ends.push(end);
    }
    ends
}

fn first(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = data.split_first_chunk::<PREFIX>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*prefix)).ok()?)
}
