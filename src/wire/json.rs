//! A strict RFC 8259 scanner that builds nothing.
//!
//! The daemon forwards JSON without looking at most of it, so it needs three things of a parser: whether a text is
//! JSON, where each value begins and ends, and a way to step through the few objects and arrays that matter. A tree, or
//! even one allocation a value, would cost more than the rest of the path. UTF-8 is checked once for a whole body, and
//! strings are skipped sixteen bytes at a time. It accepts exactly what `serde_json` accepts as a raw value, with one
//! exception: values nested deeper than [`MAX_DEPTH`] are refused. As there, an escape of half a surrogate pair
//! (`"\ud800"`) is JSON; where such a text must be read, the half becomes U+FFFD.

use super::part::{Stop, malformed};
use super::strings::{pass_escape, plain_end, unescape};
use std::borrow::Cow;
use std::ops::Range;

/// The deepest nesting of arrays and objects in a skipped value. Datadog's advice for logs is 10.
pub(super) const MAX_DEPTH: u32 = 128;

/// The inside of a JSON string, as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// Offset of the first byte after the opening quote.
    pub at: usize,
    /// The text between the quotes, as written.
    pub raw: &'a [u8],
    /// Whether it contains a backslash.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// The offset of the closing quote.
    pub fn end(&self) -> usize {
        self.at + self.raw.len()
    }

    /// The unescaped text, in UTF-8.
    pub fn meaning(&self) -> Cow<'a, [u8]> {
        if self.escaped {
            let mut plain = Vec::with_capacity(self.raw.len());
            unescape(self.raw, &mut plain);
            Cow::Owned(plain)
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// A number, as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a>(pub &'a [u8]);

impl Number<'_> {
    /// Whether it is finite as a 64-bit float: `1e999` is a JSON number and is not.
    pub fn is_finite(self) -> bool {
        // Without an exponent, up to 308 digits are below the largest float.
        let small = self.0.len() <= 308 && !self.0.iter().any(|b| matches!(b, b'e' | b'E'));
        small || self.float().is_finite()
    }

    /// The number when it is written as an integer that fits.
    pub fn integer(self) -> Option<i64> {
        let (is_negative, digits) = match self.0 {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        // Any 18 digits fit; longer numbers are rare.
        if digits.len() > 18 {
            return std::str::from_utf8(self.0).ok()?.parse().ok();
        }
        let mut value = 0;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i64::from(digit - b'0');
        }
        Some(if is_negative { -value } else { value })
    }

    /// The nearest float.
    pub fn float(self) -> f64 {
        std::str::from_utf8(self.0).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
    }
}

/// What an item is that reading has failed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// JSON.
    Json,
    /// JSON but for NaN and infinities, as some encoders write them.
    NotFinite,
    /// Something between brackets.
    Unreadable,
}

/// The offset behind the bracket that closes the one at `start`, brackets in strings left out.
fn bracketed_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, start);
    loop {
        match text.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                at += 1;
                while *text.get(at)? != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// A cursor over a JSON text. Every method reads at the cursor and moves it behind the text read.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether the last string had escapes in it.
    escaped: bool,
    /// Whether NaN and infinities pass.
    lenient: bool,
}

impl<'a> Scanner<'a> {
    /// A cursor at the start of a text that is known to be UTF-8.
    pub fn trusting(text: &'a [u8]) -> Self {
        Self { text, at: 0, escaped: false, lenient: false }
    }

    /// Goes back to `start` and passes the item there, which reading has failed on: a value of JSON, or else what lies between
    /// its brackets and is followed as an element is. Says which of the two it is; nothing where the end cannot be found.
    #[cold]
    pub fn pass_item_at(&mut self, start: usize) -> Option<Passed> {
        self.at = start;
        if self.skip().is_ok() {
            return Some(Passed::Json);
        }
        (self.at, self.lenient) = (start, true);
        let is_passed = self.skip().is_ok();
        self.lenient = false;
        if is_passed {
            return Some(Passed::NotFinite);
        }
        self.at = bracketed_end(self.text, start)?;
        let end = self.at;
        self.white();
        let is_element = matches!(self.peek(), Some(b',' | b']'));
        self.at = end;
        is_element.then_some(Passed::Unreadable)
    }

