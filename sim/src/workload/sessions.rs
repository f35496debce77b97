//! The session of one program of a client, or of several side by side: opened when it is needed, opened anew when it was
//! lost, closed when the last program that uses it has come to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::lock::Mutex;
use tenure::{Error, Session};

use super::actor::Actor;
use super::client::Client;
use super::primitive::Primitive;
use super::program::PrimitiveKind;
use crate::history::{Deed, DeedEnd, SessionEnd, What};
use crate::plan::LanePlan;

/// One session after another, of which one at most is open.
pub(super) struct Sessions<'a> {
    client: &'a Client<'a>,
    ttl_s: u64,
    open: Mutex<Option<Session>>,
    is_shared: bool,
    /// The programs that have not come to their end.
    users: AtomicUsize,
    /// The primitives that they have made with it. They keep the session.
    primitives: StdMutex<BTreeMap<PrimitiveKind, Arc<dyn Primitive>>>,
    /// The elections that one of them stands in: a second candidature of the session would be the first one's.
    stands: Mutex<BTreeSet<String>>,
}

impl<'a> Sessions<'a> {
    /// For so many programs.
    pub(super) fn new(client: &'a Client<'a>, ttl_s: u64, users: usize) -> Self {
        Self {
            client,
            ttl_s,
            open: Mutex::new(None),
            is_shared: users > 1,
            users: AtomicUsize::new(users),
            primitives: StdMutex::default(),
            stands: Mutex::default(),
        }
    }

    /// The session, opened if it is not or was lost. `None` if none could be opened until the drain.
    pub(super) async fn session(&self) -> Option<Session> {
        let mut open = self.open.lock().await;
        if let Some(session) = &*open {
            if session.is_alive() {
                return Some(session.clone());
            }
            self.ended(session, SessionEnd::Lost);
            *open = None;
            self.primitives().clear();
        }
        while !self.client.is_draining() {
            match self.attempt(None).await {
                Ok(session) => return Some(open.insert(session).clone()),
                Err(_) => self.client.sleep_ms(200).await,
            }
        }
        None
    }

    /// A session on a lease that an earlier process left. `None` if it cannot be had any more.
    pub(super) async fn take_over(&self, lease: i64) -> Option<Session> {
        let mut open = self.open.lock().await;
        let session = self.attempt(Some(lease)).await.ok()?;
        Some(open.insert(session).clone())
    }

    async fn attempt(&self, on: Option<i64>) -> Result<Session, Error> {
        let client = self.client;
        let builder = Session::builder_on(Arc::clone(&client.backend))
            .ttl(Duration::from_secs(self.ttl_s))
            .drift_bound_ppm(client.plan.drift_bound_ppm);
        let builder = match on {
            Some(lease) => builder.lease(lease),
            None => builder,
        };
        let deed = Deed::OpenSession { on, ttl_ms: self.ttl_s * 1000 };
        let session = client.does(deed, builder.open(), |_| DeedEnd::Done).await?;
        let ttl_ms = u64::try_from(session.ttl().as_millis()).unwrap_or(u64::MAX);
        client.record(What::SessionOpened { lease: session.lease(), ttl_ms });
        Ok(session)
    }

    /// Closes the session, if it is still this one.
    pub(super) async fn close(&self, session: Session) {
        if !self.forget(&session).await {
            return;
        }
        self.ended(&session, SessionEnd::Closed);
        let lease = session.lease();
        // What came of it is in the history.
        let _ = self.client.does(Deed::CloseSession { lease }, session.close(), |()| DeedEnd::Done).await;
    }

    /// Lets go of the session without a word, if it is still this one.
    pub(super) async fn drop_it(&self, session: Session) {
        if self.forget(&session).await {
            self.ended(&session, SessionEnd::Dropped);
        }
    }

    /// Leaves the session's lease to another process, if it is still this one.
    pub(super) async fn hand_over(&self, session: Session) {
        if self.forget(&session).await {
            let how = if session.is_alive() { SessionEnd::Orphaned } else { SessionEnd::Lost };
            self.ended(&session, how);
            session.orphan();
        }
    }

    /// A primitive, made anew with a new session only.
    pub(super) fn primitive(&self, kind: PrimitiveKind) -> Arc<dyn Primitive> {
        let mut primitives = self.primitives();
        Arc::clone(primitives.entry(kind).or_insert_with(|| self.client.shared.primitive(kind)))
    }

    fn primitives(&self) -> MutexGuard<'_, BTreeMap<PrimitiveKind, Arc<dyn Primitive>>> {
        self.primitives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more than one program may use it.
    pub(super) fn are_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether no other program stands in this election; then this one does.
    pub(super) async fn stand(&self, election: &str) -> bool {
        self.stands.lock().await.insert(election.to_owned())
    }

    /// The program does not stand in it any more.
    pub(super) async fn stood(&self, election: &str) {
        self.stands.lock().await.remove(election);
    }

    /// A program has come to its end.
    pub(super) async fn leave(&self) {
        if self.users.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let session = self.open.lock().await.clone();
        match session {
            Some(session) if session.is_alive() => self.close(session).await,
            Some(session) => self.ended(&session, SessionEnd::Lost),
            None => {}
        }
        // What was dropped is given back in the background, which a process that ends at once would take with it.
        self.client.sleep_ms(2 * self.ttl_s * 1000 + 1_000).await;
    }

    /// Whether it was the one that is open; it is not any more.
    async fn forget(&self, session: &Session) -> bool {
        let mut open = self.open.lock().await;
        let is_it = open.as_ref().is_some_and(|one| one.lease() == session.lease());
        if is_it {
            *open = None;
            self.primitives().clear();
        }
        is_it
    }

    fn ended(&self, session: &Session, how: SessionEnd) {
        self.client.record(What::SessionEnded { lease: session.lease(), how });
    }
}

/// For each program of a client the one whose session it uses: itself, or one before it.
pub(super) fn owners(lanes: &[LanePlan]) -> Vec<usize> {
    let mut owners: Vec<usize> = Vec::with_capacity(lanes.len());
    for (index, lane) in lanes.iter().enumerate() {
        let shared = lane.shares.and_then(|shares| owners.get(shares as usize).copied());
        owners.push(shared.unwrap_or(index));
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_shares_the_session_of_one_before_it_or_has_its_own() {
        let lane = |shares| LanePlan { ttl_s: 2, shares, ..LanePlan::default() };
        // As a plan of which a program was left out may have it: of one that is not there, and of itself.
        let lanes = [lane(None), lane(Some(0)), lane(None), lane(Some(1)), lane(Some(9)), lane(Some(5))];
        assert_eq!(owners(&lanes), [0, 0, 2, 0, 4, 5]);
    }
}
