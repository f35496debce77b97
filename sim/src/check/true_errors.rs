//! `true-errors`: what the library tells its caller is true. Each kind of error has a rule for when it is, drawn from what was
//! committed, sent and answered, from leases, deadlines and clocks; so have a lock's being held by another, the loss of what
//! was held, and every value that a caller reads. A library that gives up what it could keep is broken, too.

mod recipes;
#[cfg(test)]
mod tests;

use tenure::Code;
use tenure::kv::{CompareTarget, Request, Shown, Txn};

use super::causes::{
    Causes, FailedCall, LATE_NS, LONGEST_PAUSE_NS, is_by_a_double, is_own_deletion, key_of, life_of, lives,
    own_line,
};
use super::evidence::{Ask, Evidence, KeyLife, Moment, is_line_of};
use super::reigns::leads_within;
use super::{Breach, DeedLife};
use crate::history::{
    Deed, DeedEnd, Failure, GuardSays, Holding, Kind, Refused, SeenLeader, SessionEnd, Telling, What,
};
use crate::node::Node;
use crate::workload::program::PERMITS;

type Verdict = Result<(), String>;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let judge = Judge { evidence, causes: evidence.causes() };
    let steps = evidence.history.steps.iter().enumerate();
    let mut observers = std::collections::BTreeMap::new();
    steps
        .filter_map(|(step, at)| {
            let now = Moment { step, at_ns: at.at_ns };
            let client = match at.node {
                Node::Client(client) => client,
                Node::World | Node::Member(_) => return None,
            };
            if let What::Observes { name, observer } = &at.what {
                observers.insert(*observer, (name, now));
            }
            let (about, verdict) = match &at.what {
                What::Granted { ticket, holding, says, .. } => {
                    let granted = judge.granted(holding, says, now);
                    let ask = evidence.ask(*ticket);
                    (held(holding), granted.and_then(|()| judge.elected(ask, holding, says, now)))
                }
                What::SessionOpened { lease, ttl_ms } => {
                    (format!("its session {lease:x}"), judge.opened(client, *lease, *ttl_ms))
                }
                What::NotGranted { ticket, why } => {
                    let ask = evidence.ask(*ticket)?;
                    let about = format!("its ask for the {} {:?}", ask.kind, &*ask.name);
                    (about, judge.not_granted(ask, why, now))
                }
                What::Released { holding, error: Some(error) } => {
                    (format!("its release of {}", held(holding)), judge.not_released(holding, error, now))
                }
                What::ToldLost { holding, by } => (held(holding), judge.told_lost(holding, *by, now)),
                What::SessionEnded { lease, how: SessionEnd::Lost } => {
                    (format!("its session {lease:x}"), judge.session_lost(client, *lease, now))
                }
                What::Did { deed, end } => {
                    let deed = evidence.deed(*deed)?;
                    (about_deed(deed.what), judge.did(deed, end, now))
                }
                What::Observed { observer, leader: Some(leader), .. } => {
                    (format!("observer {observer}"), judge.seen(leader))
                }
                What::ObserverFailed { observer, error } => {
                    let (name, since) = observers.get(observer)?;
                    (format!("observer {observer}"), judge.observer_failed(name, client, error, *since, now))
                }
                _ => return None,
            };
            verdict.err().map(|why| Breach { step, detail: format!("c{client} is told of {about}: {why}") })
        })
        .next()
}

fn held(holding: &Holding) -> String {
    format!("the {} {:?} (token {})", holding.kind, &*holding.name, holding.token)
}

