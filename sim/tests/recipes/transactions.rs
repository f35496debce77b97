//! `Stm` and `Counter` under seeds: transfers between accounts keep their sum, what commits is serializable, and each transaction
//! and addition is made exactly once for each answer that was given.

use std::collections::BTreeMap;
use std::time::Duration;

use tenure::kv::{EventKind, KeyValue};
use tenure::{Counter, Error, Isolation, Session, Stm, StmError, Transaction};
use tenure_sim::check::Breach;
use tenure_sim::history::What;
use tenure_sim::{Context, RunView, Simulation, SimulationBuilder};

use crate::wrong::{Bug, Wrong};

const TTL: Duration = Duration::from_secs(3);
const ACCOUNTS: u64 = 3;

/// Something begins that is to be done once. `of` is the key that counts how often this process did it.
#[derive(Debug)]
struct Begins {
    of: String,
}

/// It was told how it ended.
#[derive(Debug)]
struct Ended {
    of: String,
    how: How,
}

#[derive(Debug)]
enum How {
    /// It committed at this revision, after it had read this.
    Committed { revision: i64, read: Vec<(String, i64)> },
    /// The counter gave this number.
    Counted { number: i64 },
    /// It is not known.
    Unknown,
    /// It was not done.
    Not,
}

impl How {
    fn of_error(error: &Error) -> Self {
        if matches!(error, Error::Maybe(_)) { Self::Unknown } else { Self::Not }
    }
}

fn balance(index: u64) -> String {
    format!("bank/{index}")
}

/// The number that a value is; none is 0.
fn number(value: Option<&[u8]>) -> i64 {
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}

/// Adds to a key, and tells what it was.
async fn add(tx: &Transaction, key: &str, by: i64) -> Result<(String, i64), Error> {
    let was = number(tx.get(key).await?.as_deref());
    tx.put(key, (was + by).to_string());
    Ok((key.to_owned(), was))
}

/// Transfers and counts until its session is over.
async fn teller(context: Context, bug: Bug) -> Result<(), Error> {
    let session = Session::builder_on(Wrong::over(context.backend(), bug)).ttl(TTL).open().await?;
    let levels = [Isolation::SerializableSnapshot, Isolation::Serializable, Isolation::RepeatableReads];
    let stm = Stm::new(&session, "transfers")?;
    let counter = Counter::new(&session, "count/all")?;
    let [done, counted] =
        ["done", "count"].map(|what| format!("{what}/{}/{}", context.name(), context.life()));
    loop {
        let isolation = levels[usize::try_from(context.random(0, 2)).unwrap_or(0)];
        let (from, to) = (context.random(0, ACCOUNTS - 1), context.random(1, ACCOUNTS - 1));
        let (from, to) = (&balance(from), &balance((from + to) % ACCOUNTS));
        let amount = i64::try_from(context.random(1, 9)).unwrap_or(1);
        let done = &done;
        context.record(Begins { of: done.clone() });
        let transfer = stm.clone().isolation(isolation).prefetch([from.as_str(), to.as_str()]);
        let ran = transfer.run(|tx| async move {
            let read =
                [add(&tx, from, -amount).await?, add(&tx, to, amount).await?, add(&tx, done, 1).await?];
            Ok::<_, StmError<()>>(read.to_vec())
        });
        let how = match ran.await {
            Ok(committed) => How::Committed { revision: committed.revision, read: committed.value },
            Err(StmError::Failed(error)) => How::of_error(&error),
            Err(_) => How::Not,
        };
        context.record(Ended { of: done.clone(), how });
        context.record(Begins { of: counted.clone() });
        let how = match counter.increment().await {
            Ok(number) => How::Counted { number },
            Err(error) => How::of_error(&error),
        };
        context.record(Ended { of: counted.clone(), how });
        if !session.is_alive() {
            return Err(Error::SessionLost);
        }
        context.sleep(Duration::from_millis(context.random(0, 400))).await;
    }
}

/// Every write of a key below `bank/` and `done/`, and what all of them were after it.
fn replay(
    run: &RunView<'_>,
    mut look: impl FnMut(usize, i64, &BTreeMap<&[u8], i64>, &BTreeMap<&[u8], i64>) -> Result<(), Breach>,
) -> Result<(), Breach> {
    let mut now: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (step, at) in run.history().steps.iter().enumerate() {
        let What::Committed { revision, events, .. } = &at.what else { continue };
        // What changed nothing has the revision of what was before it.
        if events.is_empty() {
            continue;
        }
        let before = now.clone();
        for event in events.iter().filter(|event| event.kind == EventKind::Put) {
            let KeyValue { key, value, .. } = &event.kv;
            if key.starts_with(b"bank/") || key.starts_with(b"done/") {
                now.insert(key, number(Some(value)));
            }
        }
        look(step, *revision, &before, &now)?;
    }
    Ok(())
}

