//! The mutation score of the library: how many changes to its code the seeds notice, and how many the conformance suite
//! over the simulated etcd beyond them. `ci/mutants` is how it is called.
//!
//! `cargo mutants` says what to change. All changes are woven into one copy of the library, each behind a switch, so that
//! one build judges them all, a process each.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a tool, outside every simulation")]

mod accepted;
mod judge;
mod list;
mod probe;
mod report;
mod tree;
mod uncovered;
mod weave;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use judge::{Judge, Outcome};
use list::Mutant;
use tree::Tree;

/// The places that the seeds are to judge.
const PLACES: &[&str] = &[
    "src/line",
    "src/session",
    "src/election",
    "src/mutex.rs",
    "src/rwlock.rs",
    "src/tenure.rs",
    "src/locker.rs",
    "src/name.rs",
];

/// The scenarios that judge if none are named: all in which the library's own code is used.
const JUDGES: &str = "mutex,election,rwlock,mixed,takeover,semaphore,queue,stm,barrier";

/// Where the outcomes of the last run are.
const OUTCOMES: &str = "target/mutants/outcomes.json";

/// Changes the library in every way that `cargo mutants` knows, and tells how many changes the seeds notice.
///
/// A mutant that survives seeds and conformance suite must stand in ci/mutants-accepted.toml with the reason why. Exit code
/// 0: every survivor does; 1: one does not; 2: it could not be judged.
#[derive(Parser)]
#[command(name = "ci/mutants")]
struct Args {
    /// Only mutants of what this diff changes (as from `git diff`)
    #[arg(long, value_name = "FILE")]
    in_diff: Option<PathBuf>,
    /// Only mutants whose name, as `cargo mutants --list` prints it, fits this regular expression
    #[arg(long, value_name = "REGEX")]
    re: Option<String>,
    /// Only the i-th of n parts, from 0 on
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// How many seeds of each scenario judge a mutant
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// The scenarios that judge
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = JUDGES)]
    scenarios: Vec<String>,
    /// How many mutants at a time; all cores if not given
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Begin no mutant after this many seconds; those that were not judged are counted
    #[arg(long, value_name = "S")]
    budget_s: Option<u64>,
    /// Go on from the last run: judge only what it did not, and what survived it
    #[arg(long)]
    go_on: bool,
    /// Judge what was built last time; for when the library has not changed since
    #[arg(long)]
    no_build: bool,
    /// Only list the mutants that would be judged
    #[arg(long)]
    list: bool,
    /// Instead of judging mutants, list the lines of src/ that none of the seeds runs
    #[arg(long)]
    uncovered: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(is_good) => ExitCode::from(u8::from(!is_good)),
        Err(error) => {
            eprintln!("ci/mutants: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let started = Instant::now();
    let root = std::env::current_dir()?;
    ensure!(root.join("ci/mutants").is_file(), "run it from the repository's root");
    ensure!(args.seeds > 0, "--seeds 0: one at least");
    let places: Vec<String> = PLACES.iter().map(|&place| place.to_owned()).collect();
    if args.uncovered {
        uncovered::print(&root, &["src/".to_owned()], &args.scenarios, args.seeds)?;
        return Ok(true);
    }
    let accepted = accepted::read(&root.join("ci/mutants-accepted.toml"))?;
    let all = list::all(&root, &places)?;
    let chosen = list::chosen(&root, &places, &options(args)?, &all)?;
    if args.list {
        chosen.iter().for_each(|mutant| println!("{}", mutant.name));
        return Ok(true);
    }
    if chosen.is_empty() {
        println!("no mutant to judge");
        return Ok(true);
    }
    let tree = if args.no_build { Tree::built_before(&root)? } else { Tree::build(&root, &all)? };
    eprintln!("built {} of {} mutants in {} s", tree.viable.len(), all.len(), started.elapsed().as_secs());
    let scratch = root.join("target/mutants/out");
    let judge = Judge::new(&tree, args.scenarios.clone(), args.first..args.first + args.seeds, scratch)?;
    eprintln!("all green with no mutant on, after {} s", started.elapsed().as_secs());
    let earlier = if args.go_on { report::earlier(&root.join(OUTCOMES))? } else { BTreeMap::new() };
    let judged = judge_all(args, &judge, &chosen, &earlier, started)?;
    let report = report::Report { judged: &judged, all: &all, chosen: chosen.len(), accepted: &accepted };
    write(&root, &report)?;
    Ok(report.print())
}

/// The options of `cargo mutants` that choose.
fn options(args: &Args) -> Result<Vec<String>> {
    let mut options = Vec::new();
    if let Some(file) = &args.in_diff {
        ensure!(file.is_file(), "--in-diff {}: there is no such file", file.display());
        options.extend(["--in-diff".to_owned(), file.display().to_string()]);
    }
    if let Some(re) = &args.re {
        options.extend(["--re".to_owned(), re.clone()]);
    }
    if let Some(shard) = &args.shard {
        // Each part has something of every file.
        options.extend(["--shard", shard, "--sharding", "round-robin"].map(str::to_owned));
    }
    Ok(options)
}

fn judge_all(
    args: &Args,
    judge: &Judge<'_>,
    chosen: &[Mutant],
    earlier: &BTreeMap<String, Outcome>,
    started: Instant,
) -> Result<Vec<(Mutant, Outcome)>> {
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let ends = args.budget_s.map(|budget_s| started + Duration::from_secs(budget_s));
    let next = AtomicUsize::new(0);
    let known = |mutant: &&Mutant| {
        earlier.get(&mutant.name).is_some_and(|outcome| !matches!(outcome, Outcome::Survived { .. }))
    };
    let todo: Vec<&Mutant> = chosen.iter().filter(|mutant| !known(mutant)).collect();
    let judged = Mutex::new(Vec::new());
    let trouble = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(&mutant) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if ends.is_some_and(|ends| Instant::now() >= ends) {
                        return;
                    }
                    match judge.judge(mutant.id) {
                        Ok(outcome) => {
                            eprintln!("{}: {}", report::words(&outcome), mutant.name);
                            let mut judged = judged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            judged.push((mutant.clone(), outcome));
                        }
                        Err(error) => {
                            next.store(todo.len(), Ordering::Relaxed);
                            let mut trouble =
                                trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            trouble.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = trouble.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    let mut judged = judged.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for mutant in chosen {
        let is_new = judged.iter().any(|(one, _): &(Mutant, Outcome)| one.id == mutant.id);
        if let Some(outcome) = earlier.get(&mutant.name).filter(|_| !is_new) {
            judged.push((mutant.clone(), outcome.clone()));
        }
    }
    judged.sort_by_key(|(mutant, _)| mutant.id);
    Ok(judged)
}

fn write(root: &Path, report: &report::Report<'_>) -> Result<()> {
    let file = root.join(OUTCOMES);
    std::fs::write(&file, report.json()?).with_context(|| format!("{} cannot be written", file.display()))
}
