//! `elect --listen`: the key and the value of each leader, as `etcdctl elect --listen` prints them.

use std::io::Write;

use futures_util::{FutureExt, select_biased};
use tenure::kv::Shown;
use tenure::{Election, Observation};

use crate::args::Connection;
use crate::connect::{connect, failure};
use crate::exit::{Ended, Failure, code};
use crate::signals::Signals;

pub async fn run(connection: &Connection, name: &str) -> Result<Ended, Failure> {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(code::FAILED, format!("signals cannot be listened for: {error}")))?;
    let etcd = select_biased! {
        raw = signals.ending().fuse() => return Err(Failure::signalled(raw)),
        connected = Box::pin(connect(connection)).fuse() => connected?,
    };
    let mut observer = Election::observer(&etcd, name).map_err(|error| failure(&error))?;
    loop {
        let observation = select_biased! {
            _ = signals.ending().fuse() => return Ok(Ended::Code(0)),
            observation = Box::pin(observer.next()).fuse() => observation.map_err(|error| failure(&error))?,
        };
        if let Observation::Leader(leader) = observation {
            let mut out = std::io::stdout();
            let printed = writeln!(out, "{}\n{}", Shown(&leader.key), String::from_utf8_lossy(&leader.value));
            if printed.and_then(|()| out.flush()).is_err() {
                return Ok(Ended::Code(0));
            }
        }
    }
}
