//! Why a session or a tenure can be over, as the history has it: what was renewed and revoked when, what a client was told,
//! how far its own clock can have gone. `true-errors` judges by it what the library says.
//!
//! A clock is known within its bounds only, so each question is asked in the sense that does the library no wrong: whether
//! a deadline *may* have passed where it says that it has, whether it *surely* has where it keeps silent.

use std::collections::{BTreeMap, BTreeSet};

use tenure::Code;
use tenure::kv::{Op, Request, Response};
use tenure::wire::Status;

use super::evidence::{DeedLife, Evidence, KeyLife, Moment, line_of};
use crate::fault::Fault;
use crate::history::{Deed, Holding, Kind, SessionEnd, What};
use crate::node::Node;
use crate::workload::program::PERMITS;

/// The library's longest pause between two tries.
pub(super) const LONGEST_PAUSE_NS: u64 = 500_000_000;

/// What a timer may be late by, and what is done at the same instant may take.
pub(super) const LATE_NS: u64 = 50_000_000;

/// What clocks and timers round.
const ROUNDING_NS: u64 = 10_000;

/// A request to renew a lease, to one member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) sent: Moment,
    pub(super) member: u32,
    pub(super) ended: Option<(Moment, AttemptEnd)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptEnd {
    Renewed { ttl_ns: u64 },
    Gone,
    Failed,
}

/// A grant or renewal that was answered. The session counts from the first attempt's sending; where it is not known which
/// was the first, from some time between two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewed {
    pub(super) sent_ns: u64,
    /// When the attempt that was answered was sent.
    pub(super) last_sent_ns: u64,
    pub(super) answered: Moment,
    pub(super) ttl_ns: u64,
}

/// A lease as one client knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease {
    pub(super) renewed: Vec<Renewed>,
    pub(super) attempts: Vec<Attempt>,
    /// When the client began to open a session on it that an earlier process had.
    pub(super) taken_over: Vec<Moment>,
    /// When the client opened a session on it.
    pub(super) opened: Vec<Moment>,
    /// Whether its deadline may have passed before what was answered last: then that came too late.
    pub(super) over: Option<Moment>,
    /// When and how that was over.
    pub(super) ended: Vec<(Moment, SessionEnd)>,
    /// When the client was first told that there is no such lease, and whether by the answer to a renewal.
    pub(super) told_gone: Option<(Moment, bool)>,
    /// When a member that does not lead any more told it that there is no such lease: one that stood still answers the
    /// renewals that came meanwhile from what it knew before, and has never heard of a lease that was granted since.
    /// etcd's API has it as final, so the library has to believe it.
    pub(super) misled: Option<Moment>,
    /// When it asked for its revocation.
    pub(super) revokes: Vec<Moment>,
}

/// A call that did not end with an answer that is a success.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedCall<'a> {
    pub(super) sent: usize,
    pub(super) ended: usize,
    pub(super) request: &'a Request,
    pub(super) status: Option<&'a Status>,
}

/// Who ended a lease.
#[derive(Clone, Copy, Debug)]
struct Revoked {
    at: Moment,
    /// The client that asked for it; nobody if it ran out.
    by: Option<u32>,
}

/// What can have brought something to its end.
#[derive(Debug, Default)]
pub(crate) struct Causes<'a> {
    /// How far each client's clock jumped when.
    jumps: BTreeMap<u32, Vec<(u64, u64)>>,
    pub(super) leases: BTreeMap<(u32, i64), Lease>,
    revoked: BTreeMap<i64, Revoked>,
    /// The leases that an operator asked to be revoked, perhaps from the machine of their own client.
    by_hand: BTreeSet<i64>,
    /// The calls of each client that failed, in the order of their ends.
    failed: BTreeMap<u32, Vec<FailedCall<'a>>>,
    pub(super) crashes: Vec<(u32, Moment)>,
    /// How far clocks can be off, and sessions allow for, in millionths.
    drift_ppm: u64,
}

/// What of a session's lease is called.
#[derive(Clone, Copy)]
enum Renewing {
    Grant { client: u32, first_ns: u64, sent_ns: u64 },
    Renewal { client: u32, lease: i64, attempt: usize },
}

