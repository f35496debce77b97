//! Failures that were found, kept beside the test's source in `tenure-regressions/`, and run first from then on. What is
//! kept is the plan, not the seed: it goes on failing in the same way when plans are drawn differently.

use std::panic::Location;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trial::Trial;
use crate::plan::Plan;
use crate::run::{Verdict, cut_off_or, write_whole};
use crate::scenario::BadInput;

/// The form of capsules that this release writes and reads.
const FORM: u32 = 1;

const FOLDER: &str = "tenure-regressions";

/// A failure of a test's own that can be run again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnCapsule {
    /// The capsule's form, so that another release can tell.
    pub(super) form: u32,
    /// The test that it is a failure of.
    pub(super) test: String,
    /// How it failed.
    pub(super) verdict: Verdict,
    /// The history's hash, in hex.
    pub(super) hash: String,
    /// What was run.
    pub(super) plan: Plan,
}

impl OwnCapsule {
    pub(super) fn new(test: &str, verdict: &Verdict, hash: u64, plan: &Plan) -> Self {
        Self {
            form: FORM,
            test: test.to_owned(),
            verdict: verdict.clone(),
            hash: format!("{hash:016x}"),
            plan: plan.clone(),
        }
    }

    /// Writes it into a folder, which is made if need be, whole or not at all. Gives the file.
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.json", self.plan.seed));
        write_whole(&path, self)?;
        Ok(path)
    }

    fn read(path: &Path) -> Result<Self, BadInput> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadInput(format!("{shown}: cannot be read: {error}")))?;
        let capsule: Self = serde_json::from_str(&text).map_err(|error| {
            BadInput(format!("{shown}:{}:{}: {}", error.line(), error.column(), cut_off_or(&error)))
        })?;
        if capsule.form != FORM {
            let form = capsule.form;
            return Err(BadInput(format!(
                "{shown}: a capsule of form {form}; this release reads form {FORM}"
            )));
        }
        Ok(capsule)
    }

    /// Refuses what this test cannot run.
    fn fits(self, path: &Path, trial: &Trial) -> Result<Self, BadInput> {
        let own = self.plan.clients.iter().filter_map(|client| client.own.as_ref());
        match own.map(|own| &own.role).find(|role| trial.code(role).is_none()) {
            None => Ok(self),
            Some(role) => {
                let roles: Vec<_> = trial.roles.iter().map(|(name, _)| name.as_str()).collect();
                let (shown, roles) = (path.display(), roles.join(", "));
                Err(BadInput(format!(
                    "{shown}: plan.clients: no client has the role {role:?} any more; there are {roles}"
                )))
            }
        }
    }
}

/// The failures that are kept in a folder, by the names of their files.
pub(super) fn kept(folder: &Path, trial: &Trial) -> Result<Vec<(PathBuf, OwnCapsule)>, BadInput> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files.into_iter().map(|path| Ok((path.clone(), OwnCapsule::read(&path)?.fits(&path, trial)?))).collect()
}

/// Where the failures of a test are kept: beside its source, in a folder of its name.
pub(super) fn folder(test: &str, place: &Location<'_>) -> PathBuf {
    let file: String =
        test.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect();
    source(Path::new(place.file())).with_file_name(FOLDER).join(file)
}

/// The test's source. The compiler knows it from where it was started, a workspace's root for one; tests are started in
/// their package's.
fn source(file: &Path) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let places = package.ancestors().map(|above| above.join(file));
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| package.join("tests").join("none"))
}
