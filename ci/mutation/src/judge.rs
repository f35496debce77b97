//! Judges a mutant: first the seeds, few and then more, then the conformance suite over the simulated etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wait_timeout::ChildExt;

use crate::tree::Tree;

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It does not compile.
    Unviable,
    /// A seed noticed it.
    Seeds {
        scenario: String,
        /// The invariant, the coverage marks that were missed, or how else.
        by: String,
        /// How many seeds of the scenario were run at most.
        seeds: u64,
    },
    /// The seeds did not end in time.
    TimeoutOfSeeds { scenario: String, seeds: u64 },
    /// No seed noticed it, but the conformance suite did.
    Conformance {
        /// The first promise that it breaks.
        by: String,
    },
    /// The conformance suite did not end in time.
    TimeoutOfConformance,
    /// Nothing noticed it.
    Survived {
        /// Whether any seed comes by it at all.
        reached_by_seeds: bool,
    },
}

/// How a program that was run ended.
enum End {
    Code(i32, PathBuf),
    Killed(PathBuf),
    Late,
}

/// Judges mutants of a tree.
pub(crate) struct Judge<'a> {
    tree: &'a Tree,
    scenarios: Vec<String>,
    /// The first seed.
    first: u64,
    /// How many seeds each stage runs.
    stages: Vec<u64>,
    /// How long each stage of a scenario may take, ten times what it takes unchanged.
    limits: Vec<Duration>,
    conformance_limit: Duration,
    /// By scenario, the mutants that its seeds come by.
    reached_by_seeds: BTreeMap<String, BTreeSet<u32>>,
    reached_by_conformance: BTreeSet<u32>,
    scratch: PathBuf,
}

/// A mutant that hangs is told from a machine that is busy.
const LEAST_LIMIT: Duration = Duration::from_secs(30);

/// Kilobytes of memory that a mutant may take.
const MEMORY_KB: u64 = 12_000_000;

impl<'a> Judge<'a> {
    /// Runs all that there is with no mutant on, which must be green, and notes what is come by and how long it takes.
    pub(crate) fn new(
        tree: &'a Tree,
        scenarios: Vec<String>,
        seeds: Range<u64>,
        scratch: PathBuf,
    ) -> Result<Self> {
        fs::create_dir_all(&scratch)?;
        let (first, seeds) = (seeds.start, seeds.end - seeds.start);
        let mut judge = Self {
            tree,
            scenarios,
            first,
            stages: [4, 30].into_iter().filter(|&few| few < seeds).chain([seeds]).collect(),
            limits: Vec::new(),
            conformance_limit: LEAST_LIMIT,
            reached_by_seeds: BTreeMap::new(),
            reached_by_conformance: BTreeSet::new(),
            scratch,
        };
        let mut slowest = Duration::ZERO;
        let mut reached = BTreeMap::new();
        for scenario in &judge.scenarios {
            let started = now();
            match judge.seeds(0, scenario, seeds, Duration::from_secs(3600))? {
                None => {}
                Some(outcome) => bail!("{scenario}: unchanged, {seeds} seeds are not green: {outcome:?}"),
            }
            slowest = slowest.max(started.elapsed());
            reached.insert(scenario.clone(), judge.reached());
        }
        judge.limits = judge
            .stages
            .iter()
            .map(|&stage| LEAST_LIMIT + slowest.mul_f64(10.0 * stage as f64 / seeds as f64))
            .collect();
        judge.reached_by_seeds = reached;
        let started = now();
        if let Some(outcome) = judge.conformance(0)? {
            bail!("the conformance suite is not green, unchanged: {outcome:?}");
        }
        judge.conformance_limit = LEAST_LIMIT + started.elapsed() * 10;
        judge.reached_by_conformance = judge.reached();
        Ok(judge)
    }

    /// The scenarios whose seeds come by the mutant: one that they do not come by changes nothing (one seed, one history).
    fn reaching(&self, id: u32) -> Vec<&str> {
        let reached = |scenario: &&String| self.reached_by_seeds[*scenario].contains(&id);
        self.scenarios.iter().filter(reached).map(String::as_str).collect()
    }

