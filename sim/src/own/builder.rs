//! How a simulation is set up: what a test writes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use super::client::{Ends, code};
use super::invariant::Named;
use super::red::Of;
use super::trial::{Mark, Trial};
use super::{Context, Failed, Invariant, Report, RunView, campaign, environment, regressions};
use crate::check::Breach;
use crate::plan::{OwnRole, OwnSpec};
use crate::run::keep_panics_quiet;
use crate::scenario::{self, BadInput, Profile, Scenario};
use crate::shrink::Options;

/// From so many seeds on, a mark that none of them hit fails the test.
const MARKS_FROM_SEEDS: u64 = 100;

/// What a session allows a clock to be off by unless it is told otherwise, in millionths.
const DRIFT_BOUND_PPM: u64 = 10_000;

/// No two clocks differ by more than sessions allow for, so that what breaks is not the clock's fault.
const DRIFT_PPM: u64 = 4_000;

/// The simulation of a test's own code; begun with [`Simulation::builder`].
#[derive(Debug)]
pub struct Simulation;

impl Simulation {
    /// Begins one. Its failures are kept beside the source that calls this.
    #[must_use]
    #[track_caller]
    pub fn builder() -> SimulationBuilder {
        SimulationBuilder {
            name: None,
            place: Location::caller(),
            members: None,
            version: None,
            duration: Duration::from_secs(60),
            calm: Duration::from_secs(25),
            faults: Faults::swarm(),
            roles: Vec::new(),
            trial: Trial { roles: Vec::new(), invariants: Vec::new(), marks: Vec::new() },
            seeds: 0..200,
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            keeps: true,
            folder: None,
            shrink_limit: Duration::from_secs(20),
        }
    }
}

/// What goes wrong: which faults a seed may draw, and how often.
#[derive(Clone, Debug)]
pub struct Faults {
    weights: BTreeMap<String, f64>,
    gap_ms: Option<[u64; 2]>,
    lasting_ms: Option<[u64; 2]>,
    profile: Profile,
}

impl Faults {
    /// Everything that goes wrong with a cluster, its network and its clients. Each seed draws a random subset, with random
    /// weights, and the cluster's size, release, timings and latencies too.
    #[must_use]
    pub fn swarm() -> Self {
        let weights = base().map(|base| base.faults.weights).unwrap_or_default();
        Self { weights, gap_ms: None, lasting_ms: None, profile: Profile::Swarm }
    }

    /// Nothing goes wrong, and every seed has the same cluster: three members of the newest release, unless it is told
    /// otherwise.
    #[must_use]
    pub fn none() -> Self {
        Self { weights: BTreeMap::new(), gap_ms: None, lasting_ms: None, profile: Profile::Fixed }
    }

