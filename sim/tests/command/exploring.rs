//! `tenure explore`: what it finds is written down, and shown as a seed's failure is.

use super::{folder, tenure, text};

#[test]
fn an_explored_run_is_shown_in_words_as_a_page_and_as_a_trace() {
    let folder = folder();
    let found = tenure(folder.path(), &["explore", "mutex-2x2-late", "--planted", "unlock-by-name"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    let capsule = "capsules/explore-mutex-2x2-late-unlock-by-name.json";
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
    let believers = "was granted the mutex \"l\" with token 5; c0 still believed that it held it";
    let page =
        |text: &str| text.contains("mutual-exclusion") && text.contains("still believed that it held it");
    assert!(page(&read("capsules/explore-mutex-2x2-late-unlock-by-name.html")), "the page beside it");

    let told = text(&tenure(folder.path(), &["replay", capsule, "--brief"]).stdout);
    assert!(told.starts_with("what happened\n") && told.contains(believers), "{told}");
    assert!(told.contains("VIOLATION of mutual-exclusion"), "{told}");

    let drawn = tenure(folder.path(), &["replay", capsule, "--html", "run.html", "--trace", "run.json"]);
    assert_eq!(drawn.status.code(), Some(1), "{}", text(&drawn.stderr));
    assert!(!text(&drawn.stdout).contains("VIOLATION"), "pictures are asked for instead of steps");
    assert!(page(&read("run.html")));
    assert!(read("run.json").contains("VIOLATION of mutual-exclusion"));

    let refused = tenure(folder.path(), &["replay", capsule, "--seed", "3"]);
    assert_eq!((refused.status.code(), text(&refused.stderr).lines().count()), (Some(2), 1));
}

#[test]
fn a_livelock_that_was_explored_is_broken_when_it_is_replayed() {
    let folder = folder();
    let found = tenure(folder.path(), &["explore", "mutex-2x1", "--planted", "gives-way"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    let replayed = tenure(folder.path(), &["replay", "capsules/explore-mutex-2x1-gives-way.json", "--brief"]);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(text(&replayed.stdout).contains("progress broke after 500 steps of mutex-2x1"));
}
