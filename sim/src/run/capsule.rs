//! A capsule: a failure written down so that it can be replayed by itself, without the seed's generator and whatever
//! becomes of the scenario: the plan, what was checked, and what came out.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::plan::Plan;
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
    /// The history's hash, in hex.
    pub hash: String,
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
        hash: u64,
    ) -> Self {
        Self {
            form: FORM,
            scenario: scenario.clone(),
            planted: planted.map(str::to_owned),
            verdict: verdict.clone(),
            hash: format!("{hash:016x}"),
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
        let name = format!("{}{planted}-{}.json", self.scenario.name, self.plan.seed);
        let (path, unfinished) = (folder.join(&name), folder.join(format!(".{name}.{}", std::process::id())));
        let written = self.write_to(&unfinished).and_then(|()| std::fs::rename(&unfinished, &path));
        if let Err(error) = written {
            // What is left of it, if anything, is of no use to anyone.
            let _ = std::fs::remove_file(&unfinished);
            return Err(error);
        }
        sync_folder(folder)?;
        Ok(path)
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

    /// Writes it into a file, until it is on disk.
    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut out, self)?;
        out.write_all(b"\n")?;
        // Dropping the writer would flush it too, and swallow the error.
        out.into_inner()?.sync_all()
    }

    /// Reads one.
    ///
    /// # Errors
    /// One line if the file cannot be read or is no capsule of this form.
    pub fn read(path: &Path) -> Result<Self, BadInput> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadInput(format!("{shown}: cannot be read: {error}")))?;
        let capsule: Self = serde_json::from_str(&text)
            .map_err(|error| BadInput(format!("{shown}:{}: not a capsule: {error}", error.line())))?;
        if capsule.form != FORM {
            return Err(BadInput(format!(
                "{shown}: a capsule of form {}; this release reads form {FORM}",
                capsule.form
            )));
        }
        Ok(capsule)
    }
}

/// A file's new name is on disk only when its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capsule() -> Capsule {
        let scenario = crate::scenario::find("mutex").expect("built in");
        let plan = Plan::draw(&scenario, 7);
        Capsule::new(&scenario, Some("unlock-by-name"), &plan, &Verdict::Green, 1)
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

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_even_when_only_the_last_flush_meets_it() {
        let error = capsule().write_to(Path::new("/dev/full")).expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
