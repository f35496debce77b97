//! What a holder does until its time is up, or until it is told that it holds no longer.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, select_biased};
use tenure::kv::{Op, Put, TxnResponse};
use tenure::{Election, Instant, Session};

use super::actor::Actor;
use super::client::Client;
use super::operator;
use super::primitive::{Belief, Held};
use super::program::{DeedKind, Hold};
use crate::history::{Deed, DeedEnd, Holding, Telling, What};

/// Holds as planned. Gives whether the holder learned that the tenure is lost.
pub(super) async fn hold(
    client: &Client<'_>,
    ticket: u64,
    holding: &Holding,
    (session, held): (&Session, &dyn Held),
    hold: &Hold,
) -> bool {
    let belief = held.belief();
    let mut holder = Holder {
        client,
        ticket,
        holding,
        held,
        belief,
        since: client.backend.now(),
        lost: held.lost(),
        told: false,
        seen: false,
        heeds_loss: hold.heeds_loss,
        proclaimed: 0,
    };
    holder.look();
    for deed in &hold.deeds {
        holder.wait_until(deed.at_ms).await;
        holder.look();
        if holder.stops() {
            return true;
        }
        match deed.what {
            DeedKind::Write { prepare_ms, under_way_ms, fenced } => {
                holder.write(prepare_ms, under_way_ms, fenced).await;
            }
            DeedKind::Txn => holder.txn().await,
            DeedKind::Confirm => holder.confirm().await,
            DeedKind::Proclaim => holder.proclaim().await,
            DeedKind::StandAgain => holder.stand_again(session).await,
            DeedKind::Operator { act } => {
                let acting = operator::interfere(client, holding, held, act);
                holder.unless_lost(acting).await;
            }
        }
    }
    if !holder.stops() {
        holder.wait_until(hold.for_ms).await;
    }
    holder.told || holder.seen
}

struct Holder<'a> {
    client: &'a Client<'a>,
    ticket: u64,
    holding: &'a Holding,
    held: &'a dyn Held,
    belief: Belief,
    since: Instant,
    lost: BoxFuture<'static, ()>,
    /// `lost()` has resolved.
    told: bool,
    /// `is_held()` was false.
    seen: bool,
    heeds_loss: bool,
    proclaimed: u32,
}

impl Holder<'_> {
    fn stops(&self) -> bool {
        (self.told || self.seen) && self.heeds_loss
    }

    fn tell(&mut self) {
        if !self.told {
            self.told = true;
            self.record_loss(Telling::Lost { is_held: (self.belief)() });
        }
    }

    /// Looks whether it is held, as a holder does before it goes on.
    fn look(&mut self) {
        if !self.seen && !(self.belief)() {
            self.seen = true;
            self.record_loss(Telling::NotHeld);
        }
    }

    fn record_loss(&self, by: Telling) {
        self.client.record(What::ToldLost { holding: self.holding.clone(), by });
    }

    /// Does this, unless the loss is told first and heeded.
    async fn unless_lost<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work.fuse());
        if !self.told {
            select_biased! {
                () = (&mut self.lost).fuse() => self.tell(),
                done = work => return Some(done),
            }
        }
        if self.heeds_loss { None } else { Some(work.await) }
    }

    async fn wait_until(&mut self, at_ms: u64) {
        let until = self.client.backend.sleep_until(self.since + Duration::from_millis(at_ms));
        self.unless_lost(until).await;
    }

    async fn write(&mut self, prepare_ms: u64, under_way_ms: u64, fenced: bool) {
        // Here a process is paused, and knows nothing of it.
        self.client.sleep_ms(prepare_ms).await;
        let token = fenced.then_some(self.holding.token);
        let under_way_ns = under_way_ms * 1_000_000;
        let answer = self.client.shared.resource.write(self.holding, token, under_way_ns);
        if let Some(Some(false)) = self.unless_lost(answer).await {
            self.client.env.record(What::Note("the resource refused the write: its token is old".into()));
        }
    }

    async fn txn(&mut self) {
        let key = format!("data/{}", self.holding.name);
        let put = Op::Put(Put::new(key, self.holding.token.to_string()));
        let deed = Deed::Txn { holding: self.holding.clone() };
        let committed = |response: &TxnResponse| DeedEnd::Committed { revision: response.header.revision };
        let client = self.client;
        // What came of it is in the history.
        let asked = client.does(deed, self.held.txn(vec![put]), committed);
        self.unless_lost(asked).await;
    }

    async fn confirm(&mut self) {
        let deed = Deed::Confirm { holding: self.holding.clone() };
        let client = self.client;
        let asked = client.does(deed, self.held.confirm(), |&held| DeedEnd::Confirmed(held));
        self.unless_lost(asked).await;
    }

    /// A second candidature of one session is its first one's: it says a new value, and gives the same leadership.
    async fn stand_again(&mut self, session: &Session) {
        let (deed, value) = self.next_proclamation(true);
        let (client, token) = (self.client, self.holding.token);
        let name = &self.holding.name;
        let stands = async {
            match Election::new(session, &**name)?.try_campaign(value).await? {
                Some(leadership) if leadership.rev() == token => Ok(()),
                // The one of before is over.
                Some(_) | None => Err(tenure::Error::NotHeld),
            }
        };
        let said = client.does(deed, stands, |()| DeedEnd::Done);
        self.unless_lost(said).await;
    }

    async fn proclaim(&mut self) {
        let (deed, value) = self.next_proclamation(false);
        let client = self.client;
        let said = client.does(deed, self.held.proclaim(value), |()| DeedEnd::Done);
        self.unless_lost(said).await;
    }

    /// What is said next, and the value itself, which no other has.
    fn next_proclamation(&mut self, stands_again: bool) -> (Deed, String) {
        self.proclaimed += 1;
        let value = format!("{}/{}", self.ticket, self.proclaimed);
        let holding = self.holding.clone();
        (Deed::Proclaim { holding, value: value.clone().into_bytes(), stands_again }, value)
    }
}
