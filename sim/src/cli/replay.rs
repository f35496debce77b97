//! `tenure replay`: one seed, or one capsule, as a timeline.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pictures::{Shown, write_page, write_trace};
use super::{planted, unless_closed};
use crate::cluster::Transport;
use crate::node::Node;
use crate::plan::Plan;
use crate::planted::Planted;
use crate::report::command::{self, Flags};
use crate::report::style::{BAD, GOOD, NAME};
use crate::report::timeline::{self, Selection};
use crate::run::{Capsule, Run, SeedReport, Verdict, execute, judge, keep_panics_quiet};
use crate::scenario::{self, BadInput};

/// Runs one seed, or a capsule, and shows its history as a timeline: every step with its simulated time and node, and each
/// violation below the step in which an invariant broke.
///
/// Exits with 1 if an invariant broke, with 4 if a capsule's history is no longer the one that was written down.
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
    /// Leaves out calls, watches and the network
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
    /// The hash that the history had.
    hash: Option<String>,
}

fn node(text: &str) -> Result<Node, String> {
    Node::try_from(text.to_owned())
}

pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let explored = |selection| super::explore::replay(Path::new(&args.what), selection);
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
        && let Some(code) = explored(&selection)?
    {
        return Ok(code);
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
    let mut out = std::io::BufWriter::new(anstream::stdout().lock());
    let timeline = args.html.is_none() && args.trace.is_none();
    let written = write(&mut out, &run, &report, timeline.then_some(&selection), subject.hash.as_deref());
    unless_closed(written.and_then(|()| out.flush()))?;
    let same = subject.hash.is_none_or(|hash| hash == format!("{:016x}", report.hash));
    Ok(if !same { 4 } else { u8::from(report.verdict != Verdict::Green) })
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
            scenario: capsule.scenario.name,
            replay: format!("tenure replay {}", args.what),
            plan: Arc::new(capsule.plan),
            invariants: capsule.scenario.invariants,
            planted: planted(capsule.planted.as_deref())?,
            hash: Some(capsule.hash),
        });
    }
    let mut scenario = scenario::find(&args.what)?;
    if let Some(transport) = args.transport {
        scenario.cluster.transport = transport;
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
        hash: None,
    })
}

fn nanoseconds(flag: &str, seconds: Option<f64>) -> Result<Option<u64>, BadInput> {
    match seconds {
        None => Ok(None),
        Some(seconds) if (0.0..1e9).contains(&seconds) => Ok(Some((seconds * 1e9) as u64)),
        Some(seconds) => Err(BadInput(format!("{flag} {seconds}: not a time within a run"))),
    }
}

fn write(
    out: &mut impl Write,
    run: &Run,
    report: &SeedReport,
    selection: Option<&Selection>,
    hash: Option<&str>,
) -> std::io::Result<()> {
    let violations = match &report.verdict {
        Verdict::Broken { violations } => violations.as_slice(),
        Verdict::Green | Verdict::Panic { .. } => &[],
    };
    if let Some(selection) = selection {
        timeline::write(out, &run.history, violations, selection)?;
    }
    writeln!(
        out,
        "{NAME}seed {}{NAME:#}: {} steps, {} grants, hash {:016x}",
        report.seed, report.steps, report.grants, report.hash
    )?;
    match hash {
        Some(hash) if hash != format!("{:016x}", report.hash) => {
            writeln!(out, "{BAD}not the capsule's history{BAD:#}: that one's hash is {hash}")?;
        }
        Some(_) => writeln!(out, "the same history as in the capsule")?,
        None => {}
    }
    match &report.verdict {
        Verdict::Green => writeln!(out, "{GOOD}green{GOOD:#}: every invariant held"),
        Verdict::Panic { message } => writeln!(out, "{BAD}panic{BAD:#}: {message}"),
        Verdict::Broken { violations } => {
            for violation in violations {
                writeln!(
                    out,
                    "{BAD}{} broke at step {}{BAD:#}: {}",
                    violation.invariant, violation.step, violation.detail
                )?;
            }
            Ok(())
        }
    }
}
