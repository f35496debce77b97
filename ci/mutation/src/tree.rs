//! A copy of the repository with every mutant woven in, and its build. What does not compile is taken out again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::list::Mutant;
use crate::weave::{Region, weave};

/// Where it is noted what was built.
const BUILT: &str = "target/mutants/built.json";

/// The switch that is put beside the library's modules.
const SWITCH: &str = include_str!("switch.rs");

/// The built copy.
#[derive(Serialize, Deserialize)]
pub(crate) struct Tree {
    /// Its folder.
    pub(crate) root: PathBuf,
    /// The command `tenure` over the woven library.
    pub(crate) tenure: PathBuf,
    /// The conformance suite over it.
    pub(crate) conformance: PathBuf,
    /// The mutants that compile.
    pub(crate) viable: BTreeSet<u32>,
}

impl Tree {
    /// Copies what git knows of, weaves `mutants` in and builds.
    pub(crate) fn build(root: &Path, mutants: &[Mutant]) -> Result<Self> {
        let tree = root.join("target/mutants/tree");
        copy(root, &tree)?;
        add_switch(root, &tree)?;
        let target = root.join("target/mutants/build");
        share_dependencies(&root.join("target/debug"), &target.join("debug"))?;
        let viable = weave_what_compiles(root, &tree, &target, mutants)?;
        let tenure = built(&tree, &target, &["build", "-p", "tenure-sim", "--bin", "tenure"], "tenure")?;
        let suite = ["test", "-p", "tenure", "--test", "conformance", "--no-run"];
        let conformance = built(&tree, &target, &suite, "conformance")?;
        let built = Self { root: tree, tenure, conformance, viable };
        fs::write(root.join(BUILT), serde_json::to_string(&built)?)?;
        Ok(built)
    }

    /// What was built last time.
    pub(crate) fn built_before(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(BUILT)).context("nothing was built before")?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// Puts the module of the switches beside the library's own.
pub(crate) fn add_switch(root: &Path, tree: &Path) -> Result<()> {
    write_if_new(&tree.join("src/mutant.rs"), SWITCH)?;
    let lib = fs::read_to_string(root.join("src/lib.rs"))?;
    write_if_new(&tree.join("src/lib.rs"), &format!("{lib}\nmod mutant;\n"))
}

/// Links what is built already of other people's crates into the build folder of the copy, if that is new: then it is not
/// built again. Not what is built of the repository's own packages, which cargo cannot tell from those of the copy.
pub(crate) fn share_dependencies(from: &Path, to: &Path) -> Result<()> {
    if to.exists() || !from.is_dir() {
        return Ok(());
    }
    for part in ["deps", ".fingerprint", "build"] {
        link_all(&from.join(part), &to.join(part))?;
    }
    Ok(())
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let own = name.to_string_lossy();
        if own.trim_start_matches("lib").starts_with("tenure") {
            continue;
        }
        let to = to.join(&name);
        if entry.file_type()?.is_dir() {
            link_all(&entry.path(), &to)?;
        } else {
            fs::hard_link(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Copies the files that git tracks or would, those alone that differ, so that cargo builds no more than it must.
pub(crate) fn copy(root: &Path, tree: &Path) -> Result<()> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("git could not be started")?;
    ensure!(listed.status.success(), "git ls-files failed");
    let mut kept = BTreeSet::new();
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), tree.join(name));
        if from.is_symlink() && from.is_dir() {
            link_folder(&from, &to)?;
            kept.insert(to);
            continue;
        }
        // cargo takes the settings of the folders above, too, and would have each flag twice.
        if !from.is_file() || name.starts_with(".cargo/") {
            continue;
        }
        kept.insert(to.clone());
        // Written by the weaver.
        if name.starts_with("src/") && to.exists() {
            continue;
        }
        let text = fs::read(&from)?;
        if fs::read(&to).ok().as_ref() != Some(&text) {
            fs::create_dir_all(to.parent().context("a file in a folder")?)?;
            fs::copy(&from, &to)?;
        }
    }
    kept.insert(tree.join("src/mutant.rs"));
    remove_others(tree, &kept)
}

/// A folder that is a link (the packages' way to files of the whole repository) is one in the copy, too.
fn link_folder(from: &Path, to: &Path) -> Result<()> {
    if !to.is_symlink() {
        fs::create_dir_all(to.parent().context("a link in a folder")?)?;
        std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
    }
    Ok(())
}

fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

