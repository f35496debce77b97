//! A key or a range of keys, as `key` and `range_end` of etcd's requests say it.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Some keys: one, those of `[key, range_end)`, or all from `key` on (`mkGteRange` in etcd's `txn.go`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span<'a> {
    key: &'a [u8],
    end: End<'a>,
}

#[derive(Clone, Copy, Debug)]
enum End<'a> {
    One,
    Before(&'a [u8]),
    Never,
}

impl<'a> Span<'a> {
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        let end = match range_end {
            [] => End::One,
            [0] => End::Never,
            end => End::Before(end),
        };
        Self { key, end }
    }

    /// The one key, if it is one.
    pub(crate) fn single(&self) -> Option<&'a [u8]> {
        matches!(self.end, End::One).then_some(self.key)
    }

    /// Whether no key can be in it: its end is not behind its beginning.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.end, End::Before(end) if end <= self.key)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match self.end {
            End::One => key == self.key,
            End::Before(end) => self.key <= key && key < end,
            End::Never => self.key <= key,
        }
    }

    /// What `map` holds of these keys, in order.
    pub(crate) fn of<'m, V>(
        &self,
        map: &'m BTreeMap<Vec<u8>, V>,
    ) -> impl Iterator<Item = (&'m Vec<u8>, &'m V)> + use<'m, V> {
        let from = Bound::Included(self.key);
        let bounds = match self.end {
            End::One => (from, Bound::Included(self.key)),
            // An empty range, written as one that `BTreeMap::range` takes.
            End::Before(end) if end <= self.key => (Bound::Included(self.key), Bound::Excluded(self.key)),
            End::Before(end) => (from, Bound::Excluded(end)),
            End::Never => (from, Bound::Unbounded),
        };
        map.range::<[u8], _>(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        let map = BTreeMap::from([(b"a".to_vec(), ()), (b"b".to_vec(), ())]);
        let count = |key: &[u8], end: &[u8]| Span::new(key, end).of(&map).count();
        assert_eq!(count(b"b", b"a"), 0);
        assert_eq!(count(b"a", b"a"), 0);
        assert_eq!(count(b"a", b"b"), 1);
        assert_eq!(count(b"a", b""), 1);
        assert_eq!(count(b"a", b"\0"), 2);
        assert!(!Span::new(b"b", b"a").contains(b"a"));
    }
}
