//! The half of `progress` that asks for success. Once calm, and once every lease has had its time since, whoever is first
//! in line with a living session is granted; nothing fails but what somebody else interfered with; what is begun comes to an
//! end; and an observer sees every change of leader or value.

mod recipes;

use std::collections::BTreeMap;

use tenure::kv::Request;

use super::causes::{is_by_hand, is_own_deletion, key_of, lives, own_line};
use super::evidence::{Ask, KeyLife, Moment, Outcome};
use super::{Breach, DeedLife, Evidence};
use crate::history::{Deed, DeedEnd, Failure, Holding, Kind, What};
use crate::node::Node;
use crate::workload::program::PERMITS;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let calm = evidence.calm?;
    let settled_ns = settled_ns(evidence)?;
    // A watch at a member that stays broken has to be opened anew first, and that takes some of a client's time-outs.
    let soon_ns = evidence.bounds.progress_ns / 2;
    let success = Success { evidence, settled_ns, soon_ns };
    [
        success.fails(),
        success.stays_in_line(),
        success.never_ends(calm.at_ns),
        success.goes_unseen(),
        success.never_commits(),
        success.never_passes(),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|breach| breach.step)
}

/// When every lease has had its time since the calm began.
pub(super) fn settled_ns(evidence: &Evidence<'_>) -> Option<u64> {
    let ttl_ns = evidence.sessions.values().map(|session| session.ttl_ns).max().unwrap_or(0);
    Some(evidence.calm?.at_ns + ttl_ns + evidence.bounds.election_timeout_ns + 1_000_000_000)
}

/// The lives of the keys in a line, and for each the time until which one of it or of those before was there.
struct Busy<'e> {
    lives: &'e [KeyLife],
    until_ns: Vec<u64>,
}

impl<'e> Busy<'e> {
    fn of(evidence: &'e Evidence<'_>, line: &[u8]) -> Self {
        let lives = lives(evidence, line);
        let mut last_ns = 0;
        let until = lives.iter().map(|life| {
            last_ns = life.deleted.map_or(u64::MAX, |(_, gone)| gone.at_ns).max(last_ns);
            last_ns
        });
        Self { until_ns: until.collect(), lives }
    }

    /// Until when as many of before this revision were there as a semaphore has permits.
    fn permits_ns(&self, revision: i64) -> u64 {
        let older = self.lives.partition_point(|life| life.create_revision < revision);
        let gone_ns = |life: &KeyLife| life.deleted.map_or(u64::MAX, |(_, gone)| gone.at_ns);
        let mut gone: Vec<u64> = self.lives[..older].iter().map(gone_ns).collect();
        gone.sort_unstable();
        gone.len().checked_sub(PERMITS as usize).map_or(0, |last| gone[last])
    }

    /// Until when somebody of before this revision was there.
    fn before_ns(&self, revision: i64) -> u64 {
        let older = self.lives.partition_point(|life| life.create_revision < revision);
        older.checked_sub(1).map_or(0, |last| self.until_ns[last])
    }

    /// The first time between two from which on nobody was there for so long.
    fn gap_ns(&self, from_ns: u64, to_ns: u64, long_ns: u64) -> Option<u64> {
        let mut place = self.lives.partition_point(|life| life.created.at_ns < from_ns);
        let mut free_ns = place.checked_sub(1).map_or(0, |last| self.until_ns[last]).max(from_ns);
        while free_ns < to_ns {
            let next_ns = self.lives.get(place).map_or(to_ns, |life| life.created.at_ns.min(to_ns));
            if next_ns >= free_ns.saturating_add(long_ns) {
                return Some(free_ns);
            }
            free_ns = free_ns.max(*self.until_ns.get(place)?);
            place += 1;
        }
        None
    }
}

struct Success<'e, 'a> {
    evidence: &'e Evidence<'a>,
    /// When every lease has had its time since the calm began.
    settled_ns: u64,
    /// Within this time whoever may hold is granted, and an observer sees a change.
    soon_ns: u64,
}

