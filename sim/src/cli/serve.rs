//! `tenure serve`: the simulated store on a port.

use std::io::Write;

use crate::scenario::BadInput;
use crate::serve::{self, ServeOptions};

/// Serves a simulated etcd of one member, for tests that want an etcd without an etcd.
///
/// It prints its endpoint once it listens, keeps everything in memory, and serves until it is ended.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: ServeOptions,
}

/// Serves until the process is ended.
pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    let told = |endpoint: &str| {
        // Nobody may read it.
        let _ = writeln!(anstream::stdout(), "{endpoint}");
    };
    serve::run(&args.options, told).map_err(|error| BadInput(error.to_string()))?;
    Ok(0)
}
