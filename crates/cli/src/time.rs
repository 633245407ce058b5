//! The clock of the person's machine, and times as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;
/// A day in milliseconds.
pub const DAY_MS: u64 = DAY_S * 1000;

/// Now, in milliseconds since 1970 UTC; 0 on a machine whose clock stands before that.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// A time as `2026-11-21 14:03:27 UTC`.
pub fn utc(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let (year, month, day) = date(seconds / DAY_S);
    let of_day = seconds % DAY_S;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// A time of day as `14:03:27.125` UTC, for streams in which the date goes without saying.
pub fn time_of_day(time_ms: u64) -> String {
    let of_day = time_ms / 1000 % DAY_S;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        time_ms % 1000
    )
}

/// How long ago, in the largest unit that says something.
pub fn ago(time_ms: u64, now_ms: u64) -> String {
    let Some(past) = now_ms.checked_sub(time_ms) else {
        return "just now".to_owned();
    };
    match past / 1000 {
        0..2 => "just now".to_owned(),
        seconds @ 2..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / DAY_S),
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, every 400 years have 146,097 days, and a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months of 31, 30, 31, 30, 31 days make 153, from March on.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_798_761_600, "2027-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds * 1000), expected);
        }
        assert_eq!(time_of_day(DAY_MS + 3_723_004), "01:02:03.004");
    }

    #[test]
    fn how_long_ago() {
        for (past_s, expected) in [
            (0, "just now"),
            (59, "59 s ago"),
            (600, "10 min ago"),
            (36_000, "10 h ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago(1_000_000_000, 1_000_000_000 + past_s * 1000), expected);
        }
        assert_eq!(ago(5, 0), "just now", "a device's clock may be ahead of ours");
    }
}
