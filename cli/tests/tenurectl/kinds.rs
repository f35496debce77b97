//! Elections, read-write locks and semaphores.

use std::time::Duration;

use rustix::process::Signal;

use crate::ctl::{Look, run, shared, start};

#[test]
fn a_leader_tells_its_value_and_listeners_hear_of_each() {
    let server = shared();
    let leader = start(&server.endpoint(), ["elect", "kind/elect", "first value"]);
    let key = leader.line();
    assert_eq!(leader.line(), "first value");
    let listener = start(&server.endpoint(), ["elect", "--listen", "kind/elect"]);
    assert_eq!((listener.line(), listener.line()), (key, "first value".to_owned()));
    let next = start(
        &server.endpoint(),
        ["elect", "kind/elect", "second", "--", "sh", "-c", "echo leads; sleep 1; exit 3"],
    );
    assert!(next.says_nothing_for(Duration::from_millis(200)));
    leader.signal(Signal::TERM);
    assert_eq!(next.line(), "leads");
    listener.line();
    assert_eq!(listener.line(), "second");
    assert_eq!(next.end().code, Some(3));
    listener.signal(Signal::INT);
    assert_eq!(listener.end().code, Some(0));
}

#[test]
fn readers_share_and_a_waiting_writer_goes_before_new_readers() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let read = || start(&server.endpoint(), ["rwlock", "--read", "kind/rw"]);
    let (first, second) = (read(), read());
    assert!(first.line().starts_with("kind/rw/read/"));
    second.line();
    let writer = start(
        &server.endpoint(),
        ["rwlock", "--write", "kind/rw", "--", "sh", "-c", "echo writes; sleep 0.5"],
    );
    look.until_in_line("kind/rw", 3);
    let late = run(&server.endpoint(), ["rwlock", "-r", "kind/rw", "--try", "--", "true"]);
    assert_eq!(late.code, Some(124), "a reader before a waiting writer");
    first.signal(Signal::TERM);
    assert!(writer.says_nothing_for(Duration::from_millis(200)), "it writes beside a reader");
    second.signal(Signal::TERM);
    assert_eq!(writer.line(), "writes");
    assert_eq!(writer.end().code, Some(0));
    assert_eq!(run(&server.endpoint(), ["rwlock", "-r", "kind/rw", "--try", "--", "true"]).code, Some(0));
}

#[test]
fn of_a_sem_as_many_commands_run_as_it_has_permits() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let holders = [(); 2].map(|()| start(&server.endpoint(), ["sem", "-n", "2", "kind/sem"]));
    holders.iter().for_each(|holder| assert!(holder.line().starts_with("kind/sem/sem/2/")));
    let busy = run(&server.endpoint(), ["sem", "-n", "2", "kind/sem", "--try", "--", "true"]);
    assert_eq!(busy.code, Some(124));
    let late = run(&server.endpoint(), ["sem", "-n2", "kind/sem", "--wait", "0.2", "--", "true"]);
    assert_eq!(late.code, Some(124));
    let waiter =
        start(&server.endpoint(), ["sem", "-n", "2", "kind/sem", "--", "sh", "-c", "echo runs; exit 3"]);
    look.until_in_line("kind/sem", 3);
    assert!(waiter.says_nothing_for(Duration::from_millis(200)), "three at once");
    holders[1].signal(Signal::TERM);
    assert_eq!(waiter.line(), "runs");
    assert_eq!(waiter.end().code, Some(3));
    let differs = run(&server.endpoint(), ["sem", "-n", "3", "kind/sem", "--", "true"]);
    assert_eq!(differs.code, Some(125), "{}", differs.err);
    assert!(differs.err.contains("2 permits"), "{}", differs.err);
    let none = run(&server.endpoint(), ["sem", "-n", "0", "kind/sem", "--", "true"]);
    assert_eq!(none.code, Some(2));
}

#[test]
fn a_crash_frees_the_permit_within_the_ttl() {
    let server = shared();
    let crashing = start(&server.endpoint(), ["sem", "-n", "1", "kind/sem-crash", "--ttl", "2"]);
    crashing.line();
    crashing.signal(Signal::KILL);
    let next =
        run(&server.endpoint(), ["sem", "-n", "1", "kind/sem-crash", "--wait", "10", "--", "echo", "next"]);
    assert_eq!((next.code, next.out.as_str()), (Some(0), "next\n"));
}
