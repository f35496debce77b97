//! One program that uses recipes: its operations one after another, by a session of its own or one that it shares.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::select_biased;
use tenure::{Error, Session};

use super::program::{RecipeKind, RecipeOperation};
use super::queue::Queues;
use crate::history::{Deed, DeedEnd, RecipeDeed};
use crate::plan::LanePlan;
use crate::workload::client::Client;
use crate::workload::lane::up_to_polls;
use crate::workload::program::Patience;
use crate::workload::sessions::Sessions;

pub(crate) struct RecipeLane<'a> {
    client: &'a Client<'a>,
    index: usize,
    plan: &'a LanePlan,
    sessions: &'a Sessions<'a>,
}

impl<'a> RecipeLane<'a> {
    pub(crate) fn new(
        client: &'a Client<'a>,
        index: usize,
        plan: &'a LanePlan,
        sessions: &'a Sessions<'a>,
    ) -> Self {
        Self { client, index, plan, sessions }
    }

    pub(crate) async fn run(self) {
        let process = self.client.env.index as usize;
        let mut queues = Queues::default();
        loop {
            let next = self.client.shared.next_operation(process, self.index);
            let Some(operation) = self.plan.recipes.get(next) else { break };
            self.client.sleep_ms(operation.think_ms).await;
            if self.client.is_draining() {
                break;
            }
            let Some(session) = self.sessions.session().await else { break };
            let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
            let turn = Turn { client: self.client, operation, place: (number(self.index), number(next)) };
            match operation.what {
                RecipeKind::CloseSession => self.sessions.close(session).await,
                _ => queues.carry_out(&turn, &session).await,
            }
        }
        drop(queues);
        self.sessions.leave().await;
    }
}

/// One operation that is to be done.
pub(super) struct Turn<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) operation: &'a RecipeOperation,
    place: (u32, u32),
}

impl Turn<'_> {
    /// Asks something of a recipe, which is recorded when it is begun and when it comes to an end. `None` if it failed: why is
    /// in the history.
    pub(super) async fn does<T>(
        &self,
        session: &Session,
        what: RecipeDeed,
        work: impl Future<Output = Result<T, Error>>,
        end: impl FnOnce(&T) -> DeedEnd,
    ) -> Option<T> {
        let name: Arc<str> = self.operation.name.as_str().into();
        let deed = Deed::Recipe { name, lease: session.lease(), place: self.place, what };
        self.client.does(deed, work, end).await.ok()
    }

    /// Waits for something for as long as the client is willing to; `None` if it gave up.
    pub(super) async fn patiently<T>(
        &self,
        patience: Patience,
        waiting: impl Future<Output = T>,
    ) -> Option<T> {
        match patience {
            Patience::CancelAfterMs(after_ms) => {
                let mut waiting = std::pin::pin!(waiting.fuse());
                let mut impatience = std::pin::pin!(self.client.sleep_ms(after_ms).fuse());
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

/// The time limit that a recipe is given.
pub(super) fn limit_ms(patience: Patience) -> Option<u64> {
    match patience {
        Patience::Try => Some(0),
        Patience::TimeoutMs(ms) => Some(ms),
        Patience::Forever | Patience::CancelAfterMs(_) | Patience::CancelAfterPolls(_) => None,
    }
}

/// As the library takes it.
pub(super) fn limit(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
