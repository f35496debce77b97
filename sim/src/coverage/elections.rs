//! The marks of elections and of read-write locks.

use linkme::distributed_slice;

use super::{MARKS, Mark};
use crate::check::{Evidence, Outcome};
use crate::history::{Kind, What};

#[distributed_slice(MARKS)]
static BEHIND_READERS: Mark =
    Mark { name: "a writer waited behind two readers", seen: writer_behind_two_readers };

fn writer_behind_two_readers(evidence: &Evidence<'_>) -> bool {
    evidence.asks.iter().filter(|ask| ask.kind == Kind::Write).any(|ask| {
        let until = ask.ended.map_or(usize::MAX, |(moment, _)| moment.step);
        let readers = evidence.tenures.iter().filter(|tenure| {
            let released = tenure.releases.map_or(usize::MAX, |moment| moment.step);
            tenure.holding.kind == Kind::Read
                && tenure.holding.name == ask.name
                && tenure.granted.step < ask.asked.step
                && (ask.asked.step..until).contains(&released)
        });
        matches!(ask.ended, Some((_, Outcome::Granted))) && readers.count() >= 2
    })
}

#[distributed_slice(MARKS)]
static BEHIND_WRITER: Mark = Mark {
    name: "a reader waited for a writer",
    seen: |evidence| {
        evidence.asks.iter().filter(|ask| ask.kind == Kind::Read).any(|ask| {
            let Some((ended, Outcome::Granted)) = ask.ended else { return false };
            evidence.tenures.iter().any(|tenure| {
                tenure.holding.kind == Kind::Write
                    && tenure.holding.name == ask.name
                    && tenure.granted.step < ended.step
                    && tenure.releases.is_some_and(|gone| (ask.asked.step..ended.step).contains(&gone.step))
            })
        })
    },
};

#[distributed_slice(MARKS)]
static IN_TURN: Mark = Mark {
    name: "a reader waited in turn for a writer, with a younger writer behind it",
    seen: |evidence| {
        evidence.asks.iter().filter(|ask| ask.kind == Kind::Read && ask.in_turn).any(|ask| {
            let Some((ended, Outcome::Granted)) = ask.ended else { return false };
            let mut writers =
                evidence.keys.get(format!("{}/write", ask.name).as_bytes()).into_iter().flatten();
            let before = evidence.tenures.iter().any(|tenure| {
                tenure.holding.kind == Kind::Write
                    && tenure.holding.name == ask.name
                    && tenure.granted.step < ended.step
                    && tenure.releases.is_some_and(|gone| (ask.asked.step..ended.step).contains(&gone.step))
            });
            before
                && writers.any(|life| {
                    (ask.asked.step..ended.step).contains(&life.created.step)
                        && life.deleted.is_none_or(|(_, gone)| gone.step > ended.step)
                })
        })
    },
};

#[distributed_slice(MARKS)]
static TWO_READERS: Mark = Mark {
    name: "two readers held at once",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| {
            matches!(&step.what, What::Granted { holding, believers, .. }
                if holding.kind == Kind::Read && believers.iter().any(|other| other.kind == Kind::Read))
        })
    },
};

#[distributed_slice(MARKS)]
static NO_LEADER: Mark = Mark {
    name: "an observer saw that nobody leads",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| matches!(step.what, What::Observed { leader: None, .. }))
    },
};

#[distributed_slice(MARKS)]
static PROCLAIMED: Mark = Mark {
    name: "an observer saw a proclamation",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| {
            matches!(&step.what, What::Observed { leader: Some(leader), .. } if leader.mod_revision > leader.rev)
        })
    },
};

#[distributed_slice(MARKS)]
static ELECTED_AFTER_CRASH: Mark = Mark {
    name: "a leader was elected after its predecessor crashed",
    seen: |evidence| {
        evidence.tenures.iter().filter(|tenure| tenure.holding.kind == Kind::Leader).any(|tenure| {
            tenure.crashed.is_some_and(|crashed| {
                evidence.tenures.iter().any(|later| {
                    later.holding.name == tenure.holding.name && later.granted.step > crashed.step
                })
            })
        })
    },
};
