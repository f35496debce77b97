//! What clients do with recipes, in words.

use crate::history::{Came, Departed, RecipeDeed, RecipeEnd, TransactionRead, TransactionRun};

/// What is asked of the queue, bank, counter or barrier of this name.
pub(super) fn begins(name: &str, what: &RecipeDeed) -> String {
    match what {
        RecipeDeed::Enqueue { priority: None, items } => format!("enqueues {} to {name:?}", list(items)),
        RecipeDeed::Enqueue { priority: Some(priority), items } => {
            format!("enqueues {} to {name:?} with priority {priority}", list(items))
        }
        RecipeDeed::Dequeue { most, limit_ms } => {
            format!("dequeues {most} at most from {name:?}{}", within(*limit_ms))
        }
        RecipeDeed::Claim { limit_ms } => format!("claims an item of {name:?}{}", within(*limit_ms)),
        RecipeDeed::Acknowledge { item, token, writes } => {
            let with = if *writes { ", with a write" } else { "" };
            format!("acknowledges item {item} of {name:?} (token {token}){with}")
        }
        RecipeDeed::GiveBack { item, token } => {
            format!("gives back item {item} of {name:?} (token {token})")
        }
        RecipeDeed::Transfer { id, level, from, to, amount, blind, attempts } => {
            let beside = blind.as_ref().map_or_else(String::new, |key| format!(" and writes {key}"));
            format!(
                "moves {amount} from {from} to {to}{beside}, in transfer {id} ({}, {attempts} runs at most)",
                level.name()
            )
        }
        RecipeDeed::Audit { level, attempts } => {
            format!("reads all accounts of {name:?} ({}, {attempts} runs at most)", level.name())
        }
        RecipeDeed::Add { by } => format!("adds {by} to {name:?}"),
        RecipeDeed::Hold { for_good: false } => format!("asks to hold the barrier {name:?}"),
        RecipeDeed::Hold { for_good: true } => format!("asks to hold the barrier {name:?} for good"),
        RecipeDeed::ReleaseHold { revision } => {
            format!("releases its hold of the barrier {name:?} (revision {revision})")
        }
        RecipeDeed::ReleaseBarrier => format!("releases the barrier {name:?}, whoever holds it"),
        RecipeDeed::Pass { limit_ms } => format!("waits at the barrier {name:?}{}", within(*limit_ms)),
        RecipeDeed::Enter { count, limit_ms } => {
            format!("enters the double barrier {name:?} of {count}{}", within(*limit_ms))
        }
        RecipeDeed::Leave { round, limit_ms, .. } => {
            format!("leaves round {round} of the double barrier {name:?}{}", within(*limit_ms))
        }
    }
}

/// What it gave.
pub(super) fn given(given: &RecipeEnd) -> String {
    match given {
        RecipeEnd::Items(items) if items.is_empty() => "nothing is there".to_owned(),
        RecipeEnd::Items(items) => format!("is given {}", list(items)),
        RecipeEnd::Claimed { item, token } => format!("has claimed item {item} (token {token})"),
        RecipeEnd::Transacted { came, runs } => {
            let how = match came {
                Came::Committed { revision } => format!("committed (revision {revision})"),
                Came::Conflict => "met conflicts".to_owned(),
                Came::Aborted => "gave up: too little is left".to_owned(),
            };
            format!("{how} after {} runs; read {}", runs.len(), runs.last().map_or_else(String::new, read))
        }
        RecipeEnd::Counted(number) => format!("is given {number}"),
        RecipeEnd::Held { revision } => format!("holds the barrier (revision {revision})"),
        RecipeEnd::Entered { round } => format!("is in, in round {round}"),
        RecipeEnd::Left(Departed::Everyone) => "goes on: all have left".to_owned(),
        RecipeEnd::Left(Departed::Crashed(count)) => format!("goes on: {count} are gone without having left"),
        RecipeEnd::Left(Departed::Unknown) => "goes on: all are out".to_owned(),
    }
}

/// What the run of a transaction read.
fn read(run: &TransactionRun) -> String {
    run.reads.iter().map(TransactionRead::to_string).collect::<Vec<_>>().join(", ")
}

fn list(items: &[String]) -> String {
    let noun = if items.len() == 1 { "item" } else { "items" };
    format!("{noun} {}", items.join(", "))
}

fn within(limit_ms: Option<u64>) -> String {
    match limit_ms {
        None => String::new(),
        Some(0) => ", if one is there".to_owned(),
        Some(ms) => format!(", within {ms} ms"),
    }
}
