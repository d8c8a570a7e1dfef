//! Writes the protobuf wire format, as much as metrics need.

/// A varint.
#[inline]
pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes a varint takes.
pub(crate) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// A field of type `uint64`.
pub(crate) fn uint64(number: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(number << 3), out);
    varint(value, out);
}

/// A field of type `int64`.
pub(crate) fn int64(number: u32, value: i64, out: &mut Vec<u8>) {
    uint64(number, value.cast_unsigned(), out);
}

/// A field of type `double`.
pub(crate) fn double(number: u32, value: f64, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 1), out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field of type `string`.
pub(crate) fn text(number: u32, text: &str, out: &mut Vec<u8>) {
    head(number, text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// What stands before a field that has a length.
pub(crate) fn head(number: u32, length: usize, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 2), out);
    varint(length as u64, out);
}

/// A field with a length, such as a message or a packed list, whose content `write` appends.
pub(crate) fn packed(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    varint(u64::from(number << 3 | 2), out);
    let start = out.len();
    // Mostly the length fits one byte.
    out.push(0);
    write(out);
    let length = (out.len() - start - 1) as u64;
    let more = varint_len(length) - 1;
    if more > 0 {
        let end = out.len();
        out.resize(end + more, 0);
        out.copy_within(start + 1..end, start + 1 + more);
    }
    for (index, byte) in out[start..=start + more].iter_mut().enumerate() {
        let continues = if index < more { 0x80 } else { 0 };
        *byte = (length >> (7 * index) & 0x7f) as u8 | continues;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_size_stand_before_their_content() {
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            let mut out = vec![7];
            packed(2, &mut out, |out| out.resize(out.len() + length, b'x'));
            let mut expected = vec![7];
            head(2, length, &mut expected);
            expected.resize(expected.len() + length, b'x');
            assert_eq!(out, expected, "{length}");
        }
    }

    #[test]
    fn varints_take_as_many_bytes_as_said() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }
}
