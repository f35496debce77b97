//! The guardian: the command's parent, a process of its own that ends the command's process group at the latest moment at
//! which the lock is certainly still held, whatever has become of `tenurectl`.
//!
//! It is told that moment anew after each renewal. If nothing more is told, because `tenurectl` was stopped, hangs or is cut off
//! from etcd, it sends TERM a grace period before and KILL at the end. If `tenurectl` is gone it sends TERM at once. It has one
//! thread and waits for three things: orders, the command's end, and the clock that goes on while the machine is suspended.
//!
//! It does not reap the command before it ends itself, so the id of the command's group cannot become another's.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::alarm::{Alarm, now_ns};
use crate::args;
use crate::exit::code;
use crate::protocol::{Order, Report};
use crate::signals::is_ignored;

/// Runs the command to its end, or to the lock's.
pub fn run(args: &args::Guardian) -> ExitCode {
    // SAFETY: tenurectl has opened this descriptor for this process, which has no other owner for it.
    let mut control = unsafe { UnixStream::from_raw_fd(args.socket) };
    let set_up = (|| {
        control.set_nonblocking(true)?;
        fcntl_setfd(&control, FdFlags::CLOEXEC)?;
        outlive_signals()?;
        Ok::<_, std::io::Error>((Alarm::new()?, child_signal()?))
    })();
    let (alarm, mut children) = match set_up {
        Ok(ready) => ready,
        Err(error) => {
            let why = format!("the guardian process cannot work: {error}");
            report(&mut control, &Report::NotStarted { code: code::FAILED, why });
            return ExitCode::FAILURE;
        }
    };
    if now_ns() >= args.until_ns {
        let why = "the lock was lost before the command was started".to_owned();
        report(&mut control, &Report::NotStarted { code: code::LOST, why });
        return ExitCode::FAILURE;
    }
    let group = match start(args) {
        Ok(group) => group,
        Err(error) => {
            report(&mut control, &not_started(args, &error));
            return ExitCode::FAILURE;
        }
    };
    report(&mut control, &Report::Started { group: group.as_raw_pid() });
    let mut guardian = Guardian {
        control,
        heard: Vec::new(),
        orphaned: false,
        group,
        until_ns: args.until_ns,
        grace_ns: args.grace_ms.saturating_mul(1_000_000),
        ending: None,
    };
    match guardian.watch_over(&alarm, &mut children) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What cannot be watched over must not run.
            guardian.signal(Signal::KILL);
            crate::say(&format!("the guardian process failed, the command is killed: {error}"));
            ExitCode::FAILURE
        }
    }
}

struct Guardian {
    control: UnixStream,
    /// What was read of an order that is not whole yet.
    heard: Vec<u8>,
    /// Nobody is left to give orders.
    orphaned: bool,
    group: Pid,
    /// When the group has to be dead.
    until_ns: u64,
    grace_ns: u64,
    ending: Option<Ending>,
}

/// The command was asked to end.
#[derive(Clone, Copy)]
struct Ending {
    kill_at_ns: u64,
    killed: bool,
}