fn the_sum_is_kept(run: &RunView<'_>) -> Result<(), Breach> {
    replay(run, |step, revision, _, now| {
        let sum: i64 =
            now.iter().filter(|(key, _)| key.starts_with(b"bank/")).map(|(_, balance)| balance).sum();
        let detail = || format!("after revision {revision} the accounts sum up to {sum}");
        if sum == 0 { Ok(()) } else { Err(Breach { step, detail: detail() }) }
    })
}

/// All that a transaction read was so right before the revision at which it committed: the order of revisions is a serial one.
fn isolation(run: &RunView<'_>) -> Result<(), Breach> {
    let committed: BTreeMap<i64, _> = run
        .events::<Ended>()
        .filter_map(|told| match &told.event.how {
            How::Committed { revision, read } => Some((*revision, read)),
            _ => None,
        })
        .collect();
    replay(run, |step, revision, before, _| {
        for (key, was) in committed.get(&revision).into_iter().flat_map(|read| read.iter()) {
            let is = before.get(key.as_bytes()).copied().unwrap_or(0);
            if is != *was {
                let detail =
                    format!("what committed at revision {revision} read {was} in {key}, which was {is}");
                return Err(Breach { step, detail });
            }
        }
        Ok(())
    })
}

/// How often a process did something is how often it was told so, and for what it does not know at most once more each.
fn exactly_once(run: &RunView<'_>) -> Result<(), Breach> {
    let mut told: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for begins in run.events::<Begins>() {
        told.entry(&begins.event.of).or_default().1 += 1;
    }
    for ended in run.events::<Ended>() {
        let (done, open) = told.entry(&ended.event.of).or_default();
        match ended.event.how {
            How::Committed { .. } | How::Counted { .. } => (*done, *open) = (*done + 1, *open - 1),
            How::Not => *open -= 1,
            How::Unknown => {}
        }
        if let How::Counted { number } = ended.event.how
            && let Some(other) = numbers.insert(number, ended.who)
        {
            return Err(ended.breach(format!("{} was given {number}, as was {other}", ended.who)));
        }
    }
    let keys = run.keys_at_end();
    let is = |key: &str| keys.get(key.as_bytes()).map_or(0, |kv| number(Some(&kv.value)));
    for (key, (done, open)) in told.iter().filter(|(key, _)| key.starts_with("done/")) {
        if !(*done..=done + open).contains(&is(key)) {
            return Err(run.at_end(format!("{key} is {}, and not from {done} to {}", is(key), done + open)));
        }
    }
    let counted = told.iter().filter(|(key, _)| key.starts_with("count/")).map(|(_, told)| told);
    let (done, open) = counted.fold((0, 0), |sum, told| (sum.0 + told.0, sum.1 + told.1));
    if (done..=done + open).contains(&is("count/all")) {
        Ok(())
    } else {
        Err(run.at_end(format!(
            "it was counted {} times, and not from {done} to {}",
            is("count/all"),
            done + open
        )))
    }
}

fn simulation(bug: Bug) -> SimulationBuilder {
    Simulation::builder()
        .clients("teller", 3, move |context| teller(context, bug))
        .always("sum", the_sum_is_kept)
        .always("isolation", isolation)
        .always("exactly-once", exactly_once)
        .without_regressions()
}

#[test]
fn transfers_and_counts_are_right_under_everything_that_goes_wrong() {
    let is_unknown =
        |run: &RunView<'_>| run.events::<Ended>().any(|told| matches!(told.event.how, How::Unknown));
    let report = simulation(Bug::None)
        .sometimes("a process was not told whether it committed", is_unknown)
        .seeds(0..120)
        .run()
        .expect("green");
    assert!(report.events > 10_000, "{report}");
}

#[test]
fn a_read_set_that_is_compared_by_existence_only_is_found() {
    let failed = simulation(Bug::ByExistence).seeds(0..40).run();
    let failed = failed.expect_err("what others wrote since is overwritten");
    let invariant = failed.red().and_then(|red| red.invariant());
    assert!(matches!(invariant, Some("sum" | "isolation")), "{failed}");
}

#[test]
fn a_commit_that_is_sent_again_as_another_is_found() {
    let failed = simulation(Bug::NoReceipts).seeds(0..120).run();
    let failed = failed.expect_err("what was lost on the way is not looked for");
    assert_eq!(failed.red().and_then(|red| red.invariant()), Some("exactly-once"), "{failed}");
}
