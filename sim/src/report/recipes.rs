//! What clients do with recipes, in words.

use crate::history::{RecipeDeed, RecipeEnd};

/// What is asked of the queue or barrier of this name.
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
    }
}

/// What it gave.
pub(super) fn given(given: &RecipeEnd) -> String {
    match given {
        RecipeEnd::Items(items) if items.is_empty() => "nothing is there".to_owned(),
        RecipeEnd::Items(items) => format!("is given {}", list(items)),
        RecipeEnd::Claimed { item, token } => format!("has claimed item {item} (token {token})"),
    }
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
