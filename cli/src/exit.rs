//! How `tenurectl` ends: its exit codes, and the way a command's own end is passed on.

use std::process::ExitCode;

/// The exit codes of `tenurectl` itself; any other is the command's.
pub mod code {
    /// Bad usage: an unknown flag, a value out of range, a file that cannot be read.
    pub const USAGE: u8 = 2;
    /// etcd could not be reached, or not in time.
    pub const UNREACHABLE: u8 = 122;
    /// The lock was lost while the command ran, or while it was held without a command.
    pub const LOST: u8 = 123;
    /// The lock was not free (`--try`), or not in time (`--wait`).
    pub const NOT_ACQUIRED: u8 = 124;
    /// Anything else that kept `tenurectl` from its work: etcd refuses, no process can be started.
    pub const FAILED: u8 = 125;
    /// The command was found and could not be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// The command was not found.
    pub const NOT_FOUND: u8 = 127;
    /// A signal ended the command, or `tenurectl` before it held: this, plus the signal's number.
    pub const SIGNAL: u8 = 128;
}

/// Why there is no command's own end to pass on.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    /// One line for the user; empty if all is said.
    pub message: String,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// What a signal ends before anything is held.
    pub fn signalled(signal: i32) -> Self {
        Self::new(of_signal(signal), "")
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(u8),
    /// The command died of a signal.
    Signal(i32),
    /// The command died of an interrupt that was meant for us, too: a script around us must see that it was one.
    Interrupted {
        /// The terminal told only the command, since it was lent to it: tell the rest of our job.
        whole_group: bool,
    },
}

impl Ended {
    pub fn exit(self) -> ExitCode {
        match self {
            Self::Code(code) => ExitCode::from(code),
            Self::Signal(signal) => ExitCode::from(of_signal(signal)),
            Self::Interrupted { whole_group } => {
                crate::signals::die_of_interrupt(whole_group);
                ExitCode::from(of_signal(libc::SIGINT))
            }
        }
    }
}

fn of_signal(signal: i32) -> u8 {
    code::SIGNAL + u8::try_from(signal).unwrap_or(0)
}
