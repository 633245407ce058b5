//! Tokens: 256 random bits each, shown once, kept as their hash. Plain SHA-256 is enough for what nobody can guess.

use floorhand_bundle::Digest;

/// What a token begins with, so that people and secret scanners know one.
const PREFIX: &str = "fh_";
/// Bytes of randomness.
const BYTES: usize = 32;
/// The longest name of a token.
const MAX_NAME: usize = 64;

/// A new token. The error is that of the system's source of randomness.
pub(crate) fn draw() -> Result<String, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{PREFIX}{}", hex::encode(bytes)))
}

/// Whether a text looks like a token that [`draw`] made.
pub(crate) fn is_one(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == 2 * BYTES && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What is stored of a token.
pub(crate) fn hash(token: &str) -> String {
    Digest::of(token.as_bytes()).to_string()
}

/// Checks the name of a token.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    if fits && name.bytes().all(known) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of a token: expected 1 to {MAX_NAME} of A-Z a-z 0-9 . _ - @"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_their_form() {
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert!(is_one(&one) && one != other && one.len() == 67);
        assert_eq!(hash(&one).len(), 64);
        for not in [
            "",
            "fh_",
            &one[..66],
            "0123456789abcdef0123456789abcdef",
            &one.to_uppercase(),
        ] {
            assert!(!is_one(not), "{not}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        for (name, fits) in [
            ("anna", true),
            ("ci@plant-a", true),
            ("", false),
            ("a b", false),
            ("a/b", false),
        ] {
            assert_eq!(check_name(name).is_ok(), fits, "{name:?}");
        }
        assert!(check_name(&"x".repeat(65)).is_err());
    }
}
