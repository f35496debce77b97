//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit::code::NOT_ACQUIRED;

const AFTER_HELP: &str = "\
Exit codes: the command's own; 128 + N if signal N ended it. And of tenurectl itself:
    2  bad usage
  122  etcd could not be reached
  123  the lock was lost; the command was ended before etcd could give the lock to another
  124  not acquired: held by another (--try), or for longer than --wait
  125  something else failed: etcd refuses, no process can be started
  126  the command cannot be executed
  127  the command was not found

The command's environment has TENURE_NAME, TENURE_KEY, TENURE_TOKEN (the fencing token), TENURE_LEASE (hexadecimal),
TENURE_TTL_MS and TENURE_DEADLINE_UNIX_MS (until when it is held should no renewal succeed any more).";

/// Run a command under a distributed lock on etcd, and stop it before the lock is another's.
#[derive(Debug, Parser)]
#[command(name = "tenurectl", version, max_term_width = 100, after_long_help = AFTER_HELP, after_help = "Exit codes and environment: --help.")]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Hold a lock while a command runs; without a command, print the key and hold until a signal.
    #[command(after_long_help = AFTER_HELP)]
    Lock(Lock),
    /// Lead an election while a command runs; without a command, print key and value and lead until a signal.
    #[command(after_long_help = AFTER_HELP)]
    Elect(Elect),
    /// Hold a read-write lock while a command runs.
    #[command(after_long_help = AFTER_HELP)]
    Rwlock(Rwlock),
    /// Hold one of N permits while a command runs: no more than N run at once.
    #[command(after_long_help = AFTER_HELP)]
    Sem(Sem),
    /// Show who holds a name, who waits for it, since when, and how much of each lease is left.
    Who(Who),
    /// Print the completion script of a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// How to reach etcd. Each flag wins over its environment variable, and that over the file.
#[derive(Args, Debug)]
#[command(next_help_heading = "How to reach etcd (flag, else environment, else file)")]
pub struct Connection {
    /// The endpoints of the cluster, separated by commas [default: http://127.0.0.1:2379]
    #[arg(long, global = true, env = "TENURE_ENDPOINTS", value_delimiter = ',', value_name = "URL,..")]
    pub endpoints: Option<Vec<String>>,
    /// Trust servers whose certificate this file's authorities have signed (PEM); without it, the system's
    #[arg(long, global = true, env = "TENURE_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Show this certificate to the server (PEM)
    #[arg(long, global = true, env = "TENURE_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The key of --cert (PEM)
    #[arg(long, global = true, env = "TENURE_KEY_FILE", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Authenticate as this user; the password comes from TENURE_PASSWORD, --password-file or --config
    #[arg(long, global = true, env = "TENURE_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// The first line of this file is the password
    #[arg(long, global = true, env = "TENURE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// A TOML file with endpoints, cacert, cert, key, user, and password or password_file
    #[arg(long, global = true, env = "TENURE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Give up if etcd has not answered after this many seconds
    #[arg(long, global = true, default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    pub connect_timeout: Duration,
}

/// How long it is waited for, and for how long it outlives its holder.
#[derive(Args, Debug)]
pub struct Terms {
    /// Wait for this many seconds at most (0.5 is half a second); without it, for ever
    #[arg(short, long, visible_alias = "timeout", value_parser = seconds, value_name = "SECONDS", conflicts_with = "try_only")]
    pub wait: Option<Duration>,
    /// Do not wait at all
    #[arg(long = "try", aliases = ["nonblock", "nb"])]
    pub try_only: bool,
    /// The exit code for "not acquired" instead of 124
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = NOT_ACQUIRED, hide_default_value = true)]
    pub conflict_exit_code: u8,
    /// The lease's time to live, in whole seconds: for so long a holder that crashed keeps others waiting, and for so long
    /// etcd may be out of reach before the lock is lost
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=86_400), value_name = "SECONDS")]
    pub ttl: u32,
    /// How long the command has from TERM to KILL when the lock is being lost, at most half the TTL [default: a quarter of
    /// the TTL]
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub grace: Option<Duration>,
    /// Tell on standard error what is waited for, acquired and released
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Args, Debug)]
pub struct Lock {
    /// The lock's name, as `etcdctl lock` takes it: keys are put below NAME/
    pub name: String,
    #[command(flatten)]
    pub terms: Terms,
    /// The command and its arguments, behind `--`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Elect {
    /// The election's name, as `etcdctl elect` takes it
    pub name: String,
    /// What the leader tells those who listen
    #[arg(required_unless_present = "listen")]
    pub value: Option<OsString>,
    /// Take no part: print the key and the value of each leader, until a signal
    #[arg(short, long, conflicts_with_all = ["value", "command"])]
    pub listen: bool,
    #[command(flatten)]
    pub terms: Terms,
    /// The command and its arguments, behind `--`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("side").required(true))]
pub struct Rwlock {
    /// Hold it beside other readers
    #[arg(short, long, visible_alias = "shared", group = "side")]
    pub read: bool,
    /// Hold it alone; once a writer waits, no reader is let in before it
    #[arg(short = 'x', long, visible_alias = "exclusive", group = "side")]
    pub write: bool,
    /// The lock's name: keys are put below NAME/read/ and NAME/write/
    pub name: String,
    #[command(flatten)]
    pub terms: Terms,
    /// The command and its arguments, behind `--`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Sem {
    /// How many may hold at once; all who use the name must say the same
    #[arg(short = 'n', long, visible_alias = "jobs", value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub permits: u32,
    /// The semaphore's name: keys are put below NAME/sem/N/
    pub name: String,
    #[command(flatten)]
    pub terms: Terms,
    /// The command and its arguments, behind `--`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Who {
    /// The name of a lock, read-write lock, semaphore or election
    pub name: String,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
    /// Again after each change, until a signal; with --json, one document a line
    #[arg(long)]
    pub watch: bool,
}

/// The command line by which tenurectl starts the command's parent, behind [`Guardian::VERB`]; no user's.
#[derive(Debug, Parser)]
pub struct Guardian {
    /// The descriptor of the socket to tenurectl.
    #[arg(long)]
    pub socket: i32,
    /// When the command has to be dead, by the machine's clock that goes on while it is suspended.
    #[arg(long)]
    pub until_ns: u64,
    /// How long before that it is asked to end.
    #[arg(long)]
    pub grace_ms: u64,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

impl Guardian {
    pub const VERB: &str = "guardian";

    /// If this process was started as one.
    pub fn asked_for() -> Option<Self> {
        let mut args = std::env::args_os().skip(1).peekable();
        (args.peek()? == Self::VERB).then(|| Self::parse_from(args))
    }
}

/// A span in seconds, with decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    let allowed = || "a number of seconds from 0 to 1000000000, such as 2.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| allowed())?;
    if !(0.0..=1e9).contains(&seconds) {
        return Err(allowed());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_name_is_the_command_with_or_without_dashes() {
        for line in [
            vec!["tenurectl", "lock", "n", "--ttl", "5", "--", "grep", "--ttl", "x"],
            vec!["tenurectl", "lock", "--ttl", "5", "n", "grep", "--ttl", "x"],
        ] {
            let Verb::Lock(lock) = Cli::try_parse_from(&line).expect("good").verb else { panic!("a lock") };
            assert_eq!(lock.terms.ttl, 5);
            assert_eq!(lock.command, ["grep", "--ttl", "x"], "{line:?}");
        }
    }

    #[test]
    fn a_span_has_decimals_and_bounds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["", "-1", "NaN", "inf", "1e10", "5s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
