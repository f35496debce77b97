//! `exactly-once`: what was enqueued is in the queue once, what was dequeued is given to one consumer, and nothing is lost but
//! with the consumer that had taken it; what was claimed is lost with nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{FutureExt, select_biased};
use tenure::{Claim, Error, PriorityQueue, Queue, Session};
use tenure_sim::check::Breach;
use tenure_sim::{Context, RunView, Simulation, SimulationBuilder};

use crate::wrong::{Bug, Wrong};

const TTL: Duration = Duration::from_secs(2);
const NAME: &str = "items";
const CONSUMERS: u32 = 3;
/// A producer's life enqueues for so long.
const ENQUEUED_UNTIL: Duration = Duration::from_secs(40);

/// Within this time a consumer that works gets an item that is there, once calm: a lease may have to run out first.
const SOON: Duration = Duration::from_secs(10);

/// What a client tells of an item.
#[derive(Debug)]
enum Told {
    /// A producer asks for it to be enqueued.
    Enqueues(String),
    /// It has been.
    Enqueued(String),
    /// A consumer begins to wait.
    Waits,
    /// A consumer has it.
    Given(String),
    /// It is a consumer's to work on.
    Claimed { item: String, token: i64 },
    /// The work is acknowledged.
    Acknowledged(String),
    /// A consumer's call failed, or its process was started again: an item may have been taken and lost.
    MayHaveLost,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fifo,
    Priority,
}

/// Either queue.
enum Either {
    Fifo(Queue),
    Priority(PriorityQueue),
}

impl Either {
    fn of(kind: Kind, session: &Session) -> Result<Self, Error> {
        Ok(match kind {
            Kind::Fifo => Self::Fifo(Queue::new(session, NAME)?),
            Kind::Priority => Self::Priority(PriorityQueue::new(session, NAME)?),
        })
    }

    async fn enqueue(&self, priority: u16, items: Vec<String>) -> Result<(), Error> {
        match self {
            Self::Fifo(queue) => queue.enqueue_all(items).await,
            Self::Priority(queue) => queue.enqueue_all(priority, items).await,
        }
    }

    async fn dequeue(&self, limit: Duration) -> Result<Vec<u8>, Error> {
        match self {
            Self::Fifo(queue) => queue.dequeue_timeout(limit).await,
            Self::Priority(queue) => queue.dequeue_timeout(limit).await,
        }
    }

    async fn claim(&self, limit: Duration) -> Result<Claim, Error> {
        match self {
            Self::Fifo(queue) => queue.claim_timeout(limit).await,
            Self::Priority(queue) => queue.claim_timeout(limit).await,
        }
    }
}

async fn open(context: &Context, kind: Kind, bug: Bug) -> Result<(Session, Either), Error> {
    let session = Session::builder_on(Wrong::over(context.backend(), bug)).ttl(TTL).open().await?;
    let queue = Either::of(kind, &session)?;
    Ok((session, queue))
}

async fn produce(context: Context, kind: Kind, bug: Bug) -> Result<(), Error> {
    let until = context.now() + ENQUEUED_UNTIL;
    let (_session, queue) = open(&context, kind, bug).await?;
    for number in 0.. {
        if context.now() > until {
            break;
        }
        context.sleep(Duration::from_millis(context.random(0, 1_500))).await;
        let count = if context.random(0, 3) == 0 { context.random(2, 5) } else { 1 };
        let life = context.life();
        let items: Vec<_> = (0..count).map(|of| format!("{}.{life}.{number}.{of}", context.name())).collect();
        items.iter().for_each(|item| context.record(Told::Enqueues(item.clone())));
        let priority = u16::try_from(context.random(0, 2)).unwrap_or(0);
        queue.enqueue(priority, items.clone()).await?;
        items.into_iter().for_each(|item| context.record(Told::Enqueued(item)));
    }
    Ok(())
}

fn text(item: &[u8]) -> String {
    String::from_utf8_lossy(item).into_owned()
}