/// What is read out of a history step by step.
#[derive(Default)]
struct Reading {
    calls: BTreeMap<u64, Renewing>,
    /// When each client first tried for a grant of which the last attempt has failed.
    granting: BTreeMap<u32, Vec<u64>>,
    /// How many sessions each client is opening.
    opening: BTreeMap<u32, u32>,
    /// The newest leader.
    leader: Option<Node>,
    /// The first sending of the renewal that each lease is tried for.
    renewing: BTreeMap<(u32, i64), u64>,
}

impl Reading {
    /// A client asks for a lease: since when it has done so. Its programs cannot be told apart, so as long as one of them
    /// tries, what failed first counts for all.
    fn grants(&mut self, client: u32, now_ns: u64) -> u64 {
        let failed = self.granting.get(&client).and_then(|failed| failed.iter().min());
        failed.copied().unwrap_or(now_ns)
    }

    /// A client begins to open a session, or comes to an end with it.
    fn opening(&mut self, client: u32, begins: bool) {
        let count = self.opening.entry(client).or_default();
        *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.granting.remove(&client);
        }
    }
}

impl<'a> Causes<'a> {
    /// Reads them out of a history.
    pub(super) fn of(evidence: &Evidence<'a>) -> Self {
        let mut causes = Self { drift_ppm: u64::from(evidence.bounds.drift_ppm), ..Self::default() };
        let mut reading = Reading::default();
        for (step, at) in evidence.history.steps.iter().enumerate() {
            let now = Moment { step, at_ns: at.at_ns };
            match (&at.what, at.node) {
                (
                    What::FaultBegins {
                        fault: Fault::ClockJump { node: Node::Client(client), ahead_ms },
                        ..
                    },
                    _,
                ) => {
                    causes.jumps.entry(*client).or_default().push((now.at_ns, ahead_ms * 1_000_000));
                }
                (What::Leads { .. }, leader) => reading.leader = Some(leader),
                (What::Committed { call, request, .. }, _) => causes.committed(evidence, now, *call, request),
                (_, Node::Client(client)) => causes.client_step(evidence, &mut reading, client, now),
                _ => {}
            }
        }
        causes
    }

    fn committed(&mut self, evidence: &Evidence<'_>, at: Moment, call: Option<u64>, request: &Request) {
        if let Request::LeaseRevoke { id } = *request {
            let by = call.and_then(|call| asker(evidence, call));
            self.revoked.entry(id).or_insert(Revoked { at, by });
        }
    }

    fn client_step(&mut self, evidence: &Evidence<'a>, reading: &mut Reading, client: u32, now: Moment) {
        match &evidence.history.steps[now.step].what {
            What::Sent { call, member, request } => {
                self.sent(reading, client, now, (*call, *member), request);
            }
            What::Answered { call, outcome } => {
                match outcome {
                    Ok(response) => self.answered(reading, now, *call, response),
                    Err(status) => {
                        if let Some(request) = self.failed(evidence, client, now, *call, Some(status)) {
                            self.refused(client, now, request, status);
                        }
                        self.attempt_failed(reading, now, *call);
                    }
                }
                reading.calls.remove(call);
            }
            What::GaveUp { call } => {
                self.failed(evidence, client, now, *call, None);
                self.attempt_failed(reading, now, *call);
                reading.calls.remove(call);
            }
            What::Crashed => {
                self.crashes.push((client, now));
                reading.granting.remove(&client);
                reading.opening.remove(&client);
                reading.renewing.retain(|(owner, _), _| *owner != client);
            }
            What::Does { what: Deed::OpenSession { on, .. }, .. } => {
                if let Some(lease) = on {
                    self.lease(client, *lease).taken_over.push(now);
                }
                reading.opening(client, true);
            }
            What::Does { what: Deed::Operator { revokes: Some(lease), .. }, .. } => {
                self.by_hand.insert(*lease);
            }
            What::Did { deed, .. } if opens_session(evidence, *deed) => reading.opening(client, false),
            What::SessionOpened { lease, .. } => self.lease(client, *lease).opened.push(now),
            What::SessionEnded { lease, how } => self.lease(client, *lease).ended.push((now, *how)),
            _ => {}
        }
    }

