//! One program of a client: it asks, holds, gives back, by a session of its own or one that it shares.

use std::sync::Arc;

use tenure::{Election, Session};

use super::actor::Actor;
use super::client::{Client, up_to_polls};
use super::hold;
use super::library::limit_ms;
use super::primitive::{Ask, Held, Through, Wait};
use super::program::{Ending, Hold, Operation, Patience, PrimitiveKind};
use super::sessions::Sessions;
use super::shared::Legacy;
use crate::history::{Deed, DeedEnd, Failure, Holding, Kind, What};
use crate::plan::LanePlan;

pub(super) struct Lane<'a> {
    client: &'a Client<'a>,
    index: usize,
    plan: &'a LanePlan,
    sessions: &'a Sessions<'a>,
    /// The lease of the session that was used last, and whether all that was asked for with it was given back with etcd's
    /// word for it: then nobody finds more of it than what is held now.
    clean: (i64, bool),
}

impl<'a> Lane<'a> {
    pub(super) fn new(
        client: &'a Client<'a>,
        index: usize,
        plan: &'a LanePlan,
        sessions: &'a Sessions<'a>,
    ) -> Self {
        Self { client, index, plan, sessions, clean: (0, true) }
    }

    pub(super) async fn run(mut self) {
        let process = self.client.env.index as usize;
        loop {
            let next = self.client.shared.next_operation(process, self.index);
            let Some(operation) = self.plan.operations.get(next) else { break };
            self.client.sleep_ms(operation.think_ms).await;
            if self.client.is_draining() {
                break;
            }
            self.go_on_holding().await;
            let Some(session) = self.sessions.session().await else { break };
            let is_election = operation.primitive == PrimitiveKind::Election;
            if is_election && !self.sessions.stand(&operation.name).await {
                let name = operation.name.as_str().into();
                self.client.record(What::PassesOver { name, lane: self.number() });
                continue;
            }
            self.take(session, operation, None).await;
            if is_election {
                self.sessions.stood(&operation.name).await;
            }
        }
        self.sessions.leave().await;
    }

    /// Takes up again what an earlier process of this program held and left.
    async fn go_on_holding(&mut self) {
        let Some(left) = self.client.shared.take_legacy(self.client.env.index, self.index) else { return };
        let Some(operation) = self.plan.operations.get(left.operation) else { return };
        if let Some(session) = self.sessions.take_over(left.lease).await {
            self.take(session, operation, Some(left)).await;
        }
    }

    /// Its place among its client's programs, as the history has it.
    fn number(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }

