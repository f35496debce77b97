//! What programs do with barriers: they hold and release them and wait at them, and go through double barriers together.

use std::time::Duration;

use tenure::{Barrier, BarrierHold, DoubleBarrier, Entered, Session};

use super::program::{HoldEnding, RecipeKind};
use super::turn::Turn;
use crate::history::{DeedEnd, RecipeDeed, RecipeEnd};
use crate::workload::actor::Actor;
use crate::workload::lane::{limit, wait};
use crate::workload::program::Patience;

pub(super) async fn carry_out<A: Actor>(turn: &Turn<'_, A>, session: &Session) {
    if let RecipeKind::Enter { count, patience, inside_ms, leaving } = turn.operation.what {
        let Ok(barrier) = DoubleBarrier::new(session, &turn.operation.name, count as usize) else { return };
        if let Some(entered) = enter(turn, session, (&barrier, count), patience).await {
            turn.client.sleep_ms(inside_ms).await;
            if let Some(patience) = leaving {
                leave(turn, session, (entered, count), patience).await;
            }
        }
        return;
    }
    let Ok(barrier) = Barrier::new(session, &turn.operation.name) else { return };
    let done = |(): &()| DeedEnd::Done;
    match turn.operation.what {
        RecipeKind::Hold { patience, hold_ms, ending } => {
            let held = |hold: &BarrierHold| DeedEnd::Recipe(RecipeEnd::Held { revision: hold.revision() });
            let holding = turn.does(session, RecipeDeed::Hold { for_good: false }, barrier.hold(), held);
            if let Some(Some(hold)) = turn.client.patiently(patience, holding).await {
                turn.client.sleep_ms(hold_ms).await;
                release(turn, session, hold, ending).await;
            }
        }
        RecipeKind::HoldForGood => {
            let held = |revision: &i64| DeedEnd::Recipe(RecipeEnd::Held { revision: *revision });
            turn.does(session, RecipeDeed::Hold { for_good: true }, barrier.hold_for_good(), held).await;
        }
        RecipeKind::ReleaseBarrier => {
            turn.does(session, RecipeDeed::ReleaseBarrier, barrier.release(), done).await;
        }
        RecipeKind::Pass { patience } => {
            let waiting = async {
                match patience {
                    Patience::TimeoutMs(ms) => barrier.wait_timeout(Duration::from_millis(ms)).await,
                    _ => barrier.wait().await,
                }
            };
            let what = RecipeDeed::Pass { limit_ms: limit(wait(patience)) };
            turn.client.patiently(patience, turn.does(session, what, waiting, done)).await;
        }
        _ => {}
    }
}

async fn release<A: Actor>(turn: &Turn<'_, A>, session: &Session, hold: BarrierHold, ending: HoldEnding) {
    let what = RecipeDeed::ReleaseHold { revision: hold.revision() };
    let patience = match ending {
        HoldEnding::Release => Patience::Forever,
        HoldEnding::CancelRelease(polls) => Patience::CancelAfterPolls(polls),
        HoldEnding::Drop => return drop(hold),
    };
    let releasing = turn.does(session, what, hold.release(), |()| DeedEnd::Done);
    turn.client.patiently(patience, releasing).await;
}

async fn enter<A: Actor>(
    turn: &Turn<'_, A>,
    session: &Session,
    (barrier, count): (&DoubleBarrier, u32),
    patience: Patience,
) -> Option<Entered> {
    let entering = async {
        match patience {
            Patience::TimeoutMs(ms) => barrier.enter_timeout(Duration::from_millis(ms)).await,
            _ => barrier.enter().await,
        }
    };
    let what = RecipeDeed::Enter { count, limit_ms: limit(wait(patience)) };
    let entered = |entered: &Entered| DeedEnd::Recipe(RecipeEnd::Entered { round: entered.round() });
    turn.client.patiently(patience, turn.does(session, what, entering, entered)).await.flatten()
}

async fn leave<A: Actor>(
    turn: &Turn<'_, A>,
    session: &Session,
    (entered, count): (Entered, u32),
    patience: Patience,
) {
    let what = RecipeDeed::Leave { count, round: entered.round(), limit_ms: limit(wait(patience)) };
    let leaving = async {
        match patience {
            Patience::TimeoutMs(ms) => entered.leave_timeout(Duration::from_millis(ms)).await,
            _ => entered.leave().await,
        }
    };
    let left = |departure: &tenure::Departure| DeedEnd::Recipe(RecipeEnd::Left((*departure).into()));
    turn.client.patiently(patience, turn.does(session, what, leaving, left)).await;
}
