//! Campaigns over several machines, campaigns that end before their last seed, and what CI reads of them.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::{folder, tenure, tenure_with, text};

/// A campaign some of whose seeds fail, by a planted bug that shows itself soon.
const RED: [&str; 6] = ["run", "mutex", "--planted", "first-key-wins-late", "--most-capsules", "0"];

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// A document without what depends on the machine.
fn timeless(mut document: Value) -> Value {
    for campaign in document["campaigns"].as_array_mut().expect("a list") {
        for time in ["wall_s", "seeds_per_s", "jobs"] {
            assert!(campaign[time].take().is_number(), "{time}");
        }
    }
    document
}

fn shard(folder: &Path, shard: &str, file: &str, seeds: &str) -> Output {
    let args = [&RED[..], &["--seeds", seeds, "--shard", shard, "--json"]].concat();
    let output = tenure(folder, &args);
    std::fs::write(folder.join(file), &output.stdout).expect("written");
    output
}

#[test]
fn merged_shards_are_one_run_in_every_figure_but_time() {
    let folder = folder();
    for (which, file) in [("2/4", "c"), ("0/4", "a"), ("3/4", "d"), ("1/4", "b")] {
        shard(folder.path(), which, file, "10..40");
    }
    let one = tenure(folder.path(), &[&RED[..], &["--seeds", "10..40", "--json"]].concat());
    let merged = tenure(folder.path(), &["merge", "c", "a", "d", "b", "--json"]);
    assert_eq!(merged.status.code(), Some(1));
    assert_eq!(merged.status.code(), one.status.code());
    assert_eq!(timeless(document(&merged)), timeless(document(&one)));
    let summary = text(&tenure(folder.path(), &["merge", "a", "b", "c", "d"]).stdout);
    assert!(summary.contains("30 seeds, 10..40") && summary.contains("red"), "{summary}");
    assert!(summary.lines().last().is_some_and(|last| last.starts_with("tenure replay mutex --seed")));
}

#[test]
fn a_missing_a_doubled_and_a_foreign_shard_are_refused_in_one_line() {
    let folder = folder();
    shard(folder.path(), "0/2", "a", "4");
    shard(folder.path(), "1/2", "b", "4");
    shard(folder.path(), "1/2", "of-others", "6");
    let whole = tenure(folder.path(), &[&RED[..], &["--seeds", "4", "--json"]].concat());
    std::fs::write(folder.path().join("whole"), &whole.stdout).expect("written");
    std::fs::write(folder.path().join("cut-off"), &whole.stdout[..whole.stdout.len() / 2]).expect("written");
    let cases: &[(&[&str], &[&str])] = &[
        (&["a"], &["1/2", "mutex"]),
        (&["a", "b", "a"], &["a:", "0/2"]),
        (&["a", "of-others"], &["of-others:", "range of seeds"]),
        (&["whole"], &["whole:", "--shard"]),
        (&["a", "cut-off"], &["cut-off:", "run --json"]),
        (&["nowhere"], &["nowhere", "cannot be read"]),
    ];
    for (files, words) in cases {
        let output = tenure(folder.path(), &[&["merge"], *files].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{files:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{files:?}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{files:?}: {error}");
        assert!(output.stdout.is_empty(), "{files:?}");
    }
    for wrong in ["2/2", "1", "x/y"] {
        assert_eq!(
            tenure(folder.path(), &["run", "mutex", "--shard", wrong]).status.code(),
            Some(2),
            "{wrong}"
        );
    }
    let too_many = tenure(folder.path(), &["run", "mutex", "--seeds", "2", "--shard", "0/3"]);
    assert_eq!(too_many.status.code(), Some(2));
}

#[test]
fn a_budget_ends_a_campaign_after_a_row_of_seeds_and_a_failure_does_if_asked() {
    let folder = folder();
    let output = tenure(folder.path(), &["run", "mutex", "--seeds", "1000000", "--budget", "1ms", "--json"]);
    let campaign = &document(&output)["campaigns"][0];
    assert_eq!((output.status.code(), &campaign["stopped"]), (Some(0), &Value::from("budget")));
    assert!(campaign["done"].as_u64().is_some_and(|done| (1..1000).contains(&done)), "{}", campaign["done"]);
    let output =
        tenure(folder.path(), &[&RED[..], &["--seeds", "1000000", "--fail-fast", "--json"]].concat());
    let campaign = &document(&output)["campaigns"][0];
    assert_eq!((output.status.code(), &campaign["stopped"]), (Some(1), &Value::from("fail-fast")));
    assert!(!campaign["failures"].as_array().expect("a list").is_empty());
}

#[test]
#[cfg(unix)]
fn ctrl_c_and_sigterm_end_a_campaign_with_all_that_was_found_even_if_they_come_twice() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = folder();
        let args = ["run", "mutex", "--planted", "first-key-wins-late", "--seeds", "100000"];
        let child = tenure_with(folder.path(), &args)
            .args(["--json", "--junit", "out.xml"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("starts");
        // A capsule shows that it runs and has found something.
        let capsules = folder.path().join("capsules");
        let found = || {
            std::fs::read_dir(&capsules).is_ok_and(|mut files| {
                files.any(|file| file.is_ok_and(|file| file.path().extension().is_some_and(|e| e == "json")))
            })
        };
        while !found() {
            std::thread::yield_now();
        }
        let id = Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("not 0");
        // As `timeout` does it: once to its child, once to their process group.
        kill_process(id, signal).expect("it runs");
        kill_process(id, signal).expect("it runs");
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(code));
        let document = document(&output);
        let campaign = &document["campaigns"][0];
        assert_eq!((&document["exit_code"], &campaign["exit_code"]), (&code.into(), &code.into()));
        assert!(!campaign["failures"].as_array().expect("a list").is_empty());
        assert!(campaign["done"].as_u64().is_some_and(|done| (1..100_000).contains(&done)));
        let junit = std::fs::read_to_string(folder.path().join("out.xml")).expect("written");
        assert!(junit.contains("<failure"), "{junit}");
    }
}

#[test]
fn github_is_given_annotations_and_a_summary_where_the_environment_asks_for_them() {
    let folder = folder();
    let page = folder.path().join("summary.md");
    let output = tenure_with(folder.path(), &[&RED[..], &["--seeds", "4"]].concat())
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &page)
        .output()
        .expect("runs");
    let annotations = text(&output.stderr);
    assert!(annotations.lines().any(|line| line.starts_with("::error title=mutex%3A mutual-exclusion in")));
    let page = std::fs::read_to_string(page).expect("written");
    assert!(page.contains("mutual-exclusion") && page.contains("replay mutex --seed"), "{page}");
    assert!(!text(&output.stdout).contains("::error"));
}

#[test]
fn a_red_run_of_many_seeds_tells_kinds_and_three_examples_of_each() {
    let folder = folder();
    let out = text(&tenure(folder.path(), &[&RED[..], &["--seeds", "40"]].concat()).stdout);
    let kinds = out.lines().filter(|line| line.ends_with("seeds of one kind:")).count();
    let examples = out.lines().filter(|line| line.trim_start().starts_with("seed ")).count();
    assert!(kinds >= 1 && out.contains("seeds more of this kind"), "{out}");
    let failed = out.lines().find(|line| line.contains("verdict")).expect("a verdict");
    assert!(examples < 40 && failed.contains("red"), "{out}");
}
