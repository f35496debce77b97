//! Makes the planted bugs: copies of the library's own sources with a few lines changed. A line that is not there any more
//! fails the build, so that no planted bug goes stale unseen.
#![allow(clippy::expect_used, reason = "a build script's way to fail")]

use std::path::Path;
use std::{env, fs};

/// A planted bug.
struct Planted {
    /// The file that it becomes.
    name: &'static str,
    /// The library's file.
    source: &'static str,
    /// What is there once, and what is put in its place.
    changes: &'static [(&'static str, &'static str)],
}

const PLANTED: [Planted; 5] = [
    // Looks first and registers then: an end in between wakes nobody.
    Planted {
        name: "liveness_looks_first",
        source: "session/liveness.rs",
        changes: &[
            (
                "        let waker = cx.waker().clone();\n",
                "        let over = this.liveness.deadline_ns().is_none();\n        let waker = cx.waker().clone();\n",
            ),
            ("if this.liveness.deadline_ns().is_none() { Poll", "if over { Poll"),
        ],
    },
    // Looks and writes in two steps: a renewal under way revives what was found over meanwhile.
    Planted {
        name: "liveness_revives",
        source: "session/liveness.rs",
        changes: &[(
            "match self.deadline_ns.compare_exchange(deadline, changed, Ordering::AcqRel, Ordering::Acquire) {",
            "self.deadline_ns.store(changed, Ordering::Release);\n            match Ok::<u64, u64>(deadline) {",
        )],
    },
    // Wakes only one of those who wait for the end.
    Planted {
        name: "liveness_wakes_one",
        source: "session/liveness.rs",
        changes: &[("in wakers.into_values() {", "in wakers.into_values().take(1) {")],
    },
    // Looks whether the key is free and takes it in two critical sections: two are granted.
    Planted {
        name: "slots_grant_twice",
        source: "session/slots.rs",
        changes: &[(
            "                slots.insert(self.key.clone(), Use {",
            "                drop(slots);\n                let mut slots = self.slots.lock();\n                slots.insert(self.key.clone(), Use {",
        )],
    },
    // Wakes who waits, and frees the key only then: who begins to wait in between sleeps for ever.
    Planted {
        name: "slots_wake_early",
        source: "session/slots.rs",
        changes: &[(
            "let freed = self.slots.lock().remove(&self.key);",
            "let freed = self.slots.lock().get_mut(&self.key).map(|used| Use {\n            leaving: true,\n            waiting: std::mem::take(&mut used.waiting),\n        });\n        self.slots.lock().remove(&self.key);",
        )],
    },
];

fn main() {
    let to = env::var("OUT_DIR").expect("cargo sets it");
    println!("cargo::rerun-if-changed=build.rs");
    for planted in PLANTED {
        let source = Path::new("../src").join(planted.source);
        println!("cargo::rerun-if-changed={}", source.display());
        let mut code = fs::read_to_string(&source).expect("the library's source is readable");
        for (from, to) in planted.changes {
            assert_eq!(
                code.matches(from).count(),
                1,
                "{}: {} must have this once: {from}",
                planted.name,
                planted.source
            );
            code = code.replace(from, to);
        }
        // `include!` takes no documentation of a whole file.
        let code: String =
            code.lines().filter(|line| !line.starts_with("//!")).flat_map(|line| [line, "\n"]).collect();
        fs::write(Path::new(&to).join(planted.name).with_extension("rs"), code)
            .expect("cargo's folder is writable");
    }
}