pub(crate) fn write_if_new(file: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(file).ok().as_deref() != Some(text) {
        fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// Weaves, compiles, and leaves out what the compiler finds fault with, until it finds none.
fn weave_what_compiles(root: &Path, tree: &Path, target: &Path, mutants: &[Mutant]) -> Result<BTreeSet<u32>> {
    let mut viable: BTreeSet<u32> = mutants.iter().map(|mutant| mutant.id).collect();
    let sources = sources(root)?;
    loop {
        let mut regions: BTreeMap<&str, Vec<Region>> = BTreeMap::new();
        for (file, text) in &sources {
            let here: Vec<&Mutant> =
                mutants.iter().filter(|m| m.file == *file && viable.contains(&m.id)).collect();
            if here.is_empty() {
                if file != "src/lib.rs" {
                    write_if_new(&tree.join(file), text)?;
                }
                continue;
            }
            let woven = weave(text, &here).with_context(|| file.clone())?;
            write_if_new(&tree.join(file), &woven.text)?;
            for id in woven.left_out {
                viable.remove(&id);
            }
            regions.insert(file, woven.regions);
        }
        let errors = compile(tree, target, &["build", "-p", "tenure", "--lib"])?.errors;
        if errors.is_empty() {
            return Ok(viable);
        }
        let mut faulty = BTreeSet::new();
        for error in &errors {
            faulty.extend(error.spans.iter().flat_map(|span| blamed(span, &regions)));
        }
        if viable.intersection(&faulty).next().is_none() {
            faulty.extend(errors.iter().flat_map(|error| arms_of(error, mutants)));
        }
        eprintln!(
            "{} errors, {} mutants do not compile and are left out",
            errors.len(),
            viable.intersection(&faulty).count()
        );
        if viable.intersection(&faulty).next().is_none() {
            bail!("the library does not compile, mutants or not:\n{}", errors[0].rendered);
        }
        viable.retain(|id| !faulty.contains(id));
    }
}

pub(crate) fn sources(root: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path)?));
            }
        }
    }
    Ok(found)
}

/// The innermost mutant that a fault lies in, or else those that lie in it.
fn blamed(span: &FaultSpan, regions: &BTreeMap<&str, Vec<Region>>) -> Vec<u32> {
    let Some(regions) = regions.get(span.file_name.as_str()) else { return Vec::new() };
    let start = (span.line_start, span.column_start - 1);
    let end = (span.line_end, span.column_end - 1);
    let around = regions.iter().filter(|region| region.start <= start && end <= region.end);
    // Of two regions around a place, the one that begins later is the inner one.
    match around.max_by_key(|region| region.start) {
        Some(innermost) => vec![innermost.id],
        None if span.is_primary => regions
            .iter()
            .filter(|region| start <= region.start && region.end <= end)
            .map(|region| region.id)
            .collect(),
        None => Vec::new(),
    }
}

/// A switch in an arm makes it one that may not be taken, and the compiler points at the whole `match` that lacks one then.
fn arms_of<'a>(error: &'a Fault, mutants: &'a [Mutant]) -> impl Iterator<Item = u32> + 'a {
    let lacks_an_arm = error.code.as_ref().is_some_and(|code| code.code == "E0004");
    let of_arms =
        |mutant: &&Mutant| mutant.name.contains(" match arm ") || mutant.name.contains(" match guard ");
    let here = move |mutant: &&Mutant| error.spans.iter().any(|span| span.file_name == mutant.file);
    mutants.iter().filter(of_arms).filter(move |_| lacks_an_arm).filter(here).map(|mutant| mutant.id)
}

#[derive(Deserialize)]
struct Fault {
    level: String,
    rendered: String,
    code: Option<FaultCode>,
    spans: Vec<FaultSpan>,
}

#[derive(Deserialize)]
struct FaultCode {
    code: String,
}

#[derive(Deserialize)]
struct FaultSpan {
    file_name: String,
    line_start: usize,
    line_end: usize,
    column_start: usize,
    column_end: usize,
    is_primary: bool,
}

#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-message")]
    Fault { message: Fault },
    #[serde(rename = "compiler-artifact")]
    Artifact { target: Target, executable: Option<PathBuf> },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

struct Compiled {
    errors: Vec<Fault>,
    executables: BTreeMap<String, PathBuf>,
}

fn compile(tree: &Path, target: &Path, arguments: &[&str]) -> Result<Compiled> {
    let output = Command::new("cargo")
        .current_dir(tree)
        .args(arguments)
        .args(["--message-format", "json", "--quiet"])
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::piped())
        .output()
        .context("cargo could not be started")?;
    let mut compiled = Compiled { errors: Vec::new(), executables: BTreeMap::new() };
    for line in output.stdout.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line).context("cargo's messages")? {
            Message::Fault { message } if message.level == "error" => compiled.errors.push(message),
            Message::Artifact { target, executable: Some(path) } => {
                compiled.executables.insert(target.name, path);
            }
            _ => {}
        }
    }
    // "aborting due to ..." points nowhere.
    compiled.errors.retain(|fault| !fault.spans.is_empty());
    ensure!(
        output.status.success() || !compiled.errors.is_empty(),
        "cargo {} failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(compiled)
}

pub(crate) fn built(tree: &Path, target: &Path, arguments: &[&str], name: &str) -> Result<PathBuf> {
    let mut compiled = compile(tree, target, arguments)?;
    if let Some(fault) = compiled.errors.first() {
        bail!("cargo {}:\n{}", arguments.join(" "), fault.rendered);
    }
    compiled.executables.remove(name).with_context(|| format!("cargo built no {name}"))
}
