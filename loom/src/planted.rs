//! Planted bugs: the library's own files with a few lines changed (`build.rs`), and a model that finds each. In a process of
//! its own each time, since loom goes on panicking in destructors.

use std::io::Write;
use std::process::Command;

/// For each changed file: the models of what it was, one that finds the bug, and what that says then.
macro_rules! planted {
    ($($bug:ident: $file:literal $model:ident $says:literal;)*) => {
        $(
            #[path = "models"]
            mod $bug {
                #[allow(warnings, clippy::all, reason = "changed on purpose")]
                mod subject {
                    include!(concat!(env!("OUT_DIR"), "/", stringify!($bug), ".rs"));
                }
                #[path = $file]
                #[allow(dead_code, reason = "one of them finds it")]
                mod models;

                #[test]
                #[ignore = "fails, as it should: `is_found` runs it"]
                fn planted() {
                    models::$model();
                }

                #[test]
                fn is_found() {
                    super::is_found(stringify!($bug), stringify!($model), $says);
                }
            }
        )*
    };
}
planted! {
    liveness_looks_first: "liveness.rs" a_waiter_is_woken_by_an_end_at_any_moment "deadlock";
    liveness_wakes_one: "liveness.rs" every_waiter_is_woken "deadlock";
    liveness_revives: "liveness.rs" an_end_beside_a_renewal_stays_the_end "then alive again";
    slots_grant_twice: "slots.rs" a_key_is_granted_once "granted 2 times";
    slots_wake_early: "slots.rs" who_wants_a_key_that_is_given_back_gets_it "deadlock";
}

/// Runs the model of a planted bug by this very test binary: it must fail, and say why.
fn is_found(bug: &str, model: &str, says: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("planted::{bug}::planted"), "--ignored", "--nocapture"])
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("running 1 test"), "it was not run:\n{said}");
    assert!(!output.status.success(), "{bug}: {model} does not find it:\n{said}");
    assert!(said.contains(says), "{bug}: found, but not by {says:?}:\n{said}");
    writeln!(std::io::stdout(), "| planted: {bug} | {model} | found: {says} |").unwrap();
}
