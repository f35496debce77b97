//! `double-barrier`: a round begins with as many members as the barrier is for, all of them there when it opens and none of an
//! earlier round, and nobody goes on while one of them is inside.

use std::time::Duration;

use tenure::{Departure, DoubleBarrier, Error, Session};
use tenure_sim::check::{Breach, KeyLife};
use tenure_sim::{Context, RunView, Simulation, SimulationBuilder};

use crate::wrong::{Bug, Wrong};

const TTL: Duration = Duration::from_secs(2);
const NAME: &str = "rounds/a";
const COUNT: usize = 3;

/// What a member tells.
#[derive(Debug)]
enum Told {
    /// It is in.
    Enters { round: i64 },
    /// All are out.
    GoesOn { round: i64, departure: Departure },
    /// It was refused, or the barrier was broken.
    IsOut(Error),
}

async fn take_part(context: Context, bug: Bug) -> Result<(), Error> {
    let session = Session::builder_on(Wrong::over(context.backend(), bug)).ttl(TTL).open().await?;
    let barrier = DoubleBarrier::new(&session, NAME, COUNT)?;
    loop {
        context.sleep(Duration::from_millis(context.random(0, 400))).await;
        let patience = if context.random(0, 5) == 0 { context.random(1, 500) } else { 20_000 };
        let entered = match barrier.enter_timeout(Duration::from_millis(patience)).await {
            Ok(entered) => entered,
            Err(error @ (Error::Timeout | Error::BarrierFull { .. } | Error::BarrierBroken { .. })) => {
                context.record(Told::IsOut(error));
                continue;
            }
            Err(error) => return Err(error),
        };
        let round = entered.round();
        context.record(Told::Enters { round });
        context.sleep(Duration::from_millis(context.random(0, 300))).await;
        if context.random(0, 19) == 0 {
            drop(entered);
            continue;
        }
        match entered.leave().await {
            Ok(departure) => context.record(Told::GoesOn { round, departure }),
            Err(Error::NotHeld) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The members' keys that were there at a revision.
fn there_at<'a>(run: &RunView<'a>, revision: i64) -> impl Iterator<Item = &'a KeyLife> + use<'a> {
    let prefix = format!("{NAME}/waiters/");
    let lives: Vec<_> = run.evidence().keys.values().flatten().collect();
    lives.into_iter().filter(move |life| {
        let begun = life.create_revision <= revision && life.key.starts_with(prefix.as_bytes());
        begun && life.deleted.is_none_or(|(deleted, _)| deleted > revision)
    })
}

fn all_or_nobody(run: &RunView<'_>) -> Result<(), Breach> {
    let mut rounds: Vec<(i64, usize)> = Vec::new();
    for told in run.events::<Told>() {
        match told.event {
            Told::Enters { round } => {
                let inside = match rounds.iter_mut().find(|(of, _)| of == round) {
                    Some((_, inside)) => {
                        *inside += 1;
                        *inside
                    }
                    None => {
                        rounds.push((*round, 1));
                        1
                    }
                };
                if inside > COUNT {
                    return Err(told.breach(format!("{} is one too many in round {round}", told.who)));
                }
                let there = there_at(run, *round).count();
                if there < COUNT {
                    return Err(told.breach(format!(
                        "{} is in, but only {there} were there in round {round}",
                        told.who
                    )));
                }
                let earlier = rounds.iter().map(|(of, _)| *of).filter(|of| of < round).max();
                if earlier
                    .is_some_and(|earlier| there_at(run, *round).any(|life| life.create_revision < earlier))
                {
                    return Err(told
                        .breach(format!("round {round} began while a member of an earlier one was inside")));
                }
            }
            Told::GoesOn { round, .. } => {
                let inside = run.evidence().keys.values().flatten().find(|life| {
                    let of_it = life.create_revision < *round
                        && life.key.starts_with(format!("{NAME}/waiters/").as_bytes());
                    of_it && life.deleted.is_none_or(|(_, moment)| moment.step > told.step)
                });
                if inside.is_some() {
                    return Err(told
                        .breach(format!("{} went on while a member of round {round} was inside", told.who)));
                }
            }
            Told::IsOut(_) => {}
        }
    }
    Ok(())
}

fn simulation(bug: Bug) -> SimulationBuilder {
    Simulation::builder()
        .clients("member", 4, move |context| take_part(context, bug))
        .without_regressions()
        .always("double-barrier", all_or_nobody)
}

#[test]
fn all_enter_together_and_all_leave_together() {
    let report = simulation(Bug::None)
        .sometimes("all left", |run| {
            run.events::<Told>()
                .any(|told| matches!(told.event, Told::GoesOn { departure: Departure::Everyone, .. }))
        })
        .sometimes("one was gone without having left", |run| {
            run.events::<Told>()
                .any(|told| matches!(told.event, Told::GoesOn { departure: Departure::Crashed(_), .. }))
        })
        .sometimes("the barrier broke", |run| {
            run.events::<Told>().any(|told| matches!(told.event, Told::IsOut(Error::BarrierBroken { .. })))
        })
        .sometimes("one too many came", |run| {
            run.events::<Told>().any(|told| matches!(told.event, Told::IsOut(Error::BarrierFull { .. })))
        })
        .sometimes("a round began once calm", |run| {
            let calm_at = run.calm_at();
            run.events::<Told>().any(|told| matches!(told.event, Told::Enters { .. }) && told.at > calm_at)
        })
        .seeds(0..100)
        .run()
        .expect("green");
    assert!(report.events > 1_000 && report.faults.len() > 15, "{report}");
}

#[test]
fn a_late_client_that_passes_is_found() {
    let found = simulation(Bug::LateClient).seeds(0..400).shrink_limit(Duration::from_secs(1)).run();
    let red = found.expect_err("it is planted");
    assert_eq!(red.red().and_then(|red| red.invariant()), Some("double-barrier"), "{red}");
}
