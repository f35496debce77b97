//! Signals to `tenurectl`, to its guardian and to the command.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::ctl::{
    Look, Running, guardian_of, is_alive, run, shared, signal_to, start, state, tenurectl, until,
};

/// Prints its process id, says which signal it was ended by, and takes a moment to end.
const TRAPS: &str = "trap 'echo term; sleep 0.3; echo cleaned; exit 5' TERM; trap 'echo int; exit 6' INT; \
                     echo $$; while :; do sleep 0.02; done";

#[test]
fn term_is_passed_on_and_the_lock_is_released_after_the_command_has_ended() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let running = start(&server.endpoint(), ["lock", "sig/term", "--", "sh", "-c", TRAPS]);
    running.line();
    running.signal(Signal::TERM);
    assert_eq!(running.line(), "term");
    assert_eq!(look.line("sig/term").len(), 1, "released while the command still runs");
    assert_eq!(running.line(), "cleaned");
    assert_eq!(running.end().code, Some(5));
    assert_eq!(look.all("sig/term"), []);
}

#[test]
fn int_is_passed_on_and_the_commands_code_is_its_own() {
    let server = shared();
    let running = start(&server.endpoint(), ["lock", "sig/int", "--", "sh", "-c", TRAPS]);
    running.line();
    running.signal(Signal::INT);
    assert_eq!(running.line(), "int");
    assert_eq!(running.end().code, Some(6));
}

#[test]
fn an_interrupt_that_ends_the_command_ends_tenurectl_by_the_same_signal() {
    let server = shared();
    let running =
        start(&server.endpoint(), ["lock", "sig/int-dies", "--", "sh", "-c", "echo $$; exec sleep 60"]);
    running.line();
    running.signal(Signal::INT);
    // So that the script around it ends, too.
    assert_eq!(running.end().signal, Some(2));
    assert_eq!(Look::into(&server.endpoint()).all("sig/int-dies"), []);
}

#[test]
fn a_signal_while_it_waits_withdraws_from_the_line() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let holder = start(&server.endpoint(), ["lock", "sig/wait"]);
    holder.line();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let waiter = start(&server.endpoint(), ["lock", "sig/wait", "--", "echo", "granted"]);
        look.until_in_line("sig/wait", 2);
        waiter.signal(signal);
        let ended = waiter.end();
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""));
        assert_eq!(look.line("sig/wait").len(), 1);
    }
}

#[test]
fn other_signals_are_passed_on_too() {
    let server = shared();
    let script =
        "trap 'echo usr1' USR1; trap 'echo hup; exit 0' HUP; echo ready; while :; do sleep 0.02; done";
    let running = start(&server.endpoint(), ["lock", "sig/others", "--", "sh", "-c", script]);
    running.line();
    running.signal(Signal::USR1);
    assert_eq!(running.line(), "usr1");
    running.signal(Signal::HUP);
    assert_eq!(running.line(), "hup");
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn what_was_ignored_stays_ignored() {
    let server = shared();
    let mut command = std::process::Command::new("nohup");
    let ctl = tenurectl(["lock", "sig/nohup", "--", "sh", "-c", "echo ready; sleep 0.5; echo survived"]);
    command.arg(ctl.get_program()).args(ctl.get_args()).env("TENURE_ENDPOINTS", server.endpoint());
    command.stdin(std::process::Stdio::null());
    let running = Running::of(command);
    assert_eq!(running.line(), "ready");
    running.signal(Signal::HUP);
    assert_eq!(running.line(), "survived");
    assert_eq!(running.end().code, Some(0));
}

#[test]
fn a_command_that_stands_still_keeps_the_lock_and_goes_on() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let running = start(
        &server.endpoint(),
        ["lock", "sig/stop", "--ttl", "1", "--", "sh", "-c", "echo $$; sleep 0.2; exit 3"],
    );
    let command: i32 = running.line().parse().expect("a pid");
    signal_to(command, Signal::STOP);
    let waiter = start(&server.endpoint(), ["lock", "sig/stop", "--", "echo", "granted"]);
    look.until_in_line("sig/stop", 2);
    assert!(waiter.says_nothing_for(Duration::from_millis(2500)), "granted beside the holder");
    signal_to(command, Signal::CONT);
    assert_eq!(running.end().code, Some(3));
    assert_eq!(waiter.line(), "granted");
}

#[test]
fn a_job_that_is_stopped_stops_and_goes_on_with_its_command() {
    let server = shared();
    let script = "trap 'exit 9' USR1; echo $$; while :; do sleep 0.02; done";
    let mut command = tenurectl(["lock", "sig/job", "--", "sh", "-c", script]);
    // A job of its own, as a shell would make it.
    command.env("TENURE_ENDPOINTS", server.endpoint()).process_group(0);
    let running = Running::of(command);
    let command = running.line().parse().expect("a pid");
    running.signal(Signal::TSTP);
    for pid in [running.pid(), command] {
        until("it stands still", || state(pid) == Some('T'));
    }
    running.signal(Signal::CONT);
    running.signal(Signal::USR1);
    assert_eq!(running.end().code, Some(9));
}

#[test]
fn a_killed_tenurectl_takes_the_command_along_before_the_lock_is_anothers() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let script = "trap 'echo term; exit' TERM; echo $$; while :; do sleep 0.02; done";
    let running = start(&server.endpoint(), ["lock", "sig/kill", "--ttl", "2", "--", "sh", "-c", script]);
    let command: i32 = running.line().parse().expect("a pid");
    let waiter =
        start(&server.endpoint(), ["lock", "sig/kill", "--", "sh", "-c", &crate::ctl::state_of(command)]);
    look.until_in_line("sig/kill", 2);
    running.signal(Signal::KILL);
    assert_eq!(running.line(), "term", "the guardian asks the command to end");
    let state = waiter.line();
    assert!(state == "state:" || state == "state:Z", "it ran when the lock was another's: {state}");
    assert_eq!(waiter.end().code, Some(0), "free when the lease has run out");
}

#[test]
fn a_killed_guardian_takes_the_command_along() {
    let server = shared();
    let running =
        start(&server.endpoint(), ["lock", "sig/guardian", "--", "sh", "-c", "echo $$; exec sleep 60"]);
    let command: i32 = running.line().parse().expect("a pid");
    signal_to(guardian_of(&running), Signal::KILL);
    let ended = running.end();
    assert_eq!(ended.code, Some(125), "{ended:?}");
    assert!(ended.err.contains("the guardian process is gone"), "{}", ended.err);
    until("the command is dead", || !is_alive(command));
    assert_eq!(run(&server.endpoint(), ["lock", "sig/guardian", "--try", "--", "true"]).code, Some(0));
}

#[test]
fn the_guardian_lives_on_after_every_signal_but_kill_and_stop() {
    let server = shared();
    let running = start(&server.endpoint(), ["lock", "sig/deaf", "--", "sh", "-c", "echo $$; exec sleep 60"]);
    let command: i32 = running.line().parse().expect("a pid");
    let guardian = guardian_of(&running);
    for signal in
        [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::TSTP, Signal::ALARM]
    {
        signal_to(guardian, signal);
    }
    assert!(is_alive(command) && is_alive(guardian));
    signal_to(command, Signal::TERM);
    assert_eq!(running.end().code, Some(143));
}