    /// A cursor that lets NaN and infinities pass, over a text that is known to be UTF-8.
    pub fn lenient(text: &'a [u8]) -> Self {
        Self { lenient: true, ..Self::trusting(text) }
    }

    /// The offset of the cursor.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The whole text.
    pub fn whole(&self) -> &'a [u8] {
        self.text
    }

    /// The next byte.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The rest of the text.
    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes white space.
    #[inline]
    pub fn white(&mut self) {
        if self.peek().is_none_or(|byte| byte <= b' ') {
            self.pass_white();
        }
    }

    #[cold]
    fn pass_white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes `byte` if it is next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        if self.peek() != Some(byte) {
            return false;
        }
        self.at += 1;
        true
    }

    /// Passes white space, and refuses anything after it.
    pub fn end(&mut self) -> Result<(), Stop> {
        self.white();
        if self.at == self.text.len() { Ok(()) } else { Err(self.fault("unexpected text after the JSON value")) }
    }

    /// Steps through an object: `each` is called with every key, the cursor on its value, and must pass the value.
    #[inline(always)]
    pub fn object(&mut self, mut each: impl FnMut(&mut Self, Text<'a>) -> Result<(), Stop>) -> Result<(), Stop> {
        self.expect(b'{', "expected an object")?;
        self.white();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            self.white();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.fault("expected `,` or `}`")),
            }
            self.white();
        }
        self.at += 1;
        Ok(())
    }

    /// Steps through an array: `each` is called with the cursor on every element, and must pass it.
    #[inline(always)]
    pub fn array(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.expect(b'[', "expected an array")?;
        self.white();
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            self.white();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.fault("expected `,` or `]`")),
            }
            self.white();
        }
        self.at += 1;
        Ok(())
    }

    /// Passes one value of any kind.
    #[inline]
    pub fn skip(&mut self) -> Result<(), Stop> {
        match self.peek() {
            Some(b'"') => self.pass_string().map(drop),
            _ => self.skip_other(),
        }
    }

    /// Passes one value that is not a string.
    #[inline(never)]
    fn skip_other(&mut self) -> Result<(), Stop> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(),
            _ => self.plain(),
        }
    }

    /// Passes one value, and returns its text if it is a string.
    #[inline(always)]
    pub fn text(&mut self) -> Result<Option<Text<'a>>, Stop> {
        if self.peek() == Some(b'"') { self.string().map(Some) } else { self.skip().map(|()| None) }
    }

    /// Passes one value, and returns it if it is a number.
    #[inline(always)]
    pub fn number(&mut self) -> Result<Option<Number<'a>>, Stop> {
        let start = self.at;
        let is_number = matches!(self.peek(), Some(b'-' | b'0'..=b'9'));
        self.skip()?;
        Ok(is_number.then(|| Number(&self.text[start..self.at])))
    }

    /// Passes one value, and returns its range.
    #[inline(always)]
    pub fn value(&mut self) -> Result<Range<usize>, Stop> {
        let start = self.at;
        self.skip()?;
        Ok(start..self.at)
    }

    /// A key with its colon and the white space around it.
    ///
    /// Always inlined, as [`Self::string`]: a `Text` is several words, and to hand it over in memory for each string takes
    /// longer than to scan the string.
    #[inline(always)]
    fn key(&mut self) -> Result<Text<'a>, Stop> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key in quotes"));
        }
        let key = self.string()?;
        self.white();
        self.expect(b':', "expected `:`")?;
        self.white();
        Ok(key)
    }

    /// A string; the cursor is on its opening quote.
    #[inline(always)]
    fn string(&mut self) -> Result<Text<'a>, Stop> {
        let start = self.at + 1;
        let end = self.pass_string()?;
        Ok(Text { at: start, raw: &self.text[start..end], escaped: self.escaped })
    }

    /// Passes a string, notes whether it has escapes, and returns the offset of its closing quote.
    fn pass_string(&mut self) -> Result<usize, Stop> {
        let mut end = plain_end(self.text, self.at + 1);
        self.escaped = self.text.get(end) != Some(&b'"');
        if self.escaped {
            end = self.escaped_end(end)?;
        }
        self.at = end + 1;
        Ok(end)
    }

    /// The offset of the closing quote of a string with a backslash, or something worse, at `at`.
    #[cold]
    fn escaped_end(&self, mut at: usize) -> Result<usize, Stop> {
        loop {
            match self.text.get(at) {
                Some(b'"') => return Ok(at),
                Some(b'\\') => at = plain_end(self.text, pass_escape(self.text, at)?),
                Some(_) => return Err(malformed(at, "a control character in a string must be escaped")),
                None => return Err(malformed(at, "the body ends inside a string")),
            }
        }
    }

    /// An object or array, without recursion: one bit per level tells which of the two is open.
    fn nested(&mut self) -> Result<(), Stop> {
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.pass_string()?;
                }
                Some(open @ (b'{' | b'[')) => {
                    if depth == MAX_DEPTH {
                        return Err(self.fault("nested deeper than 128 levels"));
                    }
                    self.at += 1;
                    self.white();
                    let is_object = open == b'{';
                    if !self.eat(if is_object { b'}' } else { b']' }) {
                        depth += 1;
                        objects = objects << 1 | u128::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.plain()?,
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                self.white();
                match (self.peek(), in_object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        self.white();
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        depth -= 1;
                        objects >>= 1;
                    }
                    (_, true) => return Err(self.fault("expected `,` or `}`")),
                    (_, false) => return Err(self.fault("expected `,` or `]`")),
                }
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    #[inline]
    fn plain(&mut self) -> Result<(), Stop> {
        match self.peek() {
            Some(b'-') if self.lenient && self.rest().starts_with(b"-I") => self.not_finite(),
            Some(b'-' | b'0'..=b'9') => self.pass_number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'N' | b'I') if self.lenient => self.not_finite(),
            Some(b'N' | b'I') => Err(self.fault("expected a value (NaN and Infinity are not JSON)")),
            Some(_) => Err(self.fault("expected a value")),
            None => Err(self.fault("the body ends where a value is expected")),
        }
    }

    #[cold]
    fn not_finite(&mut self) -> Result<(), Stop> {
        let words = [&b"NaN"[..], b"Infinity", b"-Infinity"];
        let word = words.into_iter().find(|word| self.rest().starts_with(word));
        self.at += word.ok_or_else(|| self.fault("expected a value"))?.len();
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Stop> {
        if !self.rest().starts_with(word) {
            return Err(self.fault("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn pass_number(&mut self) -> Result<(), Stop> {
        let digits = |mut at: usize| {
            while matches!(self.text.get(at), Some(b'0'..=b'9')) {
                at += 1;
            }
            at
        };
        let is = |at: usize, byte: u8| self.text.get(at) == Some(&byte);
        let whole = if is(self.at, b'-') { self.at + 1 } else { self.at };
        let mut at = digits(whole);
        if at == whole {
            return Err(malformed(at, "expected a digit"));
        }
        if at > whole + 1 && is(whole, b'0') {
            return Err(malformed(whole + 1, "a number must not start with 0"));
        }
        if is(at, b'.') {
            let fraction = at + 1;
            at = digits(fraction);
            if at == fraction {
                return Err(malformed(at, "expected a digit"));
            }
        }
        if is(at, b'e') || is(at, b'E') {
            let exponent = if is(at + 1, b'+') || is(at + 1, b'-') { at + 2 } else { at + 1 };
            at = digits(exponent);
            if at == exponent {
                return Err(malformed(at, "expected a digit"));
            }
        }
        self.at = at;
        Ok(())
    }

    #[inline]
    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Stop> {
        if self.peek() != Some(byte) {
            return Err(self.fault(reason));
        }
        self.at += 1;
        Ok(())
    }

    fn fault(&self, reason: &'static str) -> Stop {
        malformed(self.at, reason)
    }
}
