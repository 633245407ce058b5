//! A source's own time to nanoseconds since 1970, exactly: 1767225600.1 s is 1767225600100000000 ns, though no binary
//! fraction is.

use crate::{Error, Number};
use schemars::JsonSchema;
use serde::Deserialize;

/// The first time that the interface can't say, in April 2262.
const END: u64 = 1 << 63;

/// How a source writes the time: a configuration's key `unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFormat {
    /// Seconds since 1970-01-01 UTC, maybe with a fraction.
    S,
    /// Milliseconds since then.
    Ms,
    /// Microseconds since then.
    Us,
    /// Nanoseconds since then.
    Ns,
    /// Text such as `2026-01-01T00:00:00.25+01:00` (RFC 3339).
    Rfc3339,
}

impl TimeFormat {
    /// Reads text. Digits below a nanosecond are cut off.
    ///
    /// ```
    /// use floorhand_plugin_sdk::TimeFormat;
    ///
    /// assert_eq!(TimeFormat::S.parse("1.5")?, 1_500_000_000);
    /// assert_eq!(TimeFormat::Rfc3339.parse("1970-01-01T01:00:02+01:00")?, 2_000_000_000);
    /// # Ok::<(), floorhand_plugin_sdk::Error>(())
    /// ```
    pub fn parse(self, text: &str) -> Result<u64, Error> {
        let nanoseconds = match self.digits() {
            None => rfc3339(text),
            Some(digits) => decimal(text, digits).or_else(|| {
                // What has an exponent goes through a f64, whose text never has one.
                let number = text.contains(['e', 'E']).then(|| text.parse::<f64>().ok())??;
                decimal(&number.to_string(), digits)
            }),
        };
        nanoseconds.filter(|&time| time < END).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::BadInput(format!("{shown:?} is no time {} from 1970 to 2262", self.said()))
        })
    }

    /// Reads a number of units.
    pub fn of_number(self, number: Number) -> Result<u64, Error> {
        match number {
            Number::Signed(value) => self.parse(&value.to_string()),
            Number::Unsigned(value) => self.parse(&value.to_string()),
            Number::Float(value) => self.parse(&value.to_string()),
        }
    }

    /// Decimal places from the unit to a nanosecond.
    const fn digits(self) -> Option<usize> {
        match self {
            Self::S => Some(9),
            Self::Ms => Some(6),
            Self::Us => Some(3),
            Self::Ns => Some(0),
            Self::Rfc3339 => None,
        }
    }

    const fn said(self) -> &'static str {
        match self {
            Self::S => "in s",
            Self::Ms => "in ms",
            Self::Us => "in us",
            Self::Ns => "in ns",
            Self::Rfc3339 => "by RFC 3339",
        }
    }
}

/// `12.345` times ten to the power of `digits`, without what is behind the point then.
fn decimal(text: &str, digits: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let kept = fraction.bytes().chain(std::iter::repeat(b'0')).take(digits);
    whole.bytes().chain(kept).try_fold(0_u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

fn rfc3339(text: &str) -> Option<u64> {
    let part = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let mark = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|byte| allowed.contains(byte));
    if !(mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":") && mark(16, b":")) {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    // A leap second, :60, is the first of the next minute.
    if !(1..=days_of(year, month)?).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
    };
    if rest.starts_with('.') && fraction.is_empty() {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    decimal(&format!("{seconds}.{fraction}"), 9)
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |digits: &str, end: i64| -> Option<i64> {
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() == 2;
        number.then(|| digits.parse().ok())?.filter(|&value| value < end)
    };
    Some(sign * (two(hours, 24)? * 3600 + two(minutes, 60)? * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> Option<i64> {
    match month {
        2 => Some(if is_leap(year) { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// In the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let years = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    let months: i64 = (1..month).filter_map(|month| days_of(year, month)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_exact() {
        for (format, text, expected) in [
            (TimeFormat::S, "1767225600.1", 1_767_225_600_100_000_000),
            (TimeFormat::S, "1767225600.1234567891", 1_767_225_600_123_456_789),
            (TimeFormat::S, "1.7672256e9", 1_767_225_600_000_000_000),
            (TimeFormat::Ms, "1767225600123", 1_767_225_600_123_000_000),
            (TimeFormat::Us, "0.5", 500),
            (TimeFormat::Ns, "9223372036854775807", END - 1),
            (TimeFormat::Ns, "7.9", 7),
        ] {
            assert_eq!(format.parse(text).unwrap(), expected, "{text}");
        }
        let number = Number::Float(1_767_225_600.1);
        assert_eq!(TimeFormat::S.of_number(number).unwrap(), 1_767_225_600_100_000_000);
        for text in ["", "-1", "1e300", "NaN", "inf", "1.2.3", "1 ", ".5", "9223372037", "e"] {
            assert!(TimeFormat::S.parse(text).is_err(), "{text}");
        }
        assert!(TimeFormat::Rfc3339.of_number(Number::Signed(1)).is_err());
    }

    /// `datetime.fromisoformat(text).timestamp()` of Python.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2000-02-29T23:59:59+00:00", 951_868_799),
            ("2024-12-31 23:30:00-01:30", 1_735_693_200),
            ("2100-03-01t12:00:00z", 4_107_585_600),
            ("2016-12-31T23:59:60Z", 1_483_228_800),
        ] {
            assert_eq!(
                TimeFormat::Rfc3339.parse(text).unwrap(),
                seconds * 1_000_000_000,
                "{text}"
            );
        }
        assert_eq!(TimeFormat::Rfc3339.parse("1970-01-01T00:00:00.000000001Z").unwrap(), 1);
        for text in [
            "2026-01-01T00:00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+01:0\u{e9}",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:0\u{e9}Z",
            "2262-04-12T00:00:00Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert!(TimeFormat::Rfc3339.parse(text).is_err(), "{text}");
        }
    }
}
