//! `etcdctl lock` on the same names, and case by case beside ours: docs/tenurectl.md has the table, and each row of it a test here,
//! of both programs. Skipped, and said so, where etcdctl is not installed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::ctl::{Look, Running, is_alive, own, program, shared, signal_to, state_of, tenurectl};

/// Whether it is.
pub fn etcdctl_is_there() -> bool {
    let there = std::process::Command::new("etcdctl").arg("version").output().is_ok();
    if !there {
        println!("skipped: etcdctl is not installed (Debian: apt-get install etcd-client)");
    }
    there
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Etcdctl,
    Tenurectl,
}
use Program::{Etcdctl, Tenurectl};

impl Program {
    /// The programs of this machine; none if there is nothing to compare with.
    fn both() -> Vec<Self> {
        if etcdctl_is_there() { vec![Etcdctl, Tenurectl] } else { Vec::new() }
    }

    /// `lock NAME -- sh -c SCRIPT`, or without a command if the script is empty.
    fn lock(self, endpoint: &str, name: &str, ttl: &str, script: &str) -> Command {
        let mut command = match self {
            Etcdctl => program("etcdctl"),
            Tenurectl => tenurectl(<[&str; 0]>::default()),
        };
        command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint, "lock", "--ttl", ttl, name]);
        if !script.is_empty() {
            command.args(["--", "sh", "-c", script]);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Its lock on a name of its own, and the first line that its command printed.
    fn holds(self, endpoint: &str, case: &str, ttl: &str, script: &str) -> (Running, String, String) {
        let name = format!("beside/{case}/{self:?}");
        let running = Running::of(self.lock(endpoint, &name, ttl, script));
        let line = running.line();
        (running, name, line)
    }
}

/// Prints the state of the command with this process id, as the next holder of a name.
fn next(endpoint: &str, name: &str, command: i32) -> Running {
    let waiter = Running::of(Tenurectl.lock(endpoint, name, "30", &state_of(command)));
    Look::into(endpoint).until_in_line(name, 2);
    waiter
}

/// The command runs on beside the next holder with etcdctl, and with ours it does not.
fn assert_state(program: Program, state: &str) {
    match program {
        Etcdctl => assert_eq!(state, "state:S", "with etcdctl the command runs on"),
        Tenurectl => {
            assert!(state == "state:" || state == "state:Z", "it runs beside the next holder: {state}")
        }
    }
}

#[test]
fn each_waits_for_the_other() {
    let server = shared();
    for first in Program::both() {
        let second = if first == Etcdctl { Tenurectl } else { Etcdctl };
        let (holder, name, _) = first.holds(&server.endpoint(), "wait", "10", "");
        let waiter = Running::of(second.lock(&server.endpoint(), &name, "10", "echo mine"));
        Look::into(&server.endpoint()).until_in_line(&name, 2);
        assert!(waiter.says_nothing_for(Duration::from_millis(300)), "{second:?} beside {first:?}");
        holder.signal(Signal::TERM);
        assert_eq!(waiter.line(), "mine");
        assert_eq!(waiter.end().code, Some(0));
    }
}

#[test]
fn the_exit_code_of_the_command() {
    let server = shared();
    for program in Program::both() {
        let codes = ["exit 7", "kill -KILL $$"].map(|script| {
            Running::of(program.lock(&server.endpoint(), "beside/code", "10", script)).end().code
        });
        match program {
            Etcdctl => assert_eq!(codes, [Some(1), Some(1)]),
            Tenurectl => assert_eq!(codes, [Some(7), Some(137)]),
        }
    }
}

