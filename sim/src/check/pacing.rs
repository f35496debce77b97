//! The second half of `no-polling`: a write whose answer was lost is made again after a pause that doubles, from a few
//! milliseconds up to half a second (`src/session/steps.rs`), and so is a lease asked for (`SessionBuilder::open`), by the client's own clock. Who does not pause storms an etcd that is in
//! trouble; who pauses longer is late when it is back.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenure::kv::{Op, Request, Txn};

use super::causes::{LATE_NS, LONGEST_PAUSE_NS};
use super::evidence::Moment;
use super::no_polling::begins_something;
use super::{Breach, Evidence};
use crate::history::What;
use crate::node::Node;

/// The first pause of a transaction.
const FIRST_NS: u64 = 5_000_000;
/// The first pause of who opens a session.
const FIRST_OF_A_LEASE_NS: u64 = 20_000_000;

/// A write of which every try so far was lost.
struct Lost {
    request: Arc<Request>,
    /// So many tries, in a row.
    tries: u32,
    /// One of them came at once: its program had given it up, and it went on in the background, where the pauses begin anew.
    went_on: bool,
    /// When the last one was given up.
    ended: Moment,
}

/// What a client has under way.
#[derive(Default)]
struct Client {
    /// The tries that have no answer yet, by call, with what was lost of the same before.
    open: BTreeMap<u64, (Arc<Request>, u32, bool)>,
    lost: Vec<Lost>,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut clients: BTreeMap<u32, Client> = BTreeMap::new();
    for (place, step) in evidence.history.steps.iter().enumerate() {
        let Node::Client(number) = step.node else { continue };
        let now = Moment { step: place, at_ns: step.at_ns };
        match &step.what {
            What::Sent { call, request, .. }
                if is_write(request) || is_grant(request) && is_alone(evidence, number) =>
            {
                let client = clients.entry(number).or_default();
                let again = client.lost.iter().position(|lost| lost.request == *request);
                let (tries, went_on) = match again.map(|again| client.lost.swap_remove(again)) {
                    None => (0, false),
                    Some(lost) => match ill_timed(evidence, number, &lost, now) {
                        Some(Pace::Rushed(_)) if !lost.went_on => (0, true),
                        Some(Pace::Rushed(breach) | Pace::Late(breach)) => return Some(breach),
                        None => (lost.tries, lost.went_on),
                    },
                };
                client.open.insert(*call, (Arc::clone(request), tries, went_on));
            }
            What::GaveUp { call } => {
                let client = clients.entry(number).or_default();
                if let Some((request, before, went_on)) = client.open.remove(call) {
                    client.lost.push(Lost { request, tries: before + 1, went_on, ended: now });
                }
            }
            // What came to something else, perhaps with a pause of its own, counts no more.
            What::Answered { call, .. } => {
                clients.entry(number).or_default().open.remove(call);
            }
            // Whatever is done next, it may be something new.
            what if is_of_the_program(what) => clients.entry(number).or_default().lost.clear(),
            _ => {}
        }
    }
    None
}

/// What is wrong with when it is made again.
enum Pace {
    Rushed(Breach),
    Late(Breach),
}

fn ill_timed(evidence: &Evidence<'_>, client: u32, lost: &Lost, now: Moment) -> Option<Pace> {
    let causes = evidence.causes();
    let first_ns = if is_grant(&lost.request) { FIRST_OF_A_LEASE_NS } else { FIRST_NS };
    let due_ns = first_ns.saturating_mul(1 << (lost.tries - 1).min(20)).min(LONGEST_PAUSE_NS);
    if causes.at_most_ns(client, lost.ended.at_ns, now.at_ns) < due_ns {
        let passed_ms = (now.at_ns - lost.ended.at_ns) as f64 / 1e6;
        let detail = format!(
            "c{client} makes a write again {passed_ms:.1} ms after its {}. try was lost, not after {} ms",
            lost.tries,
            due_ns / 1_000_000
        );
        return Some(Pace::Rushed(Breach { step: now.step, detail }));
    }
    let overdue_ns = lost.ended.at_ns + LONGEST_PAUSE_NS + causes.drift_of(LONGEST_PAUSE_NS) + LATE_NS;
    (now.at_ns > overdue_ns && !evidence.stood_still(client, lost.ended.at_ns, overdue_ns)).then(|| {
        let detail = format!("c{client} makes a write again more than half a second after it was lost");
        Pace::Late(Breach { step: now.step, detail })
    })
}

/// Only a write whose answer is lost is a try of its own: what can do no harm twice goes round the members first.
fn is_write(request: &Request) -> bool {
    let writes = |txn: &Txn| txn.success.iter().chain(&txn.failure).any(|op| !matches!(op, Op::Range(_)));
    matches!(request, Request::Txn(txn) if writes(txn))
}

fn is_grant(request: &Request) -> bool {
    matches!(request, Request::LeaseGrant { .. })
}

/// Whether a client has one program alone: then only that asks for a lease.
fn is_alone(evidence: &Evidence<'_>, client: u32) -> bool {
    evidence.planned.lanes.iter().filter(|lane| lane.client == client).count() == 1
}

fn is_of_the_program(what: &What) -> bool {
    begins_something(what) || matches!(what, What::Crashed | What::Released { .. } | What::Did { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenure::kv::{DeleteRange, Op, Request, Txn};

    use crate::check::script::Script;
    use crate::history::What;
    use crate::node::Node;

    /// A client whose transaction is lost again and again, with these pauses between.
    fn lost(pauses_ms: &[u64]) -> Option<String> {
        let mut script = Script::new();
        let request = Arc::new(Request::Txn(Txn::new().and_then([Op::Delete(DeleteRange::key("a"))])));
        for (call, &pause_ms) in (50..).zip([0].iter().chain(pauses_ms)) {
            script.wait(pause_ms * 1_000_000);
            let request = Arc::clone(&request);
            script.record(Node::Client(0), What::Sent { call, member: 0, request });
            script.wait(1_000_000_000);
            script.record(Node::Client(0), What::GaveUp { call });
        }
        script.breach("no-polling").map(|breach| breach.detail)
    }

    #[test]
    fn what_is_lost_is_made_again_after_pauses_that_double_and_no_longer_than_half_a_second() {
        assert_eq!(lost(&[5, 10, 20, 40, 80, 160, 320, 500, 500]), None);
        assert!(lost(&[5, 5, 2]).expect("in a rush").contains("its 1. try was lost, not after 5 ms"));
        assert!(lost(&[5, 2, 1]).is_some());
        assert!(lost(&[5, 10, 700]).expect("late").contains("more than half a second"));
    }

    #[test]
    fn what_its_program_gave_up_goes_on_in_the_background_at_once() {
        assert_eq!(lost(&[0, 5, 10]), None);
        assert_eq!(lost(&[5, 10, 0, 5, 10]), None);
        assert!(lost(&[0, 0]).is_some());
    }
}