fn about_deed(deed: &Deed) -> String {
    match deed {
        Deed::Txn { holding } => format!("a transaction guarded by {}", held(holding)),
        Deed::Proclaim { holding, .. } => format!("a proclamation by {}", held(holding)),
        Deed::Confirm { holding } => format!("whether it holds {}", held(holding)),
        Deed::Resign { holding } => format!("its resignation of {}", held(holding)),
        Deed::Leader { name, .. } => format!("who leads {:?}", &**name),
        Deed::OpenSession { .. } => "the opening of a session".to_owned(),
        Deed::CloseSession { lease } => format!("the closing of session {lease:x}"),
        Deed::Operator { .. } => "what an operator does".to_owned(),
        Deed::Recipe { name, what, .. } => format!("its {} of {:?}", what.kind(), &**name),
    }
}

/// What the library was asked for, and when.
#[derive(Clone, Copy)]
struct Asked {
    client: u32,
    /// With which session.
    lease: Option<i64>,
    began: Moment,
    ended: Moment,
}

#[derive(Clone, Copy)]
struct Judge<'e, 'a> {
    evidence: &'e Evidence<'a>,
    causes: &'e Causes<'a>,
}

impl Judge<'_, '_> {
    /// A guard's token, key and `rev` are those of the key that was committed.
    fn granted(self, holding: &Holding, says: &GuardSays, now: Moment) -> Verdict {
        let token = holding.token;
        if let Some(rev) = says.rev.filter(|rev| *rev != token) {
            return Err(format!("its rev is {rev}"));
        }
        if let Some(name) = says.name.as_ref().filter(|name| ***name != *holding.name) {
            return Err(format!("its name is {name:?}"));
        }
        if let Some(lease) = says.lease.filter(|lease| *lease != holding.lease) {
            return Err(format!("its lease is {lease:x}, its session's is {:x}", holding.lease));
        }
        let Some(key) = &says.key else { return Ok(()) };
        let life = life_of(self.evidence, key, token).filter(|life| life.created.step <= now.step);
        let life = life.ok_or_else(|| format!("its key {} was not created at that revision", Shown(key)))?;
        unless(life.lease == holding.lease, || {
            format!("its key is of the lease {:x}, its session's is {:x}", life.lease, holding.lease)
        })
    }

    /// A candidate is elected with the value that it stood with; one that resumes, with what was said last.
    fn elected(self, ask: Option<&Ask>, holding: &Holding, says: &GuardSays, now: Moment) -> Verdict {
        let (Some(ask), Some(key)) = (ask, &says.key) else { return Ok(()) };
        if holding.kind != Kind::Leader || ask.how == "resume" {
            return Ok(());
        }
        let order = self.evidence.order();
        let Some(kv) = order.state(key, order.newest_before(now.step)) else { return Ok(()) };
        let value = format!("{}/0", ask.ticket);
        unless(kv.value == value.as_bytes() || kv.create_revision != holding.token, || {
            format!("it stood with {value:?}, but says {:?}", Shown(&kv.value).to_string())
        })
    }

    /// A session's time to live is what etcd granted or renewed it for.
    fn opened(self, client: u32, lease: i64, ttl_ms: u64) -> Verdict {
        let Some(known) = self.causes.leases.get(&(client, lease)) else { return Ok(()) };
        let mut renewed = known.renewed.iter();
        unless(renewed.any(|renewed| renewed.ttl_ns == ttl_ms * 1_000_000), || {
            format!("its time to live is {ttl_ms} ms, which etcd never said")
        })
    }

    fn not_granted(self, ask: &Ask, why: &Failure, now: Moment) -> Verdict {
        let asked = Asked { client: ask.client, lease: Some(ask.lease), began: ask.asked, ended: now };
        match why {
            // The client's own doing.
            Failure::Cancelled => Ok(()),
            Failure::HeldByAnother => self.held_by_another(ask, now),
            Failure::Timeout => self.timed_out(ask, now),
            Failure::InUse => self.in_use(ask, now),
            Failure::ForeignKey { key } => self.foreign_key(&ask.name, key, asked),
            Failure::NotHeld => {
                let session = self.causes.session_may_be_over(ask.client, ask.lease, now);
                let cannot_resume = ask.how == "resume" && !self.leads_by_its_key(ask, now);
                unless(session || cannot_resume || self.lost_its_place(ask, now), || {
                    "its key is gone, but nobody took it away".to_owned()
                })
            }
            other => self.failed(other, asked),
        }
    }

