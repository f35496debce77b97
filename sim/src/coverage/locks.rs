//! The marks of locks and sessions.

use linkme::distributed_slice;
use tenure::kv::{Op, Request};

use super::{MARKS, Mark};
use crate::check::{Call, Evidence, Outcome};
use crate::history::{Deed, DeedEnd, Failure, What};
use crate::workload::program::OperatorAct;

#[distributed_slice(MARKS)]
static PAUSED_HOLDER: Mark =
    Mark { name: "a holder was paused past its TTL", seen: holder_paused_past_its_ttl };

fn holder_paused_past_its_ttl(evidence: &Evidence<'_>) -> bool {
    evidence.tenures.iter().any(|tenure| {
        let Some(session) = evidence.sessions.get(&tenure.holding.lease) else { return false };
        let until = tenure.releases.or(tenure.crashed).map_or(evidence.end_ns, |moment| moment.at_ns);
        evidence.pauses.iter().any(|&(client, from_ns, to_ns)| {
            client == tenure.holding.client
                && (tenure.granted.at_ns..until).contains(&from_ns)
                && to_ns - from_ns > session.ttl_ns
        })
    })
}

#[distributed_slice(MARKS)]
static ROBBED: Mark =
    Mark { name: "an old leader revoked a lease", seen: |evidence| !evidence.robbed.is_empty() };

#[distributed_slice(MARKS)]
static LOST_UNLOCK: Mark = Mark { name: "an unlock's answer was lost", seen: unlocks_answer_lost };

fn unlocks_answer_lost(evidence: &Evidence<'_>) -> bool {
    evidence
        .calls
        .values()
        .any(|call| call.answer_lost && call.committed.is_some() && is_unlock(evidence, call))
}

fn is_unlock(evidence: &Evidence<'_>, call: &Call) -> bool {
    call.sent.and_then(|step| evidence.history.steps.get(step)).is_some_and(|step| match &step.what {
        What::Sent { request, .. } => match &**request {
            Request::Txn(txn) => txn.success.iter().any(|op| matches!(op, Op::Delete(_))),
            Request::Delete(_) => true,
            _ => false,
        },
        _ => false,
    })
}

#[distributed_slice(MARKS)]
static LATE_REQUEST: Mark = Mark {
    name: "a request was applied after its client gave up",
    seen: |evidence| evidence.calls.values().any(|call| call.committed_late),
};

#[distributed_slice(MARKS)]
static DEAD_WAITER: Mark =
    Mark { name: "a waiter's session died while it waited", seen: waiters_session_died };

fn waiters_session_died(evidence: &Evidence<'_>) -> bool {
    evidence.asks.iter().any(|ask| {
        let lines = evidence.keys.get(ask.name.as_bytes());
        let mut own = lines.into_iter().flatten().filter(|life| life.lease == ask.lease);
        let ended_step = match ask.ended {
            Some((_, Outcome::Granted | Outcome::Crashed)) => return false,
            Some((moment, Outcome::NotGranted)) => moment.step,
            None => usize::MAX,
        };
        own.any(|life| {
            life.created.step > ask.asked.step
                && life.deleted.is_some_and(|(_, moment)| {
                    moment.step < ended_step && ended_by_its_lease(evidence, moment.step, ask.lease)
                })
        })
    })
}

/// Whether this commit is the end of this lease.
fn ended_by_its_lease(evidence: &Evidence<'_>, step: usize, lease: i64) -> bool {
    matches!(
        &evidence.history.steps[step].what,
        What::Committed { request, .. } if **request == Request::LeaseRevoke { id: lease }
    )
}

#[distributed_slice(MARKS)]
static AFTER_CRASH: Mark =
    Mark { name: "a lock was granted after its holder crashed", seen: granted_after_a_crash };

fn granted_after_a_crash(evidence: &Evidence<'_>) -> bool {
    evidence.tenures.windows(1).enumerate().any(|(index, one)| {
        one[0].crashed.is_some_and(|crashed| {
            evidence.tenures[index + 1..].iter().any(|later| {
                later.holding.name == one[0].holding.name
                    && later.holding.client != one[0].holding.client
                    && later.granted.step > crashed.step
            })
        })
    })
}

