//! One operation on recipes that is somebody's turn to do, and what is kept from one to the next.

use std::hash::Hasher;
use std::sync::Arc;

use tenure::{Error, Session};

use super::barrier;
use super::program::{RecipeKind, RecipeOperation};
use super::queue::Queues;
use super::stm::{self, Counters};
use crate::history::{Deed, DeedEnd, RecipeDeed};
use crate::workload::actor::Actor;

/// One operation that is to be done.
pub(crate) struct Turn<'a, A> {
    pub(crate) client: &'a A,
    pub(crate) operation: &'a RecipeOperation,
    /// The number of the program among its client's, and of the operation in it.
    pub(crate) place: (u32, u32),
}

impl<A: Actor> Turn<'_, A> {
    /// Asks something of a recipe, which is recorded when it is begun and when it comes to an end. `None` if it failed: why is
    /// in the history.
    pub(super) async fn does<T: Send>(
        &self,
        session: &Session,
        what: RecipeDeed,
        work: impl Future<Output = Result<T, Error>> + Send,
        end: impl FnOnce(&T) -> DeedEnd + Send,
    ) -> Option<T> {
        let name: Arc<str> = self.operation.name.as_str().into();
        let deed = Deed::Recipe { name, lease: session.lease(), place: self.place, what };
        self.client.does(deed, work, end).await.ok()
    }
}

/// The recipes of one program, as far as they remember anything from one operation to the next.
#[derive(Default)]
pub(crate) struct Recipes {
    pub(super) queues: Queues,
    counters: Counters,
}

impl Recipes {
    /// Does one operation on a recipe, to its end.
    pub(crate) async fn carry_out<A: Actor>(&mut self, turn: &Turn<'_, A>, session: &Session) {
        match turn.operation.what {
            // It is none of a recipe.
            RecipeKind::CloseSession => {}
            RecipeKind::Enqueue { .. } | RecipeKind::Dequeue { .. } | RecipeKind::Claim { .. } => {
                self.queues.carry_out(turn, session).await;
            }
            RecipeKind::Add { .. } => self.counters.carry_out(turn, session).await,
            RecipeKind::Transfer { .. } | RecipeKind::Audit { .. } => stm::transact(turn, session).await,
            RecipeKind::Hold { .. }
            | RecipeKind::HoldForGood
            | RecipeKind::ReleaseBarrier
            | RecipeKind::Pass { .. }
            | RecipeKind::Enter { .. } => barrier::carry_out(turn, session).await,
        }
    }

    /// Takes in all that they remember between two operations, but for what their sessions do; false if that is not known. Barriers
    /// and transactions have nothing: they are named anew for each operation.
    pub(crate) fn hash_state(&self, into: &mut dyn Hasher) -> bool {
        self.counters.hash_state(into);
        self.queues.hash_state(into)
    }
}
