//! The timestamps of items, in the forms of Datadog's formats.

use super::json::Number;
use super::strings::unescape;
use crate::types::UnixMillis;

/// A number of seconds, perhaps with a fraction.
pub(super) fn from_seconds(number: Number<'_>) -> UnixMillis {
    match number.integer() {
        Some(seconds) => UnixMillis::from_secs(seconds),
        // `as` saturates.
        None => UnixMillis((number.float() * 1000.0) as i64),
    }
}

/// A number of milliseconds, perhaps with a fraction.
fn from_millis(number: Number<'_>) -> UnixMillis {
    UnixMillis(number.integer().unwrap_or_else(|| number.float() as i64))
}

/// The date of a log or event from a scanned JSON value: a number of milliseconds, or a text for [`from_text`].
pub(super) fn from_value(value: &[u8]) -> Option<UnixMillis> {
    match value {
        [b'"', inside @ .., b'"'] if inside.contains(&b'\\') => {
            let mut plain = Vec::new();
            unescape(inside, &mut plain);
            from_text(&plain)
        }
        [b'"', inside @ .., b'"'] => from_text(inside),
        [b'-' | b'0'..=b'9', ..] => Some(from_millis(Number(value))),
        _ => None,
    }
}

/// A text in ISO 8601 (RFC 3339, or without an offset, which means UTC), or a number of milliseconds.
pub(super) fn from_text(text: &[u8]) -> Option<UnixMillis> {
    let text = text.trim_ascii();
    if let Some(time) = from_utc(text) {
        return Some(time);
    }
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(UnixMillis(timestamp.as_millisecond()));
    }
    if let Ok(civil) = text.parse::<jiff::civil::DateTime>() {
        let timestamp = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?;
        return Some(UnixMillis(timestamp.as_millisecond()));
    }
    text.parse().ok().map(UnixMillis)
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction]Z`, the form that nearly all logs have, at the cost of a few multiplications.
fn from_utc(text: &[u8]) -> Option<UnixMillis> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let shape_is_right = (head[4], head[7], head[13], head[16]) == (b'-', b'-', b':', b':') && head[10] == b'T';
    if !shape_is_right {
        return None;
    }
    let digit = |at: usize| {
        let digit = head[at].wrapping_sub(b'0');
        (digit < 10).then_some(i64::from(digit))
    };
    let two = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    // Leap seconds, and days that some months do not have, are left to the calendar library.
    if !(1..=12).contains(&month) || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let millis = match tail {
        [b'Z'] => 0,
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) => {
            let mut millis = 0;
            for place in 0..3 {
                millis = millis * 10 + fraction.get(place).map_or(0, |digit| i64::from(digit.wrapping_sub(b'0')));
            }
            if !fraction.iter().all(u8::is_ascii_digit) {
                return None;
            }
            millis
        }
        _ => return None,
    };
    let days = days_from_civil(year, month, day);
    Some(UnixMillis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis))
}

/// Appends a time from 1970 on as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub(super) fn write_utc(time: UnixMillis, out: &mut Vec<u8>) {
    let (days, millis) = (time.0.div_euclid(86_400_000), time.0.rem_euclid(86_400_000));
    let (year, month, day) = civil_from_days(days);
    let mut digits = |value: i64, places: u32, after: u8| {
        for place in (0..places).rev() {
            out.push(b'0' + (value / 10_i64.pow(place) % 10) as u8);
        }
        out.push(after);
    };
    digits(year, 4, b'-');
    digits(month, 2, b'-');
    digits(day, 2, b'T');
    digits(millis / 3_600_000, 2, b':');
    digits(millis / 60_000 % 60, 2, b':');
    digits(millis / 1_000 % 60, 2, b'.');
    digits(millis % 1_000, 3, b'Z');
}

/// The date of a number of days from 1970-01-01, which is not negative; the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from 1970-01-01 in the Gregorian calendar, with years that begin in March so that leap days come last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_log_date_is_read() {
        for (text, millis) in [
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T22:13:20.5Z", 1_700_000_000_500),
            ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
            ("2023-11-14 22:13:20", 1_700_000_000_000),
            ("2023-11-14T22:13:20.250", 1_700_000_000_250),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("0000-03-01T00:00:00Z", -62_162_035_200_000),
            (" 1700000000000 ", 1_700_000_000_000),
        ] {
            assert_eq!(from_text(text.as_bytes()), Some(UnixMillis(millis)), "{text}");
        }
        for text in ["", "Nov 14 22:13:20", "2023-02-30T00:00:00Z", "2023-11-14T22:13:20.x5Z", "2023-11-14T25:00:00Z"] {
            assert_eq!(from_text(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_time_is_read_as_it_was(millis in 0i64..253_402_300_799_000) {
            let mut text = Vec::new();
            write_utc(UnixMillis(millis), &mut text);
            prop_assert_eq!(from_text(&text), Some(UnixMillis(millis)));
        }

        #[test]
        fn the_fast_path_agrees_with_the_calendar(seconds in -62_167_219_200i64..253_402_300_799, nanos in 0i32..1_000_000_000) {
            let timestamp = jiff::Timestamp::new(seconds, nanos).unwrap();
            let text = timestamp.to_string();
            if let Some(time) = from_utc(text.as_bytes()) {
                prop_assert_eq!(time.0, timestamp.as_nanosecond().div_euclid(1_000_000) as i64);
            }
        }
    }
}
