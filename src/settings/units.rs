//! Durations and sizes as people write them: `1h30m`, `200ms`, `64MiB`, `5MB`.

use std::fmt::Write;
use std::time::Duration;

/// The units of a duration, in milliseconds, the largest first.
const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The units of a size, in bytes, the largest first within each family.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration such as `10s`, `200ms`, `48h` or `1h30m`.
///
/// # Errors
/// When the text is something else; the error says what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("has no unit: write {rest}s for seconds, or use ms, m or h"));
    }
    parse_duration_parts(rest).ok_or_else(|| {
        "is not a duration: write whole numbers with ms, s, m, h or d, such as 10s, 200ms or 1h30m".into()
    })
}

fn parse_duration_parts(mut rest: &str) -> Option<Duration> {
    let mut total = 0_u64;
    let mut last = u64::MAX;
    while !rest.is_empty() || last == u64::MAX {
        let (digits, after) = split_at_first(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_at_first(after, |c| c.is_ascii_digit());
        let (_, millis) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
        // Each unit once and the largest first, so that a slip such as `30m1h` is noticed.
        if *millis >= last {
            return None;
        }
        total = digits.parse::<u64>().ok()?.checked_mul(*millis)?.checked_add(total)?;
        last = *millis;
        rest = after;
    }
    Some(Duration::from_millis(total))
}

/// Reads a size such as `64MiB`, `5MB` or `4096`, in bytes.
///
/// # Errors
/// When the text is something else; the error says what to write instead.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let rest = text.trim();
    let (digits, unit) = split_at_first(rest, |c| !c.is_ascii_digit());
    let unit = unit.trim_start();
    if let (false, "k" | "K" | "m" | "M" | "g" | "G") = (digits.is_empty(), unit) {
        let unit = unit.to_ascii_uppercase();
        return Err(format!(
            "has an ambiguous unit: write {digits}{unit}iB (1024-based) or {digits}{unit}B (1000-based)"
        ));
    }
    let factor = match unit {
        "" => Some(1),
        unit => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, bytes)| *bytes),
    };
    factor
        .and_then(|factor| digits.parse::<u64>().ok()?.checked_mul(factor))
        .ok_or_else(|| "is not a size: write whole bytes or a unit, such as 64MiB, 16KiB or 5MB".into())
}

fn split_at_first(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

/// Writes a duration so that [`parse_duration`] reads the same, to the millisecond. Days are written as hours.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, size) in &DURATIONS[1..] {
        if millis >= *size {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{unit}", millis / size);
            millis %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Writes a size so that [`parse_size`] reads the same, in the largest unit that divides it.
pub fn format_size(bytes: u64) -> String {
    let unit = SIZES.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| "0B".into(), |(name, size)| format!("{}{name}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_every_unit_are_read() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("200ms", 200),
            ("10s", 10_000),
            ("5m", 300_000),
            ("48h", 172_800_000),
            ("1h30m", 5_400_000),
            ("2d1ms", 172_800_001),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_advice() {
        for text in ["", "s", "10 s", "10sec", "1.5s", "-1s", "30m1h", "1m1m", "10s!", "99999999999999999999s", "∞"] {
            assert!(parse_duration(text).unwrap_err().contains("such as 10s"), "{text}");
        }
        assert!(parse_duration("30").unwrap_err().contains("write 30s"));
    }

    #[test]
    fn sizes_of_every_unit_are_read() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("16KiB", 16_384), ("64 MiB", 64 << 20), ("5MB", 5_000_000), ("1gib", 1 << 30)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_advice() {
        for text in ["", "MiB", "1.5GiB", "-1", "16XB", "64MiBs", "99999999999TiB"] {
            assert!(parse_size(text).unwrap_err().contains("such as 64MiB"), "{text}");
        }
        assert!(parse_size("64M").unwrap_err().contains("64MiB"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(millis in 0..10_000_000_000_u64, bytes in any::<u64>()) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,12}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