    /// Whether a key of its lease is the first in its line.
    fn leads_by_its_key(self, ask: &Ask, now: Moment) -> bool {
        let mut line = lives(self.evidence, &own_line(&ask.name, ask.kind)).iter();
        let first = line.find(|life| life.deleted.is_none_or(|(_, gone)| gone.step > now.step));
        first.is_some_and(|first| first.lease == ask.lease && first.created.step < ask.asked.step)
    }

    /// Whether a contender's key was taken away while it waited.
    fn lost_its_place(self, ask: &Ask, now: Moment) -> bool {
        lives(self.evidence, &own_line(&ask.name, ask.kind)).iter().any(|life| {
            life.lease == ask.lease
                && life.deleted.is_some_and(|(_, gone)| {
                    (ask.asked.step..=now.step).contains(&gone.step)
                        && !is_own_deletion(self.evidence, ask.client, gone)
                })
        })
    }

    /// A try is right to find a rival: one that was in line before its own key, or for a reader any writer meanwhile.
    fn held_by_another(self, ask: &Ask, now: Moment) -> Verdict {
        if ask.limit_ms != Some(0) {
            return Err("it is held by another, though it was to wait".to_owned());
        }
        let lasts = |life: &KeyLife| life.deleted.is_none_or(|(_, gone)| gone.step > ask.asked.step);
        let meanwhile = |life: &&KeyLife| life.created.step < now.step && lasts(life);
        if ask.kind == Kind::Read {
            let mut writers = lives(self.evidence, &own_line(&ask.name, Kind::Write)).iter();
            return unless(writers.any(|life| meanwhile(&life)), || {
                "a writer is in line, but there was none".to_owned()
            });
        }
        let own_line = own_line(&ask.name, ask.kind);
        let own = lives(self.evidence, &own_line).iter().filter(meanwhile);
        let own: Vec<_> = own.filter(|life| life.lease == ask.lease).collect();
        let rivals = self.evidence.keys.iter().filter(|(line, _)| is_line_of(&ask.name, line));
        let is_rival = |rival: &KeyLife, own: &KeyLife| {
            let there = rival.deleted.is_none_or(|(deleted, _)| deleted > own.create_revision);
            rival.create_revision < own.create_revision && there
        };
        let rivals: Vec<_> = rivals.flat_map(|(_, lives)| lives).collect();
        let needed = if ask.kind == Kind::Permit { PERMITS as usize } else { 1 };
        let held = own.iter().any(|own| rivals.iter().filter(|rival| is_rival(rival, own)).count() >= needed);
        unless(held, || format!("it is held by another, but not by {needed} in line before it"))
    }

    fn timed_out(self, ask: &Ask, now: Moment) -> Verdict {
        let limit_ns = ask.limit_ms.ok_or("it timed out, though it has no time limit")? * 1_000_000;
        self.passed(
            limit_ns,
            Asked { client: ask.client, lease: Some(ask.lease), began: ask.asked, ended: now },
        )
    }

    fn passed(self, limit_ns: u64, asked: Asked) -> Verdict {
        let passed_ns = self.causes.at_most_ns(asked.client, asked.began.at_ns, asked.ended.at_ns);
        unless(passed_ns >= limit_ns, || {
            format!("it timed out after {:.3} s of {:.3} s", seconds(passed_ns), seconds(limit_ns))
        })
    }

