//! What programs do with queues. A handle is kept for as long as its session lasts: what a consumer took that then gave up waiting is
//! for the next one of the handle.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use tenure::kv::{Op, Put};
use tenure::{Claim, Error, PriorityQueue, Queue, Session};

use super::WORKED;
use super::handles::Handles;
use super::program::{ClaimEnding, RecipeKind};
use super::turn::Turn;
use crate::history::{DeedEnd, RecipeDeed, RecipeEnd};
use crate::workload::actor::Actor;
use crate::workload::lane::{limit, wait};
use crate::workload::program::Patience;

/// The queues that a program uses.
#[derive(Default)]
pub(super) struct Queues {
    open: Handles<Either>,
}

/// Either queue.
#[derive(Clone)]
enum Either {
    Arrival(Queue),
    Ranked(PriorityQueue),
}

macro_rules! either {
    ($queue:expr, $of:ident => $call:expr) => {
        match $queue {
            Either::Arrival($of) => $call,
            Either::Ranked($of) => $call,
        }
    };
}

impl Either {
    async fn enqueue(&self, priority: Option<u16>, items: Vec<String>) -> Result<(), Error> {
        match self {
            Self::Arrival(queue) => queue.enqueue_all(items).await,
            Self::Ranked(queue) => queue.enqueue_all(priority.unwrap_or_default(), items).await,
        }
    }

    async fn dequeue(&self, most: u32, patience: Patience) -> Result<Vec<Vec<u8>>, Error> {
        let one = |item: Vec<u8>| vec![item];
        match patience {
            Patience::Try => {
                let item = either!(self, queue => queue.try_dequeue().await?);
                Ok(item.into_iter().collect())
            }
            Patience::TimeoutMs(ms) => {
                either!(self, queue => queue.dequeue_timeout(Duration::from_millis(ms)).await.map(one))
            }
            _ if most > 1 => either!(self, queue => queue.dequeue_batch(most as usize).await),
            _ => either!(self, queue => queue.dequeue().await.map(one)),
        }
    }

    async fn claim(&self, patience: Patience) -> Result<Option<Claim>, Error> {
        match patience {
            Patience::Try => either!(self, queue => queue.try_claim().await),
            Patience::TimeoutMs(ms) => {
                either!(self, queue => queue.claim_timeout(Duration::from_millis(ms)).await.map(Some))
            }
            _ => either!(self, queue => queue.claim().await.map(Some)),
        }
    }
}

impl Queues {
    pub(super) async fn carry_out<A: Actor>(&mut self, turn: &Turn<'_, A>, session: &Session) {
        let ranked = match turn.operation.what {
            RecipeKind::Enqueue { priority, .. } => priority.is_some(),
            RecipeKind::Dequeue { ranked, .. } | RecipeKind::Claim { ranked, .. } => ranked,
            _ => return,
        };
        let Ok(queue) = self.queue(session, &turn.operation.name, ranked) else { return };
        match turn.operation.what {
            RecipeKind::Enqueue { priority, count } => {
                let items = (0..count).map(|_| turn.client.next_item()).collect::<Vec<_>>();
                let what = RecipeDeed::Enqueue { priority, items: items.clone() };
                turn.does(session, what, queue.enqueue(priority, items), |()| DeedEnd::Done).await;
            }
            RecipeKind::Dequeue { most, patience, .. } => {
                let what = RecipeDeed::Dequeue { most, limit_ms: limit(wait(patience)) };
                let given = |items: &Vec<Vec<u8>>| {
                    DeedEnd::Recipe(RecipeEnd::Items(items.iter().map(|item| text(item)).collect()))
                };
                let taking = turn.does(session, what, queue.dequeue(most, patience), given);
                turn.client.patiently(patience, taking).await;
            }
            RecipeKind::Claim { patience, work_ms, ending, .. } => {
                let what = RecipeDeed::Claim { limit_ms: limit(wait(patience)) };
                let claiming = turn.does(session, what, queue.claim(patience), claimed);
                if let Some(Some(Some(claim))) = turn.client.patiently(patience, claiming).await {
                    turn.client.sleep_ms(work_ms).await;
                    end(turn, session, claim, ending).await;
                }
            }
            _ => {}
        }
    }

    pub(super) fn hash_state(&self, mut into: &mut dyn Hasher) -> bool {
        self.open.each().all(|(name, lease, queue)| {
            (name, lease).hash(&mut into);
            either!(queue, queue => queue.hash_state(into))
        })
    }

    /// What a handle of an earlier session took and did not give is gone with it.
    fn queue(&mut self, session: &Session, name: &str, ranked: bool) -> Result<Either, Error> {
        self.open.of(session, name, || {
            Ok(if ranked {
                Either::Ranked(PriorityQueue::new(session, name)?)
            } else {
                Either::Arrival(Queue::new(session, name)?)
            })
        })
    }
}

fn text(item: &[u8]) -> String {
    String::from_utf8_lossy(item).into_owned()
}

fn claimed(claim: &Option<Claim>) -> DeedEnd {
    DeedEnd::Recipe(match claim {
        Some(claim) => RecipeEnd::Claimed { item: text(claim.value()), token: claim.fencing_token() },
        None => RecipeEnd::Items(Vec::new()),
    })
}

async fn end<A: Actor>(turn: &Turn<'_, A>, session: &Session, claim: Claim, ending: ClaimEnding) {
    let (item, token) = (text(claim.value()), claim.fencing_token());
    let acknowledges = |writes| RecipeDeed::Acknowledge { item: item.clone(), token, writes };
    let done = |(): &()| DeedEnd::Done;
    match ending {
        ClaimEnding::Acknowledge => {
            turn.does(session, acknowledges(false), claim.ack(), done).await;
        }
        ClaimEnding::AcknowledgeWith => {
            let work = Op::Put(Put::new(format!("{WORKED}{item}"), format!("{token}")));
            turn.does(session, acknowledges(true), claim.ack_with([work]), done).await;
        }
        ClaimEnding::CancelAcknowledge(polls) => {
            let acknowledging = turn.does(session, acknowledges(false), claim.ack(), done);
            turn.client.patiently(Patience::CancelAfterPolls(polls), acknowledging).await;
        }
        ClaimEnding::GiveBack => {
            let what = RecipeDeed::GiveBack { item, token };
            turn.does(session, what, claim.give_back(), done).await;
        }
        ClaimEnding::Drop => drop(claim),
    }
}
