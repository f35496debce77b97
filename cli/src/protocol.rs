//! What `tenurectl` and the guardian tell each other: lines of text over a socket.

use std::fmt;
use std::str::FromStr;

/// To the guardian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The command may run until then (see [`alarm::now_ns`](crate::alarm::now_ns)); never earlier than told before.
    Until { ns: u64 },
    /// The lock is lost: end the command.
    Lost,
    /// Pass this signal on to the command's group.
    Signal(i32),
}

/// From the guardian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The command runs, as the leader of a process group with this id.
    Started { group: i32 },
    /// The command could not be started; the exit code, and why.
    NotStarted { code: u8, why: String },
    /// The command stands still because of this signal.
    Stopped(i32),
    /// The command is being ended, since it may not run on.
    Ending,
    /// The command has exited with this code.
    Exited(i32),
    /// The command died of this signal.
    Killed(i32),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Until { ns } => write!(f, "until {ns}"),
            Self::Lost => f.write_str("lost"),
            Self::Signal(raw) => write!(f, "signal {raw}"),
        }
    }
}

impl FromStr for Order {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        match line.split_once(' ') {
            None if line == "lost" => Ok(Self::Lost),
            Some(("until", ns)) => Ok(Self::Until { ns: ns.parse().map_err(drop)? }),
            Some(("signal", raw)) => Ok(Self::Signal(raw.parse().map_err(drop)?)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { group } => write!(f, "started {group}"),
            Self::NotStarted { code, why } => write!(f, "not-started {code} {}", why.replace('\n', " ")),
            Self::Stopped(raw) => write!(f, "stopped {raw}"),
            Self::Ending => f.write_str("ending"),
            Self::Exited(code) => write!(f, "exited {code}"),
            Self::Killed(raw) => write!(f, "killed {raw}"),
        }
    }
}

impl FromStr for Report {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse::<i32>().map_err(drop);
        match line.split_once(' ') {
            None if line == "ending" => Ok(Self::Ending),
            Some(("started", group)) => Ok(Self::Started { group: number(group)? }),
            Some(("not-started", rest)) => {
                let (code, why) = rest.split_once(' ').ok_or(())?;
                Ok(Self::NotStarted { code: code.parse().map_err(drop)?, why: why.to_owned() })
            }
            Some(("stopped", raw)) => Ok(Self::Stopped(number(raw)?)),
            Some(("exited", code)) => Ok(Self::Exited(number(code)?)),
            Some(("killed", raw)) => Ok(Self::Killed(number(raw)?)),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        for order in [Order::Until { ns: u64::MAX }, Order::Lost, Order::Signal(15)] {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        let reports = [
            Report::Started { group: 7 },
            Report::NotStarted { code: 127, why: "no such file".to_owned() },
            Report::Stopped(19),
            Report::Ending,
            Report::Exited(0),
            Report::Killed(9),
        ];
        for report in reports {
            assert_eq!(report.to_string().parse(), Ok(report));
        }
        assert_eq!("until soon".parse::<Order>(), Err(()));
        assert_eq!("".parse::<Report>(), Err(()));
    }
}