async fn consume(context: Context, kind: Kind, bug: Bug) -> Result<(), Error> {
    if context.life() > 1 {
        context.record(Told::MayHaveLost);
    }
    let (_session, queue) = open(&context, kind, bug).await?;
    loop {
        context.record(Told::Waits);
        let gives_up =
            Duration::from_millis(if context.random(0, 3) == 0 { context.random(0, 40) } else { 60_000 });
        let taken = select_biased! {
            taken = queue.dequeue(Duration::from_secs(2)).boxed().fuse() => taken,
            () = context.sleep(gives_up).boxed().fuse() => Err(Error::Timeout),
        };
        match taken {
            Ok(item) => context.record(Told::Given(text(&item))),
            Err(Error::Timeout) => {}
            Err(error) => {
                context.record(Told::MayHaveLost);
                return Err(error);
            }
        }
    }
}

async fn work(context: Context, kind: Kind, bug: Bug) -> Result<(), Error> {
    let (_session, queue) = open(&context, kind, bug).await?;
    loop {
        context.record(Told::Waits);
        let gives_up =
            Duration::from_millis(if context.random(0, 3) == 0 { context.random(0, 40) } else { 60_000 });
        let claimed = select_biased! {
            claimed = queue.claim(Duration::from_secs(2)).boxed().fuse() => claimed,
            () = context.sleep(gives_up).boxed().fuse() => Err(Error::Timeout),
        };
        let claim = match claimed {
            Ok(claim) => claim,
            Err(Error::Timeout) => continue,
            Err(error) => return Err(error),
        };
        let item = text(claim.value());
        context.record(Told::Claimed { item: item.clone(), token: claim.fencing_token() });
        context.sleep(Duration::from_millis(context.random(0, 300))).await;
        match context.random(0, 9) {
            0 => drop(claim),
            1 => match claim.give_back().await {
                Ok(()) | Err(Error::NotHeld) => {}
                Err(error) => return Err(error),
            },
            _ => match claim.ack().await {
                Ok(()) => context.record(Told::Acknowledged(item)),
                Err(Error::NotHeld) => {}
                Err(error) => return Err(error),
            },
        }
    }
}

/// What the history says of items.
#[derive(Default)]
struct Items {
    asked: BTreeSet<String>,
    enqueued: BTreeSet<String>,
    done: BTreeMap<String, usize>,
    may_be_lost: usize,
    waited_at: Duration,
    given_at: Duration,
}

fn exactly_once(run: &RunView<'_>, claims: bool) -> Result<(), Breach> {
    let mut items = Items::default();
    let outside = outside(run);
    for told in run.events::<Told>() {
        match told.event {
            Told::Enqueues(item) => drop(items.asked.insert(item.clone())),
            Told::Enqueued(item) => drop(items.enqueued.insert(item.clone())),
            Told::Waits if outside.contains(told.who) => {}
            Told::Waits => items.waited_at = told.at,
            Told::MayHaveLost => items.may_be_lost += 1,
            Told::Claimed { item, .. } if !items.asked.contains(item) => {
                return Err(told.breach(format!("{item} was claimed, and nobody has enqueued it")));
            }
            Told::Claimed { item, .. } if items.done.contains_key(item) => {
                return Err(told.breach(format!("{item} was claimed after it had been acknowledged")));
            }
            Told::Claimed { .. } => items.given_at = told.at,
            Told::Given(item) | Told::Acknowledged(item) => {
                items.given_at = told.at;
                if !items.asked.contains(item) {
                    return Err(told.breach(format!("{item} was given, and nobody has enqueued it")));
                }
                if items.done.insert(item.clone(), told.step).is_some() {
                    return Err(told.breach(format!("{item} was given twice")));
                }
            }
        }
    }
    ends_well(run, &items, claims)
}

