//! The names of an object's members, none of which may come twice.

use std::collections::HashSet;

/// Up to so many names are compared one by one.
const FEW: usize = 32;

/// A set of names.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// All of them, when they are more than a few.
    many: HashSet<Vec<u8>>,
}

impl Names {
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.many.clear();
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        if !self.many.is_empty() {
            return self.many.contains(name);
        }
        self.iter().any(|known| known == name)
    }

    /// Adds a name; false when it is known.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        if self.contains(name) {
            return false;
        }
        if self.many.is_empty() && self.ends.len() < FEW {
            self.text.extend_from_slice(name);
            self.ends.push(self.text.len());
            return true;
        }
        if self.many.is_empty() {
            self.many = self.iter().map(<[u8]>::to_vec).collect();
        }
        self.many.insert(name.to_vec())
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }
}