#[distributed_slice(MARKS)]
static TOLD_IN_TIME: Mark = Mark {
    name: "a holder was told of the loss before its key was gone",
    seen: |evidence| {
        evidence.tenures.iter().any(|tenure| {
            let key = evidence
                .keys
                .get(tenure.holding.name.as_bytes())
                .and_then(|lives| lives.iter().find(|life| life.create_revision == tenure.holding.token));
            match (tenure.told_lost, key.map(|life| life.deleted)) {
                (Some(told), Some(Some((_, gone)))) => told.step < gone.step,
                (Some(_), Some(None)) => true,
                _ => false,
            }
        })
    },
};

#[distributed_slice(MARKS)]
static STALE_WRITE: Mark = Mark {
    name: "a resource refused the write of an older holder",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| matches!(step.what, What::ResourceWrite { accepted: false, .. }))
    },
};

#[distributed_slice(MARKS)]
static EX_HOLDERS_TXN: Mark = Mark {
    name: "a guarded transaction was refused to an ex-holder",
    seen: |evidence| {
        evidence.deeds.iter().any(|deed| {
            matches!(deed.what, Deed::Txn { .. })
                && matches!(deed.ended, Some((_, DeedEnd::Failed(Failure::NotHeld))))
        })
    },
};

#[distributed_slice(MARKS)]
static FAR_BACK: Mark = Mark {
    name: "a lock was granted to one who had come behind more than eight others",
    seen: granted_from_far_back,
};

fn granted_from_far_back(evidence: &Evidence<'_>) -> bool {
    evidence.tenures.iter().any(|tenure| {
        let lives = evidence.keys.get(tenure.holding.name.as_bytes()).map_or(&[][..], Vec::as_slice);
        let token = tenure.holding.token;
        let before = lives.iter().take_while(|life| life.create_revision < token);
        before.filter(|life| life.deleted.is_none_or(|(gone, _)| gone > token)).count() > 8
    })
}

#[distributed_slice(MARKS)]
static RESUMED: Mark = Mark {
    name: "a process went on with what an earlier one of its lease held",
    seen: |evidence| {
        let tenures = &evidence.tenures;
        tenures
            .iter()
            .enumerate()
            .any(|(index, one)| tenures[..index].iter().any(|earlier| earlier.holding == one.holding))
    },
};

#[distributed_slice(MARKS)]
static TAKEN_BY_HAND: Mark = Mark {
    name: "a holder was told that its key was deleted by hand",
    seen: |evidence| {
        let is_told =
            |end: &DeedEnd| matches!(end, DeedEnd::Confirmed(false) | DeedEnd::Failed(Failure::NotHeld));
        evidence.deeds.iter().any(|deed| {
            let (Deed::Confirm { holding } | Deed::Txn { holding }) = deed.what else { return false };
            let by_hand = |other: &crate::check::DeedLife<'_>| {
                matches!(other.what, Deed::Operator { holding: of, act: OperatorAct::DeleteHolder, .. } if of == holding)
                    && other.began.step < deed.began.step
            };
            deed.ended.is_some_and(|(_, end)| is_told(end)) && evidence.deeds.iter().any(by_hand)
        })
    },
};

#[distributed_slice(MARKS)]
static PLACE_TAKEN: Mark = Mark {
    name: "a contender lost its place by hand",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| matches!(step.what, What::NotGranted { why: Failure::NotHeld, .. }))
    },
};

#[distributed_slice(MARKS)]
static FOREIGN: Mark = Mark {
    name: "a contender was refused for a key that is no contender's",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| matches!(step.what, What::NotGranted { why: Failure::ForeignKey { .. }, .. }))
    },
};

#[distributed_slice(MARKS)]
static IN_USE: Mark = Mark {
    name: "two programs of one session wanted the same lock",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| matches!(step.what, What::NotGranted { why: Failure::InUse, .. }))
    },
};

#[distributed_slice(MARKS)]
static LEADER_CHANGE: Mark = Mark {
    name: "the leader changed while a lock was held",
    seen: |evidence| {
        // The first leader is no change.
        evidence.leads.iter().skip(1).any(|&led_ns| {
            evidence.tenures.iter().any(|tenure| {
                let until = tenure.releases.or(tenure.crashed).map_or(evidence.end_ns, |moment| moment.at_ns);
                tenure.granted.at_ns < led_ns && led_ns < until
            })
        })
    },
};

#[distributed_slice(MARKS)]
static CANCELLED: Mark = Mark {
    name: "a wait was cancelled while another held",
    seen: |evidence| {
        let steps = &evidence.history.steps;
        steps.iter().any(|step| matches!(step.what, What::NotGranted { why: Failure::Cancelled, .. }))
    },
};