impl Success<'_, '_> {
    /// Whoever is first in line, and is not granted.
    fn stays_in_line(&self) -> Option<Breach> {
        let mut lines: BTreeMap<Vec<u8>, Busy<'_>> = BTreeMap::new();
        let mut found = None;
        for ask in &self.evidence.asks {
            let (ended, outcome) = match ask.ended {
                Some((ended, outcome)) => (ended.at_ns, outcome),
                None => (self.evidence.end_ns, Outcome::NotGranted),
            };
            if ended < self.settled_ns + self.soon_ns
                || outcome == Outcome::Crashed
                || self.is_outside(ask.client)
            {
                continue;
            }
            for kind in [ask.kind, Kind::Read, Kind::Write] {
                let line = own_line(&ask.name, kind);
                lines.entry(line).or_insert_with_key(|line| Busy::of(self.evidence, line));
            }
            let Some(free_ns) = self.free_ns(ask, ended, &lines) else { continue };
            let by_ns = free_ns.max(ask.asked.at_ns).max(self.settled_ns).saturating_add(self.soon_ns);
            let at = Moment { step: self.evidence.step_at(by_ns), at_ns: by_ns };
            if ended <= by_ns || self.interfered(ask.client, ask.lease, at) {
                continue;
            }
            let detail = format!(
                "c{} could have been granted the {} {:?} at {:.3} s, and was not by {:.3} s",
                ask.client,
                ask.kind,
                &*ask.name,
                free_ns as f64 / 1e9,
                by_ns as f64 / 1e9
            );
            found = first(found, Breach { step: at.step, detail });
        }
        found
    }

    /// Since when an ask could have been granted.
    fn free_ns(&self, ask: &Ask, ended_ns: u64, lines: &BTreeMap<Vec<u8>, Busy<'_>>) -> Option<u64> {
        if ask.kind == Kind::Read && !ask.in_turn {
            let from_ns = ask.asked.at_ns.max(self.settled_ns);
            return lines[&own_line(&ask.name, Kind::Write)].gap_ns(from_ns, ended_ns, self.soon_ns);
        }
        let own = &lines[&own_line(&ask.name, ask.kind)];
        let asked = own.lives.partition_point(|life| life.created.step < ask.asked.step);
        // The key may be one of before that was adopted.
        let adoptable = usize::from(ask.kind != Kind::Permit);
        let lives = own.lives[..asked].iter().rev().take(adoptable).chain(&own.lives[asked..]);
        let mut mine = lives.filter(|life| life.lease == ask.lease && life.created.at_ns <= ended_ns);
        let mine = mine.find(|life| life.deleted.is_none_or(|(_, gone)| gone.step > ask.asked.step))?;
        // Whom it waits for.
        let before: &[Kind] = match ask.kind {
            Kind::Mutex | Kind::Leader => &[ask.kind],
            Kind::Read => &[Kind::Write],
            Kind::Write => &[Kind::Read, Kind::Write],
            Kind::Permit => &[],
        };
        let mut free_ns = mine.created.at_ns;
        if ask.kind == Kind::Permit {
            free_ns = free_ns.max(own.permits_ns(mine.create_revision));
        }
        for &kind in before {
            free_ns = free_ns.max(lines[&own_line(&ask.name, kind)].before_ns(mine.create_revision));
        }
        let gone_ns = mine.deleted.map_or(u64::MAX, |(_, gone)| gone.at_ns);
        (free_ns < gone_ns).then_some(free_ns)
    }

    /// What fails though nothing stands against it.
    fn fails(&self) -> Option<Breach> {
        let from = self.evidence.step_at(self.settled_ns);
        let steps = self.evidence.history.steps.iter().enumerate().skip(from);
        steps
            .filter_map(|(step, at)| {
                let now = Moment { step, at_ns: at.at_ns };
                let Node::Client(client) = at.node else { return None };
                if self.is_outside(client) {
                    return None;
                }
                let (began, lease, holding, error) = match &at.what {
                    What::NotGranted { ticket, why } => {
                        let ask = self.evidence.ask(*ticket)?;
                        if self.lost_its_place(ask, now) {
                            return None;
                        }
                        (ask.asked, Some(ask.lease), None, why)
                    }
                    What::Released { holding, error: Some(error) } => {
                        let began = self.evidence.tenure(holding)?.releases?;
                        (began, Some(holding.lease), Some(holding), error)
                    }
                    What::Did { deed, end: DeedEnd::Failed(error) } => {
                        let deed = self.evidence.deed(*deed)?;
                        let (lease, holding) = of_deed(deed.what);
                        (deed.began, lease, holding, error)
                    }
                    _ => return None,
                };
                let interfered = lease.is_some_and(|lease| self.interfered(client, lease, now))
                    || holding.is_some_and(|holding| self.taken_away(holding, now));
                let released = self.released_by_another(&at.what);
                let unanswered = matches!(error, Failure::Maybe(why) | Failure::Unavailable(why)
                    if self.evidence.asked_a_silent_member(why, began, now));
                if began.at_ns < self.settled_ns || may_fail(error) || interfered || released || unanswered {
                    return None;
                }
                let detail = format!("c{client} is told: {error}; nothing stands against it any more");
                Some(Breach { step, detail })
            })
            .next()
    }

