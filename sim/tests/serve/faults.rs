//! Faults by seed: the same ones at the same simulated times, whoever connects.

use std::path::Path;
use std::time::Duration;

use tenure_sim::serve::{ServeOptions, planned};

use super::{client, serve, until};

const SEED: [&str; 6] = ["--members", "3", "--faults", "swarm", "--seed", "17"];
/// Two rounds of a minute.
const SPAN_MS: f64 = 120_000.0;

/// What was written of the first two minutes: time, begun or ended, and what.
fn logged(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a log");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines
        .take_while(|line| line["at_ms"].as_f64().expect("a time") < SPAN_MS)
        .map(|line| line.to_string())
        .collect()
}

/// Serves until two minutes of simulated time are over, with somebody who writes, or nobody.
async fn play(log: &Path, busy: bool) {
    let log = log.to_str().expect("a path");
    let flags = [&SEED[..], &["--speed", "60", "--log", log, "--control"]].concat();
    let serving = serve(&flags).await;
    let writer = busy.then(|| {
        let endpoints = serving.endpoints().to_vec();
        tokio::spawn(async move {
            loop {
                let connected = etcd_client::Client::connect(&endpoints, None).await;
                let Ok(mut client) = connected else { continue };
                for number in 0..20 {
                    let put = client.put("k", number.to_string(), None);
                    // What becomes of it is not the question here.
                    let _ = tokio::time::timeout(Duration::from_millis(50), put).await;
                }
            }
        })
    });
    let over = async || {
        let (_, state) = super::control(&serving, "/state", None).await;
        state["now_ms"].as_f64().expect("a time") > SPAN_MS
    };
    until("two simulated minutes", over).await;
    if let Some(writer) = writer {
        writer.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_plays_the_same_faults_at_the_same_simulated_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let (quiet, busy) = (folder.path().join("quiet"), folder.path().join("busy"));
    play(&quiet, false).await;
    play(&busy, true).await;
    let (quiet, busy) = (logged(&quiet), logged(&busy));
    assert!(quiet.len() > 20, "few faults: {quiet:?}");
    assert_eq!(quiet, busy);
}

/// What is printed is what is played: each fault begins at its printed time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_plan_is_what_is_played() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    play(&log, false).await;
    let times = |lines: Vec<String>| -> Vec<(u64, String)> {
        let read = lines.iter().map(|line| serde_json::from_str(line).expect("JSON"));
        let begins = read.filter_map(|line: serde_json::Value| {
            let fault = line.get("begins").or(line.get("fault"))?;
            Some((line["at_ms"].as_f64().expect("a time") as u64, fault.to_string()))
        });
        begins.collect()
    };
    let options = ServeOptions::of(SEED).expect("right flags");
    let planned = times(planned(&options, 2).expect("a plan"));
    assert_eq!(times(logged(&log)), planned);
}

#[test]
fn another_seed_or_round_brings_other_faults() {
    let plan = |seed: &str, rounds: u32| {
        let flags = ["--members", "3", "--faults", "default", "--seed", seed];
        planned(&ServeOptions::of(flags).expect("right flags"), rounds).expect("a plan")
    };
    assert_eq!(plan("1", 2), plan("1", 2));
    assert_ne!(plan("1", 1), plan("2", 1));
    let (one, two) = (plan("3", 1), plan("3", 2));
    assert_eq!(two[..one.len()], one[..], "the first round is the same however many are printed");
    assert!(two.len() > one.len());
}

#[test]
fn a_scenarios_faults_can_be_played_and_a_wrong_name_is_told() {
    let with = |faults: &str| planned(&ServeOptions::of(["--faults", faults]).expect("right flags"), 1);
    assert!(with("none").expect("a plan").is_empty());
    assert!((0..5).any(|seed| {
        let seed = seed.to_string();
        let flags = ["--members", "3", "--faults", "election", "--seed", &seed];
        !planned(&ServeOptions::of(flags).expect("right flags"), 1).expect("a plan").is_empty()
    }));
    let refused = with("everything").expect_err("there is none").to_string();
    assert!(refused.contains("no scenario is called \"everything\"") && !refused.contains('\n'), "{refused}");
}

/// The faults of the plan do happen: members go down, others lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_reach_the_members() {
    let flags = [&SEED[..], &["--speed", "60", "--control"]].concat();
    let serving = serve(&flags).await;
    let down = async || {
        let (_, state) = super::control(&serving, "/state", None).await;
        let members = state["members"].as_array().expect("members").clone();
        members.iter().any(|member| member["up"] == false || member["paused"] == true)
    };
    until("a member that is down or stands still", down).await;
    let later_term = async || {
        let (_, state) = super::control(&serving, "/state", None).await;
        state["members"][0]["term"].as_u64().is_some_and(|term| term > 2)
    };
    until("another leader", later_term).await;
    until("a write", async || {
        let put = async { client(&serving).await.put("a", "1", None).await };
        tokio::time::timeout(Duration::from_millis(200), put).await.is_ok_and(|put| put.is_ok())
    })
    .await;
}
