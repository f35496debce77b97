//! How much each invariant had to judge in a history. An invariant that never finds anything to judge is green whatever happens.

use super::{Evidence, judged_registers, of_recipes, transactions};
use crate::history::{Kind, RecipeDeed, What};

/// How many of what an invariant judges are in this history, and what they are called. One that is not told of here judges
/// the history as a whole.
pub fn subjects(evidence: &Evidence<'_>, invariant: &str) -> (u64, &'static str) {
    let steps =
        |is: fn(&What) -> bool| evidence.history.steps.iter().filter(|step| is(&step.what)).count() as u64;
    let grants = |kinds: &[Kind]| {
        evidence.tenures.iter().filter(|tenure| kinds.contains(&tenure.holding.kind)).count() as u64
    };
    let calm = evidence.calm.map_or(usize::MAX, |calm| calm.step);
    match invariant {
        "mutual-exclusion" => (grants(&[Kind::Mutex, Kind::Read, Kind::Write]), "grants"),
        "single-leader" => (grants(&[Kind::Leader]), "grants"),
        "fifo" => (grants(&[Kind::Mutex, Kind::Leader]), "grants"),
        "at-most-k" => (grants(&[Kind::Permit]), "grants"),
        "writer-priority" => (grants(&[Kind::Read, Kind::Write]), "grants"),
        "fencing" => (steps(|what| matches!(what, What::ResourceWrite { .. })), "writes to a resource"),
        "observe-order" => (steps(|what| matches!(what, What::Observed { .. })), "observations"),
        "progress" => {
            let asks = evidence.asks.iter().filter(|ask| ask.asked.step > calm).count();
            let calls = evidence.plain.operations.values().filter(|one| one.called.step > calm).count();
            let recipes = of_recipes(evidence).filter(|(deed, ..)| deed.began.step > calm).count();
            ((asks + calls + recipes) as u64, "asks once calm")
        }
        "floor" => (evidence.planned.lanes.len() as u64, "programs"),
        "true-errors" => {
            let told = steps(|what| matches!(what, What::NotGranted { .. } | What::ToldLost { .. }));
            (told + evidence.deeds.len() as u64, "errors, losses and deeds")
        }
        "no-polling" => {
            (steps(|what| matches!(what, What::Sent { .. } | What::WatchSent { .. })), "requests")
        }
        "no-residue" => (evidence.keys.values().map(|lives| lives.len() as u64).sum(), "lives of keys"),
        "linearizable" => (judged_registers(evidence).judged, "operations"),
        "true-answers" => {
            let answered = evidence.plain.operations.values().filter(|one| one.ended.is_some());
            (answered.count() as u64, "operations")
        }
        "watch-guarantees" => {
            let told = |what: &What| matches!(what, What::StreamSaid { .. } | What::WatchTold { .. });
            (steps(told), "messages of watches")
        }
        "lease-life" => (steps(|what| matches!(what, What::LeaseExpired { .. })), "leases that ran out"),
        "exactly-once" => (evidence.items().all.len() as u64, "items"),
        "isolation" => {
            (transactions(evidence).map(|one| one.runs.len() as u64).sum(), "runs of transactions")
        }
        "barrier" => {
            let is_one = |what: &RecipeDeed| {
                use RecipeDeed::{Hold, Pass, ReleaseBarrier, ReleaseHold};
                matches!(what, Hold { .. } | ReleaseHold { .. } | ReleaseBarrier | Pass { .. })
            };
            (
                of_recipes(evidence).filter(|(.., what)| is_one(what)).count() as u64,
                "holds, releases and waits",
            )
        }
        "double-barrier" => {
            let is_one =
                |what: &RecipeDeed| matches!(what, RecipeDeed::Enter { .. } | RecipeDeed::Leave { .. });
            (of_recipes(evidence).filter(|(.., what)| is_one(what)).count() as u64, "enterings and leavings")
        }
        "applied" => {
            let is_one =
                |what: &RecipeDeed| matches!(what, RecipeDeed::Transfer { .. } | RecipeDeed::Add { .. });
            (of_recipes(evidence).filter(|(.., what)| is_one(what)).count() as u64, "transfers and additions")
        }
        _ => (1, "histories"),
    }
}
