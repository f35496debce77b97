//! The certificate of a green campaign: what it says, that shards add up to it, and that a red campaign has none.

use std::path::Path;

use serde_json::Value;

use crate::{folder, tenure, text};

fn certificate(folder: &Path) -> Value {
    let written = std::fs::read(folder.join("certificate.json")).expect("written");
    serde_json::from_slice::<Value>(&written).expect("JSON")[0].clone()
}

#[test]
fn a_green_campaign_ends_with_what_it_stands_on_and_a_red_one_has_nothing() {
    let folder = folder();
    let green = ["run", "etcd", "--seeds", "6", "--certificate", "certificate.json"];
    let output = tenure(folder.path(), &green);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("not known how many planted bugs are killed"), "{out}");
    assert!(out.trim_end().ends_with("run etcd --seeds 0..6"), "{out}");
    let written = certificate(folder.path());
    for invariant in ["linearizable", "true-answers", "watch-guarantees", "lease-life", "progress"] {
        let check = &written["checks"][invariant];
        assert_eq!(check["seeds"], 6, "{invariant}");
        assert!(check["judged"].as_u64() > Some(0), "{invariant}: {check}");
    }
    assert_eq!(written["linearizable"]["judged"], written["checks"]["linearizable"]["judged"]);
    assert!(written["operations"]["put"]["answered"].as_u64() > Some(0), "{written}");
    assert!(written["faults"].as_object().is_some_and(|faults| !faults.is_empty()));
    assert!(written["marks"].as_array().is_some_and(|marks| marks.len() > 10));
    assert_eq!(written["planted_bugs"], Value::Null);
    let hunted = r#"{"version": "0.1.0", "killed": 3, "total": 4, "bugs": [], "canaries": []}"#;
    std::fs::write(folder.path().join("hunted.json"), hunted).expect("written");
    let args = [&green[..], &["--mutants", "hunted.json", "--json"]].concat();
    let document: Value = serde_json::from_slice(&tenure(folder.path(), &args).stdout).expect("JSON");
    assert_eq!(certificate(folder.path())["planted_bugs"]["killed"], 3);
    assert_eq!(document["campaigns"][0]["certificate"], certificate(folder.path()));
    let red = ["run", "mutex", "--seeds", "4", "--planted", "first-key-wins-late", "--most-capsules", "0"];
    let output = tenure(folder.path(), &[&red[..], &["--certificate", "certificate.json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(!folder.path().join("certificate.json").exists(), "an earlier one is taken away");
}

#[test]
fn the_shards_of_a_campaign_add_up_to_its_certificate() {
    let folder = folder();
    for (shard, file) in [("0/2", "a"), ("1/2", "b")] {
        let output = tenure(folder.path(), &["run", "etcd", "--seeds", "6", "--shard", shard, "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(document["campaigns"][0]["certificate"], Value::Null, "a shard alone has none");
        std::fs::write(folder.path().join(file), output.stdout).expect("written");
    }
    let to = ["--certificate", "certificate.json"];
    assert_eq!(tenure(folder.path(), &[&["merge", "b", "a"], &to[..]].concat()).status.code(), Some(0));
    let merged = certificate(folder.path());
    assert_eq!(
        tenure(folder.path(), &[&["run", "etcd", "--seeds", "6"], &to[..]].concat()).status.code(),
        Some(0)
    );
    assert_eq!(merged, certificate(folder.path()));
}

#[test]
fn a_hunt_that_is_none_and_a_folder_that_is_not_there_are_bad_input() {
    let folder = folder();
    std::fs::write(folder.path().join("cut.json"), "{\n \"version\": ").expect("written");
    for (flag, file, word) in
        [("--mutants", "cut.json", "cut.json:2:"), ("--certificate", "no/c.json", "no folder no")]
    {
        let output = tenure(folder.path(), &["run", "mutex", "--seeds", "1", flag, file]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.lines().count() == 1 && error.contains(word), "{error}");
        assert!(output.stdout.is_empty());
    }
}
