//! What recipes tell their callers, and when it is true.

use super::{Asked, Judge, Verdict, unless};
use crate::check::DeedLife;
use crate::check::transactions::{Transaction, transactions};
use crate::history::{Came, Failure, RecipeDeed};

impl Judge<'_, '_> {
    /// A time limit has passed; what is not held any more was taken away.
    pub(super) fn recipe_failed(self, what: &RecipeDeed, error: &Failure, asked: Asked) -> Verdict {
        let limit_ns = match what {
            RecipeDeed::Dequeue { limit_ms, .. } | RecipeDeed::Claim { limit_ms } => {
                limit_ms.map(|ms| ms * 1_000_000)
            }
            _ => None,
        };
        match (what, error, limit_ns) {
            (_, Failure::Timeout, Some(limit_ns)) => self.passed(limit_ns, asked),
            (
                RecipeDeed::Acknowledge { token, .. } | RecipeDeed::GiveBack { token, .. },
                Failure::NotHeld,
                _,
            ) => {
                let is_gone = self.evidence.keys.values().flatten().any(|life| {
                    life.create_revision == *token
                        && life.deleted.is_some_and(|(_, gone)| gone.step < asked.ended.step)
                });
                unless(is_gone, || "it is not held any more, but nobody took it away".to_owned())
            }
            // What one that was given up had begun the next one goes on with, and is told of its loss.
            (RecipeDeed::Dequeue { .. }, Failure::Maybe(_), _) => {
                let session = asked.lease.and_then(|lease| self.evidence.sessions.get(&lease));
                let began = session.map_or(asked.began, |session| session.opened);
                self.failed(error, Asked { began, ..asked })
            }
            _ => self.failed(error, asked),
        }
    }

    /// Who gives up a transaction for conflicts has met one in each of as many runs as it may have.
    pub(super) fn recipe_gave(self, deed: &DeedLife<'_>) -> Verdict {
        let mut transactions = transactions(self.evidence);
        let of_it = |one: &Transaction<'_, '_>| one.deed.began == deed.began && one.came == Came::Conflict;
        let Some(transaction) = transactions.find(of_it) else { return Ok(()) };
        let (runs, attempts) = (transaction.runs.len(), transaction.attempts);
        if runs != attempts as usize {
            return Err(format!("it met conflicts in each of {attempts} runs, but ran {runs} times"));
        }
        let mut runs = transaction.runs.iter();
        unless(runs.all(|run| transaction.met_a_conflict(self.evidence.order(), run)), || {
            "it met a conflict each time, but nobody wrote what it had read".to_owned()
        })
    }
}
