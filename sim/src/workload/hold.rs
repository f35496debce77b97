//! What a holder does until its time is up, or until it is told that it holds no longer.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, select_biased};
use tenure::kv::{Op, Put};
use tenure::{Error, Instant};

use super::client::Client;
use super::primitive::Held;
use super::program::{DeedKind, Hold};
use crate::history::{Holding, What};

/// Holds as planned. Gives whether the holder was told that the tenure is lost.
pub(super) async fn hold(
    client: &Client<'_>,
    ticket: u64,
    holding: &Holding,
    held: &dyn Held,
    hold: &Hold,
) -> bool {
    let mut holder = Holder {
        client,
        ticket,
        holding,
        held,
        since: client.backend.now(),
        lost: held.lost(),
        told: false,
        heeds_loss: hold.heeds_loss,
        proclaimed: 0,
    };
    for deed in &hold.deeds {
        holder.wait_until(deed.at_ms).await;
        if holder.stops() {
            return true;
        }
        match deed.what {
            DeedKind::Write { prepare_ms, under_way_ms, fenced } => {
                holder.write(prepare_ms, under_way_ms, fenced).await;
            }
            DeedKind::Txn => holder.txn().await,
            DeedKind::Proclaim => holder.proclaim().await,
        }
    }
    if !holder.stops() {
        holder.wait_until(hold.for_ms).await;
    }
    holder.told
}

struct Holder<'a> {
    client: &'a Client<'a>,
    ticket: u64,
    holding: &'a Holding,
    held: &'a dyn Held,
    since: Instant,
    lost: BoxFuture<'static, ()>,
    told: bool,
    heeds_loss: bool,
    proclaimed: u32,
}

impl Holder<'_> {
    fn stops(&self) -> bool {
        self.told && self.heeds_loss
    }

    fn tell(&mut self) {
        if !self.told {
            self.told = true;
            self.client.env.record(What::ToldLost { holding: self.holding.clone() });
        }
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
        let believes = self.held.belief();
        if !believes() && self.heeds_loss {
            return self.tell();
        }
        // Here a process is paused, and knows nothing of it.
        self.client.sleep_ms(prepare_ms).await;
        let token = fenced.then_some(self.holding.token);
        let under_way_ns = under_way_ms * 1_000_000;
        let world = &self.client.env.world;
        let answer = self.client.shared.resource.write(world, self.holding, token, under_way_ns);
        if let Some(Some(false)) = self.unless_lost(answer).await {
            self.client.env.record(What::Note("the resource refused the write: its token is old".into()));
        }
    }

    async fn txn(&mut self) {
        let key = format!("data/{}", self.holding.name);
        let put = Op::Put(Put::new(key, self.holding.token.to_string()));
        let committed = match self.held.txn(vec![put]).await {
            Ok(response) => Some(response.header.revision),
            Err(Error::NotHeld) => None,
            Err(error) => {
                self.client.env.record(What::Note(format!("guarded transaction: {error}")));
                return;
            }
        };
        self.client.env.record(What::GuardedTxn { holding: self.holding.clone(), committed });
    }

    async fn proclaim(&mut self) {
        self.proclaimed += 1;
        let value = format!("{}/{}", self.ticket, self.proclaimed);
        let said = self.held.proclaim(value.clone());
        let outcome = match self.unless_lost(said).await {
            Some(Ok(())) => "said".to_owned(),
            Some(Err(error)) => format!("not said: {error}"),
            None => "not known".to_owned(),
        };
        self.client.env.record(What::Note(format!("proclaims {value}: {outcome}")));
    }
}
