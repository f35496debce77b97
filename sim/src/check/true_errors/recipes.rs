//! What recipes tell their callers, and when it is true.

use super::{Asked, Judge, Verdict, is_by_a_double, unless};
use crate::check::barrier::releases;
use crate::check::barriers::{asked_by, hold_of, holds, members, rounds};
use crate::check::transactions::{Transaction, transactions};
use crate::check::{DeedLife, KeyLife, Moment, of_recipes};
use crate::history::{Came, Deed, DeedEnd, Failure, RecipeDeed};

impl Asked {
    /// Whether a key may have been made by what was asked.
    fn may_have_made(self, life: &KeyLife) -> bool {
        Some(life.lease) == self.lease && (self.began.step..=self.ended.step).contains(&life.created.step)
    }
}

impl Judge<'_, '_> {
    /// A time limit has passed; what is not held any more was taken away.
    pub(super) fn recipe_failed(
        self,
        name: &str,
        what: &RecipeDeed,
        error: &Failure,
        asked: Asked,
    ) -> Verdict {
        let limit_ns = match what {
            RecipeDeed::Dequeue { limit_ms, .. }
            | RecipeDeed::Claim { limit_ms }
            | RecipeDeed::Pass { limit_ms }
            | RecipeDeed::Enter { limit_ms, .. }
            | RecipeDeed::Leave { limit_ms, .. } => limit_ms.map(|ms| ms * 1_000_000),
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
            (RecipeDeed::Hold { .. }, Failure::BarrierHeld, _) => self.held(name, asked),
            (RecipeDeed::ReleaseHold { revision }, Failure::NotHeld, _) => {
                let hold = hold_of(self.evidence, name, *revision);
                unless(hold.is_some_and(|hold| self.taken_away_by(name, hold, asked)), || {
                    "it is not held any more, but nobody took it away".to_owned()
                })
            }
            (RecipeDeed::Enter { count, .. }, Failure::BarrierFull, _) => self.full(name, *count, asked),
            (RecipeDeed::Enter { .. }, Failure::BarrierBroken, _) => self.broken(name, asked),
            (RecipeDeed::Leave { round, .. }, Failure::NotHeld, _) => {
                let all = members(self.evidence, name).iter();
                let mut own =
                    all.filter(|life| Some(life.lease) == asked.lease && life.create_revision < *round);
                unless(own.any(|own| self.taken_away_by(name, own, asked)), || {
                    "it is not inside any more, but nobody took it out".to_owned()
                })
            }
            _ => self.failed(error, asked),
        }
    }

    /// Whether a key of the client's was gone, and not by what it asks here.
    fn taken_away_by(self, name: &str, life: &KeyLife, asked: Asked) -> bool {
        let Some((_, gone)) = life.deleted.filter(|(_, gone)| gone.step < asked.ended.step) else {
            return false;
        };
        match asked_by(self.evidence, gone) {
            Some((client, sent)) if client == asked.client && sent > asked.began.step => {
                is_by_a_double(self.evidence, gone) || releases(self.evidence, name, client, sent)
            }
            _ => true,
        }
    }

    /// A hold stood that is not its own.
    fn held(self, name: &str, asked: Asked) -> Verdict {
        let during = asked.began.step..=asked.ended.step;
        // Which of two holds of one session is whose is not known; one that was given up may go on in the background.
        let asks = of_recipes(self.evidence).filter(|(deed, of, what)| {
            let Deed::Recipe { lease, .. } = deed.what else { return false };
            let goes_on = deed.ended.is_none_or(|(ended, end)| {
                ended.step >= *during.start() || *end == DeedEnd::Failed(Failure::Cancelled)
            });
            *of == name
                && Some(*lease) == asked.lease
                && matches!(what, RecipeDeed::Hold { .. })
                && deed.began.step <= *during.end()
                && goes_on
        });
        let alone = asks.count() < 2;
        let is_own =
            |hold: &KeyLife| alone && Some(hold.lease) == asked.lease && hold.created.step > asked.began.step;
        let mut there = holds(self.evidence, name).filter(|hold| hold.is_there_within(&during));
        unless(there.any(|hold| !is_own(hold)), || "it is held already, but by nobody else".to_owned())
    }

    /// A round was on, or as many were there as it is for.
    fn full(self, name: &str, count: u32, asked: Asked) -> Verdict {
        let during = asked.began.step..=asked.ended.step;
        let mut rounds = rounds(self.evidence, name).into_iter();
        let is_on = rounds.any(|round| {
            round.began.step <= *during.end()
                && round.closed.is_none_or(|closed| closed.step >= *during.start())
        });
        let all = members(self.evidence, name);
        let there_at = |step: usize| {
            let there = all.iter().filter(|life| life.is_there_within(&(step..=step)));
            let own =
                all.iter().any(|life| asked.may_have_made(life) && life.is_there_within(&(step..=step)));
            there.count() >= count as usize + usize::from(own)
        };
        let came = all.iter().map(|life| life.created.step).filter(|step| during.contains(step));
        let were_there = came.chain([asked.began.step]).any(there_at);
        unless(is_on || were_there, || {
            format!("it is full, but there was no round, and there were never {count} others")
        })
    }

    /// Another who waited was gone meanwhile, or its own key was taken out by one who had seen that.
    fn broken(self, name: &str, asked: Asked) -> Verdict {
        let all = members(self.evidence, name);
        // Another program of the session may enter beside it; then it is not known which key is whose.
        let alone = all.iter().filter(|life| asked.may_have_made(life)).count() < 2;
        let mut gone = all.iter().filter_map(|life| Some((life, life.deleted?.1)));
        let is_broken = |(life, gone): (&KeyLife, Moment)| {
            let meanwhile = (asked.began.step..asked.ended.step).contains(&gone.step);
            let by_itself = asked_by(self.evidence, gone).is_some_and(|(client, _)| client == asked.client);
            meanwhile && !(alone && asked.may_have_made(life) && by_itself)
        };
        unless(gone.any(is_broken), || "it is broken, but nobody of those who waited is gone".to_owned())
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
