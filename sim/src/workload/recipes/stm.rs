//! What programs do with transactions and counters: they move amounts between the accounts of a bank, read all of these at once, and
//! count. What each run of a transaction's closure reads is written down for the history.

use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use tenure::{Committed, Counter, Error, Session, Stm, StmError, Transaction};

use super::MADE;
use super::handles::Handles;
use super::program::{ACCOUNTS, HowRun, RecipeKind};
use super::turn::Turn;
use crate::history::{Came, DeedEnd, RecipeDeed, RecipeEnd, TransactionRead, TransactionRun};
use crate::workload::actor::Actor;

/// No account may have less: who would take more gives up.
const LEAST: i64 = -40;

/// The counters that a program uses.
#[derive(Default)]
pub(super) struct Counters {
    open: Handles<Counter>,
}

impl Counters {
    pub(super) async fn carry_out<A: Actor>(&mut self, turn: &Turn<'_, A>, session: &Session) {
        let RecipeKind::Add { patience } = turn.operation.what else { return };
        let name = &turn.operation.name;
        let Ok(counter) = self.open.of(session, name, || Counter::new(session, name)) else { return };
        let by = turn.client.next_item().parse().unwrap_or(1);
        let counted = |number: &i64| DeedEnd::Recipe(RecipeEnd::Counted(*number));
        let adding = turn.does(session, RecipeDeed::Add { by }, counter.add(by), counted);
        turn.client.patiently(patience, adding).await;
    }

    pub(super) fn hash_state(&self, mut into: &mut dyn Hasher) {
        for (name, lease, counter) in self.open.each() {
            (name, lease).hash(&mut into);
            counter.hash_state(into);
        }
    }
}

/// What a transaction gives up with.
struct TooLittle;

/// The runs of one transaction.
#[derive(Default)]
struct Runs {
    all: Mutex<Vec<TransactionRun>>,
}

/// One run.
struct Run<'r> {
    runs: &'r Runs,
    tx: Transaction,
}

impl Runs {
    fn begin(&self, tx: Transaction) -> Run<'_> {
        self.change(|runs| runs.push(TransactionRun::default()));
        Run { runs: self, tx }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<TransactionRun>) -> T) -> T {
        change(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of_last(&self, change: impl FnOnce(&mut TransactionRun)) {
        self.change(|runs| runs.last_mut().map(change));
    }
}

impl Run<'_> {
    /// Reads an account, and gives its balance.
    async fn read(&self, key: &str) -> Result<i64, Error> {
        let value = self.tx.get(key).await?.map(|value| String::from_utf8_lossy(&value).into_owned());
        let revision = self.tx.rev(key).await?;
        let balance = value.as_deref().map_or(0, balance);
        self.runs.of_last(|run| run.reads.push(TransactionRead { key: key.to_owned(), value, revision }));
        Ok(balance)
    }

    /// It has read all that it wanted to.
    fn is_whole(&self) {
        self.runs.of_last(|run| run.is_whole = true);
    }
}