#[test]
fn the_commands_input() {
    let server = shared();
    for program in Program::both() {
        let mut command = program.lock(&server.endpoint(), "beside/stdin", "10", "cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        // etcdctl may have ended without having read it.
        let _ = child.stdin.take().expect("piped").write_all(b"words");
        let output = child.wait_with_output().expect("it ends");
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(words, if program == Etcdctl { "" } else { "words" });
    }
}

#[test]
fn the_environment_that_a_command_for_etcdctl_looks_for() {
    let server = shared();
    for program in Program::both() {
        let running = Running::of(program.lock(
            &server.endpoint(),
            "beside/env",
            "10",
            "echo $ETCD_LOCK_KEY; echo $ETCD_LOCK_REV",
        ));
        assert!(running.line().starts_with("beside/env/"), "{program:?}");
        assert!(running.line().parse::<i64>().is_ok(), "{program:?}");
    }
}

#[test]
fn term_to_the_holder() {
    let server = shared();
    for program in Program::both() {
        let script = "trap 'echo told; exit 0' TERM; echo $$; sleep 0.4; sleep 0.4; echo done";
        let (running, ..) = program.holds(&server.endpoint(), "term", "10", script);
        running.signal(Signal::TERM);
        assert_eq!(running.line(), if program == Etcdctl { "done" } else { "told" });
    }
}

#[test]
fn term_to_who_waits() {
    let server = shared();
    for program in Program::both() {
        let (_holder, name, _) = program.holds(&server.endpoint(), "term-wait", "10", "");
        let waiter = Running::of(program.lock(&server.endpoint(), &name, "10", "true"));
        let look = Look::into(&server.endpoint());
        look.until_in_line(&name, 2);
        waiter.signal(Signal::TERM);
        assert_eq!(waiter.end().code, Some(if program == Etcdctl { 1 } else { 143 }));
        look.until_in_line(&name, 1);
    }
}

#[test]
fn term_to_a_holder_without_a_command() {
    let server = shared();
    for program in Program::both() {
        let (holder, name, key) = program.holds(&server.endpoint(), "bare", "10", "");
        assert!(key.starts_with(&format!("{name}/")));
        holder.signal(Signal::TERM);
        assert_eq!(holder.end().code, Some(0));
        Look::into(&server.endpoint()).until_in_line(&name, 0);
    }
}

#[test]
fn a_holder_that_is_killed() {
    let server = shared();
    for program in Program::both() {
        let (running, name, command) =
            program.holds(&server.endpoint(), "kill", "2", "echo $$; exec sleep 20");
        let command = command.parse().expect("a pid");
        let next = next(&server.endpoint(), &name, command);
        running.signal(Signal::KILL);
        assert_state(program, &next.line());
        if program == Etcdctl {
            signal_to(command, Signal::KILL);
        }
    }
}

#[test]
fn a_holder_that_stands_still_past_the_ttl() {
    let server = shared();
    for program in Program::both() {
        let (running, name, command) =
            program.holds(&server.endpoint(), "stop", "2", "echo $$; exec sleep 20");
        let command = command.parse().expect("a pid");
        let next = next(&server.endpoint(), &name, command);
        running.signal(Signal::STOP);
        assert_state(program, &next.line());
        running.signal(Signal::CONT);
        if program == Etcdctl {
            signal_to(command, Signal::KILL);
        }
        assert_eq!(running.end().code, Some(if program == Etcdctl { 1 } else { 123 }));
    }
}

#[test]
fn an_etcd_that_is_away_past_the_ttl() {
    for program in Program::both() {
        let server = own();
        let (running, _, command) = program.holds(&server.endpoint(), "away", "1", "echo $$; exec sleep 20");
        let command = command.parse().expect("a pid");
        server.pause();
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(is_alive(command), program == Etcdctl);
        if program == Etcdctl {
            signal_to(command, Signal::KILL);
            continue;
        }
        assert_eq!(running.end().code, Some(123));
    }
}

#[test]
fn a_key_that_somebody_deletes() {
    let server = shared();
    for program in Program::both() {
        let (running, name, _) =
            program.holds(&server.endpoint(), "deleted", "60", "echo $$; sleep 1; echo unaware");
        let look = Look::into(&server.endpoint());
        look.delete(&look.line(&name)[0].key);
        let ended = running.end();
        match program {
            Etcdctl => assert_eq!((ended.code, ended.out.as_str()), (Some(0), "unaware\n")),
            Tenurectl => assert_eq!((ended.code, ended.out.as_str()), (Some(123), "")),
        }
    }
}