impl Guardian {
    fn watch_over(&mut self, alarm: &Alarm, children: &mut UnixStream) -> std::io::Result<()> {
        loop {
            self.look_at_the_clock();
            alarm.set(self.next_due_ns())?;
            self.wait(alarm, children)?;
            drain(children)?;
            if let Some(ended) = self.ended()? {
                if self.ending.is_some() {
                    // The command has had its time to end the rest of its group.
                    self.signal(Signal::KILL);
                }
                report(&mut self.control, &ended);
                return Ok(());
            }
            if !self.orphaned {
                self.hear()?;
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self, alarm: &Alarm, children: &UnixStream) -> std::io::Result<()> {
        let (timer, at_most) = alarm.wait();
        let mut sources = vec![PollFd::new(children, PollFlags::IN)];
        if !self.orphaned {
            sources.push(PollFd::new(&self.control, PollFlags::IN));
        }
        sources.extend(timer.map(|timer| PollFd::from_borrowed_fd(timer, PollFlags::IN)));
        let at_most = at_most.map(|span: Duration| Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: span.subsec_nanos().into(),
        });
        match poll(&mut sources, at_most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = now_ns();
        if self.ending.is_none() && now >= self.until_ns.saturating_sub(self.grace_ns) {
            self.end();
        }
        if let Some(ending) = &mut self.ending
            && !ending.killed
            && now >= ending.kill_at_ns
        {
            ending.killed = true;
            self.signal(Signal::KILL);
        }
    }

    fn next_due_ns(&self) -> u64 {
        match self.ending {
            None => self.until_ns.saturating_sub(self.grace_ns),
            Some(Ending { killed: false, kill_at_ns }) => kill_at_ns,
            Some(Ending { killed: true, .. }) => u64::MAX,
        }
    }

    /// Asks the command to end, and sees to it that it has by the end of the grace period.
    fn end(&mut self) {
        if self.ending.is_none() {
            let kill_at_ns = now_ns().saturating_add(self.grace_ns).min(self.until_ns);
            self.ending = Some(Ending { kill_at_ns, killed: false });
            report(&mut self.control, &Report::Ending);
            self.signal(Signal::TERM);
            // One that stands still would not hear it.
            self.signal(Signal::CONT);
        }
    }

    fn hear(&mut self) -> std::io::Result<()> {
        let mut buffer = [0; 512];
        loop {
            match self.control.read(&mut buffer) {
                Ok(0) => {
                    self.orphaned = true;
                    self.end();
                    return Ok(());
                }
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // As good as gone.
                Err(_) => {
                    self.orphaned = true;
                    self.end();
                    return Ok(());
                }
            }
        }
        while let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            match line.parse() {
                Ok(order) => self.obey(order),
                Err(()) => return Err(std::io::Error::other(format!("an order that is none: {line:?}"))),
            }
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Until { ns } => self.until_ns = self.until_ns.max(ns),
            Order::Lost => self.end(),
            Order::Signal(raw) => {
                if let Some(signal) = Signal::from_named_raw(raw) {
                    self.signal(signal);
                }
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // A group without processes has nothing left to be told.
        let _ = kill_process_group(self.group, signal);
    }

    /// How the command ended, if it has; it stays a zombie. Tells when it has stopped.
    fn ended(&mut self) -> std::io::Result<Option<Report>> {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Some(status) = waitid(WaitId::Pid(self.group), ended)? {
            let exited = status.exit_status().map(Report::Exited);
            return Ok(exited.or_else(|| status.terminating_signal().map(Report::Killed)));
        }
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(self.group), stopped) {
            Ok(status) => {
                if let Some(raw) = status.and_then(|status| status.stopping_signal()) {
                    report(&mut self.control, &Report::Stopped(raw));
                }
                Ok(None)
            }
            // It has ended since: a zombie will not stop. The signal of its end wakes us again.
            Err(Errno::CHILD) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Starts the command as the leader of a process group of its own. It dies with the guardian, where the system can see to that.
fn start(args: &args::Guardian) -> std::io::Result<Pid> {
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]).process_group(0);
    #[cfg(target_os = "linux")]
    {
        let guardian = rustix::process::getpid();
        let before_exec = move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have died before the signal was set.
            if rustix::process::getppid() == Some(guardian) { Ok(()) } else { Err(Errno::SRCH.into()) }
        };
        // SAFETY: between fork and exec only system calls are made and nothing is allocated.
        unsafe {
            command.pre_exec(before_exec);
        }
    }
    let child = command.spawn()?;
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| std::io::Error::other("the command has no id"))
}

fn not_started(args: &args::Guardian, error: &std::io::Error) -> Report {
    let code = if error.kind() == ErrorKind::NotFound { code::NOT_FOUND } else { code::NOT_EXECUTABLE };
    let words = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "command not found".to_owned(),
        _ => error.to_string(),
    };
    Report::NotStarted { code, why: format!("{}: {words}", args.command[0].to_string_lossy()) }
}

/// Nothing but KILL and STOP may keep it from its work. What was ignored stays so, for the command; what is caught here is the
/// command's to decide again once it runs.
fn outlive_signals() -> std::io::Result<()> {
    let caught = Arc::default();
    for raw in [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ] {
        if !is_ignored(raw) {
            signal_hook::flag::register(raw, Arc::clone(&caught))?;
        }
    }
    Ok(())
}

/// A stream that can be read from after each SIGCHLD.
fn child_signal() -> std::io::Result<UnixStream> {
    let (told, tells) = UnixStream::pair()?;
    told.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(libc::SIGCHLD, tells)?;
    Ok(told)
}

fn drain(stream: &mut UnixStream) -> std::io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn report(control: &mut UnixStream, report: &Report) {
    // Who does not listen any more is seen when orders are read.
    let _ = control.write_all(format!("{report}\n").as_bytes());
}
