//! The lock is lost, or `tenurectl` cannot know: the command is dead before another's starts.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tenure::kv::Request;
use tenure_sim::real::{Cluster, ClusterOptions};

use crate::ctl::{Look, Running, guardian_of, is_alive, own, run, shared, signal_to, start, state_of, until};

/// Says that it was asked to end, and does.
const POLITE: &str = "trap 'echo term; exit 0' TERM; echo $$; while :; do sleep 0.02; done";
/// Does not care.
const STUBBORN: &str = "trap 'echo term' TERM; echo $$; while :; do sleep 0.02; done";

const LOST: Option<i32> = Some(123);

/// A holder with a command, by its shell script, and the command's process id.
fn holder(endpoints: &str, name: &str, ttl: &str, script: &str) -> (Running, i32) {
    let running = start(endpoints, ["lock", name, "--ttl", ttl, "--", "sh", "-c", script]);
    let command = running.line().parse().expect("a pid");
    (running, command)
}

/// A waiter that prints the state of the holder's command when its turn has come.
fn waiter(endpoints: &str, look: &Look, name: &str, command: i32) -> Running {
    let args = ["lock", name, "--ttl", "30", "--", "sh", "-c", &state_of(command)];
    let waiter = start(endpoints, args);
    look.until_in_line(name, 2);
    waiter
}

#[track_caller]
fn assert_dead(state: &str) {
    assert!(state == "state:" || state == "state:Z", "the command ran when the lock was another's: {state}");
}

#[test]
fn a_tenurectl_that_stands_still_past_its_ttl_has_no_command_when_another_starts() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let (running, command) = holder(&server.endpoint(), "loss/stop", "2", POLITE);
    let waiter = waiter(&server.endpoint(), &look, "loss/stop", command);
    running.signal(Signal::STOP);
    assert_eq!(running.line(), "term");
    assert_dead(&waiter.line());
    running.signal(Signal::CONT);
    let ended = running.end();
    assert_eq!(ended.code, LOST);
    assert!(ended.err.ends_with("tenurectl: the lock was lost\n"), "{}", ended.err);
}

#[test]
fn a_command_that_ignores_term_is_killed_before_another_starts() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let (running, command) = holder(&server.endpoint(), "loss/stubborn", "2", STUBBORN);
    let waiter = waiter(&server.endpoint(), &look, "loss/stubborn", command);
    running.signal(Signal::STOP);
    assert_eq!(running.line(), "term");
    assert_dead(&waiter.line());
    running.signal(Signal::CONT);
    assert_eq!(running.end().code, LOST);
}

#[test]
fn a_command_that_stands_still_is_ended_too() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let (running, command) = holder(&server.endpoint(), "loss/both-stop", "2", "echo $$; exec sleep 60");
    let waiter = waiter(&server.endpoint(), &look, "loss/both-stop", command);
    signal_to(command, Signal::STOP);
    running.signal(Signal::STOP);
    assert_dead(&waiter.line());
    running.signal(Signal::CONT);
    assert_eq!(running.end().code, LOST);
}

#[test]
fn the_whole_process_group_is_ended() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let script = "sleep 60 & echo $!; wait";
    let (running, grandchild) = holder(&server.endpoint(), "loss/group", "2", script);
    let waiter = waiter(&server.endpoint(), &look, "loss/group", grandchild);
    running.signal(Signal::STOP);
    assert_dead(&waiter.line());
    running.signal(Signal::CONT);
    assert_eq!(running.end().code, LOST);
}

#[test]
fn while_the_guardian_stands_still_tenurectl_kills() {
    let server = own();
    let (running, command) = holder(&server.endpoint(), "loss/no-guardian", "1", STUBBORN);
    let guardian = guardian_of(&running);
    signal_to(guardian, Signal::STOP);
    server.pause();
    until("the command is dead", || !is_alive(command));
    signal_to(guardian, Signal::CONT);
    assert_eq!(running.end().code, LOST);
}

#[test]
fn an_etcd_that_stands_still_past_the_ttl_costs_the_lock_and_the_command_before_the_deadline() {
    let server = own();
    let look = Look::into(&server.endpoint());
    let (running, command) = holder(&server.endpoint(), "loss/etcd", "2", STUBBORN);
    let waiter = waiter(&server.endpoint(), &look, "loss/etcd", command);
    server.pause();
    let paused = Instant::now();
    assert_eq!(running.line(), "term");
    until("the command is dead", || !is_alive(command));
    // The last renewal that etcd answered was sent before the pause.
    assert!(paused.elapsed() < Duration::from_secs(2), "it outlived its deadline: {:?}", paused.elapsed());
    let ended = running.end();
    assert_eq!(ended.code, LOST, "{ended:?}");
    server.resume();
    assert_dead(&waiter.line());
}

