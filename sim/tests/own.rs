//! A test's own clients under seeds: what is found, how it is told and kept, and what is refused.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure::{Election, Mutex as Lock, Session};
use tenure_sim::run::Verdict;
use tenure_sim::{Context, Failed, Faults, RunView, Simulation, SimulationBuilder};

const TTL: Duration = Duration::from_secs(2);

/// A leader wrote a number to the database; each is to be the next one.
#[derive(Debug)]
struct Wrote {
    number: u64,
}

/// Outside of etcd: the last number, and the highest token that was seen.
#[derive(Default)]
struct Database(Mutex<(u64, i64)>);

/// Leads, and writes the next number to the database again and again, until it leads no more.
async fn numbers(context: Context, fenced: bool) -> Result<(), tenure::Error> {
    let session = Session::builder(&context.etcd()).ttl(TTL).open().await?;
    let leader = Election::new(&session, "numbers")?.campaign(context.name()).await?;
    let _told = context.holds(&leader);
    let token = leader.fencing_token();
    while leader.is_held() {
        let database = context.shared::<Database>();
        // Who reads with its token, too, is not overtaken by what a former leader has under way.
        let number = {
            let mut state = database.0.lock().expect("not poisoned");
            if fenced && token < state.1 {
                break;
            }
            state.1 = if fenced { token } else { 0 };
            state.0 + 1
        };
        context.sleep(Duration::from_millis(50)).await;
        context
            .deliver(Duration::from_millis(2), move |outside| {
                let mut state = database.0.lock().expect("not poisoned");
                if fenced && token < state.1 {
                    return;
                }
                state.0 = number;
                outside.record(Wrote { number });
            })
            .await;
        context.sleep(Duration::from_millis(context.random(100, 300))).await;
    }
    // It is started again.
    Err(tenure::Error::NotHeld)
}

fn each_is_the_next(run: &RunView<'_>) -> Result<(), tenure_sim::check::Breach> {
    let mut last = 0;
    for told in run.events::<Wrote>() {
        let number = told.event.number;
        if number != last + 1 {
            return Err(told.breach(format!("number {number} was written after {last}")));
        }
        last = number;
    }
    Ok(())
}

fn simulation(fenced: bool) -> SimulationBuilder {
    Simulation::builder()
        .name("numbers")
        .clients("worker", 3, move |context| numbers(context, fenced))
        .faults(Faults::swarm())
        .always("each-is-the-next", each_is_the_next)
}

#[test]
fn fenced_writes_stay_in_order_under_everything_that_goes_wrong() {
    let report = simulation(true)
        .sometimes("a worker was paused past its TTL", |run| run.pauses().any(|(_, time)| time > TTL))
        .without_regressions()
        .seeds(0..120)
        .run()
        .expect("green");
    assert_eq!((report.seeds, report.redone), (120, 6));
    assert!(report.events > 1_000 && report.holds > 120 && report.faults.len() > 15, "{report}");
}

#[test]
fn writes_without_a_token_are_found_made_small_told_kept_and_run_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let hunt = |fenced| simulation(fenced).regressions(folder.path()).seeds(0..400).run();
    let failed = hunt(false).expect_err("an old leader writes");
    let red = failed.red().expect("a seed is red");
    assert_eq!(red.invariant(), Some("each-is-the-next"));
    assert!(red.after.clients <= 2 && red.after.faults <= 2, "{failed}");
    let words = failed.to_string();
    assert!(words.ends_with(&format!("TENURE_SEED={} cargo test numbers", red.seed)), "{words}");
    assert!(words.contains("was written after") && words.contains("is worker-"), "{words}");
    assert_eq!(format!("{failed:?}"), words, "a test that returns it shows it as people read it");
    let page = std::fs::read_to_string(red.page().expect("drawn")).expect("readable");
    assert!(page.contains("each-is-the-next") && page.contains("Wrote"));
    let capsule = red.capsule().expect("kept").to_owned();

    let again = hunt(false).expect_err("it is still there");
    assert!(again.red().is_some_and(|red| red.known && red.capsule() == Some(&capsule)), "{again}");
    let mended = simulation(true).regressions(folder.path()).seeds(0..20).run().expect("mended");
    assert_eq!(mended.regressions, 1);
    refuses_what_does_not_fit(folder.path(), &capsule);
}

