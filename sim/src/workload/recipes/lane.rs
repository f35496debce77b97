//! One program that uses recipes: its operations one after another, by a session of its own or one that it shares.

use super::program::RecipeKind;
use super::turn::{Recipes, Turn};
use crate::plan::LanePlan;
use crate::workload::actor::Actor;
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
        let mut recipes = Recipes::default();
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
            if operation.what == RecipeKind::CloseSession {
                self.sessions.close(session).await;
            } else {
                recipes.carry_out(&turn, &session).await;
            }
        }
        drop(recipes.queues);
        self.sessions.leave().await;
    }
}
