//! Coverage marks: rare things that a campaign must have seen, or it has tested less than it seems. Whoever declares a mark
//! puts it into [`MARKS`]; the linker gathers them.

mod barriers;
mod cluster;
mod elections;
mod locks;
pub mod rates;
mod recipes;
mod requests;
mod transactions;

use linkme::distributed_slice;

use crate::check::Evidence;

/// Something that is worth having seen.
#[derive(Clone, Copy)]
pub struct Mark {
    /// As scenarios name it, in words.
    pub name: &'static str,
    /// Whether it happened in this history.
    pub seen: fn(&Evidence<'_>) -> bool,
}

/// Every mark, gathered at link time, in no particular order.
#[distributed_slice]
pub static MARKS: [Mark];

/// The names of all marks, in order.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = MARKS.iter().map(|mark| mark.name).collect();
    names.sort_unstable();
    names
}

/// The marks that a history hits, in order of their names.
pub fn hits(evidence: &Evidence<'_>) -> Vec<&'static str> {
    let mut hits: Vec<_> = MARKS.iter().filter(|mark| (mark.seen)(evidence)).map(|mark| mark.name).collect();
    hits.sort_unstable();
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_marks_share_a_name() {
        let names = names();
        assert!(!names.is_empty());
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