    /// Whether this client stays broken: what fails it is not held against anyone.
    fn is_outside(&self, client: u32) -> bool {
        self.evidence.outside.contains(&client)
    }

    /// Whether its session was ended by its owner or by somebody else.
    fn interfered(&self, client: u32, lease: i64, at: Moment) -> bool {
        let causes = self.evidence.causes();
        causes.closed(client, lease, at) || causes.revoked_by_another(client, lease, at)
    }

    /// Whether somebody else deleted its key.
    fn taken_away(&self, holding: &Holding, at: Moment) -> bool {
        key_of(self.evidence, holding).and_then(|life| life.deleted).is_some_and(|(_, gone)| {
            let by_call = matches!(
                &self.evidence.history.steps[gone.step].what,
                What::Committed { call: Some(_), request, .. } if !matches!(**request, Request::LeaseRevoke { .. })
            );
            gone.step <= at.step && by_call && !is_own_deletion(self.evidence, holding.client, gone)
        })
    }

    /// Whether somebody deleted a contender's key by hand while it waited; or the key by which it was to resume a
    /// leadership, even before, as that is if it resigned.
    fn lost_its_place(&self, ask: &Ask, at: Moment) -> bool {
        let line = own_line(&ask.name, ask.kind);
        let mut own = lives(self.evidence, &line).iter().filter(|life| life.lease == ask.lease);
        let by_hand = |life: &KeyLife, from: usize| {
            life.deleted.is_some_and(|(_, gone)| {
                (from..=at.step).contains(&gone.step) && is_by_hand(self.evidence, gone)
            })
        };
        if ask.how == "resume" {
            let resigned = |deed: &DeedLife<'_>| match deed.what {
                Deed::Resign { holding } => {
                    holding.lease == ask.lease && holding.name == ask.name && deed.began.step < ask.asked.step
                }
                _ => false,
            };
            if self.evidence.deeds.iter().any(resigned) {
                return true;
            }
            return own.rfind(|life| life.created.step < ask.asked.step).is_some_and(|life| by_hand(life, 0));
        }
        own.any(|life| by_hand(life, ask.asked.step))
    }

    /// What is begun and never comes to an end.
    fn never_ends(&self, calm_ns: u64) -> Option<Breach> {
        let causes = self.evidence.causes();
        let late = |client: u32, began: Moment, ended: Option<Moment>, what: &str| {
            let by_ns = began.at_ns.max(calm_ns) + self.evidence.bounds.progress_ns;
            let ended_ns = ended.map_or(self.evidence.end_ns, |ended| ended.at_ns);
            (ended_ns > by_ns && !causes.crashes_after(client, began) && !self.is_outside(client)).then(
                || Breach {
                    step: self.evidence.step_at(by_ns),
                    detail: format!(
                        "{what} of c{client}, begun at {:.3} s, has not come to an end",
                        began.at_ns as f64 / 1e9
                    ),
                },
            )
        };
        let releases =
            self.evidence.tenures.iter().filter(|tenure| tenure.awaited).filter_map(|tenure| {
                late(tenure.holding.client, tenure.releases?, tenure.released, "a release")
            });
        // Who waits for others, as for an item, waits for as long as there is none.
        let waits = |deed: &Deed| matches!(deed, Deed::Recipe { what, .. } if what.waits_for_others());
        let deeds = self.evidence.deeds.iter().filter(|deed| !waits(deed.what)).filter_map(|deed| {
            late(deed.client, deed.began, deed.ended.map(|(ended, _)| ended), deed_name(deed.what))
        });
        releases.chain(deeds).min_by_key(|breach| breach.step)
    }

    /// Changes of a leader or of what it says that an observer does not see. After a compaction it may miss some.
    fn goes_unseen(&self) -> Option<Breach> {
        let settled = self.evidence.step_at(self.settled_ns);
        let mut open: BTreeMap<u64, (Node, &str, Moment)> = BTreeMap::new();
        let mut ended: BTreeMap<u64, u64> = BTreeMap::new();
        let mut seen: BTreeMap<(u64, i64), u64> = BTreeMap::new();
        let mut begun: BTreeMap<u64, Moment> = BTreeMap::new();
        for (step, at) in self.evidence.history.steps.iter().enumerate() {
            match &at.what {
                What::Observes { name, observer } => {
                    let mut before =
                        open.iter().filter(|(id, (node, ..))| *node == at.node && !ended.contains_key(id));
                    if let Some((&before, _)) = before.next_back() {
                        ended.insert(before, at.at_ns);
                    }
                    open.insert(*observer, (at.node, name, Moment { step, at_ns: at.at_ns }));
                }
                What::Crashed => {
                    for (observer, _) in open.iter().filter(|(_, (node, ..))| *node == at.node) {
                        ended.entry(*observer).or_insert(at.at_ns);
                    }
                }
                What::Observed { observer, leader, .. } => {
                    begun.entry(*observer).or_insert(Moment { step, at_ns: at.at_ns });
                    if let Some(leader) = leader {
                        seen.entry((*observer, leader.mod_revision)).or_insert(at.at_ns);
                    }
                }
                What::Committed { request, .. }
                    if step > settled && matches!(**request, Request::Compact { .. }) =>
                {
                    return None;
                }
                _ => {}
            }
        }
        open.into_iter()
            .filter(|(_, (node, ..))| !matches!(node, Node::Client(client) if self.is_outside(*client)))
            .filter_map(|(observer, (node, name, began))| {
                let until_ns = ended.get(&observer).copied().unwrap_or(self.evidence.end_ns);
                let by_ns = began.at_ns.max(self.settled_ns) + self.soon_ns;
                let first = begun.get(&observer);
                if by_ns < until_ns && first.is_none_or(|first| first.at_ns > by_ns) {
                    let detail = format!("observer {observer} of {name:?} at {node} sees nothing");
                    return Some(Breach { step: self.evidence.step_at(by_ns), detail });
                }
                // The present state comes first; what went before it is past.
                let first = first?;
                let reigns = self.evidence.reigns().get(name.as_bytes())?;
                let foreign = self.evidence.foreign.get(name.as_bytes()).map_or(&[][..], Vec::as_slice);
                let missed = reigns.iter().find_map(|&(step, state)| {
                    let (created, modified) = state?;
                    // What stands for nobody is told as an error.
                    if foreign.iter().any(|life| life.create_revision == created) {
                        return None;
                    }
                    let at_ns = self.evidence.history.steps[step].at_ns;
                    let by_ns = at_ns + self.soon_ns;
                    let concerns = step > settled && step > first.step && by_ns < until_ns;
                    let in_time = seen.get(&(observer, modified)).is_some_and(|&seen_ns| seen_ns <= by_ns);
                    (concerns && !in_time).then_some((modified, by_ns))
                });
                let (modified, by_ns) = missed?;
                let detail = format!(
                    "observer {observer} of {name:?} at {node} has not seen revision {modified} in time"
                );
                Some(Breach { step: self.evidence.step_at(by_ns), detail })
            })
            .min_by_key(|breach| breach.step)
    }
}

