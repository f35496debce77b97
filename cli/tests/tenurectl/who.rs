//! `who`: holder, line, since when, time to live.

use rustix::process::Signal;

use crate::ctl::{Look, run, shared, start, until};

#[test]
fn a_free_name_is_free() {
    let server = shared();
    let ended = run(&server.endpoint(), ["who", "who/free"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "who/free: free\n"));
    let ended = run(&server.endpoint(), ["who", "who/free", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!((&answer["holders"], &answer["waiting"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn holder_and_line_are_told_with_process_token_lease_and_since_when() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let holder = start(&server.endpoint(), ["lock", "who/line", "--ttl", "30"]);
    holder.line();
    let waiter = start(&server.endpoint(), ["lock", "who/line", "--ttl", "40", "--", "true"]);
    look.until_in_line("who/line", 2);
    // What they say of themselves is written beside the line, a moment later.
    let mut answer = serde_json::Value::Null;
    until("both say who they are", || {
        let ended = run(&server.endpoint(), ["who", "who/line", "--json"]);
        answer = serde_json::from_str(&ended.out).expect("JSON");
        answer["holders"][0]["who"]["held_since_unix_ms"].is_u64() && answer["waiting"][0]["who"].is_object()
    });
    let line = look.line("who/line");
    let (held, waits) = (&answer["holders"][0], &answer["waiting"][0]);
    assert_eq!(held["who"]["pid"], holder.pid());
    assert_eq!(held["token"], line[0].create_revision);
    assert_eq!(held["lease"], format!("{:x}", line[0].lease));
    assert_eq!(held["ttl_s"], 30);
    assert!((1..=30).contains(&held["ttl_left_s"].as_i64().expect("a number")), "{held}");
    assert_eq!(waits["who"]["pid"], waiter.pid());
    assert_eq!(waits["ttl_s"], 40);
    let table = run(&server.endpoint(), ["who", "who/line"]).out;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[1].contains("TTL LEFT") && rows[1].contains("SINCE"), "{table}");
    assert!(rows[2].starts_with("holds") && rows[2].contains(&format!("pid {}", holder.pid())), "{table}");
    assert!(rows[3].starts_with("waits 1") && rows[3].contains("ago"), "{table}");
}

#[test]
fn of_a_read_write_lock_all_readers_hold_until_a_writer_waits() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let readers = [(); 2].map(|()| start(&server.endpoint(), ["rwlock", "-r", "who/rw"]));
    readers.iter().for_each(|reader| drop(reader.line()));
    let _writer = start(&server.endpoint(), ["rwlock", "-x", "who/rw"]);
    look.until_in_line("who/rw", 3);
    let ended = run(&server.endpoint(), ["who", "who/rw", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let sides = |list: &str| -> Vec<String> {
        let list = answer[list].as_array().expect("a list").iter();
        list.map(|contender| contender["side"].as_str().expect("a side").to_owned()).collect()
    };
    assert_eq!(sides("holders"), ["read", "read"]);
    assert_eq!(sides("waiting"), ["write"]);
}

#[test]
fn watch_tells_each_change_a_line_of_json_each() {
    let server = shared();
    let watching = start(&server.endpoint(), ["who", "who/watch", "--json", "--watch"]);
    let holders = |line: String| -> usize {
        let answer: serde_json::Value = serde_json::from_str(&line).expect("one document a line");
        answer["holders"].as_array().expect("a list").len()
    };
    assert_eq!(holders(watching.line()), 0);
    let holder = start(&server.endpoint(), ["lock", "who/watch"]);
    until("it is told that it is held", || holders(watching.line()) == 1);
    holder.signal(Signal::TERM);
    until("it is told that it is free", || holders(watching.line()) == 0);
    watching.signal(Signal::INT);
    assert_eq!(watching.end().code, Some(0));
}

#[test]
fn of_a_semaphore_as_many_hold_as_it_has_permits() {
    let server = shared();
    let look = Look::into(&server.endpoint());
    let _all = [(); 3].map(|()| start(&server.endpoint(), ["sem", "-n", "2", "who/sem"]));
    look.until_in_line("who/sem", 3);
    let ended = run(&server.endpoint(), ["who", "who/sem", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let count = |list: &str| answer[list].as_array().expect("a list").len();
    assert_eq!((count("holders"), count("waiting")), (2, 1));
    assert_eq!(answer["holders"][1]["permits"], 2);
    let table = run(&server.endpoint(), ["who", "who/sem"]).out;
    assert!(table.contains("holds (of 2)") && table.contains("waits 1 (of 2)"), "{table}");
}
