//! What an explored process does with recipes: the operations of the seeds' programs, each begun when the explorer says so.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{FutureExt, select_biased};
use tenure::Session;

use super::automaton::Bytes;
use super::bounds::{Does, Ending, Role};
use super::machine::Env;
use super::program::Process;
use crate::history::What;
use crate::workload::actor::Actor;
use crate::workload::program::Patience;
use crate::workload::recipes::program::{ClaimEnding, HoldEnding, HowRun, RecipeKind, RecipeOperation};
use crate::workload::recipes::{Recipes, Turn};

/// How often a transaction runs at most: more often than others can get in between.
const ATTEMPTS: u32 = 20;

/// How long a holder holds. How long that is the explorer says, but not how long nothing is.
const SOME_TIME_MS: u64 = 1;

/// Carries out all that the process's role has it do.
pub(super) async fn perform(process: &Process, session: &Session) {
    let (client, role) = (process.start.client, &process.start.role);
    let mut recipes = Recipes::default();
    for round in 0..role.rounds {
        let Some(operation) = operation(role, client, round) else { return };
        if begins_at_any_time(role.does) {
            process.env.go().await;
        }
        let number = u64::from(client) * 100 + u64::from(round);
        let one =
            One { env: &process.env, keeps: role.ending == Ending::Keep, number, deeds: AtomicU64::new(0) };
        let turn = Turn { client: &one, operation: &operation, place: (0, round) };
        recipes.carry_out(&turn, session).await;
        if !session.is_alive() {
            return;
        }
        settles(process, session, &recipes, round);
    }
}

/// Whether it matters to those who judge since when something is asked for: what was so then must not be told later. Of what only
/// writes it does not, so that it is asked for at once.
fn begins_at_any_time(does: Does) -> bool {
    !matches!(does, Does::Enqueue | Does::Hold | Does::HoldForGood)
}

/// After a round, what a process does next hangs on what its session and its recipes remember, and on nothing else.
fn settles(process: &Process, session: &Session, recipes: &Recipes, round: u32) {
    let mut bytes = Bytes::default();
    (process.start.client, round).hash(&mut bytes);
    session.hash_state(&mut bytes);
    if recipes.hash_state(&mut bytes) {
        process.env.settles(bytes.digest());
    }
}

/// What a process of this role does in a round, if it is something with a recipe.
fn operation(role: &Role, client: u32, round: u32) -> Option<RecipeOperation> {
    let patience = Patience::Forever;
    let priority = || u16::try_from(role.rounds - round).unwrap_or(u16::MAX);
    let how = HowRun { level: role.isolation, attempts: ATTEMPTS, ahead: false, pause_ms: 0, patience };
    let what = match role.does {
        Does::Enqueue => RecipeKind::Enqueue { priority: role.ranked.then(priority), count: 1 },
        Does::Dequeue => RecipeKind::Dequeue { ranked: role.ranked, most: 1, patience },
        Does::Claim => {
            let ending = match role.ending {
                Ending::Drop => ClaimEnding::Drop,
                _ if role.guarded_txn => ClaimEnding::AcknowledgeWith,
                Ending::Release | Ending::Keep => ClaimEnding::Acknowledge,
            };
            RecipeKind::Claim { ranked: role.ranked, patience, work_ms: SOME_TIME_MS, ending }
        }
        Does::Hold => {
            let ending = match role.ending {
                Ending::Drop => HoldEnding::Drop,
                Ending::Release | Ending::Keep => HoldEnding::Release,
            };
            RecipeKind::Hold { patience, hold_ms: SOME_TIME_MS, ending }
        }
        Does::HoldForGood => RecipeKind::HoldForGood,
        Does::ReleaseBarrier => RecipeKind::ReleaseBarrier,
        Does::Pass => RecipeKind::Pass { patience },
        Does::Enter => {
            let leaving = (role.ending != Ending::Drop).then_some(patience);
            RecipeKind::Enter { count: role.members, patience, inside_ms: SOME_TIME_MS, leaving }
        }
        Does::Transfer => {
            let from = client % 2;
            RecipeKind::Transfer { from, to: 1 - from, amount: i64::from(client) + 1, blind: false, how }
        }
        Does::Audit => RecipeKind::Audit { how },
        Does::Add => RecipeKind::Add { patience },
        _ => return None,
    };
    Some(RecipeOperation { think_ms: 0, name: role.name.clone(), what })
}

/// A process that does one operation.
struct One<'a> {
    env: &'a Env,
    /// It keeps what it holds.
    keeps: bool,
    /// Unlike any other operation's.
    number: u64,
    /// So many things it has begun.
    deeds: AtomicU64,
}

impl Actor for One<'_> {
    fn record(&self, what: What) {
        self.env.record(what);
    }

    fn next_deed(&self) -> u64 {
        self.number * 10 + self.deeds.fetch_add(1, Ordering::Relaxed)
    }

    fn next_item(&self) -> String {
        (self.number + 1).to_string()
    }

    /// For how long is the explorer's choice.
    async fn sleep_ms(&self, ms: u64) {
        match ms {
            0 => {}
            _ if self.keeps => self.env.idles().await,
            _ => self.env.go().await,
        }
    }

    async fn patiently<T: Send>(&self, _: Patience, waiting: impl Future<Output = T> + Send) -> Option<T> {
        let mut waiting = std::pin::pin!(waiting.fuse());
        let mut cancelled = std::pin::pin!(self.env.cancelled().fuse());
        select_biased! {
            () = cancelled => None,
            value = waiting => Some(value),
        }
    }
}
