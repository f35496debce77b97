//! `tenure conform`: the simulated store against real etcd.

use std::io::Write;

use super::unless_closed;
use crate::conform::{self, ConformOptions};
use crate::scenario::BadInput;

/// Compares the simulated store with a real etcd, script by script: every reply, refusal, event and revision.
///
/// Exit code 1 if there is a difference; it is made as small as it gets and printed side by side.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: ConformOptions,
}

/// Compares, and says what came out.
pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let outcome = conform::run(&args.options).map_err(|error| BadInput(error.to_string()))?;
    unless_closed(write!(anstream::stdout(), "{outcome}"))?;
    Ok(u8::from(!outcome.agreed()))
}