/// A kept failure that cannot be run is bad input, with its place.
fn refuses_what_does_not_fit(folder: &Path, capsule: &Path) {
    let text = std::fs::read_to_string(capsule).expect("readable");
    let words_of = |text: &str| {
        std::fs::write(capsule, text).expect("written");
        let failed = simulation(true).regressions(folder).seeds(0..1).run().expect_err("refused");
        assert!(matches!(failed, Failed::BadInput(_)), "{failed}");
        failed.to_string()
    };
    let words = words_of(&text.replace(r#""role": "worker""#, r#""role": "clerk""#));
    assert!(words.contains("clerk") && words.contains("worker"), "{words}");
    let words = words_of(&text[..text.len() / 2]);
    assert!(words.contains(&format!("{}:", capsule.display())) && words.contains("cut off"), "{words}");
}

#[test]
fn a_client_that_no_seed_decides_is_told_as_such() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let failed = Simulation::builder()
        .client("worker", |context| async move {
            context.record(RUNS.fetch_add(1, Ordering::Relaxed));
        })
        .without_regressions()
        .seeds(0..3)
        .run()
        .expect_err("a static counts the runs");
    assert!(matches!(failed, Failed::NotDeterministic { seed: 0, .. }), "{failed}");
    assert!(failed.to_string().contains("worker-1"), "{failed}");
}

#[test]
fn clocks_and_chance_are_of_the_simulation() {
    let of_seed = |seed: u64| {
        let folder = tempfile::tempdir().expect("a folder");
        let failed = Simulation::builder()
            .client("worker", |context| async move {
                context.sleep(Duration::from_millis(context.random(1, 1_000))).await;
                #[allow(
                    clippy::disallowed_methods,
                    clippy::disallowed_types,
                    reason = "it is the simulated clock"
                )]
                let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later");
                context.record((context.now(), wall, context.random(0, u64::MAX)));
            })
            .faults(Faults::none())
            .always("never", |run| Err(run.at_end(format!("{:?}", run.history().hash()))))
            .regressions(folder.path())
            .seeds(seed..seed + 1)
            .run()
            .expect_err("red on purpose");
        failed.to_string().lines().next().expect("a line").to_owned()
    };
    assert_eq!(of_seed(7), of_seed(7));
    assert_ne!(of_seed(7), of_seed(8).replace("seed 8", "seed 7"));
}

#[test]
fn a_panic_is_a_failure_with_its_words_and_tokios_own_timers_are_told_what_to_use() {
    let panics = |failed: Failed| match failed.red().map(|red| red.verdict.clone()) {
        Some(Verdict::Panic { message }) => message,
        other => panic!("{other:?}"),
    };
    let of = || Simulation::builder().without_regressions().seeds(0..2).shrink_limit(Duration::from_secs(1));
    let failed = of()
        .client("worker", |context| async move { assert_eq!(context.life(), 7, "the life is wrong") })
        .run()
        .expect_err("it asserts what is not so");
    assert!(panics(failed).contains("the life is wrong"));
    #[allow(clippy::disallowed_methods, reason = "what is not to be done")]
    let failed = of()
        .client("worker", |_| async move { tokio::time::sleep(TTL).await })
        .run()
        .expect_err("no runtime of tokio's is there");
    assert!(panics(failed).contains("Context::sleep"));
}

#[derive(Debug)]
struct Began {
    life: u32,
}

#[test]
fn a_client_that_ends_with_an_error_is_started_again_and_one_that_ends_well_is_not() {
    let report = Simulation::builder()
        .clients("failing", 1, |context| async move {
            context.record(Began { life: context.life() });
            if context.life() < 3 { Err("not yet") } else { Ok(()) }
        })
        .client("done", |context| async move {
            assert_eq!(context.life(), 1, "it ended well");
        })
        .faults(Faults::none())
        .always("three-lives", |run| {
            let lives: Vec<_> =
                run.events::<Began>().map(|told| (told.event.life, told.at.as_secs())).collect();
            if lives == [(1, 0), (2, 1), (3, 2)] { Ok(()) } else { Err(run.at_end(format!("{lives:?}"))) }
        })
        .without_regressions()
        .seeds(0..2)
        .run();
    report.expect("green");
}

#[derive(Debug)]
struct Arrived;

