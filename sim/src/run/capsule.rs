//! A capsule: a failure written down so that it can be replayed by itself, without the seed's generator and whatever
//! becomes of the scenario: the plan, what was checked, and what came out.

use std::io::{self, Write};
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

    /// Writes it into a folder, which is made if need be. Gives the file. The file is there whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let planted = self.planted.as_deref().map_or_else(String::new, |name| format!("-{name}"));
        let name = format!("{}{planted}-{}.json", self.scenario.name, self.plan.seed);
        let (path, unfinished) = (folder.join(&name), folder.join(format!(".{name}.{}", std::process::id())));
        let mut file = std::fs::File::create(&unfinished)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(unfinished, &path)?;
        Ok(path)
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
