//! A capsule: a failure written down so that it can be replayed by itself, without the seed's generator and whatever
//! becomes of the scenario: the plan, what was checked, and what came out.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Verdict, cut_off_or, write_whole};
use crate::history::History;
use crate::plan::Plan;
use crate::planted::{self, Planted};
use crate::scenario::{BadInput, Scenario};

/// The form of capsules that this release writes and reads.
const FORM: u32 = 1;

/// A failure that can be replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// The capsule's form, so that another release can tell.
    pub form: u32,
    /// The scenario that it came from.
    pub scenario: Scenario,
    /// The planted bug, if one was planted.
    pub planted: Option<String>,
    /// The outcome.
    pub verdict: Verdict,
    /// The invariant whose breach it is kept for, if it was shrunk for one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invariant: Option<String>,
    /// The history's hash, in hex.
    pub hash: String,
    /// What tells the first step at which another history is not this one: of each step's rolling hash the lowest 16 bits, in
    /// hex. Empty in capsules of former releases.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trail: String,
    /// What was run.
    pub plan: Plan,
}

impl Capsule {
    /// Puts a failure into a capsule.
    pub fn new(
        scenario: &Scenario,
        planted: Option<&str>,
        plan: &Plan,
        verdict: &Verdict,
        history: &History,
    ) -> Self {
        Self {
            form: FORM,
            scenario: scenario.clone(),
            planted: planted.map(str::to_owned),
            verdict: verdict.clone(),
            invariant: None,
            hash: format!("{:016x}", history.hash()),
            trail: trail(history),
            plan: plan.clone(),
        }
    }

    /// Writes it into a folder, which is made if need be. Gives the file. The file is there whole or not at all, and once
    /// this returns it is on disk, with its name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let planted = self.planted.as_deref().map_or_else(String::new, |name| format!("-{name}"));
        let path = folder.join(format!("{}{planted}-{}.json", self.scenario.name, self.plan.seed));
        self.write_as(&path)?;
        Ok(path)
    }

    /// Writes it into a file of a folder that is there; otherwise as [`Self::write`].
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_as(&self, path: &Path) -> io::Result<()> {
        write_whole(path, self)
    }

    /// The invariant that a look at it begins with: the one that it was shrunk for, or that its planted bug is to break.
    pub fn subject<'a>(&'a self, planted: Option<&'a Planted>) -> Option<&'a str> {
        self.invariant.as_deref().or(planted.map(|planted| planted.invariant))
    }

    /// The first step at which a history is not the one that was written down; `None` if there is none, or if the capsule
    /// is of a release that kept no trail.
    pub fn diverges_at(&self, history: &History) -> Option<usize> {
        if self.hash == format!("{:016x}", history.hash()) || self.trail.is_empty() {
            return None;
        }
        let now = trail(history);
        let differs = |(one, other): (&[u8], &[u8])| one != other;
        let (then, now) = (self.trail.as_bytes().chunks(4), now.as_bytes().chunks(4));
        let shorter = then.len().min(now.len());
        Some(then.zip(now).position(differs).unwrap_or(shorter))
    }

    /// Finds out whether capsules can be written into a folder, and leaves nothing in it.
    ///
    /// # Errors
    /// If they cannot.
    pub fn try_folder(folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let trial = folder.join(format!(".trial.{}", std::process::id()));
        File::create(&trial)?;
        std::fs::remove_file(&trial)
    }

    /// Reads one.
    ///
    /// # Errors
    /// One line if the file cannot be read or is no capsule of this form.
    pub fn read(path: &Path) -> Result<Self, BadInput> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadInput(format!("{shown}: cannot be read: {error}")))?;
        parse(&text).map_err(|(place, why)| {
            let (line, column) = place;
            BadInput(format!("{shown}:{line}:{column}: {why}"))
        })
    }
}

/// Line and column, each from 1.
type Place = (usize, usize);

fn parse(text: &str) -> Result<Capsule, (Place, String)> {
    let wrong = |error: serde_json::Error| ((error.line(), error.column()), cut_off_or(&error));
    // The form comes first: of another one the rest says nothing.
    let tree: Value = serde_json::from_str(text).map_err(wrong)?;
    if let Some(form) = tree.get("form").and_then(Value::as_u64)
        && form != u64::from(FORM)
    {
        let why = format!("a capsule of form {form}; this release reads form {FORM}");
        return Err((place_of(text, "form"), why));
    }
    if let (Some(test), None) = (tree.get("test").and_then(Value::as_str), tree.get("scenario")) {
        let why = format!("a failure of a test's own code, which the test runs: cargo test {test}");
        return Err((place_of(text, "test"), why));
    }
    let capsule: Capsule = serde_json::from_str(text).map_err(wrong)?;
    let read = serde_json::to_value(&capsule).unwrap_or_default();
    if let Some(field) = unknown(&tree, &read) {
        return Err((place_of(text, &field), format!("not a capsule: unknown field `{field}`")));
    }
    let known = crate::check::names();
    let named = capsule.scenario.invariants.iter().chain(&capsule.invariant);
    if let Some(name) = named.into_iter().find(|name| !known.contains(&name.as_str())) {
        let why = format!("unknown invariant {name:?}; there are {}", known.join(", "));
        return Err((place_of(text, name), why));
    }
    if let Some(name) = capsule.planted.as_deref().filter(|name| planted::find(name).is_none()) {
        return Err((place_of(text, name), format!("no bug called {name:?} can be planted")));
    }
    if !matches!(capsule.plan.cluster.members, 1 | 3 | 5) {
        let why = format!("members: {}; allowed are 1, 3 or 5", capsule.plan.cluster.members);
        return Err((place_of(text, "members"), why));
    }
    Ok(capsule)
}

/// A field that was written and not read, if there is one.
fn unknown(written: &Value, read: &Value) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written.iter().find_map(|(name, value)| {
            match read.get(name) {
                Some(known) => unknown(value, known),
                // What is not said anew because it is nothing is known all the same.
                None if value.is_null() || value == &Value::Array(Vec::new()) || value == "" => None,
                None => Some(name.clone()),
            }
        }),
        (Value::Array(written), Value::Array(read)) => {
            written.iter().zip(read).find_map(|(written, read)| unknown(written, read))
        }
        _ => None,
    }
}

/// Where a name or text stands first.
fn place_of(text: &str, name: &str) -> Place {
    let at = text.find(&format!("\"{name}\"")).unwrap_or(0);
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

fn trail(history: &History) -> String {
    let mut trail = String::with_capacity(history.hashes.len() * 4);
    for hash in &history.hashes {
        let _ = std::fmt::Write::write_fmt(&mut trail, format_args!("{:04x}", hash & 0xffff));
    }
    trail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capsule() -> Capsule {
        let scenario = crate::scenario::find("mutex").expect("built in");
        let plan = Plan::draw(&scenario, 7);
        Capsule::new(&scenario, Some("unlock-by-name"), &plan, &Verdict::Green, &History::default())
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_lies_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = capsule().write(&folder.path().join("new")).expect("written");
        assert_eq!(Capsule::read(&path).expect("read"), capsule());
        let beside = std::fs::read_dir(folder.path().join("new")).expect("is there");
        assert_eq!(beside.count(), 1);
    }

    #[test]
    fn a_capsule_that_cannot_be_put_in_place_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let in_the_way = folder.path().join("mutex-unlock-by-name-7.json/full");
        std::fs::create_dir_all(in_the_way).expect("made");
        capsule().write(folder.path()).expect_err("a folder has its name");
        assert_eq!(std::fs::read_dir(folder.path()).expect("is there").count(), 1);
    }
}
