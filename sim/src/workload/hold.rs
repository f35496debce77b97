//! What a holder does until its time is up, or until it is told that it holds no longer.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, select_biased};
use tenure::kv::{Op, Put};
use tenure::{Error, Instant};

use super::client::Client;
use super::primitive::Held;
use super::program::{Hold, Write};
use crate::history::{Holding, What};

/// Holds as planned. Gives whether the holder was told that the tenure is lost.
pub(super) async fn hold(client: &Client<'_>, holding: &Holding, held: &dyn Held, hold: &Hold) -> bool {
    let mut holder = Holder {
        client,
        holding,
        held,
        since: client.backend.now(),
        lost: held.lost(),
        told: false,
        heeds_loss: hold.heeds_loss,
    };
    let mut todo: Vec<(u64, Option<&Write>)> =
        hold.writes.iter().map(|write| (write.at_ms, Some(write))).collect();
    todo.extend(hold.txns_at_ms.iter().map(|&at_ms| (at_ms, None)));
    todo.sort_by_key(|(at_ms, _)| *at_ms);
    for (at_ms, write) in todo {
        holder.wait_until(at_ms).await;
        if holder.stops() {
            return true;
        }
        match write {
            Some(write) => holder.write(write).await,
            None => holder.txn().await,
        }
    }
    if !holder.stops() {
        holder.wait_until(hold.for_ms).await;
    }
    holder.told
}

struct Holder<'a> {
    client: &'a Client<'a>,
    holding: &'a Holding,
    held: &'a dyn Held,
    since: Instant,
    lost: BoxFuture<'static, ()>,
    told: bool,
    heeds_loss: bool,
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

    async fn write(&mut self, write: &Write) {
        let believes = self.held.belief();
        if !believes() && self.heeds_loss {
            return self.tell();
        }
        // Here a process is paused, and knows nothing of it.
        self.client.sleep_ms(write.prepare_ms).await;
        let token = write.fenced.then_some(self.holding.token);
        let answer = self.client.shared.resource.write(
            &self.client.env.world,
            self.holding,
            token,
            write.under_way_ms * 1_000_000,
        );
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
}
