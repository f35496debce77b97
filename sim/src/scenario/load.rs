//! Where scenarios come from: those that are built in, by name, and files.

use std::path::Path;

use super::{BadInput, Scenario, parse::parse};

/// The scenarios that come with the command, by name, in the order in which they are listed and run.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("mutex", include_str!("../../../scenarios/mutex.toml")),
    ("mutex-unfenced", include_str!("../../../scenarios/mutex-unfenced.toml")),
    ("election", include_str!("../../../scenarios/election.toml")),
    ("rwlock", include_str!("../../../scenarios/rwlock.toml")),
    ("mixed", include_str!("../../../scenarios/mixed.toml")),
    ("etcd", include_str!("../../../scenarios/etcd.toml")),
];

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