    fn sent(
        &mut self,
        reading: &mut Reading,
        client: u32,
        now: Moment,
        (call, member): (u64, u32),
        request: &Request,
    ) {
        match *request {
            Request::LeaseGrant { .. } => {
                let first_ns = reading.grants(client, now.at_ns);
                reading.calls.insert(call, Renewing::Grant { client, first_ns, sent_ns: now.at_ns });
            }
            Request::LeaseKeepAlive { id } => {
                reading.renewing.entry((client, id)).or_insert(now.at_ns);
                let attempts = &mut self.lease(client, id).attempts;
                attempts.push(Attempt { sent: now, member, ended: None });
                let attempt = attempts.len() - 1;
                reading.calls.insert(call, Renewing::Renewal { client, lease: id, attempt });
            }
            Request::LeaseRevoke { id } => self.lease(client, id).revokes.push(now),
            _ => {}
        }
    }

    fn answered(&mut self, reading: &mut Reading, now: Moment, call: u64, response: &Response) {
        match (reading.calls.get(&call), response) {
            (Some(&Renewing::Grant { client, first_ns, sent_ns }), Response::LeaseGrant { grant, .. }) => {
                let ttl_ns = nanoseconds(grant.ttl_s);
                self.lease(client, grant.id).renewed.push(Renewed {
                    sent_ns: first_ns,
                    last_sent_ns: sent_ns,
                    answered: now,
                    ttl_ns,
                });
            }
            (Some(&Renewing::Renewal { client, lease, attempt }), Response::LeaseKeepAlive { ttl_s, .. }) => {
                let first = reading.renewing.remove(&(client, lease));
                let opened = self.leases.get(&(client, lease)).is_some_and(|lease| !lease.renewed.is_empty());
                let too_late = opened && self.deadline_may_have_passed(client, lease, now);
                let known = self.lease(client, lease);
                let end = if *ttl_s > 0 {
                    let ttl_ns = nanoseconds(*ttl_s);
                    let sent_ns = first.unwrap_or(now.at_ns);
                    if too_late {
                        known.over.get_or_insert(now);
                    }
                    let last_sent_ns = known.attempts[attempt].sent.at_ns;
                    known.renewed.push(Renewed { sent_ns, last_sent_ns, answered: now, ttl_ns });
                    AttemptEnd::Renewed { ttl_ns }
                } else {
                    known.told_gone.get_or_insert((now, true));
                    if reading.leader != Some(Node::Member(known.attempts[attempt].member)) {
                        known.misled.get_or_insert(now);
                    }
                    AttemptEnd::Gone
                };
                known.attempts[attempt].ended = Some((now, end));
            }
            _ => {}
        }
    }

    fn attempt_failed(&mut self, reading: &mut Reading, now: Moment, call: u64) {
        if let Some(&Renewing::Grant { client, first_ns, .. }) = reading.calls.get(&call) {
            reading.granting.entry(client).or_default().push(first_ns);
        }
        if let Some(&Renewing::Renewal { client, lease, attempt }) = reading.calls.get(&call) {
            let known = self.lease(client, lease);
            let gone = known.told_gone.is_some_and(|(told, _)| told == now);
            let end = if gone { AttemptEnd::Gone } else { AttemptEnd::Failed };
            known.attempts[attempt].ended = Some((now, end));
        }
    }

