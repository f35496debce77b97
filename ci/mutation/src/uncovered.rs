//! The lines of the library that no seed of a campaign runs: a probe before each statement says whether it was come by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::probe::probe;
use crate::tree;

/// Runs so many seeds of each scenario over the library with probes in it, and prints which lines none of them runs.
pub(crate) fn print(root: &Path, places: &[String], scenarios: &[String], seeds: u64) -> Result<()> {
    let tree = root.join("target/mutants/probed");
    let target = root.join("target/mutants/build-probed");
    tree::copy(root, &tree)?;
    tree::share_dependencies(&root.join("target/debug"), &target.join("debug"))?;
    let mut probes: Vec<(String, usize)> = Vec::new();
    for (file, text) in tree::sources(root)? {
        let woven = if places.iter().any(|place| file.starts_with(place.as_str())) {
            let probed = probe(&text, u32::try_from(probes.len())?).with_context(|| file.clone())?;
            probes.extend(probed.lines.into_iter().map(|line| (file.clone(), line)));
            probed.text
        } else {
            text
        };
        tree::write_if_new(&tree.join(file), &woven)?;
    }
    tree::add_switch(root, &tree)?;
    let tenure = tree::built(&tree, &target, &["build", "-p", "tenure-sim", "--bin", "tenure"], "tenure")?;
    let reached = reached(root, &tenure, scenarios, seeds)?;
    let mut uncovered: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut lines: BTreeSet<(&str, usize)> = BTreeSet::new();
    for (id, (file, line)) in probes.iter().enumerate() {
        lines.insert((file, *line));
        if !reached.contains(&id) {
            uncovered.entry(file).or_default().insert(*line);
        }
    }
    let count: usize = uncovered.values().map(BTreeSet::len).sum();
    for (file, lines) in &uncovered {
        let text = fs::read_to_string(root.join(file))?;
        for &line in lines {
            let words = text.lines().nth(line - 1).unwrap_or_default().trim();
            println!("{file}:{line}: {words}");
        }
    }
    println!(
        "{count} of {} lines that begin a statement or an arm are run by none of {seeds} seeds of {}",
        lines.len(),
        scenarios.join(", ")
    );
    Ok(())
}

fn reached(root: &Path, tenure: &Path, scenarios: &[String], seeds: u64) -> Result<BTreeSet<usize>> {
    let file = root.join("target/mutants/reached");
    let _ = fs::remove_file(&file);
    for scenario in scenarios {
        let status = Command::new(tenure)
            .args(["run", scenario, "--seeds", &seeds.to_string(), "--most-capsules", "0"])
            .env("TENURE_MUTANTS_REACHED", &file)
            .stdout(Stdio::null())
            .status()
            .context("tenure could not be started")?;
        ensure!(status.success(), "tenure run {scenario} is not green: {status}");
    }
    let text = fs::read_to_string(&file)?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}