    /// Another ask of the session for the same name is open, or what it gave is held or being given back; a leader who gave up to
    /// resign keeps its place.
    fn in_use(self, ask: &Ask, now: Moment) -> Verdict {
        let same =
            |name: &str, kind: Kind, lease: i64| name == &*ask.name && kind == ask.kind && lease == ask.lease;
        let asks = self.evidence.asks.iter().filter(|other| other.asked.step < now.step);
        let mut open = asks.filter(|other| {
            other.ticket != ask.ticket
                && same(&other.name, other.kind, other.lease)
                && other.ended.is_none_or(|(ended, _)| ended.step > ask.asked.step)
        });
        let tenures = self.evidence.tenures.iter().filter(|tenure| tenure.granted.step < now.step);
        let mut held = tenures.filter(|tenure| {
            let holding = &tenure.holding;
            let given_back = tenure.released.or(tenure.releases);
            let is_given_back = given_back.is_some_and(|given_back| given_back.step <= ask.asked.step);
            same(&holding.name, holding.kind, holding.lease)
                && (!is_given_back || self.gave_up_to_resign(holding, ask.asked))
        });
        unless(open.next().is_some() || held.next().is_some(), || {
            "its session has it in use, but nobody else of that session asked for it".to_owned()
        })
    }

    fn gave_up_to_resign(self, of: &Holding, by: Moment) -> bool {
        let cancelled = DeedEnd::Failed(Failure::Cancelled);
        self.evidence.deeds.iter().any(|deed| {
            let gave_up = deed.ended.is_some_and(|(ended, end)| ended.step <= by.step && *end == cancelled);
            gave_up && matches!(deed.what, Deed::Resign { holding } if holding == of)
        })
    }

    /// A key below the name that no contender makes.
    fn foreign_key(self, name: &str, key: &str, asked: Asked) -> Verdict {
        let below = format!("{name}/");
        let keys = self.evidence.keys.values().chain(self.evidence.foreign.values());
        let mut foreign = keys.flatten().filter(|life| {
            life.key.starts_with(below.as_bytes())
                && Shown(&life.key).to_string() == key
                && life.created.step < asked.ended.step
                && life.deleted.is_none_or(|(_, gone)| gone.step > asked.began.step)
        });
        unless(foreign.any(|life| !is_contenders(&life.key[below.len()..])), || {
            format!("{key} is a foreign key, but there was none such")
        })
    }

    fn not_released(self, holding: &Holding, error: &Failure, now: Moment) -> Verdict {
        let began = self.evidence.tenure(holding).and_then(|tenure| tenure.releases).unwrap_or(now);
        self.guarded(
            holding,
            error,
            Asked { client: holding.client, lease: Some(holding.lease), began, ended: now },
        )
    }

    /// A failure of what a tenure guards, its release included.
    fn guarded(self, holding: &Holding, error: &Failure, asked: Asked) -> Verdict {
        match error {
            Failure::NotHeld => {
                let over = self.causes.tenure_may_be_over(self.evidence, holding, asked.ended);
                unless(
                    over || self.found_over(holding, asked) || self.deleted_by_a_double(holding, asked),
                    || "it is not held any more, but nobody took it away".to_owned(),
                )
            }
            other => self.failed(other, asked),
        }
    }

    fn deleted_by_a_double(self, holding: &Holding, asked: Asked) -> bool {
        let deleted = key_of(self.evidence, holding).and_then(|life| life.deleted);
        deleted.is_some_and(|(_, gone)| {
            (asked.began.step..=asked.ended.step).contains(&gone.step) && is_by_a_double(self.evidence, gone)
        })
    }

    /// Whether its own holder had given it back before it asked.
    fn found_over(self, holding: &Holding, asked: Asked) -> bool {
        let tenure = self.evidence.tenure(holding);
        tenure.and_then(|tenure| tenure.releases).is_some_and(|releases| releases.step < asked.began.step)
    }

    fn told_lost(self, holding: &Holding, by: Telling, now: Moment) -> Verdict {
        if by == (Telling::Lost { is_held: true }) {
            return Err("it is lost, while is_held() says that it is held".to_owned());
        }
        unless(self.causes.tenure_may_be_over(self.evidence, holding, now), || {
            "it is lost, but its session lives and its key is there".to_owned()
        })
    }

