//! Where scenarios and the rates of their coverage marks come from: those that are built in, by name, and files.

use std::path::{Path, PathBuf};

use super::{BadInput, Scenario, parse::parse, parse::parse_rates};
use crate::coverage::rates::Rates;

/// The scenarios that come with the command, by name, in the order in which they are listed and run.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("mutex", include_str!("../../scenarios/mutex.toml")),
    ("mutex-unfenced", include_str!("../../scenarios/mutex-unfenced.toml")),
    ("election", include_str!("../../scenarios/election.toml")),
    ("rwlock", include_str!("../../scenarios/rwlock.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    ("takeover", include_str!("../../scenarios/takeover.toml")),
    ("semaphore", include_str!("../../scenarios/semaphore.toml")),
    ("etcd", include_str!("../../scenarios/etcd.toml")),
    ("queue", include_str!("../../scenarios/queue.toml")),
    ("stm", include_str!("../../scenarios/stm.toml")),
    ("barrier", include_str!("../../scenarios/barrier.toml")),
];

/// The rates of their coverage marks (see [`rates_file`]).
const BUILT_IN_RATES: &[(&str, &str)] = &[
    ("mutex", include_str!("../../scenarios/rates/mutex.toml")),
    ("mutex-unfenced", include_str!("../../scenarios/rates/mutex-unfenced.toml")),
    ("election", include_str!("../../scenarios/rates/election.toml")),
    ("rwlock", include_str!("../../scenarios/rates/rwlock.toml")),
    ("mixed", include_str!("../../scenarios/rates/mixed.toml")),
    ("takeover", include_str!("../../scenarios/rates/takeover.toml")),
    ("semaphore", include_str!("../../scenarios/rates/semaphore.toml")),
    ("etcd", include_str!("../../scenarios/rates/etcd.toml")),
    ("queue", include_str!("../../scenarios/rates/queue.toml")),
    ("stm", include_str!("../../scenarios/rates/stm.toml")),
    ("barrier", include_str!("../../scenarios/rates/barrier.toml")),
];

/// A scenario to begin with: every field with what it is for.
pub const NEW: &str = include_str!("new.toml");

/// Reads every built-in scenario.
///
/// # Errors
/// If one of them is wrong, which a test rules out.
pub fn load() -> Result<Vec<Scenario>, BadInput> {
    BUILT_IN.iter().map(|(name, text)| parse(&format!("scenarios/{name}.toml"), name, text)).collect()
}

/// Reads a scenario from its text. `origin` is how errors call it.
///
/// # Errors
/// One line if it is not a right one.
pub fn read(origin: &str, name: &str, text: &str) -> Result<Scenario, BadInput> {
    parse(origin, name, text)
}

/// Finds a scenario by its built-in name, or reads it from the file of that path.
///
/// # Errors
/// One line if there is no such scenario, or if it is not a right one.
pub fn find(name_or_path: &str) -> Result<Scenario, BadInput> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
        return parse(&format!("scenarios/{name}.toml"), name, text);
    }
    let path = Path::new(name_or_path);
    if !name_or_path.ends_with(".toml") && !path.exists() {
        let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        return Err(BadInput(format!(
            "no scenario is called {name_or_path:?}; there are {}, or name a .toml file",
            names.join(", ")
        )));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput(format!("{name_or_path}: cannot be read: {error}")))?;
    let name = path.file_stem().map_or_else(|| name_or_path.into(), |stem| stem.to_string_lossy());
    parse(name_or_path, &name, &text)
}

/// Where the rates of a scenario file are kept: in `rates/` beside it, under the same name.
pub fn rates_file(scenario: &Path) -> PathBuf {
    let folder = scenario.parent().unwrap_or(Path::new(""));
    folder.join("rates").join(scenario.file_name().unwrap_or_default())
}

/// The rates of a scenario's coverage marks, if they were ever measured.
///
/// # Errors
/// One line if there is such a file and it is not a right one.
pub fn rates(name_or_path: &str) -> Result<Option<Rates>, BadInput> {
    if let Some((name, text)) = BUILT_IN_RATES.iter().find(|(name, _)| *name == name_or_path) {
        return parse_rates(&format!("scenarios/rates/{name}.toml"), text).map(Some);
    }
    let file = rates_file(Path::new(name_or_path));
    let origin = file.display().to_string();
    match std::fs::read_to_string(&file) {
        Ok(text) => parse_rates(&origin, &text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BadInput(format!("{origin}: cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_every_mark_that_a_built_in_scenario_lists_is_kept() {
        for (name, _) in BUILT_IN {
            let scenario = find(name).expect("built in");
            let kept = rates(name).expect("right").expect("kept");
            for mark in &scenario.coverage {
                assert!(
                    kept.of(mark).is_some(),
                    "measure anew: tenure rates scenarios/{name}.toml: {mark:?}"
                );
            }
            assert_eq!(kept.hits.len(), scenario.coverage.len(), "{name}: rates of marks it does not list");
        }
    }
}