#[test]
fn the_grace_period_is_the_commands_to_clean_up() {
    let server = own();
    let script =
        "trap 'echo term; sleep 0.4; echo cleaned; exit 0' TERM; echo $$; while :; do sleep 0.02; done";
    let args = ["lock", "loss/grace", "--ttl", "3", "--grace", "1.5", "--", "sh", "-c", script];
    let running = start(&server.endpoint(), args);
    running.line();
    server.pause();
    assert_eq!(running.line(), "term");
    assert_eq!(running.line(), "cleaned");
    // However well it ended: what it was to do under the lock, it has not done.
    assert_eq!(running.end().code, LOST);
}

#[test]
fn an_etcd_that_restarts_within_the_ttl_costs_nothing() {
    let mut server = own();
    let args = ["lock", "loss/restart", "--ttl", "20", "--", "sh", "-c", "echo $$; sleep 2; exit 6"];
    let running = start(&server.endpoint(), args);
    running.line();
    server.restart().expect("etcd starts");
    assert_eq!(running.end().code, Some(6));
    assert_eq!(Look::into(&server.endpoint()).line("loss/restart"), []);
}

#[test]
fn without_a_majority_the_command_is_ended_and_with_one_again_the_next_has_its_turn() {
    let mut cluster = Cluster::start(&ClusterOptions::default()).expect("a cluster");
    let endpoints = cluster.endpoints().join(",");
    let (running, command) = holder(&endpoints, "loss/quorum", "2", POLITE);
    cluster.member_mut(1).kill();
    cluster.member_mut(2).kill();
    assert_eq!(running.line(), "term");
    assert_eq!(running.end().code, LOST);
    assert!(!is_alive(command));
    // Who comes meanwhile is told what is wrong.
    let ended = run(&endpoints, ["lock", "loss/quorum", "--connect-timeout", "1", "--", "true"]);
    assert_eq!(ended.code, Some(122), "{ended:?}");
    cluster.member_mut(1).restart_unhealthy().expect("it starts");
    cluster.member_mut(2).restart_unhealthy().expect("it starts");
    cluster.wait_healthy().expect("a cluster again");
    assert_eq!(run(&endpoints, ["lock", "loss/quorum", "--", "true"]).code, Some(0));
}

#[test]
fn a_leader_that_dies_costs_nothing() {
    let mut cluster = Cluster::start(&ClusterOptions::default()).expect("a cluster");
    let endpoints = cluster.endpoints().join(",");
    let leader = cluster.leader().expect("a leader");
    let args = ["lock", "loss/leader", "--ttl", "10", "--", "sh", "-c", "echo $$; sleep 2; exit 8"];
    let running = start(&endpoints, args);
    running.line();
    cluster.member_mut(leader).kill();
    assert_eq!(running.end().code, Some(8));
}

#[test]
fn a_key_that_somebody_deletes_ends_the_command_at_once() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let (running, _) = holder(&server.endpoint(), "loss/deleted", "60", POLITE);
    look.delete(&look.line("loss/deleted")[0].key);
    assert_eq!(running.line(), "term");
    assert_eq!(running.end().code, LOST);

    let bare = start(&server.endpoint(), ["lock", "loss/deleted", "--ttl", "60"]);
    bare.line();
    look.delete(&look.line("loss/deleted")[0].key);
    assert_eq!(bare.end().code, LOST);
}

#[test]
fn a_lease_that_somebody_revokes_ends_the_command_at_once() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let (running, _) = holder(&server.endpoint(), "loss/revoked", "60", POLITE);
    look.call(Request::LeaseRevoke { id: look.line("loss/revoked")[0].lease });
    assert_eq!(running.line(), "term");
    assert_eq!(running.end().code, LOST);
}

#[test]
fn a_session_that_is_lost_while_it_waits_gives_122() {
    let server = own();
    let first = start(&server.endpoint(), ["lock", "loss/waiting", "--ttl", "30"]);
    first.line();
    let look = Look::into(&server.endpoint());
    let waiter = start(&server.endpoint(), ["lock", "loss/waiting", "--ttl", "1", "--", "echo", "granted"]);
    look.until_in_line("loss/waiting", 2);
    server.pause();
    let ended = waiter.end();
    assert_eq!((ended.code, ended.out.as_str()), (Some(122), ""), "{ended:?}");
    assert!(ended.err.contains("the session with etcd was lost while waiting"), "{}", ended.err);
}
