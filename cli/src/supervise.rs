//! The command while it runs under the lock: its guardian is told until when it may run, signals are passed on, and its end is
//! waited for.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, select_biased};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_current_process_group, kill_process_group};
use tenure::kv::{EventKind, WatchRequest};
use tenure::{Backend, Etcd, Runtime, Session, Tenure, WatchMessage};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;

use crate::alarm::now_ns;
use crate::args;
use crate::exit::{Ended, Failure, code};
use crate::protocol::{Order, Report};
use crate::signals::{Signals, stop_here};
use crate::terminal::Terminal;

/// What a command is run under.
pub struct Watched<'a> {
    pub etcd: &'a Etcd,
    pub session: &'a Session,
    pub tenure: &'a Tenure,
    pub grace: Duration,
}

impl Watched<'_> {
    /// When the command has to be dead, on the machine's clock: a little before the session's deadline, since killing takes its
    /// time, too. None if the lock is lost.
    pub fn until_ns(&self) -> Option<u64> {
        // In this order: if we are suspended in between, it comes out too early and not too late.
        let now = now_ns();
        let left = self.session.deadline()?.saturating_since(self.etcd.now());
        let left = left.saturating_sub(self.session.ttl() / 40);
        (!left.is_zero()).then(|| now.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// How the command ended.
pub struct Outcome {
    pub ended: Ended,
    /// It was ended because the lock was lost, or was being lost.
    pub lost: bool,
}

/// Runs `command` with `environment` while it is held, and waits for its end.
pub async fn run(
    watched: &Watched<'_>,
    command: &[OsString],
    environment: Vec<(&'static str, OsString)>,
    signals: &mut Signals,
) -> Result<Outcome, Failure> {
    let until_ns = watched.until_ns().ok_or_else(|| Failure::new(code::LOST, "the lock was lost at once"))?;
    let guardian = Guardian::start(command, environment, until_ns, watched.grace).map_err(|error| {
        Failure::new(code::FAILED, format!("no guardian process could be started: {error}"))
    })?;
    let mut supervisor = Supervisor {
        watched,
        guardian,
        terminal: Terminal::find(),
        until_ns,
        losing: false,
        interrupted: false,
        stopped_by: None,
    };
    let outcome = supervisor.supervise(signals).await;
    supervisor.terminal.take_back();
    outcome
}

struct Supervisor<'a> {
    watched: &'a Watched<'a>,
    guardian: Guardian,
    terminal: Terminal,
    until_ns: u64,
    losing: bool,
    interrupted: bool,
    /// The signal that the command stands still because of.
    stopped_by: Option<i32>,
}

impl Supervisor<'_> {
    async fn supervise(&mut self, signals: &mut Signals) -> Result<Outcome, Failure> {
        let mut lost = Box::pin(self.watched.tenure.lost().fuse());
        let mut deleted = Box::pin(key_deleted(self.watched.etcd, self.watched.tenure).fuse());
        // The deadline moves on three times in a TTL; the guardian should not hear of it late.
        let look_every =
            (self.watched.session.ttl() / 40).clamp(Duration::from_millis(10), Duration::from_millis(500));
        let mut look = tokio::time::interval(look_every);
        loop {
            select_biased! {
                report = self.guardian.report().fuse() => {
                    if let Some(outcome) = self.hear(report)? {
                        return Ok(outcome);
                    }
                }
                raw = signals.next().fuse() => self.pass_on(raw),
                () = lost => self.lose(),
                () = deleted => self.lose(),
                _ = look.tick().fuse() => self.look(),
            }
        }
    }

    /// Tells the guardian of the deadline if it has moved on; does its work if it should have and has not.
    fn look(&mut self) {
        match self.watched.until_ns() {
            // The same deadline, read at two moments, differs by what a clock is read with.
            Some(until_ns) if until_ns > self.until_ns.saturating_add(1_000_000) => {
                self.until_ns = until_ns;
                self.guardian.order(Order::Until { ns: until_ns });
            }
            _ => {}
        }
        if now_ns() > self.until_ns {
            self.losing = true;
            self.guardian.kill_group();
        }
    }

    fn lose(&mut self) {
        self.losing = true;
        self.guardian.order(Order::Lost);
    }

    fn hear(&mut self, report: Option<Report>) -> Result<Option<Outcome>, Failure> {
        match report {
            Some(Report::Started { group }) => self.guardian.group = Pid::from_raw(group),
            Some(Report::NotStarted { code, why }) => return Err(Failure::new(code, why)),
            Some(Report::Stopped(raw)) => self.stopped(raw),
            Some(Report::Ending) => self.losing = true,
            Some(Report::Exited(code)) => return Ok(Some(self.outcome(Ended::Code((code & 0xff) as u8)))),
            Some(Report::Killed(raw))
                if raw == libc::SIGINT && (self.interrupted || self.terminal.is_lent()) =>
            {
                let whole_group = self.terminal.is_lent();
                return Ok(Some(self.outcome(Ended::Interrupted { whole_group })));
            }
            Some(Report::Killed(raw)) => return Ok(Some(self.outcome(Ended::Signal(raw)))),
            None => {
                self.guardian.kill_group();
                if self.losing {
                    return Ok(Some(self.outcome(Ended::Signal(libc::SIGKILL))));
                }
                return Err(Failure::new(
                    code::FAILED,
                    "the guardian process is gone: the command was killed",
                ));
            }
        }
        Ok(None)
    }

    fn outcome(&self, ended: Ended) -> Outcome {
        Outcome { ended, lost: self.losing }
    }

    fn pass_on(&mut self, raw: i32) {
        match raw {
            libc::SIGTSTP => {
                self.guardian.order(Order::Signal(raw));
                stop_here();
                self.go_on();
            }
            libc::SIGCONT => self.go_on(),
            _ => {
                self.interrupted |= raw == libc::SIGINT;
                self.guardian.order(Order::Signal(raw));
            }
        }
    }

    /// The command stands still. If it wants the terminal it gets it; if a terminal's user has stopped it, the whole job stops,
    /// so that the shell around it can go on. Otherwise somebody has their reasons; the lock is held on.
    fn stopped(&mut self, raw: i32) {
        let wants_terminal = raw == libc::SIGTTIN || raw == libc::SIGTTOU;
        self.stopped_by = Some(raw);
        if wants_terminal && self.guardian.group.is_some_and(|group| self.terminal.lend(group)) {
            self.stopped_by = None;
            self.guardian.order(Order::Signal(libc::SIGCONT));
        } else if self.terminal.is_there() && (wants_terminal || self.terminal.is_lent()) {
            self.terminal.take_back();
            // To ourselves, too, who then stop as if the terminal had asked us.
            let _ = kill_current_process_group(Signal::TSTP);
        }
    }

    /// We were stopped and are continued, or were not stopped after all: so is the command.
    fn go_on(&mut self) {
        if self.stopped_by.take().is_some()
            && let Some(group) = self.guardian.group
        {
            self.terminal.lend(group);
        }
        self.guardian.order(Order::Signal(libc::SIGCONT));
    }
}

/// The guardian's process, seen from here.
struct Guardian {
    process: Child,
    reports: Lines<BufReader<UnixStream>>,
    /// Not the runtime's: to that, a socket cannot be written to until it has heard that it can.
    orders: StdStream,
    /// The command's process group, once it runs.
    group: Option<Pid>,
}

impl Guardian {
    fn start(
        command: &[OsString],
        environment: Vec<(&'static str, OsString)>,
        until_ns: u64,
        grace: Duration,
    ) -> std::io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let orders = ours.try_clone()?;
        // Nothing else is started meanwhile that could inherit it.
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let process = Command::new(this_program())
            .arg0("tenurectl")
            .arg(args::Guardian::VERB)
            .args(["--socket".to_owned(), theirs.as_raw_fd().to_string()])
            .args(["--until-ns".to_owned(), until_ns.to_string()])
            .args(["--grace-ms".to_owned(), grace.as_millis().to_string(), "--".to_owned()])
            .args(command)
            .envs(environment)
            // Out of reach of the terminal's signals.
            .process_group(0)
            .spawn()?;
        drop(theirs);
        let reports = BufReader::new(UnixStream::from_std(ours)?).lines();
        Ok(Self { process, reports, orders, group: None })
    }

    /// The next report; none if the guardian is gone. Cancel safe.
    async fn report(&mut self) -> Option<Report> {
        self.reports.next_line().await.ok().flatten()?.parse().ok()
    }

    fn order(&self, order: Order) {
        // The socket takes thousands of orders before one would not fit; that the guardian is gone is seen by its reports.
        let _ = (&self.orders).write(format!("{order}\n").as_bytes());
    }

    /// Kills the command from here. While the guardian lives the group's id is certainly the command's.
    fn kill_group(&mut self) {
        // Either may have ended by itself.
        let _ = match self.group {
            Some(group) => kill_process_group(group, Signal::KILL).map_err(Into::into),
            // It was not told yet: the command dies with its guardian.
            None => self.process.kill(),
        };
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // It ends by itself, now or soon; if it has already, nothing is left of it.
        let _ = self.process.try_wait();
    }
}

/// This very program, also when its file was replaced since it was started.
fn this_program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// Resolves when etcd tells that the holder's key is gone; somebody may have deleted it by hand. Never if etcd does not tell:
/// then the session's deadline decides.
pub async fn key_deleted(etcd: &Etcd, tenure: &Tenure) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let mut watch = etcd.watch(WatchRequest { no_put: true, ..WatchRequest::key(tenure.key()) });
        while let Some(Ok(message)) = watch.next().await {
            let gone = match message {
                // It may have gone before the watch was there.
                WatchMessage::Created { .. } => matches!(tenure.confirm().await, Ok(false)),
                WatchMessage::Events { events } => events.iter().any(|event| event.kind == EventKind::Delete),
                WatchMessage::Compacted { .. } => false,
            };
            if gone {
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