    async fn take(&mut self, session: Session, operation: &Operation, left: Option<Legacy>) {
        let client = self.client;
        if operation.asks_leader && left.is_none() {
            self.ask_for_the_leader(&session, &operation.name).await;
        }
        let (ticket, kind) = (client.shared.next_ticket(), operation.primitive.kind());
        let beside_an_earlier_one = left.is_some() && is_numbered(kind);
        let wait = match left {
            // The key of the earlier reader is in the way of writers, which would be in its own way; an earlier permit is one less.
            Some(_) if beside_an_earlier_one => Wait::Try,
            Some(_) => Wait::Forever,
            None => wait(operation.patience),
        };
        let name: Arc<str> = operation.name.as_str().into();
        let lease = session.lease();
        client.record(What::Asks {
            ticket,
            name: Arc::clone(&name),
            kind,
            lease,
            how: how(operation, left.is_some() && !beside_an_earlier_one),
            limit_ms: limit(wait),
            lane: self.number(),
            in_turn: operation.primitive.is_in_turn(),
        });
        let ask = Ask {
            name: Arc::clone(&name),
            // What observers can put in order: the ask, and the proclamations within.
            value: format!("{ticket}/0"),
            wait,
            locker: operation.locker,
            resumes: left.filter(|_| resumes(operation)).map(|left| left.token),
        };
        let is_clean = self.clean.0 != lease || self.clean.1;
        self.clean = (lease, false);
        let held = match self.ask(session.clone(), operation, &ask, left.is_some()).await {
            Ok(held) => held,
            Err(why) => {
                self.clean.1 = is_clean && why == Failure::HeldByAnother;
                client.record(What::NotGranted { ticket, why });
                if beside_an_earlier_one {
                    self.sessions.close(session).await;
                }
                return;
            }
        };
        let holding = Holding { client: client.env.index, name, kind, token: held.token(), lease };
        let (registered, believers) = client.shared.beliefs.granted(&holding, held.belief());
        let says = held.says();
        client.record(What::Granted { ticket, holding: holding.clone(), believers, says });
        let ending = self.ending(operation, is_clean, left.is_some());
        if is_clean && (operation.lasts || ending == Ending::HandOver) && self.can_last() {
            self.leave_behind(&holding, operation);
        }
        let told = hold::hold(client, ticket, &holding, (&session, &*held), &operation.hold).await;
        let awaited = ending == Ending::Release && !told;
        client.record(What::Releases { holding: holding.clone(), awaited });
        // Asked on while it is given back: on this side it is over at once. What another process goes on with is not.
        let registered = (ending != Ending::HandOver || told).then_some(registered);
        if registered.is_some() {
            client.shared.take_legacy(client.env.index, self.index);
        }
        match ending {
            Ending::Release if !told => {
                let error = held.release().await.err().map(Failure::from);
                self.clean.1 = is_clean && error.is_none();
                client.record(What::Released { holding, error });
            }
            Ending::CancelRelease { polls } if !told => match held.resigning() {
                Some(resigning) => {
                    let token = holding.token;
                    let resigned = client.does(Deed::Resign { holding }, resigning, |()| DeedEnd::Done);
                    up_to_polls(resigned, polls).await;
                    // Until it resigns after all its place stays: who goes on with it is refused, who stands anew resigns first.
                    if self.can_last() && session.is_alive() {
                        let kept = (token % 2 == 0).then_some(Legacy { operation: 0, lease, token });
                        Box::pin(self.take(session, &again(operation), kept)).await;
                    }
                    drop(held);
                }
                None => {
                    up_to_polls(held.release(), polls).await;
                }
            },
            // Also who was told of the loss of its own key: the earlier reader's stays for as long as the session.
            Ending::CloseSession if !told || beside_an_earlier_one && session.is_alive() => {
                self.sessions.close(session).await;
                drop(held);
            }
            Ending::CancelClose { polls } if !told => {
                up_to_polls(self.sessions.close(session), polls).await;
                drop(held);
            }
            Ending::DropSession if !told => {
                self.sessions.drop_it(session).await;
                drop(held);
            }
            Ending::HandOver if !told => {
                self.sessions.hand_over(session).await;
                drop(held);
            }
            // Who was told of the loss has nothing to release.
            _ => drop(held),
        }
        drop(registered);
    }

    /// How it ends: what cannot be handed over ends otherwise.
    fn ending(&self, operation: &Operation, is_clean: bool, resumed: bool) -> Ending {
        match operation.ending {
            // The key of an earlier reader, or permit, lasts as long as its lease.
            _ if resumed && is_numbered(operation.primitive.kind()) => Ending::CloseSession,
            Ending::HandOver if resumed => Ending::Release,
            // What others of the session do is not to be cut short without a word.
            Ending::CancelClose { .. } | Ending::DropSession if self.sessions.are_shared() => {
                Ending::CloseSession
            }
            Ending::HandOver if !is_clean || !self.can_last() => Ending::CloseSession,
            ending => ending,
        }
    }

    /// Whether another process can go on with what this gives: a session that others use keeps what they hold, too.
    fn can_last(&self) -> bool {
        !self.sessions.are_shared()
    }