/// What may come of an ask also when all is well; that it is true is asked elsewhere.
fn may_fail(error: &Failure) -> bool {
    matches!(
        error,
        Failure::Cancelled
            | Failure::Timeout
            | Failure::HeldByAnother
            | Failure::InUse
            | Failure::ForeignKey { .. }
            | Failure::NotLocked
            | Failure::BarrierHeld
            | Failure::BarrierFull
            | Failure::BarrierBroken
            | Failure::Invalid(_)
            | Failure::Refused(crate::history::Refused::PermissionDenied(_))
    )
}

fn of_deed(deed: &Deed) -> (Option<i64>, Option<&Holding>) {
    match deed {
        Deed::Leader { lease, .. } => (Some(*lease), None),
        Deed::Recipe { lease, .. } => (Some(*lease), None),
        Deed::OpenSession { on, .. } => (*on, None),
        // Whoever closes a session is told of its own doing.
        Deed::CloseSession { .. } | Deed::Operator { .. } => (None, None),
        guarded => (guarded.tenure().map(|holding| holding.lease), guarded.tenure()),
    }
}

fn deed_name(deed: &Deed) -> &'static str {
    match deed {
        Deed::Txn { .. } => "a guarded transaction",
        Deed::Proclaim { .. } => "a proclamation",
        Deed::Confirm { .. } => "a confirmation",
        Deed::Resign { .. } => "a resignation",
        Deed::Leader { .. } => "a question for the leader",
        Deed::OpenSession { .. } => "the opening of a session",
        Deed::CloseSession { .. } => "the closing of a session",
        Deed::Operator { .. } => "what an operator does",
        Deed::Recipe { .. } => "what a recipe was asked for",
    }
}