    fn failed(
        &mut self,
        evidence: &Evidence<'a>,
        client: u32,
        now: Moment,
        call: u64,
        status: Option<&'a Status>,
    ) -> Option<&'a Request> {
        let sent = evidence.calls.get(&call)?.sent?;
        let What::Sent { request, .. } = &evidence.history.steps[sent].what else { return None };
        let failed = FailedCall { sent, ended: now.step, request, status };
        self.failed.entry(client).or_default().push(failed);
        Some(request)
    }

    /// etcd says that there is no such lease.
    fn refused(&mut self, client: u32, now: Moment, request: &Request, status: &Status) {
        if status.code != Code::NotFound {
            return;
        }
        let (lease, renewal) = match request {
            Request::LeaseKeepAlive { id } => (*id, true),
            Request::Txn(txn) => {
                let leased = txn.success.iter().find_map(|op| match op {
                    Op::Put(put) if put.lease != 0 => Some(put.lease),
                    _ => None,
                });
                let Some(lease) = leased else { return };
                (lease, false)
            }
            _ => return,
        };
        self.lease(client, lease).told_gone.get_or_insert((now, renewal));
    }

    fn lease(&mut self, client: u32, lease: i64) -> &mut Lease {
        self.leases.entry((client, lease)).or_default()
    }

    /// What a client's clock can have shown to pass at most from one time to another.
    pub(super) fn at_most_ns(&self, client: u32, from_ns: u64, to_ns: u64) -> u64 {
        let passed_ns = to_ns.saturating_sub(from_ns);
        let jumps = self.jumps.get(&client).into_iter().flatten();
        let jumped_ns: u64 =
            jumps.filter(|(at_ns, _)| (from_ns..=to_ns).contains(at_ns)).map(|(_, ahead_ns)| ahead_ns).sum();
        passed_ns + self.drift_of(passed_ns) + jumped_ns
    }

    /// How far two clocks can drift apart in so long a time; at least what rounding makes.
    pub(super) fn drift_of(&self, ns: u64) -> u64 {
        ns / 1_000_000 * self.drift_ppm + ROUNDING_NS
    }

    /// Whether by the client's clock the session's deadline may have passed.
    pub(super) fn deadline_may_have_passed(&self, client: u32, lease: i64, at: Moment) -> bool {
        let Some(lease) = self.leases.get(&(client, lease)) else { return true };
        if lease.over.is_some_and(|over| over.step <= at.step) {
            return true;
        }
        let renewed = &lease.renewed;
        let known = &renewed[..renewed.partition_point(|renewed| renewed.answered.step <= at.step)];
        known.iter().rev().take(3).all(|renewed| {
            let safe_ns = renewed.ttl_ns - self.drift_of(renewed.ttl_ns).min(renewed.ttl_ns);
            self.at_most_ns(client, renewed.sent_ns, at.at_ns) >= safe_ns
        })
    }

    /// Whether a client's session has a reason to be over.
    pub(super) fn session_may_be_over(&self, client: u32, lease: i64, at: Moment) -> bool {
        self.closed(client, lease, at)
            || self.ended_from_outside(client, lease, at)
            || self.was_misled(client, lease, at)
            || self.deadline_may_have_passed(client, lease, at)
    }

    /// Whether its owner has ended it.
    pub(super) fn closed(&self, client: u32, lease: i64, at: Moment) -> bool {
        let Some(known) = self.leases.get(&(client, lease)) else { return false };
        let ended = known.ended.iter().rev().find(|(ended, _)| ended.step <= at.step);
        ended.is_some_and(|(ended, how)| {
            let again = known.opened.iter().any(|opened| (ended.step..=at.step).contains(&opened.step));
            *how != SessionEnd::Lost && !again
        })
    }

    fn was_misled(&self, client: u32, lease: i64, at: Moment) -> bool {
        let known = self.leases.get(&(client, lease));
        known.and_then(|known| known.misled).is_some_and(|misled| misled.step <= at.step)
    }

    /// Whether somebody else had the lease revoked.
    pub(super) fn revoked_by_another(&self, client: u32, lease: i64, at: Moment) -> bool {
        self.revoked.get(&lease).is_some_and(|revoked| {
            let by_another = |by| by != client || self.by_hand.contains(&lease);
            revoked.at.step <= at.step && revoked.by.is_some_and(by_another)
        })
    }

    /// Whether the lease ran out, or was revoked by somebody else.
    pub(super) fn ended_from_outside(&self, client: u32, lease: i64, at: Moment) -> bool {
        self.revoked.get(&lease).is_some_and(|revoked| {
            let by_another = |by| by != client || self.by_hand.contains(&lease);
            revoked.at.step <= at.step && revoked.by.is_none_or(by_another)
        })
    }

    /// Whether the lease is gone from etcd.
    pub(super) fn is_revoked(&self, lease: i64, at: Moment) -> bool {
        self.revoked.get(&lease).is_some_and(|revoked| revoked.at.step <= at.step)
    }

    /// Whether a tenure has a reason to be over: its session's, or its key's. Its release is none.
    pub(super) fn tenure_may_be_over(&self, evidence: &Evidence<'_>, holding: &Holding, at: Moment) -> bool {
        self.session_may_be_over(holding.client, holding.lease, at)
            || key_of(evidence, holding).is_none_or(|life| {
                life.deleted.is_some_and(|(_, gone)| {
                    gone.step <= at.step && !is_own_deletion(evidence, holding.client, gone)
                })
            })
    }

    /// Whether a client's process crashed after this.
    pub(super) fn crashes_after(&self, client: u32, since: Moment) -> bool {
        self.crashes.iter().any(|(one, at)| *one == client && at.step > since.step)
    }

    /// Whether a deed was cut off by the crash of its client's process.
    pub(super) fn cuts_off(&self, deed: &DeedLife<'_>) -> bool {
        deed.ended.is_none() && self.crashes_after(deed.client, deed.began)
    }

    /// Whether somebody deleted a tenure's key by hand, or had its lease revoked: its holder cannot know.
    pub(super) fn taken_by_hand(&self, evidence: &Evidence<'_>, holding: &Holding, at: Moment) -> bool {
        self.revoked_by_another(holding.client, holding.lease, at)
            || key_of(evidence, holding)
                .and_then(|life| life.deleted)
                .is_some_and(|(_, gone)| gone.step <= at.step && is_by_hand(evidence, gone))
    }

    /// The calls of a client that failed within these steps.
    pub(super) fn failed_within(
        &self,
        client: u32,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = &FailedCall<'a>> {
        let failed = self.failed.get(&client).map_or(&[][..], Vec::as_slice);
        let begin = failed.partition_point(|call| call.ended < from);
        failed[begin..].iter().take_while(move |call| call.ended <= to)
    }
}