    fn session_lost(self, client: u32, lease: i64, now: Moment) -> Verdict {
        unless(self.causes.session_may_be_over(client, lease, now), || {
            "it is lost, but its lease is there and its deadline has not passed".to_owned()
        })
    }

    fn did(self, deed: &DeedLife<'_>, end: &DeedEnd, now: Moment) -> Verdict {
        let lease = match deed.what {
            Deed::Leader { lease, .. } | Deed::CloseSession { lease } | Deed::Recipe { lease, .. } => {
                Some(*lease)
            }
            Deed::OpenSession { on, .. } => *on,
            // Not the library's doing.
            Deed::Operator { .. } => return Ok(()),
            guarded => guarded.tenure().map(|holding| holding.lease),
        };
        let asked = Asked { client: deed.client, lease, began: deed.began, ended: now };
        match (deed.what, end) {
            (_, DeedEnd::Failed(Failure::Cancelled)) => Ok(()),
            (Deed::Txn { holding }, DeedEnd::Committed { revision }) => {
                self.committed(holding, *revision, asked)
            }
            (Deed::Proclaim { holding, value, .. }, DeedEnd::Done) => self.proclaimed(holding, value, asked),
            (Deed::Confirm { holding }, DeedEnd::Confirmed(says)) => self.confirmed(holding, *says, asked),
            (Deed::Leader { name, .. }, DeedEnd::Leads(leader)) => {
                if let Some(leader) = leader {
                    self.seen(leader)?;
                }
                unless(leads_within(self.evidence, name, leader.as_ref(), asked.began, asked.ended), || {
                    "that was at no time while it asked".to_owned()
                })
            }
            (Deed::CloseSession { lease }, DeedEnd::Done) => {
                unless(self.causes.is_revoked(*lease, now), || {
                    "it is closed, but its lease is not revoked".to_owned()
                })
            }
            (
                Deed::Proclaim { holding, stands_again: true, .. },
                DeedEnd::Failed(Failure::ForeignKey { key }),
            ) => self.foreign_key(&holding.name, key, asked),
            (
                Deed::Txn { holding } | Deed::Proclaim { holding, .. } | Deed::Resign { holding },
                DeedEnd::Failed(error),
            ) => self.guarded(holding, error, asked),
            (Deed::Confirm { .. }, DeedEnd::Failed(Failure::Maybe(why))) => {
                Err(format!("the outcome of a read is unknown: {why}"))
            }
            (Deed::OpenSession { ttl_ms, .. }, DeedEnd::Failed(Failure::NotOpened(_))) => {
                self.not_opened(*ttl_ms, asked)
            }
            (Deed::CloseSession { .. }, DeedEnd::Failed(Failure::Maybe(_))) => self.not_closed(asked),
            (Deed::Leader { name, .. }, DeedEnd::Failed(Failure::ForeignKey { key })) => {
                self.foreign_key(name, key, asked)
            }
            (Deed::Leader { .. }, DeedEnd::Failed(Failure::Unavailable(_))) => self.for_its_ttl(asked),
            (Deed::Recipe { name, what, .. }, DeedEnd::Failed(error)) => {
                self.recipe_failed(name, what, error, asked)
            }
            (Deed::Recipe { .. }, DeedEnd::Recipe(_)) => self.recipe_gave(deed),
            (_, DeedEnd::Failed(error)) => self.failed(error, asked),
            _ => Ok(()),
        }
    }

    /// A guarded transaction made the revision that it says; that it was held then is `fencing`'s question.
    fn committed(self, holding: &Holding, revision: i64, asked: Asked) -> Verdict {
        let commit = self.evidence.order().commit(revision);
        let commit = commit.ok_or_else(|| format!("it was committed at {revision}, but nothing was"))?;
        let own = matches!(commit.request, Request::Txn(txn) if is_guarded_by(txn, holding.token));
        let meanwhile = (asked.began.step..=asked.ended.step).contains(&commit.at.step);
        unless(own && meanwhile, || format!("it was committed at {revision}, which something else made"))
    }

