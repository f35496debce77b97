//! Runs a model through every interleaving of its bound, and says how many there were.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a model is explored.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// Every interleaving.
    None,
    /// Every interleaving with so many preemptions at most: switches away from a thread that could have gone on. Switches at
    /// what blocks are free.
    Preemptions(usize),
}

/// Explores `model`. It must take more than one execution: a model that loom sees only one order of checks nothing.
pub(crate) fn explore(name: &str, bound: Bound, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    builder.preemption_bound = match bound {
        Bound::None => None,
        Bound::Preemptions(most) => Some(most),
    };
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let executions = executions.load(Ordering::Relaxed);
    let bound = match bound {
        Bound::None => "exhaustive".to_owned(),
        Bound::Preemptions(most) => format!("preemptions <= {most}"),
    };
    // Not `println`, which the test runner swallows.
    writeln!(std::io::stdout(), "| {name} | {bound} | {executions} |").unwrap();
    assert!(executions > 1, "{name}: loom saw one order only");
}
