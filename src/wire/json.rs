//! A strict RFC 8259 scanner that builds nothing.
//!
//! The daemon forwards JSON without looking at most of it, so what it needs of a parser is: is this JSON, where does each
//! value begin and end, and a way to step through the few objects and arrays that matter. A tree, or even one
//! allocation a value, would cost more than all the rest of the way. UTF-8 is checked once for a whole body, and strings
//! are passed in blocks that the compiler turns into vector instructions.
//!
//! It takes exactly what `serde_json` takes as a raw value, with one exception: values nested deeper than [`MAX_DEPTH`]
//! are refused. Like there, an escape of half a surrogate pair (`"\ud800"`) is JSON; where such a text must be read, the
//! half becomes U+FFFD.

use super::strings::{check_utf8, pass_escape, plain_end, unescape};
use std::borrow::Cow;
use std::ops::Range;

/// How deep arrays and objects may be nested within a value that is passed over. Datadog's advice for logs is 10.
pub(super) const MAX_DEPTH: u32 = 128;

/// Where and why a text is not JSON, or not the JSON that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// Offset in the text.
    pub at: usize,
    /// What was expected or found.
    pub reason: &'static str,
}

impl Fault {
    /// A fault at an offset.
    pub fn new(at: usize, reason: &'static str) -> Self {
        Self { at, reason }
    }
}

/// The inside of a JSON string, as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// Offset of the first byte after the opening quote.
    pub at: usize,
    /// What stands between the quotes.
    pub raw: &'a [u8],
    /// Whether there is a backslash in it.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// The offset of the closing quote.
    pub fn end(&self) -> usize {
        self.at + self.raw.len()
    }

    /// The text that is meant, in UTF-8.
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

/// A number, as it stands in the text.
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
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }

    /// The nearest float.
    pub fn float(self) -> f64 {
        std::str::from_utf8(self.0).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
    }
}

/// A cursor over a JSON text. Every method starts at the cursor and leaves it behind what was read.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A cursor at the start of `text`, after checking that all of it is UTF-8.
    pub fn new(text: &'a [u8]) -> Result<Self, Fault> {
        check_utf8(text, 0)?;
        Ok(Self { text, at: 0 })
    }

    /// A cursor at the start of a text that is known to be UTF-8.
    pub fn trusting(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The offset of the cursor.
    pub fn at(&self) -> usize {
        self.at
    }

    /// All of the text, what has been passed too.
    pub fn whole(&self) -> &'a [u8] {
        self.text
    }

    /// The next byte.
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes white space.
    pub fn white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes `byte` if it is next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Passes white space, and refuses anything after it.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.white();
        if self.at == self.text.len() { Ok(()) } else { Err(self.fault("something follows the JSON value")) }
    }

    /// Steps through an object: `each` is called with every key, the cursor on its value, and must pass the value.
    pub fn object<E: From<Fault>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Text<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "expected an object")?;
        self.white();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            self.white();
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',', "expected `,` or `}`")?;
            self.white();
        }
    }

    /// Steps through an array: `each` is called with the cursor on every element, and must pass it.
    pub fn array<E: From<Fault>>(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.expect(b'[', "expected an array")?;
        self.white();
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            self.white();
            if self.eat(b']') {
                return Ok(());
            }
            self.expect(b',', "expected `,` or `]`")?;
            self.white();
        }
    }

    /// Passes one value of any kind.
    pub fn skip(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') => self.nested(),
            _ => self.plain(),
        }
    }

    /// Passes one value, and gives its text when it is a string.
    pub fn text(&mut self) -> Result<Option<Text<'a>>, Fault> {
        if self.peek() == Some(b'"') { self.string().map(Some) } else { self.skip().map(|()| None) }
    }

    /// Passes one value, and gives it when it is a number.
    pub fn number(&mut self) -> Result<Option<Number<'a>>, Fault> {
        let start = self.at;
        let is_number = matches!(self.peek(), Some(b'-' | b'0'..=b'9'));
        self.skip()?;
        Ok(is_number.then(|| Number(&self.text[start..self.at])))
    }

    /// Passes one value, and says where it stood.
    pub fn value(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at;
        self.skip()?;
        Ok(start..self.at)
    }

    /// A key with its colon and the white space around it.
    fn key(&mut self) -> Result<Text<'a>, Fault> {
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
    fn string(&mut self) -> Result<Text<'a>, Fault> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = plain_end(self.text, at);
            match self.text.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at = pass_escape(self.text, at)?;
                }
                Some(_) => return Err(Fault::new(at, "a control character in a string must be escaped")),
                None => return Err(Fault::new(at, "the body ends inside a string")),
            }
        }
        self.at = at + 1;
        Ok(Text { at: start, raw: &self.text[start..at], escaped })
    }

    /// An object or array, without recursion: one bit a level says which of the two is open.
    fn nested(&mut self) -> Result<(), Fault> {
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.string()?),
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
    fn plain(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.pass_number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'N' | b'I') => Err(self.fault("expected a value (NaN and Infinity are not JSON)")),
            Some(_) => Err(self.fault("expected a value")),
            None => Err(self.fault("the body ends where a value is expected")),
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.rest().starts_with(word) {
            return Err(self.fault("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn pass_number(&mut self) -> Result<(), Fault> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        } else if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.fault("a number must not start with 0"));
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.fault("expected a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { Err(self.fault(reason)) }
    }

    fn fault(&self, reason: &'static str) -> Fault {
        Fault::new(self.at, reason)
    }
}
