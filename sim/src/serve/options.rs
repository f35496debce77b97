//! What `tenure serve` takes: etcd's own flags where tests set them, and those of the simulation.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::scenario::BadInput;
use crate::store::EtcdVersion;

/// What `tenure serve` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// Where to listen for clients; port 0 takes a free one. Several members take this port and those after it, or name one
    /// address each (--listen A --listen B, or A,B). One member listens on all that are named.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2379", value_delimiter = ',', value_parser = address,
          visible_alias = "listen-client-urls")]
    pub listen: Vec<SocketAddr>,
    /// Behave as this release of etcd, of the lines 3.4 to 3.7.
    #[arg(long, value_name = "V", default_value_t = EtcdVersion::default(), visible_alias = "version")]
    pub etcd_version: EtcdVersion,
    /// How many members: 1, 3 or 5, each on a port of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = members)]
    pub members: u32,
    /// How many servers more there are that are no members yet: `etcdctl member add` takes the next of them, and starts it.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=4))]
    pub spares: u32,
    /// etcd's flags.
    #[command(flatten)]
    pub etcd: EtcdFlags,
    /// What goes wrong.
    #[command(flatten)]
    pub chaos: ChaosFlags,
    /// Listen here for the control service: pause, kill, cut, heal, expire, step time (see docs/serve.md). Without ADDRESS on a
    /// free port of the loopback. Anyone who reaches it can do all of that.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:0", value_parser = address)]
    pub control: Option<SocketAddr>,
}

/// etcd's own flags, with etcd's defaults.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "As etcd has them")]
pub struct EtcdFlags {
    /// Bytes of one request at most. Watches that ask for fragments get larger responses in parts.
    #[arg(long, value_name = "BYTES", default_value_t = 1_572_864)]
    pub max_request_bytes: usize,
    /// Operations in a transaction at most.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_txn_ops: usize,
    /// Bytes of the backend at most: a write beyond raises the NOSPACE alarm. 0 is etcd's 2 GiB.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub quota_backend_bytes: u64,
    /// Watches that ask for it are told this often that nothing has happened.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration,
          alias = "experimental-watch-progress-notify-interval")]
    pub watch_progress_notify_interval: Duration,
    /// Milliseconds between a leader's heartbeats.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub heartbeat_interval: u64,
    /// Milliseconds without a heartbeat after which a member stands for election. No lease lives less than 1.5 of it.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=50_000))]
    pub election_timeout: u64,
    /// The server's certificate (PEM, with its chain): clients then speak TLS.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// The certificates (PEM) that sign those of clients.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Refuse clients without a certificate that is signed by one of --trusted-ca-file.
    #[arg(long, requires = "trusted_ca_file")]
    pub client_cert_auth: bool,
}

/// What goes wrong, and how fast time goes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Faults and time")]
pub struct ChaosFlags {
    /// What goes wrong: `none`, `default` (one thing at a time), `swarm` (everything), or as in a scenario, by its name or .toml
    /// file. Faults come in rounds, each with a calm end, for as long as it serves.
    #[arg(long, value_name = "PROFILE", default_value = "none")]
    pub faults: String,
    /// Decides which faults come, and when. Of a scenario the first round is what `tenure run` plays for that seed, if it draws no
    /// sizes of its own.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How many clients the faults tell apart: of a member's connections the n-th is client n modulo this. The profile's own number,
    /// if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub clients: Option<u32>,
    /// Simulated time goes so many times faster than real time: leases, elections and faults with it.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Write every fault as it begins and ends to FILE, a line of JSON each, with its simulated time.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Print the faults of the first ROUNDS rounds, a line of JSON each, and serve nothing.
    #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "1")]
    pub print_plan: Option<u32>,
}

/// The flags without a command around them.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    options: ServeOptions,
}