fn first(one: Option<Breach>, other: Breach) -> Option<Breach> {
    match one {
        Some(one) if one.step <= other.step => Some(one),
        _ => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::history::{Failure, Holding, Kind, What};
    use crate::node::Node;
    use crate::workload::program::OperatorAct;

    const SECOND: u64 = 1_000_000_000;

    /// A calm that has settled.
    fn settled() -> Script {
        let mut script = Script::new();
        script.calm();
        script.wait(3 * SECOND);
        script
    }

    fn why(script: &mut Script) -> Option<String> {
        script.breach("progress").map(|breach| breach.detail)
    }

    #[test]
    fn the_first_in_line_is_granted_in_time() {
        let waits = |waits_ns: u64| {
            let mut script = settled();
            let first = script.grant(0, "a", 0x10);
            let second = script.queue(1, "a", 0x11);
            script.wait(3 * SECOND);
            script.release(&first);
            script.wait(waits_ns);
            script.granted(&second, &[]);
            why(&mut script)
        };
        assert_eq!(waits(SECOND), None, "it waited for long, but not at the head");
        assert!(waits(6 * SECOND).expect("late").contains("could have been granted"));
    }

    #[test]
    fn a_timed_wait_that_was_first_in_line_for_long_is_granted() {
        let mut script = settled();
        script.limit(7_000);
        let asked = script.queue(0, "a", 0x10);
        script.wait(7 * SECOND);
        script.refuse(&asked, Failure::Timeout);
        assert!(why(&mut script).expect("it was alone").contains("could have been granted"));
    }

    #[test]
    fn a_reader_with_no_writer_in_line_is_granted() {
        for (writer_stays, found) in [(true, false), (false, true)] {
            let mut script = settled();
            let writer = script.grant_of(Kind::Write, 0, "a", 0x10, &[]);
            let what = What::Asks {
                ticket: 2,
                name: "a".into(),
                kind: Kind::Read,
                lease: 0x11,
                how: "read",
                limit_ms: None,
                lane: 0,
                in_turn: false,
            };
            script.record(Node::Client(1), what);
            if !writer_stays {
                script.release(&writer);
            }
            script.wait(6 * SECOND);
            assert_eq!(why(&mut script).is_some(), found);
        }
    }

    #[test]
    fn once_calm_nothing_fails_but_what_somebody_took_away() {
        let not_held = |take: fn(&mut Script, &Holding), error: Failure| {
            let mut script = settled();
            let held = script.grant(0, "a", 0x10);
            script.releases_without_deleting(&held);
            take(&mut script, &held);
            let what = What::Released { holding: held.clone(), error: Some(error) };
            script.record(Node::Client(0), what);
            why(&mut script)
        };
        assert!(not_held(|_, _| (), Failure::NotHeld).expect("fails").contains("nothing stands against it"));
        assert!(not_held(|_, _| (), Failure::SessionLost).is_some());
    }

    #[test]
    fn a_leadership_whose_key_somebody_deleted_cannot_be_resumed() {
        let resumed = |take: fn(&mut Script, &Holding)| {
            let mut script = settled();
            let held = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
            take(&mut script, &held);
            script.resumes_in_vain(&held);
            why(&mut script)
        };
        assert_eq!(resumed(|script, held| script.by_hand(1, held, OperatorAct::DeleteHolder)), None);
        assert!(resumed(|script, held| script.delete(held)).is_some(), "its own client did");
        assert!(resumed(|_, _| ()).is_some(), "it leads");
    }

    #[test]
    fn a_release_that_never_comes_to_an_end_is_found() {
        let mut script = settled();
        let held = script.grant(0, "a", 0x10);
        script.releases_without_deleting(&held);
        script.wait(9 * SECOND);
        assert_eq!(why(&mut script), None);
        script.wait(2 * SECOND);
        assert!(why(&mut script).expect("no end").contains("a release of c0"));
    }

    #[test]
    fn an_observer_sees_every_change() {
        let sees = |all: bool| {
            let mut script = settled();
            script.observes(3, "a", 1);
            let leader = script.grant_of(Kind::Leader, 0, "a", 0x10, &[]);
            script.observed(3, "a", 1, Some(&leader));
            let said = script.proclaim(&leader);
            if all {
                script.observed_saying(3, "a", 1, (leader.token, said), "1/1");
            }
            let last = script.proclaim(&leader);
            script.observed_saying(3, "a", 1, (leader.token, last), "1/2");
            script.wait(6 * SECOND);
            why(&mut script)
        };
        assert_eq!(sees(true), None);
        assert!(sees(false).expect("misses one").contains("has not seen revision"));
    }
}
