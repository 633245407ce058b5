//! The three things that the doctor and the renewal want of a certificate (RFC 5280): from when to when it is valid, and whose it is.
//!
//! Walks the DER just as far as that. It checks no signature and no extension: TLS does, and says so when a connection is
//! made. What can't be walked is reported as such, never guessed.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`: the version, which the oldest certificates leave out.
const VERSION: u8 = 0xa0;
/// 2.5.4.3, a name's common name.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// In milliseconds since 1970 UTC; 0 for times before.
    pub(crate) not_before_ms: u64,
    /// In milliseconds since 1970 UTC.
    pub(crate) not_after_ms: u64,
    /// The subject's common name, where it has one.
    pub(crate) common_name: Option<String>,
}

/// Reads all certificates of a PEM file.
pub(crate) fn read(path: &Path) -> Result<Vec<Certificate>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let walked = all
        .iter()
        .map(|der| walk(der).ok_or_else(|| format!("{} has a certificate in it that can't be read", path.display())));
    walked.collect()
}

/// Certificate -> TBSCertificate -> version, serial, algorithm, issuer, validity, subject.
pub(crate) fn walk(der: &[u8]) -> Option<Certificate> {
    let (mut certificate, _) = take(der, SEQUENCE)?;
    let mut fields = enter(&mut certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        enter(&mut fields, VERSION)?;
    }
    enter(&mut fields, 0x02)?;
    enter(&mut fields, SEQUENCE)?;
    enter(&mut fields, SEQUENCE)?;
    let mut validity = enter(&mut fields, SEQUENCE)?;
    let subject = enter(&mut fields, SEQUENCE)?;
    Some(Certificate {
        not_before_ms: time(&mut validity)?,
        not_after_ms: time(&mut validity)?,
        common_name: common_name(subject),
    })
}

/// The content of the element in front, which is stepped over.
fn enter<'a>(from: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (content, rest) = take(from, tag)?;
    *from = rest;
    Some(content)
}

/// Content and rest (X.690, 8.1: identifier, length, content).
fn take(from: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = from.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // 0x80 is none in DER, and more bytes of length than four are no certificate's.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (
                digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)),
                rest,
            )
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// RelativeDistinguishedNames, each a set of pairs of an object id and a text.
fn common_name(mut names: &[u8]) -> Option<String> {
    while !names.is_empty() {
        let mut set = enter(&mut names, SET)?;
        while !set.is_empty() {
            let mut pair = enter(&mut set, SEQUENCE)?;
            if enter(&mut pair, OBJECT_ID)? == COMMON_NAME {
                let (_, value) = pair.split_first()?;
                let (text, _) = take(pair, *pair.first()?)?;
                return (!value.is_empty()).then(|| String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    None
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, which RFC 5280, 4.1.2.5 makes of all that ASN.1 would allow.
fn time(from: &mut &[u8]) -> Option<u64> {
    let tag = *from.first()?;
    let text = std::str::from_utf8(enter(from, tag)?).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let numbers = rest
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok()?.parse().ok());
    let numbers: Vec<i64> = numbers.collect::<Option<_>>()?;
    let &[month, day, hour, minute, second] = numbers.as_slice() else {
        return None;
    };
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    fits.then(|| u64::try_from(seconds).unwrap_or(0) * 1000)
}

/// Days from 1970-01-01 in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years from March on, so that a leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    // 719,468 days are from 0000-03-01 to 1970-01-01; five months from March on have 153 days.
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
        - 1
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_testkit::Pki;

    #[test]
    fn certificates_are_read() {
        let pki = Pki::new().unwrap();
        let device = pki.issue("press-01").unwrap();
        let [found] = read(&device.cert).unwrap().try_into().unwrap();
        assert_eq!(found.common_name.as_deref(), Some("press-01"));
        // What rcgen gives when nothing else is said: 1975-01-01 to 4096-01-01.
        assert_eq!(
            (found.not_before_ms, found.not_after_ms),
            (157_766_400_000, 67_090_118_400_000)
        );
        assert_eq!(
            read(&pki.ca()).unwrap()[0].common_name.as_deref(),
            Some("floorhand test CA")
        );
        assert_eq!(read(&device.key), Ok(vec![]));
        assert!(
            read(Path::new("/nowhere"))
                .unwrap_err()
                .starts_with("/nowhere can't be read")
        );
    }

    #[test]
    fn a_certificate_that_is_cut_off_is_no_certificate() {
        let pki = Pki::new().unwrap();
        let der = CertificateDer::from_pem_file(pki.ca()).unwrap();
        assert!(walk(&der).is_some());
        for end in 0..der.len() {
            assert_eq!(walk(&der[..end]), None, "{end}");
        }
    }

    #[test]
    fn times() {
        let check = |tag, text: &str, expected| {
            let mut element = vec![tag, u8::try_from(text.len()).unwrap()];
            element.extend(text.as_bytes());
            assert_eq!(time(&mut element.as_slice()), expected, "{text}");
        };
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "000229235959Z", Some(951_868_799_000));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999_000));
        check(GENERALIZED_TIME, "20270101000000Z", Some(1_798_761_600_000));
        check(GENERALIZED_TIME, "19500101000000Z", Some(0));
        for wrong in [
            "20271301000000Z",
            "20270101000000",
            "2027010100Z",
            "2027010100000xZ",
            "20270101240000Z",
        ] {
            check(GENERALIZED_TIME, wrong, None);
        }
    }
}
