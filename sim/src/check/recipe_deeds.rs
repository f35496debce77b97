//! What clients did with recipes, in the order in which it was begun.

use super::{DeedLife, Evidence};
use crate::history::{Deed, RecipeDeed};

/// Each deed, with the name of its queue, bank, counter or barrier.
pub(crate) fn of_recipes<'e, 'a>(
    evidence: &'e Evidence<'a>,
) -> impl Iterator<Item = (&'e DeedLife<'a>, &'a str, &'a RecipeDeed)> {
    evidence.deeds.iter().filter_map(|deed| match deed.what {
        Deed::Recipe { name, what, .. } => Some((deed, &**name, what)),
        _ => None,
    })
}
