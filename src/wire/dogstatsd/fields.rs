//! What all lines are made of.

/// The fields behind the fixed part of a line, each without the `|` before it.
#[inline]
pub(super) fn fields(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = rest.strip_prefix(b"|");
    std::iter::from_fn(move || {
        let all = rest?;
        let field = match memchr::memchr(b'|', all) {
            Some(end) => {
                rest = Some(&all[end + 1..]);
                &all[..end]
            }
            None => {
                rest = None;
                all
            }
        };
        Some(field)
    })
}

/// A whole number as Go's `ParseInt` reads it, in base 10.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    // Rust's takes the same: digits after at most one sign.
    std::str::from_utf8(text).ok()?.parse().ok()
}
