//! Coverage marks at any size of a campaign: what a miss, a mark that is hardly hit any more, and one that cannot be judged come to.

use std::path::Path;

use serde_json::Value;

use crate::{folder, tenure, text};

const REMOVED: &str = "a member was removed and ended";
const LEADER: &str = "the leader changed while a lock was held";

/// A scenario in which no member is ever removed, with marks and rates of its own: in so many of 2,000 seeds each.
fn scenario(folder: &Path, rates: &[(&str, u64)]) {
    let mutex = include_str!("../../../scenarios/mutex.toml");
    let (before, after) = mutex.split_once("coverage = [").expect("a list");
    let (_, after) = after.split_once(']').expect("its end");
    let marks: Vec<_> = rates.iter().map(|(mark, _)| format!("{mark:?}")).collect();
    let own = format!("{before}coverage = [{}]{after}", marks.join(", "));
    // A member that was added is removed in the end.
    let own =
        own.replace("member-remove = 1", "member-remove = 0").replace("member-add = 1", "member-add = 0");
    std::fs::write(folder.join("own.toml"), own).expect("written");
    std::fs::create_dir_all(folder.join("rates")).expect("made");
    let hits: String = rates.iter().map(|(mark, hits)| format!("{mark:?} = {hits}\n")).collect();
    std::fs::write(folder.join("rates/own.toml"), format!("from_seed = 0\nseeds = 2000\n[hits]\n{hits}"))
        .expect("written");
}

fn run(folder: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let output = tenure(folder, &[&["run", "own.toml", "--json"], more].concat());
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["exit_code"], output.status.code().expect("ends"), "{document}");
    (output.status.code(), document["campaigns"][0].clone())
}

#[test]
fn a_mark_that_most_seeds_hit_and_none_of_a_dozen_does_is_exit_code_3() {
    let folder = folder();
    scenario(folder.path(), &[(REMOVED, 1_900), (LEADER, 900)]);
    let (code, campaign) = run(folder.path(), &["--seeds", "12"]);
    assert_eq!((code, &campaign["missed_marks"]), (Some(3), &Value::from(vec![REMOVED])));
    let out = text(&tenure(folder.path(), &["run", "own.toml", "--seeds", "12"]).stdout);
    assert!(out.contains(&format!("never seen in 12 seeds: {REMOVED}")), "{out}");
    assert!(out.lines().last().is_some_and(|last| last.ends_with("run own.toml --seeds 0..12")), "{out}");
}

#[test]
fn a_mark_that_few_seeds_hit_is_not_judged_and_the_output_says_from_how_many_it_would_be() {
    let folder = folder();
    scenario(folder.path(), &[(REMOVED, 200)]);
    let (code, campaign) = run(folder.path(), &["--seeds", "12"]);
    assert_eq!((code, &campaign["marks"][0]["judgement"]), (Some(0), &Value::from("not-judged")));
    let from = campaign["marks"][0]["judged_from"].as_u64().expect("a number");
    assert!((130..200).contains(&from), "{from}");
    let out = text(&tenure(folder.path(), &["run", "own.toml", "--seeds", "12"]).stdout);
    assert!(out.contains(&format!("{REMOVED} (a miss is judged from {from} seeds on)")), "{out}");
}

#[test]
fn a_mark_that_is_hit_much_less_often_than_it_was_is_exit_code_3_and_more_often_is_told() {
    let folder = folder();
    scenario(folder.path(), &[(LEADER, 2_000)]);
    let (code, campaign) = run(folder.path(), &["--seeds", "16"]);
    assert_eq!((code, &campaign["rarer_marks"]), (Some(3), &Value::from(vec![LEADER])), "{campaign}");
    scenario(folder.path(), &[(LEADER, 0)]);
    let (code, campaign) = run(folder.path(), &["--seeds", "16"]);
    assert_eq!((code, &campaign["marks"][0]["judgement"]), (Some(0), &Value::from("more-often")));
}

#[test]
fn a_broken_invariant_comes_before_missed_coverage() {
    let folder = folder();
    scenario(folder.path(), &[(REMOVED, 1_900)]);
    let flags = ["--seeds", "40", "--planted", "leases-never-expire", "--no-shrink", "--most-capsules", "0"];
    let (code, campaign) = run(folder.path(), &flags);
    assert_eq!((code, &campaign["missed_marks"]), (Some(1), &Value::from(vec![REMOVED])));
}

#[test]
fn shards_do_not_judge_their_marks_and_merge_does() {
    let folder = folder();
    scenario(folder.path(), &[(REMOVED, 1_900)]);
    for (shard, file) in [("0/2", "a"), ("1/2", "b")] {
        let args = ["run", "own.toml", "--seeds", "12", "--shard", shard, "--json"];
        let output = tenure(folder.path(), &args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        std::fs::write(folder.path().join(file), output.stdout).expect("written");
    }
    let merged = tenure(folder.path(), &["merge", "a", "b"]);
    let out = text(&merged.stdout);
    assert!(merged.status.code() == Some(3) && out.contains("never seen in 12 seeds"), "{out}");
}

#[test]
fn rates_are_measured_and_kept_beside_the_scenario() {
    let folder = folder();
    scenario(folder.path(), &[(REMOVED, 1_900), (LEADER, 1)]);
    let output = tenure(folder.path(), &["rates", "own.toml", "--seeds", "100..116"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let kept = std::fs::read_to_string(folder.path().join("rates/own.toml")).expect("written");
    assert!(kept.contains("from_seed = 100\nseeds = 16\n"), "{kept}");
    assert!(kept.contains(&format!("{REMOVED:?} = 0\n")), "{kept}");
    let (code, campaign) = run(folder.path(), &["--seeds", "16"]);
    assert_eq!((code, &campaign["marks"][0]["judged_from"]), (Some(0), &Value::Null), "{campaign}");
    let refused = tenure(folder.path(), &["rates", "mutex"]);
    assert!(refused.status.code() == Some(2) && text(&refused.stderr).contains("no .toml file"));
}
