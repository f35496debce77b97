//! `tenurectl`: locks and elections on etcd for the shell.
//!
//! Two processes run beside the command. This one (`hold`) keeps the session with etcd alive; a small one (`guardian`) is
//! the command's parent and ends it in time when this one cannot, because it was stopped, killed or cut off.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time: nothing here is ever simulated"
)]
// A binary has no public interface.
#![allow(unreachable_pub, reason = "modules of a binary")]

#[cfg(not(unix))]
compile_error!("tenurectl is made of process groups and signals: it needs a Unix");

mod acquire;
mod alarm;
mod args;
mod config;
mod connect;
mod exit;
mod guardian;
mod hold;
mod info;
mod listen;
mod protocol;
mod signals;
mod supervise;
mod terminal;
mod who;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use acquire::Kind;
use args::{Cli, Guardian, Verb};
use exit::{Failure, code};

fn main() -> ExitCode {
    // Single-threaded, without a runtime: it must work when all else has stopped.
    if let Some(args) = Guardian::asked_for() {
        return guardian::run(&args);
    }
    let cli = Cli::parse();
    if let Verb::Completions { shell } = cli.verb {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "tenurectl", &mut script);
        // A reader that has heard enough is no failure.
        let _ = std::io::stdout().write_all(&script);
        return ExitCode::SUCCESS;
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(code::FAILED, format!("no runtime could be started: {error}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(cli));
            // What is still under way in the background has had its time.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(ended) => ended.exit(),
        Err(failure) => {
            if !failure.message.is_empty() {
                say(&failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

async fn run(cli: Cli) -> Result<exit::Ended, Failure> {
    let connection = &cli.connection;
    match cli.verb {
        Verb::Lock(args) => hold::run(connection, Kind::Lock, &args.name, &args.terms, &args.command).await,
        Verb::Elect(args) => match args.value {
            Some(value) => {
                let kind = Kind::Elect(value.into_encoded_bytes());
                hold::run(connection, kind, &args.name, &args.terms, &args.command).await
            }
            None => listen::run(connection, &args.name).await,
        },
        Verb::Rwlock(args) => {
            let kind = if args.read { Kind::Read } else { Kind::Write };
            hold::run(connection, kind, &args.name, &args.terms, &args.command).await
        }
        Verb::Sem(args) => {
            hold::run(connection, Kind::Sem(args.permits), &args.name, &args.terms, &args.command).await
        }
        Verb::Who(args) => who::run(connection, &args).await,
        Verb::Completions { .. } => Ok(exit::Ended::Code(0)),
    }
}

/// A line for the user, apart from what the command itself says.
fn say(words: &str) {
    // Nobody is left to be told that nobody can be told.
    let _ = writeln!(std::io::stderr(), "tenurectl: {words}");
}
