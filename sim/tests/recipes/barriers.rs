//! `barrier`: nobody passes a barrier that was held all the time from when it came to when it went on.

use std::time::Duration;

use tenure::{Barrier, Error, Session};
use tenure_sim::check::Breach;
use tenure_sim::{Context, RunView, Simulation, SimulationBuilder};

use crate::wrong::{Bug, Wrong};

const TTL: Duration = Duration::from_secs(2);
const NAME: &str = "gates/a";

/// What a client tells.
#[derive(Debug)]
enum Told {
    /// Who waited goes on; when it came.
    Passes { since: Duration },
    /// The barrier is held.
    Holds,
}

async fn hold(context: Context, bug: Bug) -> Result<(), Error> {
    let session = Session::builder_on(Wrong::over(context.backend(), bug)).ttl(TTL).open().await?;
    let barrier = Barrier::new(&session, NAME)?;
    loop {
        context.sleep(Duration::from_millis(context.random(0, 800))).await;
        let hold = match barrier.hold().await {
            Ok(hold) => hold,
            Err(Error::BarrierHeld { .. }) => continue,
            Err(error) => return Err(error),
        };
        context.record(Told::Holds);
        context.sleep(Duration::from_millis(context.random(0, 2_000))).await;
        match context.random(0, 2) {
            0 => drop(hold),
            1 => {
                drop(hold);
                barrier.release().await?;
            }
            _ => match hold.release().await {
                Ok(()) | Err(Error::NotHeld) => {}
                Err(error) => return Err(error),
            },
        }
    }
}

async fn wait(context: Context, bug: Bug) -> Result<(), Error> {
    let session = Session::builder_on(Wrong::over(context.backend(), bug)).ttl(TTL).open().await?;
    let barrier = Barrier::new(&session, NAME)?;
    loop {
        context.sleep(Duration::from_millis(context.random(1, 300))).await;
        let since = context.deliver(Duration::ZERO, tenure_sim::own::Outside::now).await;
        barrier.wait().await?;
        context.record(Told::Passes { since });
    }
}

/// When the barrier was held, from commit to commit.
fn holds(run: &RunView<'_>) -> Vec<(Duration, Duration)> {
    let lives = run.evidence().keys.values().flatten().filter(|life| life.key == NAME.as_bytes());
    lives
        .map(|life| {
            let until = life.deleted.map_or(run.ends_at(), |(_, moment)| Duration::from_nanos(moment.at_ns));
            (Duration::from_nanos(life.created.at_ns), until)
        })
        .collect()
}

fn nobody_passes_while_held(run: &RunView<'_>) -> Result<(), Breach> {
    let holds = holds(run);
    for told in run.events::<Told>() {
        let Told::Passes { since } = told.event else { continue };
        if holds.iter().any(|(from, until)| from <= since && *until > told.at) {
            return Err(told.breach(format!("{} passed a barrier that was held all the time", told.who)));
        }
    }
    Ok(())
}

/// Once calm, a waiter that works passes within this time from when the barrier is free. It is held for 2 s at most, unless a
/// holder's lease has to run out first.
const SOON: Duration = Duration::from_secs(12);

fn who_waits_passes(run: &RunView<'_>) -> Result<(), Breach> {
    let evidence = run.evidence();
    let from = run.ends_at().saturating_sub(SOON);
    let held_throughout = holds(run).iter().any(|(begun, until)| *begun <= from && *until >= run.ends_at());
    if from <= run.calm_at() || held_throughout {
        return Ok(());
    }
    for (index, name) in (0..).zip(run.clients()).filter(|(_, name)| name.starts_with("waiter")) {
        let passes = |told: &tenure_sim::own::Told<'_, Told>| {
            told.who == name && told.at >= from && matches!(told.event, Told::Passes { .. })
        };
        if !evidence.outside.contains(&index) && !run.events::<Told>().any(|told| passes(&told)) {
            return Err(run.at_end(format!("{name} has not passed in the last {SOON:?}")));
        }
    }
    Ok(())
}

fn simulation(bug: Bug) -> SimulationBuilder {
    Simulation::builder()
        .clients("holder", 2, move |context| hold(context, bug))
        .clients("waiter", 3, move |context| wait(context, bug))
        .without_regressions()
        .always("barrier", nobody_passes_while_held)
        .always("progress", who_waits_passes)
}

#[test]
fn nobody_passes_a_barrier_that_is_held() {
    let report = simulation(Bug::None).seeds(0..100).run().expect("green");
    assert!(report.events > 5_000 && report.faults.len() > 15, "{report}");
}

#[test]
fn a_stale_look_is_found() {
    let found = simulation(Bug::StaleReads).seeds(0..400).shrink_limit(Duration::from_secs(1)).run();
    let red = found.expect_err("it is planted");
    assert_eq!(red.red().and_then(|red| red.invariant()), Some("barrier"), "{red}");
}
