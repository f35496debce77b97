//! Whether the simulated cluster behaves as a real one: one script, the same client and the same bands, computed from the
//! settings, for both. `cargo test -p tenure-sim --test cluster_bands -- --nocapture` prints the table; with
//! `TENURE_BANDS_DEFAULT=1` the real cluster is also tried with etcd's default settings, which takes some minutes, and with
//! `TENURE_BANDS_ETCD=3.5` both are of that line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "worlds and real processes are run from real threads")]
#![cfg(target_os = "linux")]

mod band;
mod cluster;
mod cut_off;
mod elections;
mod leases;
mod log;
mod real;
mod script;
mod simulated;
mod watches;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tenure_sim::cluster::Planted;
use tenure_sim::store::EtcdVersion;

use band::{Behaviour, Settings};
use elections::DEAF_BESIDE_SUCCESSOR;
use log::{Log, table};
use script::Rounds;

/// So many seeds each go through every script.
const SEEDS: std::ops::Range<u64> = 0..50;

const ONCE: Rounds = Rounds {
    failovers: 1,
    losses: 1,
    cuts: 1,
    long_cuts: 1,
    short_cuts: 1,
    orphans: 1,
    outlived: 3,
    leases: 1,
};

/// What the real cluster goes through.
const REAL: Rounds = Rounds {
    failovers: 6,
    losses: 5,
    cuts: 5,
    long_cuts: 1,
    short_cuts: 4,
    orphans: 3,
    outlived: 2,
    leases: 2,
};

/// What it goes through with etcd's default settings, five times as slow.
const REAL_SLOW: Rounds = Rounds {
    failovers: 3,
    losses: 3,
    cuts: 3,
    long_cuts: 1,
    short_cuts: 3,
    orphans: 2,
    outlived: 2,
    leases: 2,
};

/// Real clusters are not to wait for a core that simulated ones have.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong with what a cluster showed.
fn faults(of: &str, log: &Log, settings: Settings, late: log::Late) -> Vec<String> {
    let wrong = log.wrong.iter().cloned().chain(log.out_of_band(settings, late));
    wrong.map(|wrong| format!("{of}: {wrong}")).collect()
}

/// What a real cluster shows and no simulated one does.
fn surprises(simulated: &Log, real: &Log) -> Vec<String> {
    let untried = simulated.took_ms.keys().filter(|behaviour| !real.took_ms.contains_key(behaviour));
    let untried = untried.map(|behaviour| format!("real: {behaviour}: not seen once"));
    // On a slow machine whoever is asked may know already that it has no leader.
    let late = |answer: &str| answer.ends_with("etcdserver: no leader");
    let answers = real.answers.keys().filter(|answer| !simulated.answers.contains_key(*answer));
    let answers = answers.filter(|answer| !late(answer));
    untried.chain(answers.map(|answer| format!("no simulated cluster does so: {answer}"))).collect()
}

#[test]
fn the_simulated_and_the_real_cluster_keep_to_the_same_bands() {
    let _alone = alone();
    let version: EtcdVersion = match std::env::var("TENURE_BANDS_ETCD") {
        Ok(named) => named.parse().expect("a version"),
        Err(_) => EtcdVersion::default(),
    };
    let mut wrong = Vec::new();
    for slow in [false, true] {
        let settings = if slow { Settings::DEFAULT } else { Settings::QUICK };
        let settings = Settings { pre_vote: version.pre_vote_default(), ..settings };
        let simulated = simulated::run_seeds(SEEDS, settings, version, None, ONCE);
        wrong.extend(faults("simulated", &simulated, settings, simulated::late(settings)));
        if simulated.counts.contains_key(DEAF_BESIDE_SUCCESSOR) {
            wrong.push(format!("simulated: {DEAF_BESIDE_SUCCESSOR}"));
        }
        if slow && std::env::var_os("TENURE_BANDS_DEFAULT").is_none() {
            println!("{}", table(settings, &simulated, &Log::default()));
            continue;
        }
        let real = real::run(settings, version, if slow { REAL_SLOW } else { REAL });
        println!("{}", table(settings, &simulated, &real));
        wrong.extend(faults("real", &real, settings, real::LATE));
        wrong.extend(surprises(&simulated, &real));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_shortest_lease_follows_from_the_election_timeout() {
    let _alone = alone();
    for settings in [Settings::QUICK, Settings::DEFAULT] {
        assert_eq!(real::granted_ttl_s(settings), settings.min_ttl_s().cast_signed(), "{settings}");
    }
}

/// What the bands and the scripts find wrong with some simulated clusters, judged by the bands of `judged_by`.
fn found(settings: Settings, planted: Option<Planted>, rounds: Rounds, judged_by: Settings) -> Vec<String> {
    let _alone = alone();
    let log = simulated::run_seeds(0..6, settings, EtcdVersion::default(), planted, rounds);
    faults("", &log, judged_by, simulated::late(judged_by))
}

#[test]
fn a_cluster_of_other_settings_is_out_of_every_band_of_elections() {
    let rounds = Rounds { failovers: 1, losses: 1, cuts: 1, ..Rounds::default() };
    for (settings, judged_by) in [(Settings::QUICK, Settings::DEFAULT), (Settings::DEFAULT, Settings::QUICK)]
    {
        let found = found(settings, None, rounds, judged_by);
        for behaviour in [
            Behaviour::LeaderAfterKill,
            Behaviour::LeaderAfterPause,
            Behaviour::LeaderAfterPartition,
            Behaviour::CutLeaderStepsDown,
            Behaviour::LeaderAfterDeaf,
            Behaviour::DeafLeaderStepsDown,
            Behaviour::LeaderAfterMute,
            Behaviour::MuteLeaderStepsDown,
            Behaviour::FollowerNotices,
            Behaviour::StreamEnds,
        ] {
            let words = behaviour.to_string();
            assert!(found.iter().any(|fault| fault.contains(&words)), "{settings}: {words}: {found:?}");
        }
    }
}

#[test]
fn leases_that_die_early_are_out_of_their_bands() {
    let rounds = Rounds { orphans: 1, leases: 1, ..Rounds::default() };
    let found = found(Settings::QUICK, Some(Planted::LeaseDiesEarly), rounds, Settings::QUICK);
    for behaviour in [
        Behaviour::LeaseLives(1),
        Behaviour::LeaseLives(2),
        Behaviour::LeaseLives(3),
        Behaviour::LeaseOrphaned,
        Behaviour::LeaseUnderNewLeader,
    ] {
        let words = behaviour.to_string();
        assert!(found.iter().any(|fault| fault.contains(&words)), "{words}: {found:?}");
    }
}

#[test]
fn a_cut_off_member_that_answers_linearizable_reads_is_found_out() {
    let rounds = Rounds { cuts: 1, ..Rounds::default() };
    let found = found(Settings::QUICK, Some(Planted::StaleReads), rounds, Settings::QUICK);
    assert!(found.iter().any(|fault| fault.contains("answered a read")), "{found:?}");
}

#[test]
fn a_watch_that_loses_what_it_resumes_from_is_found_out() {
    let rounds = Rounds { failovers: 1, ..Rounds::default() };
    let found = found(Settings::QUICK, Some(Planted::WatchSkipsAtResume), rounds, Settings::QUICK);
    assert!(found.iter().any(|fault| fault.contains("the resuming watch told")), "{found:?}");
}