    fn leave_behind(&self, holding: &Holding, operation: &Operation) {
        let place = self.plan.operations.iter().position(|one| std::ptr::eq(one, operation));
        let Some(operation) = place else { return };
        let legacy = Legacy { operation, lease: holding.lease, token: holding.token };
        self.client.shared.leave_legacy(self.client.env.index, self.index, legacy);
    }

    /// What comes of it is in the history.
    async fn ask_for_the_leader(&self, session: &Session, name: &str) {
        let Ok(election) = Election::new(session, name) else { return };
        let deed = Deed::Leader { name: name.into(), lease: session.lease() };
        let leads = |leader: &Option<tenure::Leader>| DeedEnd::Leads(leader.clone().map(Into::into));
        let _ = self.client.does(deed, election.leader(), leads).await;
    }

    async fn ask(
        &self,
        session: Session,
        operation: &Operation,
        ask: &Ask,
        goes_on: bool,
    ) -> Result<Box<dyn Held>, Failure> {
        let through = Through { session, backend: Arc::clone(&self.client.backend) };
        let taking = self.sessions.primitive(operation.primitive).take(through, ask);
        let patience = if goes_on { Patience::Forever } else { operation.patience };
        match self.client.patiently(patience, taking).await.ok_or(Failure::Cancelled)? {
            Ok(Some(held)) => Ok(held),
            Ok(None) => Err(Failure::HeldByAnother),
            Err(error) => Err(error.into()),
        }
    }
}

/// The same tried once more, for no longer than it takes.
fn again(operation: &Operation) -> Operation {
    Operation {
        patience: Patience::Try,
        hold: Hold { deeds: Vec::new(), ..operation.hold.clone() },
        ending: Ending::Release,
        asks_leader: false,
        lasts: false,
        ..operation.clone()
    }
}

pub(super) fn wait(patience: Patience) -> Wait {
    match patience {
        Patience::Forever | Patience::CancelAfterMs(_) | Patience::CancelAfterPolls(_) => Wait::Forever,
        Patience::Try => Wait::Try,
        Patience::TimeoutMs(ms) => limit_ms(ms),
    }
}

/// The time limit that the primitive or recipe is given.
pub(super) fn limit(wait: Wait) -> Option<u64> {
    match wait {
        Wait::Forever => None,
        Wait::Try => Some(0),
        Wait::Limit(limit) => u64::try_from(limit.as_millis()).ok(),
    }
}

/// Whether a leadership that an earlier process left is resumed; or else its successor just stands for election.
fn resumes(operation: &Operation) -> bool {
    operation.primitive == PrimitiveKind::Election && operation.patience != Patience::Forever
}

/// Whether each ask of a session has a key of its own, so that a later process of the lease does not go on with an earlier
/// one's.
fn is_numbered(kind: Kind) -> bool {
    matches!(kind, Kind::Read | Kind::Permit)
}

fn how(operation: &Operation, goes_on: bool) -> &'static str {
    use PrimitiveKind as P;
    let [resumed, waits, tries, limited, cancelled] = match operation.primitive {
        P::Mutex => ["lock, again", "lock", "try_lock", "lock_timeout", "lock, to be cancelled"],
        P::Election => [
            if resumes(operation) { "resume" } else { "campaign" },
            "campaign",
            "try_campaign",
            "campaign_timeout",
            "campaign, to be cancelled",
        ],
        P::Read | P::ReadInTurn => ["read", "read", "try_read", "read_timeout", "read, to be cancelled"],
        P::Write | P::WriteInTurn => {
            ["write, again", "write", "try_write", "write_timeout", "write, to be cancelled"]
        }
        P::Semaphore => ["acquire", "acquire", "try_acquire", "acquire_timeout", "acquire, to be cancelled"],
    };
    match operation.patience {
        _ if goes_on => resumed,
        Patience::Forever => waits,
        Patience::Try => tries,
        Patience::TimeoutMs(_) => limited,
        Patience::CancelAfterMs(_) | Patience::CancelAfterPolls(_) => cancelled,
    }
}
