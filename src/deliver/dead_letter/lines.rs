//! The lines of a tenant's file, one after another, in memory for one.

use super::letter::Letter;
use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What a line begins with once it has been replayed. It goes when the file is next rewritten.
pub(super) const REPLAYED: u8 = b'#';

/// The longest line that can be a letter: the largest body of any kind in base64, and its reason. Bytes.
const LONGEST: u64 = 128 << 20;

/// A line.
#[derive(Debug)]
pub struct Line<'a> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Where it stands, its line feed included.
    pub range: Range<u64>,
    /// What it says.
    pub content: Content<'a>,
}

/// What a line says.
#[derive(Debug)]
pub enum Content<'a> {
    /// Refused items.
    Letter(Letter<'a>),
    /// Nothing any more: its items have been replayed.
    Replayed,
    /// It is torn or damaged; why it cannot be read.
    Unreadable(String),
}

/// The lines of a file up to where it ended when this began. Blank lines are passed over.
#[derive(Debug)]
pub struct Lines<F> {
    reader: BufReader<Section<F>>,
    line: Vec<u8>,
    number: u64,
    at: u64,
}

impl<F: Borrow<File>> Lines<F> {
    pub(super) fn new(file: F, length: u64) -> Self {
        let reader = BufReader::with_capacity(1 << 16, Section { file, range: 0..length });
        Self { reader, line: Vec::new(), number: 0, at: 0 }
    }

    /// The next line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let mut length = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut self.line)? as u64;
            if length == 0 {
                return Ok(None);
            }
            if length == LONGEST && self.line.last() != Some(&b'\n') {
                length += self.reader.skip_until(b'\n')? as u64;
            }
            let range = self.at..self.at + length;
            self.at = range.end;
            self.number += 1;
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(Line { number: self.number, range, content: content(&self.line) }));
            }
        }
    }

    /// A line that was met before, once more.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn again(&mut self, number: u64, range: Range<u64>) -> io::Result<Line<'_>> {
        let length = (range.end - range.start).min(LONGEST);
        self.line.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        self.reader.get_ref().file.borrow().read_exact_at(&mut self.line, range.start)?;
        Ok(Line { number, range, content: content(&self.line) })
    }

    /// What the lines take together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.reader.get_ref().range.end
    }
}

fn content(line: &[u8]) -> Content<'_> {
    if line.first() == Some(&REPLAYED) {
        return Content::Replayed;
    }
    match Letter::parse(line) {
        Ok(letter) => Content::Letter(letter),
        Err(why) => Content::Unreadable(why),
    }
}

/// A part of a file as something to read from, whatever others do with the file's position.
#[derive(Debug)]
pub(super) struct Section<F> {
    pub(super) file: F,
    pub(super) range: Range<u64>,
}

impl<F: Borrow<File>> Read for Section<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end.saturating_sub(self.range.start)).unwrap_or(usize::MAX);
        let most = into.len().min(left);
        let read = self.file.borrow().read_at(&mut into[..most], self.range.start)?;
        self.range.start += read as u64;
        Ok(read)
    }
}
