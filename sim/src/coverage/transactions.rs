//! The marks of transactions and counters.

use linkme::distributed_slice;
use tenure::kv::EventKind;

use super::{MARKS, Mark};
use crate::check::{Evidence, Transaction, of_recipes, transactions};
use crate::history::{Came, DeedEnd, Failure, RecipeDeed, RecipeEnd};
use crate::workload::recipes::MADE;
use crate::workload::recipes::program::Level;

fn committed(one: &Transaction<'_, '_>) -> Option<i64> {
    match one.came {
        Came::Committed { revision } => Some(revision),
        Came::Conflict | Came::Aborted => None,
    }
}

#[distributed_slice(MARKS)]
static AGAIN: Mark = Mark {
    name: "a transaction met a conflict and committed after it",
    seen: |evidence| transactions(evidence).any(|one| one.runs.len() > 1 && committed(&one).is_some()),
};

#[distributed_slice(MARKS)]
static CONFLICT: Mark = Mark {
    name: "a transaction was given up for conflicts",
    seen: |evidence| transactions(evidence).any(|one| one.came == Came::Conflict),
};

#[distributed_slice(MARKS)]
static ABORTED: Mark = Mark {
    name: "a transaction was given up by its closure",
    seen: |evidence| transactions(evidence).any(|one| one.came == Came::Aborted),
};

#[distributed_slice(MARKS)]
static FORGOTTEN: Mark = Mark {
    name: "what a transaction had begun to read was forgotten",
    seen: |evidence| transactions(evidence).any(|one| one.runs.iter().rev().skip(1).any(|run| !run.is_whole)),
};

#[distributed_slice(MARKS)]
static APART: Mark = Mark {
    name: "an audit at read-committed read what was never so together",
    seen: |evidence| {
        let apart = |one: &Transaction<'_, '_>| {
            let (oldest, _) = one.may_read(evidence.order());
            let together = |reads: &[_]| Transaction::were_so_together(evidence.order(), reads, oldest);
            one.runs.last().is_some_and(|run| !together(&run.reads))
        };
        let mut audits = transactions(evidence).filter(|one| matches!(one.what, RecipeDeed::Audit { .. }));
        audits.any(|one| one.level == Level::ReadCommitted && apart(&one))
    },
};

#[distributed_slice(MARKS)]
static ANSWER_LOST: Mark = Mark {
    name: "a transaction committed though the answer was lost, and its client was told",
    seen: |evidence| {
        let lost = |revision: i64| {
            let call = evidence.order().commit(revision).and_then(|commit| commit.call);
            call.and_then(|call| evidence.calls.get(&call)).is_some_and(|call| call.answer_lost)
        };
        let mut transfers =
            transactions(evidence).filter(|one| matches!(one.what, RecipeDeed::Transfer { .. }));
        transfers.any(|one| committed(&one).is_some_and(lost))
    },
};

#[distributed_slice(MARKS)]
static UNTOLD: Mark = Mark { name: "a transaction that was given up was applied", seen: applied_untold };

fn applied_untold(evidence: &Evidence<'_>) -> bool {
    let made = |id: &str| {
        let key = format!("{MADE}{id}").into_bytes();
        let mut events = evidence.order().commits().iter().flat_map(|commit| commit.events);
        events.any(|event| event.kind == EventKind::Put && event.kv.key == key)
    };
    of_recipes(evidence).any(|(deed, _, what)| match (what, deed.ended) {
        (RecipeDeed::Transfer { id, .. }, Some((_, DeedEnd::Failed(Failure::Cancelled)))) => made(id),
        _ => false,
    })
}

#[distributed_slice(MARKS)]
static COUNTED: Mark = Mark {
    name: "two clients added to one counter at once",
    seen: |evidence| {
        let counted = || {
            of_recipes(evidence).filter_map(|(deed, name, _)| match deed.ended {
                Some((ended, DeedEnd::Recipe(RecipeEnd::Counted(_)))) => Some((deed, name, ended)),
                _ => None,
            })
        };
        counted().any(|(one, name, ended)| {
            let during = |began: usize| (one.began.step..ended.step).contains(&began);
            counted()
                .any(|(other, of, _)| of == name && other.client != one.client && during(other.began.step))
        })
    },
};