#[test]
fn what_was_sent_arrives_after_its_sender_crashed_and_what_is_dead_sends_nothing() {
    let report = Simulation::builder()
        .client("sender", |context| async move {
            drop(context.deliver(Duration::from_secs(30), |outside| outside.record(Arrived)));
            context.sleep(Duration::from_secs(20)).await;
            // Only who was not killed meanwhile comes here.
            context.record("lived");
            std::future::pending::<()>().await;
        })
        .faults(Faults::only(["client-crash"]))
        .always("as-many-arrivals-as-lives", |run| {
            let sent = run.history().steps.iter().filter(|at| at.what == tenure_sim::history::What::Started);
            let sent = sent.filter(|at| at.node == tenure_sim::node::Node::Client(0));
            let in_time = sent.filter(|at| {
                at.at_ns + 30_000_000_000 <= run.history().steps.last().map_or(0, |last| last.at_ns)
            });
            let (sent, arrived) = (in_time.count(), run.events::<Arrived>().count());
            if sent == arrived { Ok(()) } else { Err(run.at_end(format!("{sent} sent, {arrived} arrived"))) }
        })
        .sometimes("a sender died before its message arrived", |run| {
            run.events::<Arrived>().count() > run.events::<&str>().count()
        })
        .without_regressions()
        .seeds(0..100)
        .run();
    report.expect("green");
}

/// A session that allows for no drift of its clock: it believes for too long if that is slow.
async fn careless(context: Context) -> Result<(), tenure::Error> {
    loop {
        let session =
            Session::builder(&context.etcd()).ttl(Duration::from_secs(300)).drift_bound_ppm(0).open().await?;
        let guard = Lock::new(&session, "lock")?.lock().await?;
        let _told = context.holds(&guard);
        guard.lost().await;
    }
}

#[test]
fn the_librarys_own_invariants_judge_what_clients_tell_that_they_hold() {
    let long = Faults::only(["partition"])
        .every(Duration::from_secs(700), Duration::from_secs(900))
        .lasting(Duration::from_secs(400), Duration::from_secs(600));
    let failed = Simulation::builder()
        .clients("careless", 2, careless)
        .faults(long)
        .duration(Duration::from_secs(3_500))
        .calm(Duration::from_secs(100))
        .without_regressions()
        .seeds(0..300)
        .shrink_limit(Duration::ZERO)
        .run()
        .expect_err("two believe");
    assert_eq!(failed.red().and_then(|red| red.invariant()), Some("mutual-exclusion"), "{failed}");
}

#[test]
fn a_green_that_says_nothing_is_none() {
    let silent = || {
        Simulation::builder()
            .client("worker", |_| async {})
            .faults(Faults::none())
            .duration(Duration::from_secs(2))
            .calm(Duration::from_secs(1))
            .without_regressions()
            .seeds(0..100)
    };
    silent().run().expect("nothing is asked of it");
    let failed = silent().always("something", |_| Ok(())).run().expect_err("it judged nothing");
    assert!(matches!(failed, Failed::Vacuous(_)), "{failed}");
    let failed = silent().sometimes("a worker spoke", |_| false).run().expect_err("it never did");
    assert!(failed.to_string().contains("a worker spoke"), "{failed}");
}

#[test]
fn what_cannot_be_is_refused_in_one_line_with_what_can() {
    let one = || Simulation::builder().without_regressions().client("worker", |_| async {});
    for (wrong, part) in [
        (Simulation::builder().without_regressions(), "clients: there is none"),
        (one().members(2), "1, 3 or 5"),
        (one().version("2.3"), "version: "),
        (one().client("worker", |_| async {}), "twice"),
        (one().client("a/b", |_| async {}), "letters"),
        (one().clients_between("more", 3, 2, |_| async {}), "1 to 200"),
        (one().faults(Faults::only(["earthquake"])), "member-crash"),
        (one().faults(Faults::swarm().weight("partition", -1.0)), "weight"),
        (one().duration(Duration::from_millis(1_500)), "whole seconds"),
        (one().calm(Duration::from_secs(100)), "duration_s"),
        (one().seeds(7..7), "seeds"),
    ] {
        let failed = wrong.run().expect_err(part);
        let words = failed.to_string();
        assert!(matches!(failed, Failed::BadInput(_)) && words.contains(part), "{part}: {words}");
        assert!(!words.contains('\n'), "{words}");
    }
}
