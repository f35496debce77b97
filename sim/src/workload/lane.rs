//! One session of a client and its program: it asks, holds, gives back, and opens a new session when one is lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};
use tenure::Session;

use super::client::Client;
use super::hold;
use super::library::limit_ms;
use super::primitive::{Ask, Held, Through, Wait};
use super::program::{Ending, Operation, Patience, PrimitiveKind};
use crate::history::{Deed, DeedEnd, Failure, Holding, SessionEnd, What};
use crate::plan::LanePlan;

pub(super) struct Lane<'a> {
    client: &'a Client<'a>,
    index: usize,
    plan: &'a LanePlan,
    session: Option<Session>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(client: &'a Client<'a>, index: usize, plan: &'a LanePlan) -> Self {
        Self { client, index, plan, session: None }
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
            let Some(session) = self.session().await else { break };
            self.take(session, operation).await;
        }
        if let Some(session) = self.session.take() {
            if session.is_alive() {
                self.close(session).await;
            } else {
                self.client.record(What::SessionEnded { lease: session.lease(), how: SessionEnd::Lost });
            }
        }
    }

    /// The session, opened if it is not or was lost. `None` if none could be opened until the drain.
    async fn session(&mut self) -> Option<Session> {
        if let Some(session) = &self.session {
            if session.is_alive() {
                return Some(session.clone());
            }
            self.client.record(What::SessionEnded { lease: session.lease(), how: SessionEnd::Lost });
            self.session = None;
        }
        while !self.client.is_draining() {
            let builder = Session::builder_on(Arc::clone(&self.client.backend))
                .ttl(Duration::from_secs(self.plan.ttl_s))
                .drift_bound_ppm(self.client.plan.drift_bound_ppm);
            let deed = Deed::OpenSession { on: None, ttl_ms: self.plan.ttl_s * 1000 };
            match self.client.does(deed, builder.open(), |_| DeedEnd::Done).await {
                Ok(session) => {
                    let ttl_ms = u64::try_from(session.ttl().as_millis()).unwrap_or(u64::MAX);
                    self.client.record(What::SessionOpened { lease: session.lease(), ttl_ms });
                    return Some(self.session.insert(session).clone());
                }
                Err(_) => self.client.sleep_ms(200).await,
            }
        }
        None
    }

    async fn take(&mut self, session: Session, operation: &Operation) {
        let client = self.client;
        let (ticket, kind) = (client.shared.next_ticket(), operation.primitive.kind());
        let name: Arc<str> = operation.name.as_str().into();
        let lease = session.lease();
        client.record(What::Asks {
            ticket,
            name: Arc::clone(&name),
            kind,
            lease,
            how: how(operation),
            limit_ms: limit(operation.patience),
            lane: u32::try_from(self.index).unwrap_or(u32::MAX),
        });
        let ask = Ask {
            name: Arc::clone(&name),
            // What observers can put in order: the ask, and the proclamations within.
            value: format!("{ticket}/0"),
            wait: wait(operation.patience),
        };
        let held = match self.ask(session, operation, &ask).await {
            Ok(held) => held,
            Err(why) => return client.record(What::NotGranted { ticket, why }),
        };
        let holding = Holding { client: client.env.index, name, kind, token: held.token(), lease };
        let (registered, believers) = client.shared.beliefs.granted(&holding, held.belief());
        let says = held.says();
        client.record(What::Granted { ticket, holding: holding.clone(), believers, says });
        let told = hold::hold(client, ticket, &holding, &*held, &operation.hold).await;
        let awaited = operation.ending == Ending::Release && !told;
        client.record(What::Releases { holding: holding.clone(), awaited });
        drop(registered);
        match operation.ending {
            Ending::Release if !told => {
                let error = held.release().await.err().map(Failure::from);
                client.record(What::Released { holding, error });
            }
            Ending::CloseSession if !told => {
                if let Some(session) = self.session.take() {
                    self.close(session).await;
                }
                drop(held);
            }
            // Who was told of the loss has nothing to release.
            Ending::Release | Ending::CloseSession | Ending::Drop => drop(held),
        }
    }

    async fn ask(
        &self,
        session: Session,
        operation: &Operation,
        ask: &Ask,
    ) -> Result<Box<dyn Held>, Failure> {
        let through = Through { session, backend: Arc::clone(&self.client.backend) };
        let mut taking = self.client.shared.primitive(operation.primitive).take(through, ask).fuse();
        let answer = match operation.patience {
            Patience::CancelAfterMs(after_ms) => {
                let mut impatience = std::pin::pin!(self.client.sleep_ms(after_ms).fuse());
                select_biased! {
                    answer = taking => answer,
                    () = impatience => return Err(Failure::Cancelled),
                }
            }
            _ => taking.await,
        };
        match answer {
            Ok(Some(held)) => Ok(held),
            Ok(None) => Err(Failure::HeldByAnother),
            Err(error) => Err(error.into()),
        }
    }

    async fn close(&self, session: Session) {
        let lease = session.lease();
        self.client.record(What::SessionEnded { lease, how: SessionEnd::Closed });
        // What came of it is in the history.
        let _ = self.client.does(Deed::CloseSession { lease }, session.close(), |()| DeedEnd::Done).await;
    }
}

fn wait(patience: Patience) -> Wait {
    match patience {
        Patience::Forever | Patience::CancelAfterMs(_) => Wait::Forever,
        Patience::Try => Wait::Try,
        Patience::TimeoutMs(ms) => limit_ms(ms),
    }
}

/// The time limit that the primitive is given.
fn limit(patience: Patience) -> Option<u64> {
    match patience {
        Patience::Forever | Patience::CancelAfterMs(_) => None,
        Patience::Try => Some(0),
        Patience::TimeoutMs(ms) => Some(ms),
    }
}

fn how(operation: &Operation) -> &'static str {
    use PrimitiveKind as P;
    match (operation.primitive, operation.patience) {
        (P::Mutex, Patience::Forever) => "lock",
        (P::Mutex, Patience::Try) => "try_lock",
        (P::Mutex, Patience::TimeoutMs(_)) => "lock_timeout",
        (P::Mutex, Patience::CancelAfterMs(_)) => "lock, to be cancelled",
        (P::Election, Patience::Forever) => "campaign",
        (P::Election, Patience::Try) => "try_campaign",
        (P::Election, Patience::TimeoutMs(_)) => "campaign_timeout",
        (P::Election, Patience::CancelAfterMs(_)) => "campaign, to be cancelled",
        (P::Read, Patience::Forever) => "read",
        (P::Read, Patience::Try) => "try_read",
        (P::Read, Patience::TimeoutMs(_)) => "read_timeout",
        (P::Read, Patience::CancelAfterMs(_)) => "read, to be cancelled",
        (P::Write, Patience::Forever) => "write",
        (P::Write, Patience::Try) => "try_write",
        (P::Write, Patience::TimeoutMs(_)) => "write_timeout",
        (P::Write, Patience::CancelAfterMs(_)) => "write, to be cancelled",
    }
}
