//! The mutants that there are, as `cargo mutants` makes them, and names for them that outlive a change elsewhere in a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A change to one place of the library.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// What switches it on; its place in the list of all, from 1 on.
    pub(crate) id: u32,
    /// File, change and function, without line numbers; those that would be alike are numbered.
    pub(crate) name: String,
    /// As `cargo mutants` prints it, with line and column.
    pub(crate) located: String,
    /// The file, from the repository's root.
    pub(crate) file: String,
    /// What kind of change it is.
    pub(crate) genre: Genre,
    /// Where what is replaced begins: line from 1, column from 0.
    pub(crate) at: (usize, usize),
    /// What it is replaced with; empty to delete it.
    pub(crate) replacement: String,
}

/// The kinds of change that `cargo mutants` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Genre {
    /// A function's body becomes a value.
    FnValue,
    BinaryOperator,
    UnaryOperator,
    /// An arm goes, and `_` takes what it took.
    MatchArm,
    MatchArmGuard,
    /// A field goes, and the struct's base gives its value.
    StructField,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    file: String,
    span: Span,
    replacement: String,
    genre: Genre,
}

#[derive(Deserialize)]
struct Span {
    start: Position,
}

#[derive(Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

/// Every mutant of the places.
pub(crate) fn all(root: &Path, places: &[String]) -> Result<Vec<Mutant>> {
    let listed = listed(root, places, &[])?;
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mutants = (1..).zip(listed).map(|(id, one)| {
        let located = format!("{}:{}:{}: ", one.file, one.span.start.line, one.span.start.column);
        let change = one.name.strip_prefix(&located).unwrap_or(&one.name);
        let alike = format!("{}: {change}", one.file);
        let count = seen.entry(alike.clone()).or_default();
        *count += 1;
        let name = if *count == 1 { alike } else { format!("{alike} #{count}") };
        Mutant {
            id,
            name,
            located: one.name,
            file: one.file,
            genre: one.genre,
            at: (one.span.start.line, one.span.start.column - 1),
            replacement: one.replacement,
        }
    });
    Ok(mutants.collect())
}

/// Those of `all` that `cargo mutants` lists with these options (`--in-diff`, `--re`, `--shard`).
pub(crate) fn chosen(
    root: &Path,
    places: &[String],
    options: &[String],
    all: &[Mutant],
) -> Result<Vec<Mutant>> {
    let listed: Vec<String> = listed(root, places, options)?.into_iter().map(|one| one.name).collect();
    Ok(all.iter().filter(|mutant| listed.contains(&mutant.located)).cloned().collect())
}

fn listed(root: &Path, places: &[String], options: &[String]) -> Result<Vec<Listed>> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["mutants", "--list", "--json", "--package", "tenure"]);
    for place in places {
        // cargo mutants takes a glob of files.
        let glob = if place.ends_with(".rs") { place.clone() } else { format!("{place}/**/*.rs") };
        command.args(["--file", &glob]);
    }
    let output = command.args(options).output().context("cargo mutants could not be started")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo mutants --list failed: {}", error.trim());
    // A change that touches no place lists nothing, not even brackets.
    if output.stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&output.stdout).context("what cargo mutants lists cannot be read")
}
