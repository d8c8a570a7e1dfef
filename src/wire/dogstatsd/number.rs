//! Numbers as Go's `ParseFloat` reads them, but for hexadecimal ones.

/// 10 to the power of the index: all are exact.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The value of a number; infinities and NaN included, when the text says so.
#[inline]
pub(super) fn number(text: &[u8]) -> Option<f64> {
    let (digits, negative) = match text.first()? {
        b'-' => (&text[1..], true),
        b'+' => (&text[1..], false),
        _ => (text, false),
    };
    // Up to 15 digits are exact as an integer, and its quotient by an exact power of ten is the nearest double.
    if digits.len() > 15 {
        return other(text);
    }
    let mut mantissa = 0_u64;
    let mut decimals = None;
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if decimals.is_none() => decimals = Some(digits.len() - 1 - at),
            _ => return other(text),
        }
    }
    if digits.len() == usize::from(decimals.is_some()) {
        return None;
    }
    let value = match decimals {
        None | Some(0) => mantissa as f64,
        Some(decimals) => mantissa as f64 / POWERS[decimals],
    };
    Some(if negative { -value } else { value })
}

/// The same for exponents, many digits, `inf` and `nan`.
#[cold]
fn other(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // To Go, finite digits beyond the greatest double are an error, and not infinity.
    let says_infinity = text.iter().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    (!value.is_infinite() || says_infinity).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_texts_are_no_numbers() {
        for text in ["", "+", "-", ".", "-.", " 1", "1 ", "1_0", "0x1p3", "--1", "1.2.3", "1e", "e1", "1e999", "١"] {
            assert_eq!(number(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn odd_numbers_are_numbers() {
        for (text, value) in [("+4", 4.0), (".5", 0.5), ("5.", 5.0), ("1e3", 1e3), ("-0", 0.0), ("007", 7.0)] {
            assert_eq!(number(text.as_bytes()), Some(value), "{text:?}");
        }
        for text in ["inf", "-Inf", "+INFINITY"] {
            assert!(number(text.as_bytes()).is_some_and(f64::is_infinite), "{text:?}");
        }
        assert!(number(b"NaN").is_some_and(f64::is_nan));
    }

    proptest! {
        #[test]
        fn every_double_survives_its_text(value in any::<f64>(), digits in 0_usize..17) {
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{:.*}", digits, value % 1e12)] {
                prop_assert_eq!(number(text.as_bytes()), text.parse().ok(), "{}", text);
            }
        }

        #[test]
        fn texts_are_read_as_the_standard_library_does(text in "[-+]?[0-9.]{0,18}") {
            prop_assert_eq!(number(text.as_bytes()), text.parse::<f64>().ok());
        }
    }
}
