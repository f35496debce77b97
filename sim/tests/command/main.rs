//! The `tenure` command as a script sees it: exit codes, the one line for bad input, the last line of a red run, reports.

mod campaigns;
mod certificates;
mod coverage;
mod exploring;
mod shrinking;

use std::path::Path;
use std::process::{Command, Output};

fn tenure(folder: &Path, args: &[&str]) -> Output {
    tenure_with(folder, args).output().expect("starts")
}

/// The command, as if it were started by hand.
fn tenure_with(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    command.args(args).current_dir(folder);
    for variable in ["CARGO_MANIFEST_DIR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(variable);
    }
    command
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn bad_input_is_one_clear_line_exit_code_2_and_leaves_nothing_behind() {
    let folder = folder();
    let mutex = include_str!("../../../scenarios/mutex.toml");
    let two_members = mutex.replace("members = 3", "members = 2");
    let negative = mutex.replace("client-pause = 4", "client-pause = -1");
    let unknown_field = mutex.replace("heartbeat_ms", "heart_beat_ms");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).expect("made");
    for (name, content) in
        [("two.toml", &two_members), ("negative.toml", &negative), ("unknown.toml", &unknown_field)]
    {
        std::fs::write(files.join(name), content).expect("written");
    }
    let runs = folder.path().join("runs");
    std::fs::create_dir(&runs).expect("made");
    let cases: &[(&[&str], &[&str])] = &[
        (&["run", "no-such-scenario"], &["no-such-scenario", "mutex-unfenced"]),
        (&["run", "missing.toml"], &["missing.toml"]),
        (&["run", "../files/two.toml"], &["two.toml:", "cluster.members", "1, 3 or 5"]),
        (&["run", "../files/negative.toml"], &["negative.toml:", "faults.weights.client-pause", "-1"]),
        (&["run", "../files/unknown.toml"], &["unknown.toml:", "heart_beat_ms", "heartbeat_ms"]),
        (&["run", "mutex", "--planted", "nothing"], &["nothing", "unlock-by-name"]),
        (&["replay", "mutex"], &["--seed"]),
        (&["replay", "missing.json"], &["missing.json"]),
    ];
    for (args, words) in cases {
        let output = tenure(&runs, args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    for seeds in ["0", "5..5", "9..5", "x"] {
        let output = tenure(&runs, &["run", "mutex", "--seeds", seeds]);
        assert_eq!(output.status.code(), Some(2), "{seeds}");
        assert!(text(&output.stderr).contains(seeds), "{seeds}");
    }
    assert_eq!(std::fs::read_dir(&runs).expect("is there").count(), 0, "nothing is left behind");
}

#[test]
fn a_green_run_exits_0_and_says_green_without_colour() {
    let folder = folder();
    let output = tenure(folder.path(), &["run", "mutex", "--seeds", "3..9", "--jobs", "2"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("6 seeds, 3..9") && out.contains("green"), "{out}");
    assert!(!out.contains('\x1b') && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_red_run_exits_1_writes_capsules_and_ends_with_the_command_that_reproduces_it() {
    let folder = folder();
    let run = ["run", "mutex", "--seeds", "4", "--planted", "first-key-wins-late"];
    let output = tenure(folder.path(), &run);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    let last = out.lines().last().expect("lines");
    let replay = last.strip_prefix("tenure ").expect("the command");
    let words: Vec<_> = replay.split(' ').collect();
    let replayed = tenure(folder.path(), &words);
    let timeline = text(&replayed.stdout);
    assert_eq!(replayed.status.code(), Some(1), "{last}");
    assert!(timeline.contains(">>>>>> VIOLATION of mutual-exclusion"), "{last}");
    let again = tenure(folder.path(), &words);
    assert_eq!(again.stdout, replayed.stdout, "the same violation at the same step");
    assert!(replay.ends_with(".min.json"), "the small one: {replay}");
    assert!(timeline.contains("still fails: the same history as in the capsule"));
    let unshrunk = tenure(folder.path(), &[&run[..], &["--no-shrink"]].concat());
    let out = text(&unshrunk.stdout);
    let last = out.lines().last().expect("lines");
    assert!(
        last.starts_with("tenure replay mutex --seed ") && last.ends_with("first-key-wins-late"),
        "{last}"
    );
}

#[test]
fn a_run_that_would_never_end_is_ended_told_and_written_down() {
    let folder = folder();
    let args = ["run", "mutex", "--seeds", "4", "--planted", "appends-never-match", "--no-shrink"];
    let output = tenure(folder.path(), &args);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("ran away: ") && out.contains("an append from m"), "{out}");
    let capsule = std::fs::read_dir(folder.path().join("capsules"))
        .expect("written")
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "json"))
        .expect("a capsule");
    let replayed = tenure(folder.path(), &["replay", capsule.to_str().expect("text"), "--brief"]);
    let out = text(&replayed.stdout);
    assert_eq!(replayed.status.code(), Some(1), "{out}");
    assert!(out.contains("still fails: the same history as in the capsule"), "{out}");
}

#[test]
fn what_is_expected_to_fail_fails_as_expected_and_exits_0() {
    let folder = folder();
    let output = tenure(folder.path(), &["run", "mutex-unfenced", "--seeds", "60..90"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("failed as expected"), "{out}");
}

#[test]
fn json_and_junit_say_the_same() {
    let folder = folder();
    let args =
        ["run", "mutex", "--seeds", "4", "--planted", "first-key-wins-late", "--json", "--junit", "out.xml"];
    let output = tenure(folder.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(json["exit_code"], 1);
    let failures = json["campaigns"][0]["failures"].as_array().expect("a list");
    assert!(!failures.is_empty());
    assert!(failures[0]["reproduce"].as_str().expect("text").contains("replay mutex --seed"));
    let junit = std::fs::read_to_string(folder.path().join("out.xml")).expect("written");
    assert!(junit.contains("<testsuite") && junit.contains("mutual-exclusion"), "{junit}");
    assert!(junit.contains("<failure"), "{junit}");
}

#[test]
fn a_new_scenario_runs_as_it_is_is_never_overwritten_and_every_word_of_it_is_in_the_schema() {
    let folder = folder();
    let output = tenure(folder.path(), &["new", "my"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("tenure run my.toml"));
    let ran = tenure(folder.path(), &["run", "my.toml", "--seeds", "3"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stdout));
    let again = tenure(folder.path(), &["new", "my.toml"]);
    assert_eq!((again.status.code(), text(&again.stderr).lines().count()), (Some(2), 1));
    assert!(text(&again.stderr).contains("my.toml: it is there already"));
    let schema = text(&tenure(folder.path(), &["schema"]).stdout);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert!(schema["properties"]["cluster"].is_object() && schema["$defs"]["FaultSpec"].is_object());
}

#[test]
fn list_names_what_there_is() {
    let folder = folder();
    let out = text(&tenure(folder.path(), &["list"]).stdout);
    for word in [
        "mutex-unfenced",
        "mutual-exclusion",
        "deaf-to-expiry",
        "stale-reads",
        "watch-guarantees",
        "client-pause",
        "an unlock's answer",
    ] {
        assert!(out.contains(word), "{word} in {out}");
    }
}
