//! The shortest run that breaks the same invariant: breadth first, with the same reductions, as far as a shorter one can be.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::automaton::Bytes;
use super::bounds::Space;
use super::search::Found;
use super::step::{Explored, Silent};
use super::world::{Choice, World};
use crate::planted::Planted;

/// More states than this in one level do not fit into memory.
const WIDEST: usize = 400_000;

struct Link {
    choice: Choice,
    before: Option<Arc<Link>>,
}

fn path(mut way: Option<&Arc<Link>>, last: Option<Choice>) -> Vec<Choice> {
    let mut path: Vec<Choice> = last.into_iter().collect();
    while let Some(link) = way {
        path.push(link.choice);
        way = link.before.as_ref();
    }
    path.reverse();
    path
}

/// Looks for a shorter run than `found` that breaks the same invariant, for so long at most.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the time that the search may take; no explored run sees it"
)]
pub fn shorten(
    space: &Space,
    planted: Option<&'static Planted>,
    found: &Found,
    budget: Duration,
) -> Option<Found> {
    let began = std::time::Instant::now();
    let explored = Explored::new(space, planted, false);
    let mut bytes = Bytes::default();
    let mut visited = BTreeSet::new();
    let mut level: Vec<(World, Option<Arc<Link>>)> = vec![(explored.begin(space, &mut Silent).ok()?, None)];
    for _ in 0..found.path.len().saturating_sub(1) {
        let mut next = Vec::new();
        for (world, way) in level {
            if began.elapsed() > budget || next.len() > WIDEST {
                return None;
            }
            let enabled = world.enabled(&explored.roles);
            for choice in world.persistent(&explored.roles, enabled) {
                let mut there = world.clone();
                let broken = match there.take(&explored, choice, &mut Silent) {
                    Err(broken) => Some(broken),
                    Ok(()) if there.enabled(&explored.roles).iter().all(Choice::is_fault) => {
                        there.at_the_end(&explored)
                    }
                    Ok(()) => None,
                };
                match broken {
                    Some(broken) if broken.invariant == found.invariant => {
                        let path = path(way.as_ref(), Some(choice));
                        return Some(Found { invariant: broken.invariant, detail: broken.detail, path });
                    }
                    Some(_) => {}
                    None => {
                        if visited.insert(there.hash(&mut bytes)) {
                            next.push((there, Some(Arc::new(Link { choice, before: way.clone() }))));
                        }
                    }
                }
            }
        }
        level = next;
    }
    None
}