/// What an account's value says that it has; behind it stands who wrote it.
pub fn balance(value: &str) -> i64 {
    value.split(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What a transfer makes of an account.
pub fn changed(balance: i64, id: &str) -> String {
    format!("{balance} {id}")
}

/// The key of a bank's account.
pub fn account(bank: &str, which: u32) -> String {
    format!("{bank}/{which}")
}

/// Runs a transaction.
pub(super) async fn transact<A: Actor>(turn: &Turn<'_, A>, session: &Session) {
    match turn.operation.what {
        RecipeKind::Transfer { from, to, amount, blind, how } => {
            let [from, to] = [from, to].map(|which| account(&turn.operation.name, which));
            let blind = blind.then(|| format!("{}/blind", turn.operation.name));
            let transfer = Transfer { id: turn.client.next_item(), from, to, amount, blind };
            transfer.carry_out(turn, session, how).await;
        }
        RecipeKind::Audit { how } => audit(turn, session, how).await,
        _ => {}
    }
}

struct Transfer {
    id: String,
    from: String,
    to: String,
    amount: i64,
    blind: Option<String>,
}

impl Transfer {
    async fn carry_out<A: Actor>(self, turn: &Turn<'_, A>, session: &Session, how: HowRun) {
        let what = RecipeDeed::Transfer {
            id: self.id.clone(),
            level: how.level,
            from: self.from.clone(),
            to: self.to.clone(),
            amount: self.amount,
            blind: self.blind.clone(),
            attempts: how.attempts,
        };
        let Some(stm) = stm(turn, session, how, &[&self.from, &self.to]) else { return };
        let (runs, this) = (Runs::default(), &self);
        let running = stm.run(|tx| {
            let run = runs.begin(tx);
            async move { this.run(turn, &run, how.pause_ms).await }
        });
        told(turn, session, what, how, (&runs, running)).await;
    }

    async fn run<A: Actor>(
        &self,
        turn: &Turn<'_, A>,
        run: &Run<'_>,
        pause_ms: u64,
    ) -> Result<(), StmError<TooLittle>> {
        let from = run.read(&self.from).await?;
        turn.client.sleep_ms(pause_ms).await;
        let to = run.read(&self.to).await?;
        // What was read once is not read again, whatever others have written meanwhile.
        run.read(&self.from).await?;
        run.is_whole();
        if from - self.amount < LEAST {
            return Err(StmError::Aborted(TooLittle));
        }
        run.tx.put(&*self.from, changed(from - self.amount, &self.id));
        run.tx.put(&*self.to, changed(to + self.amount, &self.id));
        run.tx.put(format!("{MADE}{}", self.id), "");
        if let Some(blind) = &self.blind {
            run.tx.put(&**blind, &*self.id);
        }
        Ok(())
    }
}

async fn audit<A: Actor>(turn: &Turn<'_, A>, session: &Session, how: HowRun) {
    let accounts: Vec<_> = (0..ACCOUNTS).map(|which| account(&turn.operation.name, which)).collect();
    let ahead: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let Some(stm) = stm(turn, session, how, &ahead) else { return };
    let (runs, accounts) = (Runs::default(), &accounts);
    let running = stm.run(|tx| {
        let run = runs.begin(tx);
        async move {
            for account in accounts {
                run.read(account).await?;
                turn.client.sleep_ms(how.pause_ms).await;
            }
            run.is_whole();
            Ok(())
        }
    });
    let what = RecipeDeed::Audit { level: how.level, attempts: how.attempts };
    told(turn, session, what, how, (&runs, running)).await;
}

fn stm<A: Actor>(turn: &Turn<'_, A>, session: &Session, how: HowRun, ahead: &[&str]) -> Option<Stm> {
    let stm = Stm::new(session, &turn.operation.name).ok()?;
    let stm = stm.isolation(how.level.into()).attempts(how.attempts);
    Some(if how.ahead { stm.prefetch(ahead.iter().copied()) } else { stm })
}

/// Runs it, and has the history told of what came of it.
async fn told<A: Actor>(
    turn: &Turn<'_, A>,
    session: &Session,
    what: RecipeDeed,
    how: HowRun,
    (runs, running): (&Runs, impl Future<Output = Result<Committed<()>, StmError<TooLittle>>> + Send),
) {
    let work = async {
        match running.await {
            Ok(committed) => Ok(Came::Committed { revision: committed.revision }),
            Err(StmError::Conflict { .. }) => Ok(Came::Conflict),
            Err(StmError::Aborted(TooLittle)) => Ok(Came::Aborted),
            Err(StmError::Failed(error)) => Err(error),
            // It has a handful.
            Err(_) => Err(Error::InvalidArgument { what: "transaction", allowed: "128 operations" }),
        }
    };
    let end = |came: &Came| {
        DeedEnd::Recipe(RecipeEnd::Transacted { came: *came, runs: runs.change(|runs| runs.clone()) })
    };
    let transacting = turn.does(session, what, work, end);
    turn.client.patiently(how.patience, transacting).await;
}
