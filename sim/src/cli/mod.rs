//! The `tenure` command: its subcommands, one file each, and what their exit codes mean.

mod bench;
#[cfg(unix)]
mod conform;
mod explore;
mod explored;
mod gallery;
mod interrupt;
mod list;
mod merge;
mod mutants;
mod new;
mod output;
mod pictures;
mod rates;
#[cfg(unix)]
mod real;
mod replay;
mod run;
mod schema;
mod seeds;
mod serve;
mod shrink;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::planted::{self, PLANTED, Planted};
use crate::scenario::BadInput;

/// Bad input: nothing was run.
const BAD_INPUT: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  tenure list                                  what can be run, checked and planted
  tenure run mutex --seeds 2000                the seeds 0..2000, on all cores
  tenure run                                   every built-in scenario, 200 seeds each
  tenure new my                                my.toml, a scenario of your own to begin with
  tenure run my.toml --seeds 500..600 --jobs 1 it, run
  tenure run mutex --planted deaf-to-expiry    a bug on purpose: it must be caught
  tenure run mutex --seeds 2000 --shard 0/4 --json > 0.json    the first of four machines' parts
  tenure merge 0.json 1.json 2.json 3.json     the four added up, as if one had run them
  tenure mutants                               every planted bug, hunted: what a green campaign is worth
  tenure rates scenarios/mutex.toml            how often each coverage mark is hit, measured anew and kept
  tenure replay mutex --seed 17 --brief        what happened in one seed, step by step
  tenure replay capsules/mutex-17.json         the same of a failure that was written down
  tenure replay mutex --seed 17 --html run.html  the same as a picture, for any browser
  tenure shrink capsules/mutex-17.json         the smallest version of it
  tenure explore --all                         every order of the library's steps within written bounds
  tenure conform --etcd-version 3.5.34         the simulated store against a real etcd, 20,000 scripts
  tenure real mutex --budget 10m               the same on real servers, with real processes and faults
  tenure serve --listen 127.0.0.1:0            the simulated store as a server on a port

Exit codes:
  0  green, or failed as expected
  1  an invariant broke, something panicked, or a real etcd did otherwise
  2  bad input
  3  nothing broke, but a coverage mark was missed, or was hit so much less often than it used to be, that this is no luck
  4  a seed, or a capsule's plan, gave two different histories
  5  a capsule fails, but not as it says
  6  a search of `explore` ended before all was searched, and found nothing so far
  130, 143  ended by Ctrl-C or SIGTERM, with what was found so far";

/// Runs seeds of a simulated etcd cluster under faults, and checks that distributed locks keep their promises.
///
/// A seed decides everything that happens in a run: the plan (clients, what they do, what goes wrong and when) and
/// every draw of the network. The same seed gives the same history on every machine.
#[derive(Parser)]
#[command(name = "tenure", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Merge(merge::Args),
    Replay(replay::Args),
    List(list::Args),
    Mutants(mutants::Args),
    Rates(rates::Args),
    Bench(bench::Args),
    Explore(explore::Args),
    #[cfg(unix)]
    Conform(conform::Args),
    #[cfg(unix)]
    Real(real::Args),
    #[cfg(unix)]
    #[command(hide = true)]
    RealClient(real::ClientArgs),
    Serve(serve::Args),
    New(new::Args),
    Schema(schema::Args),
    Shrink(shrink::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // clap exits with 2 for what it cannot read.
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::List(args) => list::run(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::Rates(args) => rates::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Explore(args) => explore::run(&args),
        #[cfg(unix)]
        Command::Conform(args) => conform::run(&args),
        #[cfg(unix)]
        Command::Real(args) => real::run(&args),
        #[cfg(unix)]
        Command::RealClient(args) => real::run_client(&args),
        Command::Serve(args) => serve::run(&args),
        Command::New(args) => new::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Shrink(args) => shrink::run(&args),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            anstream::eprintln!("tenure: {error}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// Finds a planted bug by the name on the command line.
fn planted(name: Option<&str>) -> Result<Option<&'static Planted>, BadInput> {
    let Some(name) = name else { return Ok(None) };
    planted::find(name).map(Some).ok_or_else(|| {
        let names: Vec<_> = PLANTED.iter().map(|planted| planted.name).collect();
        BadInput(format!("no bug called {name:?} can be planted; there are {}", names.join(", ")))
    })
}

fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Writing to a closed pipe (`tenure replay .. | head`) is no error of ours.
fn unless_closed(written: std::io::Result<()>) -> Result<(), BadInput> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(BadInput(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}
