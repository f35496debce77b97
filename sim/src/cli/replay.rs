//! `tenure replay`: one seed, or one capsule, as a timeline.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::explored::Explored;
use super::pictures::{Shown, write_page, write_trace};
use super::{planted, unless_closed};
use crate::check::Violation;
use crate::cluster::Transport;
use crate::node::Node;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::report::command::{self, Flags};
use crate::report::story::{self, Sentence};
use crate::report::style::{BAD, GOOD, NAME};
use crate::report::timeline::{self, Selection};
use crate::run::{
    Capsule, Outcome, Replayed, Run, SeedReport, Verdict, evidence, execute, judge, keep_panics_quiet,
};
use crate::scenario::{self, BadInput};

/// Runs one seed, or a capsule, and shows its history as a timeline: every step with its simulated time and node, and each
/// violation below the step in which an invariant broke.
///
/// A failure begins with what happened in words. Of a capsule it says: still fails (exit code 1: the same invariant broke
/// in the same way, be it by the same history or another), fixed (0: green now), or fails differently (5); and the first step
/// at which the history is another than the one that was written down. 4 if two runs of one plan differ.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A scenario by name, a .toml file with a scenario, or a .json file with a capsule
    #[arg(value_name = "NAME|CAPSULE")]
    what: String,
    /// The seed; a capsule brings its own
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Plants a bug; a capsule brings its own
    #[arg(long, value_name = "BUG")]
    planted: Option<String>,
    /// How clients talk to members, as given to `tenure run`; a capsule brings its own
    #[arg(long, value_name = "WAY")]
    transport: Option<Transport>,
    /// Leaves out calls, watches, the network and what changes nothing, and of a shrunk capsule what comes after the failure
    #[arg(long)]
    brief: bool,
    /// Shows no steps before this simulated time
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    from: Option<f64>,
    /// Shows no steps after this simulated time
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    to: Option<f64>,
    /// Shows only steps of these nodes (m0, m1, .., c0, c1, ..) and the world's
    #[arg(long, value_name = "NODE", value_delimiter = ',', value_parser = node)]
    node: Vec<Node>,
    /// Writes the run as a picture instead: one HTML page that needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes it as a Chrome trace instead, which Perfetto opens
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Writes the pictures that are asked for.
fn draw(args: &Args, subject: &Subject, run: &Run, report: &SeedReport) -> Result<(), BadInput> {
    let shown = Shown {
        scenario: &subject.scenario,
        planted: subject.planted.map(|planted| planted.name),
        plan: &subject.plan,
        run,
        report,
        replay: Some(subject.replay.clone()),
    };
    if let Some(file) = &args.html {
        write_page(file, &shown)?;
    }
    if let Some(file) = &args.trace {
        write_trace(file, &shown)?;
    }
    Ok(())
}

/// What is to be replayed.
struct Subject {
    /// The scenario's name.
    scenario: String,
    /// The command that replays it.
    replay: String,
    plan: Arc<Plan>,
    invariants: Vec<String>,
    planted: Option<&'static Planted>,
    /// The capsule that it comes from.
    capsule: Option<Capsule>,
}

fn node(text: &str) -> Result<Node, String> {
    Node::try_from(text.to_owned())
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let selection = Selection {
        from_ns: nanoseconds("--from", args.from)?,
        to_ns: nanoseconds("--to", args.to)?,
        nodes: args.node.clone(),
        brief: args.brief,
    };
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(BadInput(format!("--from {from} --to {to}: no time lies between them")));
    }
    if args.what.ends_with(".json")
        && let Some(explored) = Explored::read(Path::new(&args.what))?
    {
        if args.seed.is_some() || args.planted.is_some() || args.transport.is_some() {
            return Err(BadInput(
                "--seed, --planted and --transport: a run of `explore` has none to choose".to_owned(),
            ));
        }
        return explored.replay(args.html.as_deref(), args.trace.as_deref(), &selection);
    }
    let subject = subject(args)?;
    let clients = subject.plan.clients.len() as u32;
    let members = subject.plan.cluster.members;
    for node in &args.node {
        let (kind, index, count) = match node {
            Node::Client(index) => ('c', *index, clients),
            Node::Member(index) => ('m', *index, members),
            Node::World => continue,
        };
        if index >= count {
            let last = count - 1;
            return Err(BadInput(format!("--node {kind}{index}: there are {kind}0 to {kind}{last}")));
        }
    }
    keep_panics_quiet();
    let run = execute(&subject.plan, subject.planted)?;
    let report = judge(&subject.plan, &run, &subject.invariants);
    draw(args, &subject, &run, &report)?;
    let replayed =
        subject.capsule.as_ref().map(|capsule| Replayed::of(capsule, subject.planted, &run, &report));
    // A history that is new must at least be one.
    let twice = match &replayed {
        Some(Replayed { diverged: Some(_), .. }) => {
            run.history.first_difference(&execute(&subject.plan, subject.planted)?.history)
        }
        _ => None,
    };
    let timeline = args.html.is_none() && args.trace.is_none();
    let selection = timeline.then(|| until_the_failure(selection, &subject, &run, &report));
    let mut out = std::io::BufWriter::new(anstream::stdout().lock());
    let told = Told { subject: &subject, run: &run, report: &report, replayed: replayed.as_ref(), twice };
    unless_closed(told.write(&mut out, selection.as_ref()).and_then(|()| out.flush()))?;
    Ok(match (twice, replayed) {
        (Some(_), _) => 4,
        (None, Some(replayed)) => replayed.outcome.exit_code(),
        (None, None) => u8::from(report.verdict != Verdict::Green),
    })
}