    /// A proclamation that is done was committed meanwhile, on the leader's own key, and no more than once: no two of a run say the
    /// same.
    fn proclaimed(self, holding: &Holding, value: &[u8], asked: Asked) -> Verdict {
        let order = self.evidence.order();
        let newest = order.newest_before(asked.ended.step);
        let oldest = order.newest_before(asked.began.step);
        let commits = order.between(oldest + 1, newest);
        let said = commits.iter().flat_map(|commit| commit.events).filter(|event| {
            event.kv.create_revision == holding.token
                && event.kv.value == value
                && event.kv.lease == holding.lease
        });
        let times = said.count();
        unless(times == 1, || {
            let value = Shown(value).to_string();
            match times {
                0 => format!("it has said {value:?}, but that was not committed"),
                _ => format!("it has said {value:?}, and that was committed {times} times"),
            }
        })
    }

    fn confirmed(self, holding: &Holding, says: bool, asked: Asked) -> Verdict {
        let life = key_of(self.evidence, holding);
        if !says {
            let over = self.causes.tenure_may_be_over(self.evidence, holding, asked.ended);
            return unless(over || self.found_over(holding, asked), || {
                "it is not held, but its session lives and its key is there".to_owned()
            });
        }
        let there =
            life.is_some_and(|life| life.deleted.is_none_or(|(_, gone)| gone.step > asked.began.step));
        unless(there, || "it is held, but its key was gone before it asked".to_owned())
    }

    /// What is seen of a leader was committed so.
    fn seen(self, leader: &SeenLeader) -> Verdict {
        let SeenLeader { key, rev, mod_revision, value, lease } = leader;
        // Written by hand, in the tests of other checks.
        if key.is_empty() {
            return Ok(());
        }
        let written = self.evidence.order().state(key, *mod_revision);
        let is_so = written.is_some_and(|kv| {
            kv.create_revision == *rev
                && kv.mod_revision == *mod_revision
                && kv.value == *value
                && kv.lease == *lease
        });
        unless(is_so, || format!("the leader of revision {rev} as of {mod_revision}, whose key never was so"))
    }

    fn observer_failed(
        self,
        name: &str,
        client: u32,
        error: &Failure,
        began: Moment,
        ended: Moment,
    ) -> Verdict {
        let asked = Asked { client, lease: None, began, ended };
        match error {
            Failure::ForeignKey { key } => self.foreign_key(name, key, asked),
            other => self.failed(other, asked),
        }
    }

    /// A session that could not be opened was tried for as long as the library promises.
    fn not_opened(self, ttl_ms: u64, asked: Asked) -> Verdict {
        let tries_ns = ttl_ms.max(5_000) * 1_000_000 - LONGEST_PAUSE_NS;
        let passed_ns = self.causes.at_most_ns(asked.client, asked.began.at_ns, asked.ended.at_ns);
        unless(passed_ns >= tries_ns, || {
            format!("it was given up after {:.3} s of {:.3} s", seconds(passed_ns), seconds(tries_ns))
        })?;
        self.within(tries_ns + LONGEST_PAUSE_NS, asked)
    }

    /// It was given up when its time was over, if its process did not stand still.
    fn within(self, limit_ns: u64, asked: Asked) -> Verdict {
        let (began_ns, ended_ns) = (asked.began.at_ns, asked.ended.at_ns);
        let limit_ns = limit_ns + self.causes.drift_of(limit_ns) + LATE_NS;
        unless(
            ended_ns - began_ns <= limit_ns || self.evidence.stood_still(asked.client, began_ns, ended_ns),
            || format!("it was given up after {:.3} s, too late", seconds(ended_ns - began_ns)),
        )
    }

