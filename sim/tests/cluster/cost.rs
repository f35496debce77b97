//! What a simulated run costs. Not a check: `cargo test --release -p tenure-sim --test cluster cost -- --ignored --nocapture`
//! prints it.

use std::time::Duration;

use crate::world::*;
use tenure::{Mutex, Session};
use tenure_sim::cluster::{ClientConfig, ClientEnv, ClusterConfig};
use tenure_sim::fault::Lasting;
use tenure_sim::history::What;
use tenure_sim::streams::Streams;

/// A client that locks one of two names, holds it a while, and starts again; a lost session is opened anew.
async fn locks(env: ClientEnv) {
    let mut rng = Streams::new(u64::from(env.index) << 32 | u64::from(env.life)).stream("locks");
    loop {
        let opened = Session::builder(&env.etcd).ttl(5 * SECOND).open().await;
        let Ok(session) = opened else { continue };
        let mutex = Mutex::new(&session, "name").unwrap();
        while session.is_alive() {
            if let Ok(guard) = mutex.lock().await {
                env.record(What::Note("granted".to_owned()));
                pause(&env, &mut rng, 200).await;
                _ = guard.release().await;
            }
            pause(&env, &mut rng, 500).await;
        }
        _ = session.close().await;
    }
}

async fn pause(env: &ClientEnv, rng: &mut impl rand::Rng, max_ms: u64) {
    use rand::RngExt;
    let wait = Duration::from_millis(rng.random_range(1..max_ms));
    env.runtime.sleep_until(env.runtime.now() + wait).await;
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement of real time")]
fn measure(name: &str, faults: bool) {
    const RUNS: u32 = 200;
    let (mut steps, mut grants, mut events, mut calls) = (0, 0, 0, 0);
    let began = std::time::Instant::now();
    for seed in 0..u64::from(RUNS) {
        let (happened, history) = simulate(seed, ClusterConfig::default(), move |world| async move {
            for _ in 0..5 {
                world.add_client(ClientConfig::default(), program(locks));
            }
            let plan = if faults { draw_plan(seed, 3, 5) } else { Vec::new() };
            run_plan(&world, &plan, 60_000).await;
            world.calm(&Lasting::default());
            world.events_happened()
        });
        events += happened;
        steps += history.steps.len();
        calls += history.steps.iter().filter(|step| matches!(step.what, What::Sent { .. })).count();
        grants += history.steps.iter().filter(|step| matches!(step.what, What::Note(_))).count();
    }
    let run_us = began.elapsed().as_micros() / u128::from(RUNS);
    let per = |count: usize| count / RUNS as usize;
    println!(
        "{name}: {run_us} us a run, {} kB resident; {} grants, {} calls, {} steps, {} events a run; {:.2} us a call",
        resident_kb(),
        per(grants),
        per(calls),
        per(steps),
        events / u64::from(RUNS),
        run_us as f64 / per(calls) as f64,
    );
}

/// What this process holds in memory: it must not grow from run to run.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_run() {
    measure("60 s, 5 clients, no fault", false);
    for _ in 0..4 {
        measure("60 s, 5 clients, faults", true);
    }
}
