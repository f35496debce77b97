//! Elections and read-write locks.

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
