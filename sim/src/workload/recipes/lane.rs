//! One program that uses recipes: its operations one after another, by a session of its own or one that it shares.

use std::sync::Arc;

use tenure::{Error, Session};

use super::barrier;
use super::program::{RecipeKind, RecipeOperation};
use super::queue::Queues;
use super::stm::{self, Counters};
use crate::history::{Deed, DeedEnd, RecipeDeed};
use crate::plan::LanePlan;
use crate::workload::client::Client;
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
        let (mut queues, mut counters) = (Queues::default(), Counters::default());
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
                RecipeKind::Enqueue { .. } | RecipeKind::Dequeue { .. } | RecipeKind::Claim { .. } => {
                    queues.carry_out(&turn, &session).await;
                }
                RecipeKind::Add { .. } => counters.carry_out(&turn, &session).await,
                RecipeKind::Transfer { .. } | RecipeKind::Audit { .. } => {
                    stm::transact(&turn, &session).await;
                }
                RecipeKind::Hold { .. }
                | RecipeKind::HoldForGood
                | RecipeKind::ReleaseBarrier
                | RecipeKind::Pass { .. }
                | RecipeKind::Enter { .. } => barrier::carry_out(&turn, &session).await,
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
}
