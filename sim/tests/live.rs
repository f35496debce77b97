//! `tenure real`: a round on a real cluster, green with the library as it is, red with a bug planted.

#![cfg(unix)]

use std::process::{Command, Output};

/// Contention and a fault of each kind that can be done in a few seconds.
const SCENARIO: &str = r#"
about = "A short round"
invariants = ["mutual-exclusion", "fencing", "fifo", "no-residue", "floor"]
duration_s = 12
calm_s = 6
drain_s = 3
progress_s = 4

[clients]
count = 3
ttl_s = [1, 2]

[workload]
kind = "mutex"
names = 1
think_ms = [0, 50]
hold_ms = [5, 60]
write_ms = [1, 20]

[workload.operations]
lock = 10
lock-timeout = 2

[workload.endings]
release = 10

[faults]
gap_ms = [100, 600]
lasting_ms = [100, 1500]

[faults.weights]
client-crash = 2
client-pause = 2
leader-change = 2
compact = 1
one-way = 1
member-crash = 1
"#;

/// Plays the scenario from a folder of its own.
fn real(folder: &std::path::Path, args: &[&str]) -> Output {
    std::fs::write(folder.join("short.toml"), SCENARIO).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    command.args(["real", "short.toml", "--seeds", "5..6"]).args(args).current_dir(folder);
    command.output().expect("starts")
}

#[test]
fn a_round_on_a_real_cluster_is_green_and_a_planted_bug_is_red_there_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let green = real(folder.path(), &["--json"]);
    let text = String::from_utf8_lossy(&green.stdout);
    assert_eq!(green.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&green.stderr));
    let totals: serde_json::Value = serde_json::from_slice(&green.stdout).expect("JSON");
    let total = &totals[0];
    assert!(total["grants"].as_u64() > Some(10), "{total}");
    assert!(total["faults"].as_object().is_some_and(|faults| !faults.is_empty()), "{total}");
    assert_eq!(total["failed_seeds"], serde_json::json!([]));

    let red = real(folder.path(), &["--planted", "first-key-wins-late", "--capsules", "found"]);
    let text = String::from_utf8_lossy(&red.stdout);
    assert_eq!(red.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&red.stderr));
    assert!(text.contains("BROKEN: ") && text.contains("mutual-exclusion: "), "{text}");
    let page = folder.path().join("found/real-short-first-key-wins-late-5.html");
    assert!(std::fs::read_to_string(page).expect("the page").contains("mutual-exclusion"));
}

#[test]
fn what_cannot_be_played_is_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for (args, words) in [
        (["real", "etcd"].as_slice(), "its clients use etcd itself"),
        (["real", "mutex", "--etcd-version", "9.9"].as_slice(), "there are 3.4.45"),
        (["real", "no-such-scenario"].as_slice(), "no-such-scenario"),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tenure")).args(args).current_dir(folder.path()).output();
        let output = output.expect("starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(words) && error.lines().count() == 1, "{args:?}: {error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 0, "{args:?} left something");
    }
}
