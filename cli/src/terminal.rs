//! The terminal, where there is one. The command is a process group of its own, so to the terminal it is a background job;
//! it is lent the terminal when it wants to read from it or to change it.

use std::fs::File;

use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::signals::from_background;

pub struct Terminal {
    tty: Option<File>,
    lent: bool,
}

impl Terminal {
    /// The terminal that controls this process, if any.
    pub fn find() -> Self {
        Self { tty: File::options().read(true).write(true).open("/dev/tty").ok(), lent: false }
    }

    pub fn is_there(&self) -> bool {
        self.tty.is_some()
    }

    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// Lends it to the command's group, if it is ours to lend: not while our job is in the background.
    pub fn lend(&mut self, group: Pid) -> bool {
        let Some(tty) = &self.tty else { return false };
        let ours = tcgetpgrp(tty).is_ok_and(|holder| holder == getpgrp() || holder == group);
        self.lent = ours && from_background(|| tcsetpgrp(tty, group)).is_ok();
        self.lent
    }

    /// Takes it back from the command's group.
    pub fn take_back(&mut self) {
        if let Some(tty) = &self.tty
            && self.lent
        {
            // A terminal that has gone away cannot be taken back.
            let _ = from_background(|| tcsetpgrp(tty, getpgrp()));
        }
        self.lent = false;
    }
}
