//! The service under seeds: three processes, and everything that goes wrong with them, their network and etcd.

use std::sync::Mutex;
use std::time::Duration;

use nightly_job::{Reports, Stale, broken, mended};
use tenure_sim::check::Breach;
use tenure_sim::own::Outside;
use tenure_sim::{Context, Failed, Faults, Invariant, RunView, Simulation, SimulationBuilder};

/// What the database does, told as it happens.
#[derive(Debug)]
enum Database {
    Took { number: u64 },
    Refused,
}

/// The database, of which each run has its own.
#[derive(Default)]
struct State(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    last: u64,
    highest_token: i64,
}

impl State {
    /// What a request with this token sees, unless it comes too late.
    fn with<T>(&self, token: Option<i64>, work: impl FnOnce(&mut Stored) -> T) -> Result<T, Stale> {
        let mut stored = self.0.lock().unwrap();
        let token = token.unwrap_or(stored.highest_token);
        if token < stored.highest_token {
            return Err(Stale);
        }
        stored.highest_token = token;
        Ok(work(&mut stored))
    }
}

/// A process's connection to it. What is sent arrives, also if its sender stands still or is dead by then.
struct Connection(Context);

impl Reports for Connection {
    async fn last(&self, token: Option<i64>) -> Result<u64, Stale> {
        let state = self.0.shared::<State>();
        self.0.deliver(Duration::from_millis(1), move |_| state.with(token, |stored| stored.last)).await
    }

    async fn put(&self, number: u64, token: Option<i64>) -> Result<(), Stale> {
        let state = self.0.shared::<State>();
        let arrives = move |outside: &Outside| {
            let taken = state.with(token, |stored| stored.last = number);
            outside.record(match taken {
                Ok(()) => Database::Took { number },
                Err(Stale) => Database::Refused,
            });
            taken
        };
        // Some packets take long ways.
        let under_way = Duration::from_millis(self.0.random(1, 400));
        self.0.deliver(under_way, arrives).await
    }
}

/// Each report that the database takes is the next one.
#[derive(Default)]
struct ReportsInOrder;

impl Invariant for ReportsInOrder {
    fn name(&self) -> &str {
        "reports-in-order"
    }

    fn check(&self, run: &RunView<'_>) -> Result<(), Breach> {
        let mut last = 0;
        for told in run.events::<Database>() {
            let &Database::Took { number } = told.event else { continue };
            if number != last + 1 {
                return Err(told.breach(format!("report {number} was put after report {last}")));
            }
            last = number;
        }
        Ok(())
    }
}

/// Once nothing goes wrong any more, reports are put.
fn goes_on(run: &RunView<'_>) -> Result<(), Breach> {
    let late = run.calm_at() + Duration::from_secs(15);
    match run.events::<Database>().any(|told| told.at > late) {
        true => Ok(()),
        false => Err(run.at_end("no report was put after the calm")),
    }
}

fn service() -> SimulationBuilder {
    Simulation::builder()
        .faults(Faults::swarm())
        .invariant(ReportsInOrder)
        .always("goes-on", goes_on)
        .seeds(0..300)
}

/// A supervisor starts a process again that has ended.
async fn again() -> Result<(), &'static str> {
    Err("it leads no more")
}

#[test]
fn reports_are_put_in_order() -> Result<(), Failed> {
    let report = service()
        .clients("worker", 3, |context| async move {
            let (etcd, name) = (context.etcd(), context.name().to_owned());
            mended::run(etcd, &name, Connection(context)).await.map_err(|error| error.to_string())?;
            again().await.map_err(str::to_owned)
        })
        .sometimes("a worker stood still for longer than its TTL", |run| {
            run.pauses().any(|(_, time)| time > Duration::from_secs(3))
        })
        .run()?;
    println!("{report}");
    Ok(())
}

/// What a red test looks like: take away `without_regressions` and `expect_err`, and see.
#[test]
fn seeds_find_the_mistake() {
    let failed = service()
        .clients("worker", 3, |context| async move {
            let (etcd, name) = (context.etcd(), context.name().to_owned());
            broken::run(etcd, &name, Connection(context)).await.map_err(|error| error.to_string())?;
            again().await.map_err(str::to_owned)
        })
        .without_regressions()
        .run()
        .expect_err("an old leader puts a report");
    println!("{failed}");
    assert_eq!(failed.red().and_then(|red| red.invariant()), Some("reports-in-order"));
}
