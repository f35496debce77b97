//! `tenure serve`: the simulated cluster on real ports.

use std::io::Write;

use super::unless_closed;
use crate::scenario::BadInput;
use crate::serve::{self, ServeOptions};

const EXAMPLES: &str = "\
Examples:
  tenure serve                                           one member on 127.0.0.1:2379
  tenure serve --listen 127.0.0.1:0                      on a free port, which it prints
  tenure serve --members 3 --faults default --seed 17    a cluster in which things go wrong, by seed
  tenure serve --members 3 --faults swarm --speed 10     everything goes wrong, ten times as fast
  tenure serve --members 3 --faults swarm --print-plan   what would go wrong, and when
  tenure serve --members 3 --control 127.0.0.1:2300      a cluster that a test breaks as it likes:
      curl -XPOST 127.0.0.1:2300/members/m1/pause";

/// Serves a simulated etcd on real ports, for tests in any language.
///
/// It answers as the real one does, to any client of etcd 3.4 to 3.7 over gRPC, keeps everything in memory, and serves until it is
/// ended. The first line that it prints, once it listens, is its endpoints, separated by commas; the second, with --control, where the
/// control service is.
///
/// With --faults members crash, stand still, are cut off and lose leadership, answers get lost and leases run out, as a seed decides: the
/// same profile, seed, members, spares and clients give the same faults at the same simulated times. When requests arrive is real, so
/// what becomes of one that meets a fault can differ from one time to the next.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    options: ServeOptions,
}

/// Serves until the process is ended.
pub(super) fn run(args: &Args) -> Result<u8, BadInput> {
    if let Some(rounds) = args.options.chaos.print_plan {
        let lines = serve::planned(&args.options, rounds)?;
        let mut out = anstream::stdout();
        for line in lines {
            unless_closed(writeln!(out, "{line}"))?;
        }
        return Ok(0);
    }
    serve::run(&args.options, |serving| {
        // Nobody may read it.
        let mut out = anstream::stdout();
        let _ = writeln!(out, "{}", serving.endpoints().join(","));
        if let Some(control) = serving.control() {
            let _ = writeln!(out, "control http://{control}");
        }
    })?;
    Ok(0)
}
