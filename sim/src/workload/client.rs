//! A client process: it opens sessions, goes through its program, and opens a new session when one is lost.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, select_biased};
use tenure::{Backend, Error, Etcd, EtcdOptions, Session};

use super::hold;
use super::primitive::{Through, Wait};
use super::program::{Action, Ending, Patience, Take};
use super::shared::Shared;
use crate::cluster::{ClientEnv, Program};
use crate::history::{Holding, Kind, What};
use crate::plan::ClientPlan;

/// The program of a client of the plan, to be started anew after each of its crashes.
pub fn program_of(shared: &Arc<Shared>) -> Program {
    let shared = Arc::clone(shared);
    Arc::new(move |env: ClientEnv| {
        let shared = Arc::clone(&shared);
        async move {
            let guarded = AssertUnwindSafe(live(env.clone(), Arc::clone(&shared))).catch_unwind().await;
            if let Err(panic) = guarded {
                let message = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
                    .unwrap_or_else(|| "a panic without words".into());
                env.record(What::Note(format!("panicked: {message}")));
                shared.panicked(format!("c{}: {message}", env.index));
            }
        }
        .boxed()
    })
}

async fn live(env: ClientEnv, shared: Arc<Shared>) {
    // What an earlier life held died with it.
    shared.beliefs.forget(env.index);
    let index = env.index as usize;
    let plan = Arc::clone(&shared.plan);
    let Some(client_plan) = plan.clients.get(index) else { return };
    // Each begins at another member.
    let options = EtcdOptions { first_endpoint: index, ..EtcdOptions::default() };
    let etcd = Etcd::over(env.wires.clone(), Arc::clone(&env.runtime), options);
    let backend = shared.decorate(Arc::new(etcd));
    let sessions = client_plan.ttl_s.iter().map(|_| None).collect();
    let mut client = Client { env, shared, plan: client_plan, backend, sessions };
    loop {
        let next = client.shared.next_operation(index);
        let Some(operation) = client_plan.operations.get(next) else { break };
        client.sleep_ms(operation.think_ms).await;
        if client.is_draining() {
            break;
        }
        let slot = operation.session as usize;
        let Some(session) = client.session(slot).await else { break };
        match &operation.action {
            Action::Take(take) => client.take(slot, session, take).await,
        }
    }
    client.close_all().await;
}

pub(super) struct Client<'a> {
    pub(super) env: ClientEnv,
    pub(super) shared: Arc<Shared>,
    plan: &'a ClientPlan,
    pub(super) backend: Arc<dyn Backend>,
    sessions: Vec<Option<Session>>,
}

impl Client<'_> {
    /// Waits by the client's own clock.
    pub(super) async fn sleep_ms(&self, ms: u64) {
        self.backend.sleep_until(self.backend.now() + Duration::from_millis(ms)).await;
    }

    fn is_draining(&self) -> bool {
        self.env.world.now_ns() >= self.shared.drain_at_ns()
    }

    /// The session of this slot, opened if it is not or was lost. `None` if none could be opened until the drain.
    async fn session(&mut self, slot: usize) -> Option<Session> {
        let slot = slot.min(self.sessions.len().checked_sub(1)?);
        if let Some(session) = self.sessions[slot].take() {
            if session.is_alive() {
                self.sessions[slot] = Some(session.clone());
                return Some(session);
            }
            self.env.record(What::SessionEnded { lease: session.lease(), how: "lost" });
        }
        while !self.is_draining() {
            let builder = Session::builder_on(Arc::clone(&self.backend))
                .ttl(Duration::from_secs(self.plan.ttl_s[slot]))
                .drift_bound_ppm(self.plan.drift_bound_ppm);
            match builder.open().await {
                Ok(session) => {
                    let ttl_ms = u64::try_from(session.ttl().as_millis()).unwrap_or(u64::MAX);
                    self.env.record(What::SessionOpened { lease: session.lease(), ttl_ms });
                    self.sessions[slot] = Some(session.clone());
                    return Some(session);
                }
                Err(error) => {
                    self.env.record(What::Note(format!("no session: {error}")));
                    self.sleep_ms(200).await;
                }
            }
        }
        None
    }

    async fn take(&mut self, slot: usize, session: Session, take: &Take) {
        let ticket = self.shared.next_ticket();
        let name: Arc<str> = take.name.as_str().into();
        let lease = session.lease();
        let how = match take.patience {
            Patience::Forever => "lock",
            Patience::Try => "try_lock",
            Patience::TimeoutMs(_) => "lock_timeout",
            Patience::CancelAfterMs(_) => "lock, to be cancelled",
        };
        self.env.record(What::Asks { ticket, name: Arc::clone(&name), kind: Kind::Mutex, lease, how });
        let answer = self.ask(session, take).await;
        let held = match answer {
            Ok(held) => held,
            Err(why) => return self.env.record(What::NotGranted { ticket, why }),
        };
        let holding = Holding { client: self.env.index, name, kind: Kind::Mutex, token: held.token(), lease };
        let (registered, believers) = self.shared.beliefs.granted(&holding, held.belief());
        self.env.record(What::Granted { ticket, holding: holding.clone(), believers });
        let told = hold::hold(self, &holding, &*held, &take.hold).await;
        self.env.record(What::Releases { holding: holding.clone() });
        drop(registered);
        match take.ending {
            Ending::Release if !told => {
                let error = held.release().await.err().map(|error| error.to_string());
                self.env.record(What::Released { holding, error });
            }
            Ending::CloseSession if !told => {
                if let Some(session) = self.sessions.get_mut(slot).and_then(Option::take) {
                    self.close(session).await;
                }
                drop(held);
            }
            // Who was told of the loss has nothing to release.
            Ending::Release | Ending::CloseSession | Ending::Drop => drop(held),
        }
    }

    async fn ask(&self, session: Session, take: &Take) -> Result<Box<dyn super::primitive::Held>, String> {
        let through = Through { session, backend: Arc::clone(&self.backend) };
        let wait = match take.patience {
            Patience::Forever | Patience::CancelAfterMs(_) => Wait::Forever,
            Patience::Try => Wait::Try,
            Patience::TimeoutMs(limit_ms) => Wait::LimitMs(limit_ms),
        };
        let mut taking = self.shared.primitive(take.primitive).take(through, &take.name, wait).fuse();
        let answer = match take.patience {
            Patience::CancelAfterMs(after_ms) => {
                let mut impatience = std::pin::pin!(self.sleep_ms(after_ms).fuse());
                select_biased! {
                    answer = taking => answer,
                    () = impatience => return Err("cancelled".into()),
                }
            }
            _ => taking.await,
        };
        match answer {
            Ok(Some(held)) => Ok(held),
            Ok(None) => Err("held by another".into()),
            Err(Error::Timeout) => Err("timed out".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn close(&self, session: Session) {
        let lease = session.lease();
        self.env.record(What::SessionEnded { lease, how: "closed" });
        if let Err(error) = session.close().await {
            self.env.record(What::Note(format!("closing session {lease:x}: {error}")));
        }
    }

    async fn close_all(&mut self) {
        for session in std::mem::take(&mut self.sessions).into_iter().flatten() {
            if session.is_alive() {
                self.close(session).await;
            } else {
                self.env.record(What::SessionEnded { lease: session.lease(), how: "lost" });
            }
        }
    }
}