impl ServeOptions {
    /// Reads flags as the command line has them, for tests that serve in their own process.
    ///
    /// # Errors
    /// What is wrong, in clap's words.
    pub fn of<'a>(flags: impl IntoIterator<Item = &'a str>) -> Result<Self, BadInput> {
        let parsed = <Alone as clap::Parser>::try_parse_from(flags);
        parsed.map(|alone| alone.options).map_err(|error| BadInput(error.to_string()))
    }

    /// What clap cannot tell.
    pub(super) fn check(&self) -> Result<(), BadInput> {
        let EtcdFlags { heartbeat_interval, election_timeout, .. } = self.etcd;
        if election_timeout < 5 * heartbeat_interval {
            return Err(BadInput(format!(
                "--election-timeout: {election_timeout} is less than 5 times --heartbeat-interval, {heartbeat_interval}"
            )));
        }
        Ok(())
    }

    /// Where each member listens.
    pub(super) fn addresses(&self) -> Result<Vec<Vec<SocketAddr>>, BadInput> {
        let places = (self.members + self.spares) as usize;
        match self.listen[..] {
            _ if places == 1 => Ok(vec![self.listen.clone()]),
            [first] => (0..places).map(|place| Ok(vec![after(first, place)?])).collect(),
            ref each if each.len() == places => Ok(each.iter().map(|&one| vec![one]).collect()),
            ref some => Err(BadInput(format!(
                "--listen: {} addresses for {places} members and spares; give one, or one for each",
                some.len()
            ))),
        }
    }
}

/// The address `place` ports further; a free port stays one.
fn after(first: SocketAddr, place: usize) -> Result<SocketAddr, BadInput> {
    if first.port() == 0 {
        return Ok(first);
    }
    let port = u16::try_from(place).ok().and_then(|place| first.port().checked_add(place));
    let port = port.ok_or_else(|| BadInput(format!("--listen: there are not enough ports after {first}")))?;
    Ok(SocketAddr::new(first.ip(), port))
}

/// An address, or a URL as etcd's flags have it. `localhost` is 127.0.0.1.
fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.split_once("://").map_or(text, |(_, bare)| bare).trim_end_matches('/');
    if let Some(port) = bare.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port));
    }
    bare.parse().map_err(|_| "an address is an IP and a port, such as 127.0.0.1:2379".to_owned())
}

fn members(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(members @ (1 | 3 | 5)) => Ok(members),
        _ => Err("there can be 1, 3 or 5 members".to_owned()),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("time can go from 0.01 to 1000 times as fast".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listened(flags: &[&str]) -> Result<Vec<Vec<String>>, String> {
        let options = ServeOptions::of(flags.iter().copied()).map_err(|error| error.to_string())?;
        let each = options.addresses().map_err(|error| error.to_string())?;
        Ok(each.iter().map(|place| place.iter().map(ToString::to_string).collect()).collect())
    }

    #[test]
    fn members_take_ports_in_a_row_or_those_that_are_named() {
        let one = listened(&["--listen", "127.0.0.1:5", "--listen", "http://localhost:7"]).expect("right");
        assert_eq!(one, [["127.0.0.1:5", "127.0.0.1:7"]]);
        let row = listened(&["--members", "3", "--listen", "127.0.0.1:2379"]).expect("right");
        assert_eq!(row, [["127.0.0.1:2379"], ["127.0.0.1:2380"], ["127.0.0.1:2381"]]);
        let free = listened(&["--members", "3", "--listen", "127.0.0.1:0"]).expect("right");
        assert_eq!(free, [["127.0.0.1:0"]; 3]);
        let named = listened(&["--members", "3", "--listen", "[::1]:1,[::1]:5,[::1]:3"]).expect("right");
        assert_eq!(named, [["[::1]:1"], ["[::1]:5"], ["[::1]:3"]]);
    }

    #[test]
    fn what_cannot_be_is_told_in_a_line_with_its_flag() {
        let refused = listened(&["--members", "3", "--listen", "127.0.0.1:1,127.0.0.1:2"]).expect_err("two");
        assert_eq!(refused, "--listen: 2 addresses for 3 members and spares; give one, or one for each");
        let refused = listened(&["--members", "3", "--listen", "127.0.0.1:65534"]).expect_err("no ports");
        assert_eq!(refused, "--listen: there are not enough ports after 127.0.0.1:65534");
        for (flag, value, said) in [
            ("--members", "4", "there can be 1, 3 or 5 members"),
            ("--speed", "0", "time can go from 0.01 to 1000 times as fast"),
            ("--listen", "here", "an address is an IP and a port"),
            ("--version", "2.0.0", "3.4"),
        ] {
            let refused = listened(&[flag, value]).expect_err("wrong");
            assert!(refused.contains(flag.trim_start_matches('-')) && refused.contains(said), "{refused}");
        }
        let fast = ServeOptions::of(["--election-timeout", "400"]).expect("read").check();
        assert!(
            fast.expect_err("too fast")
                .to_string()
                .starts_with("--election-timeout: 400 is less than 5 times")
        );
    }
}