fn opens_session(evidence: &Evidence<'_>, deed: u64) -> bool {
    evidence.deed(deed).is_some_and(|deed| matches!(deed.what, Deed::OpenSession { .. }))
}

fn nanoseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000)
}

/// Which client made a call.
pub(super) fn asker(evidence: &Evidence<'_>, call: u64) -> Option<u32> {
    let step = evidence.calls.get(&call)?.sent?;
    match evidence.history.steps[step].node {
        Node::Client(client) => Some(client),
        Node::Member(_) | Node::World => None,
    }
}

/// Whether a deletion is one that the library of this client asked for: it deletes by transactions only, so that an
/// operator's `del` from the same process is told from it.
pub(super) fn is_own_deletion(evidence: &Evidence<'_>, client: u32, deleted: Moment) -> bool {
    let What::Committed { call: Some(call), request, .. } = &evidence.history.steps[deleted.step].what else {
        return false;
    };
    matches!(**request, Request::Txn(_)) && asker(evidence, *call) == Some(client)
}

/// Whether a key was deleted by somebody's request to delete it, which the library never makes.
pub(super) fn is_by_hand(evidence: &Evidence<'_>, deleted: Moment) -> bool {
    matches!(
        &evidence.history.steps[deleted.step].what,
        What::Committed { call: Some(_), request, .. } if matches!(**request, Request::Delete(_))
    )
}

/// Whether a deletion came of a request that the network doubled: of the two answers the client has the later one, which
/// finds nothing to delete. It cannot know that its own double was first, and has to take it for a loss.
pub(super) fn is_by_a_double(evidence: &Evidence<'_>, deleted: Moment) -> bool {
    match &evidence.history.steps[deleted.step].what {
        What::Committed { call: Some(call), .. } => evidence.calls.get(call).is_some_and(|call| call.doubled),
        _ => false,
    }
}

/// The lines of a name that a contender of this kind stands in.
pub(super) fn own_line(name: &str, kind: Kind) -> Vec<u8> {
    match kind {
        Kind::Mutex | Kind::Leader => name.as_bytes().to_vec(),
        Kind::Read => format!("{name}/read").into_bytes(),
        Kind::Write => format!("{name}/write").into_bytes(),
        Kind::Permit => format!("{name}/sem/{PERMITS}").into_bytes(),
    }
}

/// The lives of the keys in a line, oldest first.
pub(super) fn lives<'e>(evidence: &'e Evidence<'_>, line: &[u8]) -> &'e [KeyLife] {
    evidence.keys.get(line).map_or(&[], Vec::as_slice)
}

/// The key that a tenure is held by.
pub(super) fn key_of<'e>(evidence: &'e Evidence<'_>, holding: &Holding) -> Option<&'e KeyLife> {
    let lives = lives(evidence, &own_line(&holding.name, holding.kind));
    let place = lives.binary_search_by_key(&holding.token, |life| life.create_revision).ok()?;
    lives.get(place)
}

/// The incarnation of a key that was created at a revision.
pub(super) fn life_of<'e>(evidence: &'e Evidence<'_>, key: &[u8], revision: i64) -> Option<&'e KeyLife> {
    let lives = lives(evidence, line_of(key));
    let place = lives.binary_search_by_key(&revision, |life| life.create_revision).ok()?;
    lives.get(place).filter(|life| life.key == key)
}