    /// Only these faults, by name (`tenure list` names them), all as likely.
    #[must_use]
    pub fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { weights: names.into_iter().map(|name| (name.to_owned(), 1.0)).collect(), ..Self::swarm() }
    }

    /// How likely a fault is beside the others; 0 is never.
    #[must_use]
    pub fn weight(mut self, name: &str, weight: f64) -> Self {
        self.weights.insert(name.to_owned(), weight);
        self
    }

    /// The time between the beginnings of two faults, drawn from this range. Default 0.2 to 4 s.
    #[must_use]
    pub fn every(mut self, from: Duration, to: Duration) -> Self {
        self.gap_ms = Some([from, to].map(millis));
        self
    }

    /// How long a fault lasts, drawn from this range. Default 0.1 to 9 s.
    #[must_use]
    pub fn lasting(mut self, from: Duration, to: Duration) -> Self {
        self.lasting_ms = Some([from, to].map(millis));
        self
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a simulation of one's own takes over from a scenario that is built in.
fn base() -> Result<Scenario, BadInput> {
    scenario::find("mutex")
}

/// A simulation that is being set up; see [`Simulation::builder`].
pub struct SimulationBuilder {
    name: Option<String>,
    place: &'static Location<'static>,
    members: Option<u32>,
    version: Option<String>,
    duration: Duration,
    calm: Duration,
    faults: Faults,
    roles: Vec<OwnRole>,
    trial: Trial,
    seeds: Range<u64>,
    jobs: usize,
    keeps: bool,
    folder: Option<PathBuf>,
    shrink_limit: Duration,
}

impl std::fmt::Debug for SimulationBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulationBuilder")
            .field("name", &self.name)
            .field("members", &self.members)
            .field("version", &self.version)
            .field("roles", &self.roles)
            .field("faults", &self.faults)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

impl SimulationBuilder {
    /// The test's name, as `cargo test` finds it. Default: the name of the thread, which a test's is.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many members the cluster has: 1, 3 or 5. Default: each seed draws it, or 3 if nothing goes wrong.
    #[must_use]
    pub fn members(mut self, members: u32) -> Self {
        self.members = Some(members);
        self
    }

    /// Which etcd the members behave like, `3.5.16` for one. Default: each seed draws it, or 3.7 if nothing goes wrong.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The simulated time of a run, in whole seconds, its calm end included. Default 60 s. Seeds that draw slower clusters
    /// are given more.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// How long, at the run's end, nothing goes wrong any more, in whole seconds. Default 25 s.
    #[must_use]
    pub fn calm(mut self, calm: Duration) -> Self {
        self.calm = calm;
        self
    }

    /// What goes wrong. Default [`Faults::swarm`].
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// A process that runs this code: see [`SimulationBuilder::clients`].
    #[must_use]
    pub fn client<F, W>(self, role: &str, run: F) -> Self
    where
        F: Fn(Context) -> W + Send + Sync + 'static,
        W: Future<Output: Ends> + Send + 'static,
    {
        self.clients(role, 1, run)
    }

    /// So many processes that run this code, called `role-1`, `role-2`, ... It is called anew for each life of each of them.
    /// A process that ends, ends; one that ends with an error is started again after a second, and one that crashes by a
    /// fault when that is over, without what it had in memory and in [`Context`].
    #[must_use]
    pub fn clients<F, W>(self, role: &str, count: u32, run: F) -> Self
    where
        F: Fn(Context) -> W + Send + Sync + 'static,
        W: Future<Output: Ends> + Send + 'static,
    {
        self.clients_between(role, count, count, run)
    }

    /// As [`SimulationBuilder::clients`]; each seed draws how many there are from the range `least..=most`.
    #[must_use]
    pub fn clients_between<F, W>(mut self, role: &str, least: u32, most: u32, run: F) -> Self
    where
        F: Fn(Context) -> W + Send + Sync + 'static,
        W: Future<Output: Ends> + Send + 'static,
    {
        self.roles.push(OwnRole { name: role.to_owned(), count: [least, most] });
        self.trial.roles.push((role.to_owned(), code(run)));
        self
    }

    /// A promise that every run must keep.
    #[must_use]
    pub fn invariant(mut self, invariant: impl Invariant + 'static) -> Self {
        self.trial.invariants.push(Box::new(invariant));
        self
    }

    /// The same as a closure.
    #[must_use]
    pub fn always<F>(self, name: &str, check: F) -> Self
    where
        F: Fn(&RunView<'_>) -> Result<(), Breach> + Send + Sync + 'static,
    {
        self.invariant(Named { name: name.to_owned(), check })
    }

    /// Something that some run must bring about, or the test proves nothing: a leader that is paused for longer than its TTL,
    /// a job that is taken over. A test of 100 seeds and more of which none does is not green.
    #[must_use]
    pub fn sometimes<F>(mut self, name: &str, hit: F) -> Self
    where
        F: Fn(&RunView<'_>) -> bool + Send + Sync + 'static,
    {
        self.trial.marks.push(Mark { name: name.to_owned(), hit: Box::new(hit) });
        self
    }

    /// The seeds. Default `0..200`; `TENURE_SEEDS=1000` or `TENURE_SEEDS=500..600` takes others, `TENURE_SEED=17` that one.
    #[must_use]
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// How many seeds run at a time. Default: as many as there are cores.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs;
        self
    }

    /// How long a failure may be made smaller, in real time. Default 20 s.
    #[must_use]
    pub fn shrink_limit(mut self, limit: Duration) -> Self {
        self.shrink_limit = limit;
        self
    }

    /// Failures are kept in this folder, not in `tenure-regressions/` beside the test's source.
    #[must_use]
    pub fn regressions(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Failures are not kept, and none is run again: for a test that expects one.
    #[must_use]
    pub fn without_regressions(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// Runs the failures that were kept, then the seeds, until one fails.
    ///
    /// # Errors
    /// [`Failed`], which tells all that a red test is to show.
    pub fn run(self) -> Result<Report, Failed> {
        keep_panics_quiet();
        let spec = self.spec()?;
        let seeds = environment::seeds(&self.seeds)?;
        let test = self.test_name();
        let folder =
            self.keeps.then(|| self.folder.clone().unwrap_or_else(|| regressions::folder(&test, self.place)));
        let of = Of { test: &test, trial: &self.trial, folder: folder.as_deref() };
        let mut again = 0;
        if let Some(folder) = of.folder.filter(|_| !seeds.single) {
            for (file, capsule) in regressions::kept(folder, &self.trial)? {
                if let Some(red) = of.again(&file, capsule)? {
                    return Err(Failed::Red(Box::new(red)));
                }
                again += 1;
            }
        }
        let (mut report, red) = campaign::run(&self.trial, &spec, &seeds.range, self.jobs)?;
        report.regressions = again;
        match red.map(|red| (red.plan, red.what)) {
            None => self.is_worth_something(&test, report),
            Some((plan, campaign::Trouble::Differs(difference))) => {
                Err(Failed::NotDeterministic { test, seed: plan.seed, difference })
            }
            Some((plan, campaign::Trouble::Failed(verdict))) => {
                let options = Options { limit: self.shrink_limit, jobs: self.jobs };
                Err(Failed::Red(Box::new(of.found(&plan, &verdict, options, report)?)))
            }
        }
    }

    /// A green that could not have been red is none.
    fn is_worth_something(&self, test: &str, report: Report) -> Result<Report, Failed> {
        if !self.trial.invariants.is_empty() && report.events == 0 && report.holds == 0 {
            return Err(Failed::Vacuous(format!(
                "{test}: no client told of anything in {} seeds, so that its invariants judged nothing; \
                 Context::record and Context::holds tell",
                report.seeds
            )));
        }
        let missed = |mark: &&Mark| report.marks.get(&mark.name).is_none_or(|&hits| hits == 0);
        if report.seeds >= MARKS_FROM_SEEDS
            && let Some(mark) = self.trial.marks.iter().find(missed)
        {
            let (name, seeds) = (&mark.name, report.seeds);
            return Err(Failed::Vacuous(format!("{test}: none of {seeds} seeds brought it about: {name}")));
        }
        Ok(report)
    }

    fn test_name(&self) -> String {
        let thread = std::thread::current();
        let of_thread = thread.name().filter(|name| *name != "main").map(str::to_owned);
        let of_file = || {
            let file = std::path::Path::new(self.place.file());
            file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
        };
        self.name.clone().or(of_thread).unwrap_or_else(of_file)
    }

    /// What plans are drawn from.
    fn spec(&self) -> Result<OwnSpec, BadInput> {
        self.check_roles()?;
        let mut scenario = base()?;
        let whole_s = |field: &str, time: Duration| match time.subsec_nanos() {
            0 => Ok(time.as_secs()),
            _ => Err(BadInput(format!("{field}: {time:?} is not allowed; whole seconds are"))),
        };
        scenario.duration_s = whole_s("duration", self.duration)?;
        scenario.calm_s = whole_s("calm", self.calm)?;
        // Nothing of these is asked of a test's own code; they only have to fit.
        (scenario.drain_s, scenario.progress_s) = (0, scenario.calm_s.min(scenario.progress_s).max(1));
        scenario.profile = self.faults.profile;
        scenario.cluster.members = self.members.unwrap_or(scenario.cluster.members);
        scenario.cluster.version = self.version.clone().unwrap_or(scenario.cluster.version);
        scenario.clients.drift_bound_ppm = DRIFT_BOUND_PPM;
        scenario.clients.drift_ppm = DRIFT_PPM;
        scenario.faults.weights = self.faults.weights.clone();
        scenario.faults.gap_ms = self.faults.gap_ms.unwrap_or(scenario.faults.gap_ms);
        scenario.faults.lasting_ms = self.faults.lasting_ms.unwrap_or(scenario.faults.lasting_ms);
        scenario::validate_own(&scenario)?;
        Ok(OwnSpec {
            scenario,
            fixed_members: self.members.is_some(),
            fixed_version: self.version.is_some(),
            roles: self.roles.clone(),
        })
    }

    fn check_roles(&self) -> Result<(), BadInput> {
        let bad = |what: String| Err(BadInput(what));
        if self.roles.is_empty() {
            return bad("clients: there is none; client(\"name\", ..) adds one".into());
        }
        for (place, role) in self.roles.iter().enumerate() {
            let OwnRole { name, count: [least, most] } = role;
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
                return bad(format!(
                    "clients: the role {name:?} is not allowed; letters, digits, - and _ are"
                ));
            }
            if self.roles[..place].iter().any(|other| other.name == *name) {
                return bad(format!("clients: the role {name:?} is there twice"));
            }
            if !(1..=200).contains(least) || !(*least..=200).contains(most) {
                return bad(format!("clients: {least} to {most} of {name:?} are not allowed; 1 to 200 are"));
            }
        }
        Ok(())
    }
}
