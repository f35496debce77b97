//! Capsules as their user sees them: what is made smaller, what a replay says of them, and which are refused.

use std::path::{Path, PathBuf};

use crate::{folder, tenure, text};

/// The capsule of a failure that a planted bug makes.
fn capsule(folder: &Path) -> PathBuf {
    let args = ["run", "mutex", "--seeds", "0..1", "--planted", "first-key-wins-late", "--no-shrink"];
    assert_eq!(tenure(folder, &args).status.code(), Some(1));
    folder.join("capsules/mutex-first-key-wins-late-0.json")
}

/// Another file with the same capsule, changed.
fn changed(folder: &Path, capsule: &Path, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let text = std::fs::read_to_string(capsule).expect("there");
    let mut tree = serde_json::from_str(&text).expect("JSON");
    change(&mut tree);
    let text = serde_json::to_string_pretty(&tree).expect("JSON");
    std::fs::write(folder.join("changed.json"), text).expect("written");
    "changed.json".to_owned()
}

#[test]
fn a_failure_is_shrunk_to_what_it_needs_the_same_with_any_number_of_jobs_and_explains_itself() {
    let folder = folder();
    let capsule = capsule(folder.path());
    let capsule = capsule.to_str().expect("text");
    for (jobs, output) in [("1", "one.json"), ("2", "two.json")] {
        let shrunk =
            tenure(folder.path(), &["shrink", capsule, "-o", output, "--jobs", jobs, "--limit", "10m"]);
        let out = text(&shrunk.stdout);
        assert_eq!(shrunk.status.code(), Some(0), "{}", text(&shrunk.stderr));
        assert!(out.contains("nothing more can be left out"), "{out}");
        assert!(out.contains("to        3 clients, 0 faults"), "three are needed, and no fault: {out}");
        assert!(out.ends_with(&format!("tenure replay {output}\n")), "{out}");
    }
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("written");
    assert_eq!(read("one.json"), read("two.json"));
    let replayed = tenure(folder.path(), &["replay", "one.json", "--brief"]);
    let out = text(&replayed.stdout);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(out.starts_with("what happened\n  at "), "{out}");
    assert!(out.contains("mutual-exclusion broke: ") && out.contains("still believed"), "{out}");
    assert!(out.contains("still fails: the same history as in the capsule"), "{out}");
    assert!(out.lines().count() <= 50, "{} lines", out.lines().count());
}

#[test]
fn what_cannot_be_shrunk_is_one_clear_line_and_writes_nothing() {
    let folder = folder();
    let capsule = capsule(folder.path());
    let green =
        changed(folder.path(), &capsule, |tree| tree["verdict"] = serde_json::json!({"outcome": "green"}));
    let refused = |file: &str, words: &str| {
        let output = tenure(folder.path(), &["shrink", file]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.lines().count() == 1 && error.contains(words), "{error}");
        assert!(!folder.path().join("changed.min.json").exists());
    };
    refused(&green, "changed.json: the capsule is green");
    refused(
        &changed(folder.path(), &capsule, |tree| tree["planted"] = serde_json::Value::Null),
        "does not fail any more as it says",
    );
}

#[test]
fn a_replay_says_still_fails_fixed_or_fails_differently_and_where_the_history_diverged() {
    let folder = folder();
    let capsule = capsule(folder.path());
    let replay = |file: &str| {
        let output = tenure(folder.path(), &["replay", file, "--brief"]);
        let out = text(&output.stdout);
        (output.status.code(), out.lines().last().expect("lines").to_owned())
    };
    let (code, last) = replay(capsule.to_str().expect("text"));
    assert_eq!((code, last.as_str()), (Some(1), "still fails: the same history as in the capsule"));
    let diverged = changed(folder.path(), &capsule, |tree| {
        let trail = tree["trail"].as_str().expect("text").to_owned();
        let other = if &trail[40..44] == "0000" { "ffff" } else { "0000" };
        tree["trail"] = format!("{}{other}{}", &trail[..40], &trail[44..]).into();
        tree["hash"] = "0000000000000000".into();
    });
    let (code, last) = replay(&diverged);
    assert_eq!(
        (code, last.as_str()),
        (Some(1), "still fails: its history diverged from the capsule's at step 10")
    );
    let fixed = changed(folder.path(), &capsule, |tree| tree["planted"] = serde_json::Value::Null);
    let (code, last) = replay(&fixed);
    assert!(code == Some(0) && last.starts_with("fixed: its history diverged"), "{code:?} {last}");
    let other = changed(folder.path(), &capsule, |tree| {
        for violation in tree["verdict"]["violations"].as_array_mut().expect("a list") {
            violation["detail"] = "something else".into();
        }
    });
    let (code, last) = replay(&other);
    assert!(code == Some(5) && last.starts_with("fails differently"), "{code:?} {last}");
}

#[test]
fn a_capsule_that_cannot_be_read_is_told_with_file_line_and_column() {
    let folder = folder();
    let capsule = capsule(folder.path());
    let refused = |file: &str, words: &[&str]| {
        for command in ["replay", "shrink"] {
            let output = tenure(folder.path(), &[command, file]);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.lines().count() == 1 && words.iter().all(|word| error.contains(word)), "{error}");
            assert!(output.stdout.is_empty());
        }
    };
    let form = changed(folder.path(), &capsule, |tree| tree["form"] = 7.into());
    refused(&form, &["changed.json:", "a capsule of form 7; this release reads form 1"]);
    let field = changed(folder.path(), &capsule, |tree| tree["plan"]["faults"][0]["colour"] = "red".into());
    refused(&field, &["changed.json:", "unknown field `colour`"]);
    let invariant =
        changed(folder.path(), &capsule, |tree| tree["scenario"]["invariants"][0] = "luck".into());
    refused(&invariant, &["changed.json:", "unknown invariant \"luck\"", "mutual-exclusion"]);
    std::fs::write(folder.path().join("cut.json"), "{\n  \"form\": 1,\n  \"scen").expect("written");
    refused("cut.json", &["cut.json:3:7: the capsule is cut off here"]);
}