    /// Judges the mutant.
    pub(crate) fn judge(&self, id: u32) -> Result<Outcome> {
        if !self.tree.viable.contains(&id) {
            return Ok(Outcome::Unviable);
        }
        let reaching = self.reaching(id);
        for (&stage, &limit) in self.stages.iter().zip(&self.limits) {
            for scenario in &reaching {
                if let Some(outcome) = self.seeds(id, scenario, stage, limit)? {
                    return Ok(outcome);
                }
            }
        }
        if self.reached_by_conformance.contains(&id)
            && let Some(outcome) = self.conformance(id)?
        {
            return Ok(outcome);
        }
        Ok(Outcome::Survived { reached_by_seeds: !reaching.is_empty() })
    }

    fn seeds(&self, id: u32, scenario: &str, seeds: u64, limit: Duration) -> Result<Option<Outcome>> {
        let capsules = self.scratch.join("capsules");
        let mut command = self.command(id, &self.tree.tenure);
        let flags = ["--json", "--fail-fast", "--jobs", "1", "--most-capsules", "0", "--capsules"];
        command.args(["run", scenario]).args(flags);
        command.arg(&capsules).arg("--seeds").arg(format!("{}..{}", self.first, self.first + seeds));
        let scenario = scenario.to_owned();
        let (code, out) = match self.run(id, command, limit)? {
            End::Late => return Ok(Some(Outcome::TimeoutOfSeeds { scenario, seeds })),
            End::Killed(_) => {
                return Ok(Some(Outcome::Seeds { scenario, by: "killed by a signal".into(), seeds }));
            }
            End::Code(0, _) => return Ok(None),
            End::Code(code, out) => (code, out),
        };
        let text = fs::read_to_string(&out)?;
        ensure!(code != 2, "tenure run {scenario} refuses: {text}");
        let by = serde_json::from_str(&text).ok().and_then(|document| noticed_by(&document));
        Ok(Some(Outcome::Seeds { scenario, by: by.unwrap_or(format!("exit code {code}")), seeds }))
    }

    fn conformance(&self, id: u32) -> Result<Option<Outcome>> {
        let mut command = self.command(id, &self.tree.conformance);
        command.args(["simulated::", "--test-threads", "2"]);
        let out = match self.run(id, command, self.conformance_limit)? {
            End::Late => return Ok(Some(Outcome::TimeoutOfConformance)),
            End::Code(0, _) => return Ok(None),
            End::Code(_, out) | End::Killed(out) => out,
        };
        let text = fs::read_to_string(out)?;
        let failed = text.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        Ok(Some(Outcome::Conformance { by: failed.unwrap_or("the suite broke off").to_owned() }))
    }

    fn command(&self, id: u32, program: &Path) -> Command {
        // A mutant may take all memory there is.
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("ulimit -v {MEMORY_KB} -c 0; exec \"$@\""), "mutant"])
            .arg(program)
            .current_dir(&self.tree.root);
        if id == 0 {
            command.env("TENURE_MUTANTS_REACHED", self.reached_file());
        } else {
            command.env("TENURE_MUTANT", id.to_string());
        }
        command
    }

    fn run(&self, id: u32, mut command: Command, limit: Duration) -> Result<End> {
        let out = self.scratch.join(format!("{id}.out"));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(self.scratch.join(format!("{id}.err")))?)
            .spawn()
            .context("bash could not be started")?;
        match child.wait_timeout(limit)? {
            Some(status) => Ok(status.code().map_or(End::Killed(out.clone()), |code| End::Code(code, out))),
            None => {
                child.kill()?;
                child.wait()?;
                Ok(End::Late)
            }
        }
    }

    fn reached_file(&self) -> PathBuf {
        self.scratch.join("reached")
    }

    /// What has been come by since it was last asked.
    fn reached(&self) -> BTreeSet<u32> {
        let text = fs::read_to_string(self.reached_file()).unwrap_or_default();
        let _ = fs::remove_file(self.reached_file());
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "how long a judge may take")]
fn now() -> Instant {
    Instant::now()
}

/// What of a campaign's document says why it is red.
fn noticed_by(document: &Value) -> Option<String> {
    let campaign = document["campaigns"].get(0)?;
    if let Some(failure) = campaign["failures"].get(0) {
        if let Some(violation) = failure["violations"].get(0) {
            return violation["invariant"].as_str().map(str::to_owned);
        }
        return Some("panic".to_owned());
    }
    if campaign["differences"].get(0).is_some() {
        return Some("two runs of a seed differ".to_owned());
    }
    let lists = ["missed_marks", "rarer_marks"].map(|list| campaign[list].as_array());
    let missed: Vec<&str> = lists.into_iter().flatten().flatten().filter_map(Value::as_str).collect();
    (!missed.is_empty()).then(|| format!("missed: {}", missed.join("; ")))
}
