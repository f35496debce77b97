//! A client process: its lanes, each a session with a program of its own, side by side, or an observer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, select_biased};
use tenure::{Backend, Etcd, EtcdOptions};

use super::actor::Actor;
use super::lane::Lane;
use super::observer;
use super::plain::{self, PlainLane};
use super::program::Patience;
use super::recipes::RecipeLane;
use super::sessions::{Sessions, owners};
use super::shared::Shared;
use super::stage::Process;
use crate::cluster::{ClientEnv, Program};
use crate::history::What;
use crate::plan::ClientPlan;
use crate::run::words;

/// The program of a client of the plan, to be started anew after each of its crashes.
pub fn program_of(shared: &Arc<Shared>) -> Program {
    let shared = Arc::clone(shared);
    Arc::new(move |env: ClientEnv| {
        let shared = Arc::clone(&shared);
        async move {
            live(env.into(), shared).await;
        }
        .boxed()
    })
}

/// Runs the program of a client of the plan as this process, from where the one before it died.
pub async fn live(process: Process, shared: Arc<Shared>) {
    let guarded = AssertUnwindSafe(work(process.clone(), Arc::clone(&shared))).catch_unwind().await;
    if let Err(panic) = guarded {
        let message = words(&*panic);
        process.record(What::Note(format!("panicked: {message}")));
        shared.panicked(format!("c{}: {message}", process.index));
    }
}

async fn work(env: Process, shared: Arc<Shared>) {
    // What an earlier life held died with it.
    shared.beliefs.forget(env.index);
    let index = env.index as usize;
    let plan = Arc::clone(&shared.plan);
    let Some(own) = plan.clients.get(index) else { return };
    // Each begins at another member.
    let options = shared.options(EtcdOptions { first_endpoint: index, ..EtcdOptions::default() });
    let etcd = Etcd::over(shared.wires(&env.wires), Arc::clone(&env.runtime), options);
    let backend = shared.decorate(Arc::new(etcd.clone()));
    let client = Client { env, shared, plan: own, backend, etcd };
    let owners = owners(&own.lanes);
    let sessions: Vec<_> = own
        .lanes
        .iter()
        .enumerate()
        .map(|(index, lane)| {
            let users = owners.iter().filter(|owner| **owner == index).count();
            Sessions::new(&client, lane.ttl_s, users)
        })
        .collect();
    let lanes = own.lanes.iter().enumerate().map(|(index, lane)| {
        let sessions = &sessions[owners[index]];
        if !lane.plain.is_empty() {
            PlainLane::new(&client, index, lane).run().boxed()
        } else if !lane.recipes.is_empty() {
            RecipeLane::new(&client, index, lane, sessions).run().boxed()
        } else {
            Lane::new(&client, index, lane, sessions).run().boxed()
        }
    });
    let watching = own.watchers.iter().map(|watches| plain::watch(&client, watches));
    let observing = async {
        if let Some(observing) = &own.observing {
            observer::observe(&client, observing).await;
        }
    };
    futures_util::future::join3(join_all(lanes), join_all(watching), observing).await;
}

/// What the parts of one process share.
pub(super) struct Client<'a> {
    pub(super) env: Process,
    pub(super) shared: Arc<Shared>,
    pub(super) plan: &'a ClientPlan,
    pub(super) backend: Arc<dyn Backend>,
    /// The library's own backend, for any request.
    pub(super) etcd: Etcd,
}

impl Client<'_> {
    /// Waits for so long, or for ever.
    pub(super) async fn sleep_or_stay(&self, ms: Option<u64>) {
        match ms {
            Some(ms) => self.sleep_ms(ms).await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.env.stage.now_ns() >= self.shared.drain_at_ns()
    }
}

impl Actor for Client<'_> {
    fn record(&self, what: What) {
        self.env.record(what);
    }

    fn next_deed(&self) -> u64 {
        self.shared.next_deed()
    }

    fn next_item(&self) -> String {
        self.shared.next_item()
    }

    /// Waits by the process's own clock.
    async fn sleep_ms(&self, ms: u64) {
        self.backend.sleep_until(self.backend.now() + Duration::from_millis(ms)).await;
    }

    async fn patiently<T: Send>(
        &self,
        patience: Patience,
        waiting: impl Future<Output = T> + Send,
    ) -> Option<T> {
        match patience {
            Patience::CancelAfterMs(after_ms) => {
                let mut waiting = std::pin::pin!(waiting.fuse());
                let mut impatience = std::pin::pin!(self.sleep_ms(after_ms).fuse());
                select_biased! {
                    answer = waiting => Some(answer),
                    () = impatience => None,
                }
            }
            Patience::CancelAfterPolls(polls) => up_to_polls(waiting, polls).await,
            Patience::Forever | Patience::Try | Patience::TimeoutMs(_) => Some(waiting.await),
        }
    }
}

/// Waits for something, but drops it when it has to wait once more than so many times: `None`.
pub(super) async fn up_to_polls<T>(waiting: impl Future<Output = T>, most: u32) -> Option<T> {
    let mut waiting = std::pin::pin!(waiting);
    let mut left = most;
    std::future::poll_fn(|cx| match waiting.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