fn subject(args: &Args) -> Result<Subject, BadInput> {
    let wanted = planted(args.planted.as_deref())?;
    if args.what.ends_with(".json") {
        let capsule = Capsule::read(Path::new(&args.what))?;
        if args.seed.is_some_and(|seed| seed != capsule.plan.seed) {
            return Err(BadInput(format!("--seed: the capsule is of seed {}", capsule.plan.seed)));
        }
        if wanted.is_some() || args.transport.is_some() {
            return Err(BadInput(
                "--planted and --transport are for scenarios: a capsule brings its own".to_owned(),
            ));
        }
        return Ok(Subject {
            scenario: capsule.scenario.name.clone(),
            replay: format!("tenure replay {}", args.what),
            plan: Arc::new(capsule.plan.clone()),
            invariants: capsule.scenario.invariants.clone(),
            planted: planted(capsule.planted.as_deref())?,
            capsule: Some(capsule),
        });
    }
    let mut scenario = scenario::find(&args.what)?;
    if let Some(transport) = args.transport {
        scenario.talk_by(transport);
    }
    let Some(seed) = args.seed else {
        return Err(BadInput(format!("replay {}: --seed N is needed", args.what)));
    };
    let flags = Flags { planted: wanted.map(|planted| planted.name), transport: scenario.cluster.transport };
    Ok(Subject {
        replay: command::replay(&args.what, seed, flags),
        scenario: scenario.name.clone(),
        plan: Arc::new(Plan::draw(&scenario, seed)),
        invariants: scenario.invariants,
        planted: wanted,
        capsule: None,
    })
}

fn nanoseconds(flag: &str, seconds: Option<f64>) -> Result<Option<u64>, BadInput> {
    match seconds {
        None => Ok(None),
        Some(seconds) if (0.0..1e9).contains(&seconds) => Ok(Some((seconds * 1e9) as u64)),
        Some(seconds) => Err(BadInput(format!("{flag} {seconds}: not a time within a run"))),
    }
}

/// A brief look at a shrunk capsule ends with its failure.
fn until_the_failure(selection: Selection, subject: &Subject, run: &Run, report: &SeedReport) -> Selection {
    let shrunk_for = subject.capsule.as_ref().and_then(|capsule| capsule.invariant.as_ref());
    let (Some(name), Verdict::Broken { violations }) = (shrunk_for, &report.verdict) else {
        return selection;
    };
    if !selection.brief || selection.to_ns.is_some() {
        return selection;
    }
    let broke = violations.iter().find(|violation| violation.invariant == *name);
    let to_ns = broke.and_then(|broke| run.history.steps.get(broke.step)).map(|step| step.at_ns);
    Selection { to_ns, ..selection }
}

/// What a replay tells.
struct Told<'a> {
    subject: &'a Subject,
    run: &'a Run,
    report: &'a SeedReport,
    replayed: Option<&'a Replayed>,
    twice: Option<usize>,
}

impl Told<'_> {
    fn write(&self, out: &mut impl Write, selection: Option<&Selection>) -> std::io::Result<()> {
        let violations = self.report.verdict.violations();
        self.write_story(out)?;
        if let Some(selection) = selection {
            timeline::write(out, &self.run.history, violations, selection)?;
        }
        let SeedReport { seed, steps, grants, hash, .. } = self.report;
        writeln!(out, "{NAME}seed {seed}{NAME:#}: {steps} steps, {grants} grants, hash {hash:016x}")?;
        match &self.report.verdict {
            Verdict::Green => writeln!(out, "{GOOD}green{GOOD:#}: every invariant held")?,
            Verdict::Panic { message } => writeln!(out, "{BAD}panic{BAD:#}: {message}")?,
            Verdict::RanAway { message } => writeln!(out, "{BAD}{message}{BAD:#}")?,
            Verdict::Broken { .. } => {
                for Violation { invariant, step, detail } in violations {
                    writeln!(out, "{BAD}{invariant} broke at step {step}{BAD:#}: {detail}")?;
                }
            }
        }
        if let Some(replayed) = self.replayed {
            let style = if replayed.outcome == Outcome::Fixed { GOOD } else { BAD };
            writeln!(out, "{style}{}{style:#}: {}", replayed.outcome, replayed.history_words())?;
        }
        if let Some(step) = self.twice {
            writeln!(
                out,
                "{BAD}not deterministic{BAD:#}: two runs of this plan differ first at step {step}"
            )?;
        }
        Ok(())
    }

    fn write_story(&self, out: &mut impl Write) -> std::io::Result<()> {
        let wanted = self.subject.capsule.as_ref().map_or_else(
            || self.subject.planted.map(|planted| planted.invariant),
            |capsule| capsule.subject(self.subject.planted),
        );
        let evidence = evidence(&self.subject.plan, self.run);
        write_story(out, &story::of_verdict(&evidence, &self.report.verdict, wanted))
    }
}

/// What happened, in words, before the steps.
pub(super) fn write_story(out: &mut impl Write, story: &[Sentence]) -> std::io::Result<()> {
    if story.is_empty() {
        return Ok(());
    }
    writeln!(out, "{NAME}what happened{NAME:#}")?;
    story.iter().try_for_each(|sentence| writeln!(out, "  {sentence}"))?;
    writeln!(out)
}