    fn not_closed(self, asked: Asked) -> Verdict {
        self.for_its_ttl(asked)?;
        let session = asked.lease.and_then(|lease| self.evidence.sessions.get(&lease));
        session.map_or(Ok(()), |session| self.within(session.ttl_ns, asked))
    }

    /// It was tried for as long as the session's TTL.
    fn for_its_ttl(self, asked: Asked) -> Verdict {
        let session = asked.lease.and_then(|lease| self.evidence.sessions.get(&lease));
        let Some(session) = session else { return Ok(()) };
        let passed_ns = self.causes.at_most_ns(asked.client, asked.began.at_ns, asked.ended.at_ns);
        unless(passed_ns + LONGEST_PAUSE_NS >= session.ttl_ns, || {
            format!("it was given up after {:.3} s of {:.3} s", seconds(passed_ns), seconds(session.ttl_ns))
        })
    }

    /// The errors that mean the same wherever they come from.
    fn failed(self, error: &Failure, asked: Asked) -> Verdict {
        let Asked { client, lease, began, ended } = asked;
        match error {
            Failure::SessionLost => {
                let over = lease.is_some_and(|lease| self.causes.session_may_be_over(client, lease, ended));
                unless(over, || {
                    "its session is over, but its lease is there and its deadline has not passed".to_owned()
                })
            }
            Failure::Refused(refused) => self.refused(refused, asked),
            Failure::Maybe(why) => {
                let mut calls = self.causes.failed_within(client, began.step, ended.step);
                unless(calls.any(|call| is_lost_write(call, began.step)), || {
                    format!("the outcome is unknown ({why}), but no write of it was lost")
                })
            }
            Failure::Cancelled => Ok(()),
            untrue => Err(format!("{untrue:?}, which has no place here")),
        }
    }

    /// etcd refuses nothing that the library asks of it in the right way, but for want of space or of a permission; and then
    /// etcd has said so.
    fn refused(self, refused: &Refused, asked: Asked) -> Verdict {
        let said = |code: Code, words: &str| {
            let mut calls = self.causes.failed_within(asked.client, asked.began.step, asked.ended.step);
            calls.any(|call| {
                call.status.is_some_and(|status| {
                    status.code == code
                        && status.message.contains(words)
                        && !says_stale_token(&status.message)
                })
            })
        };
        let true_here = match refused {
            Refused::NoSpace => said(Code::ResourceExhausted, "space exceeded"),
            Refused::PermissionDenied(_) => {
                said(Code::PermissionDenied, "")
                    || said(Code::Unauthenticated, "")
                    || said(Code::InvalidArgument, "")
            }
            Refused::Compacted | Refused::LeaseNotFound | Refused::Other(_) => false,
        };
        unless(true_here, || format!("etcd refuses it ({refused}), which etcd has no reason for"))
    }
}

/// A token that has expired is renewed, and is no reason to give up.
fn says_stale_token(message: &str) -> bool {
    message.contains("invalid auth token")
}

/// A write of which the answer was lost.
fn is_lost_write(call: &FailedCall<'_>, began: usize) -> bool {
    call.sent >= began && matches!(call.request, Request::Txn(txn) if !txn.success.is_empty())
}

/// Whether a transaction has the condition that a tenure lasts.
fn is_guarded_by(txn: &Txn, token: i64) -> bool {
    txn.compares.iter().any(|compare| compare.target == CompareTarget::Create(token))
}

/// Whether this is what a contender's key is behind the name: a lease, of a reader, a writer or a permit perhaps.
fn is_contenders(rest: &[u8]) -> bool {
    let permit = format!("sem/{PERMITS}/");
    let kinds: [&[u8]; 3] = [b"read/", b"write/", permit.as_bytes()];
    let rest = kinds.into_iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest);
    !rest.is_empty() && rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

fn unless(right: bool, why: impl FnOnce() -> String) -> Verdict {
    if right { Ok(()) } else { Err(why()) }
}

#[allow(clippy::cast_precision_loss, reason = "for showing")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
