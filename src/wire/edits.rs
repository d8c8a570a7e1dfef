//! Small changes to one item, removals and insertions, applied while it is copied.

use std::ops::Range;

/// The changes to one item, in offsets of the body. Reused from item to item, so that it seldom allocates.
#[derive(Debug, Default)]
pub(super) struct Edits {
    list: Vec<Edit>,
    text: Vec<u8>,
}

#[derive(Debug)]
struct Edit {
    /// The range of the body to remove; empty for an insertion.
    cut: Range<usize>,
    /// The range of `Edits::text` to insert; empty for a removal.
    with: Range<usize>,
}

impl Edits {
    /// Forgets all changes.
    pub fn clear(&mut self) {
        self.list.clear();
        self.text.clear();
    }

    /// Whether the item is unchanged.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Removes a range.
    pub fn cut(&mut self, range: Range<usize>) {
        self.replace(range, b"");
    }

    /// Inserts `text` at an offset, after earlier insertions there.
    pub fn insert(&mut self, at: usize, text: &[u8]) {
        self.replace(at..at, text);
    }

    /// Replaces a range by `text`. Ranges must not overlap.
    pub fn replace(&mut self, cut: Range<usize>, text: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.list.push(Edit { cut, with: start..self.text.len() });
    }

    /// How many bytes are cut out.
    pub fn cut_bytes(&self) -> usize {
        self.list.iter().map(|edit| edit.cut.len()).sum()
    }

    /// How many bytes are put in.
    pub fn added_bytes(&self) -> usize {
        self.text.len()
    }

    /// Appends the changed item to `out`.
    pub fn apply(&mut self, body: &[u8], item: Range<usize>, out: &mut Vec<u8>) {
        self.apply_at(item.start, &body[item], out);
    }

    /// The same of an item that begins at an offset of its body.
    pub fn apply_at(&mut self, start: usize, item: &[u8], out: &mut Vec<u8>) {
        self.list.sort_by_key(|edit| (edit.cut.start, edit.cut.end));
        let mut at = 0;
        for edit in &self.list {
            out.extend_from_slice(&item[at..edit.cut.start - start]);
            out.extend_from_slice(&self.text[edit.with.clone()]);
            at = edit.cut.end - start;
        }
        out.extend_from_slice(&item[at..]);
    }
}