/// At the end nothing that was enqueued is missing, and nothing is left that a consumer waits for.
fn ends_well(run: &RunView<'_>, items: &Items, claims: bool) -> Result<(), Breach> {
    let at_end = run.keys_at_end();
    let prefix = format!("{NAME}/");
    let left: BTreeMap<String, &[u8]> = at_end
        .iter()
        .filter(|(key, _)| key.starts_with(prefix.as_bytes()))
        .map(|(key, kv)| (text(&kv.value), *key))
        .collect();
    let missing: Vec<_> = items
        .enqueued
        .iter()
        .filter(|item| !items.done.contains_key(*item) && !left.contains_key(*item))
        .collect();
    // An acknowledgement whose consumer died before it could tell of it is none that is lost.
    // And a consumer may be dead, or in the middle of it, as the run ends.
    let excused = if claims { unheard(run) } else { items.may_be_lost + CONSUMERS as usize };
    if missing.len() > excused {
        let why =
            format!("{missing:?} are gone and nobody was given them; {excused} may be, with their consumers");
        return Err(run.at_end(why));
    }
    // Whether anything was given lately, so that what is left is but late: producers may be the quicker ones.
    let goes_on = items.given_at + SOON > run.ends_at();
    let consumer_lives = items.waited_at + Duration::from_secs(3) > run.ends_at();
    if goes_on || !consumer_lives || run.calm_at() + SOON > run.ends_at() {
        return Ok(());
    }
    // Nobody's claim, and there for long.
    let is_due = |key: &[u8]| {
        let claim = [format!("__{NAME}\0claim/").as_bytes(), &key[prefix.len()..]].concat();
        let mut lives =
            run.evidence().keys.values().flatten().filter(|life| life.key == key && life.deleted.is_none());
        let created = lives.next().map(|life| Duration::from_nanos(life.created.at_ns));
        !at_end.contains_key(&*claim) && created.is_some_and(|created| created + SOON < run.ends_at())
    };
    match left.iter().find(|(_, key)| is_due(key)) {
        Some((item, _)) => Err(run.at_end(format!("{item} is left, and a consumer waits"))),
        None => Ok(()),
    }
}

/// Who stays broken to the end.
fn outside<'a>(run: &RunView<'a>) -> BTreeSet<&'a str> {
    let evidence = run.evidence();
    let all = (0..).zip(run.clients());
    all.filter(|(index, _)| evidence.outside.contains(index)).map(|(_, name)| name).collect()
}

/// How many acknowledgements may have been carried out and not been told of.
fn unheard(run: &RunView<'_>) -> usize {
    let told: BTreeSet<i64> = run
        .events::<Told>()
        .filter_map(|told| match told.event {
            Told::Claimed { token, .. } => Some(*token),
            _ => None,
        })
        .collect();
    let acknowledged =
        run.events::<Told>().filter(|told| matches!(told.event, Told::Acknowledged(_))).count();
    told.len() - acknowledged
}

fn simulation(kind: Kind, claims: bool, bug: Bug) -> SimulationBuilder {
    let simulation = Simulation::builder().clients("producer", 2, move |context| produce(context, kind, bug));
    let simulation = if claims {
        simulation.clients("worker", CONSUMERS, move |context| work(context, kind, bug))
    } else {
        simulation.clients("consumer", CONSUMERS, move |context| consume(context, kind, bug))
    };
    simulation.without_regressions().always("exactly-once", move |run| exactly_once(run, claims))
}

fn is_green(kind: Kind, claims: bool) {
    let report = simulation(kind, claims, Bug::None).seeds(0..100).run().expect("green");
    assert!(report.events > 5_000 && report.faults.len() > 15, "{report}");
}

fn is_found(kind: Kind, claims: bool, bug: Bug) {
    let red = simulation(kind, claims, bug)
        .name(format!("{bug:?}"))
        .seeds(0..400)
        .shrink_limit(Duration::from_secs(1))
        .run()
        .expect_err("it is planted");
    assert_eq!(red.red().and_then(|red| red.invariant()), Some("exactly-once"), "{red}");
}

#[test]
fn a_queue_gives_each_item_once() {
    is_green(Kind::Fifo, false);
}

#[test]
fn a_priority_queue_gives_each_item_once() {
    is_green(Kind::Priority, false);
}

#[test]
fn claims_lose_nothing() {
    is_green(Kind::Fifo, true);
}

#[test]
fn claims_of_a_priority_queue_lose_nothing() {
    is_green(Kind::Priority, true);
}

#[test]
fn retries_without_a_receipt_are_found() {
    is_found(Kind::Fifo, false, Bug::NoReceipts);
}

#[test]
fn a_dequeue_by_name_is_found() {
    is_found(Kind::Fifo, false, Bug::ByName);
}
