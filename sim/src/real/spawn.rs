//! Starting a process that dies with ours, however ours ends.
//!
//! Linux sends the death signal when the *thread* that started a process ends, so all are started by one thread that
//! never does. Elsewhere a process ends with its guard only.

use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

type Order = (Command, Sender<std::io::Result<Child>>);

static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (orders, taken) = channel::<Order>();
    super::thread(move || {
        while let Ok((mut command, done)) = taken.recv() {
            let _ = done.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

/// Starts `command`.
pub(crate) fn spawn(mut command: Command) -> std::io::Result<Child> {
    die_with_parent(&mut command);
    let (done, child) = channel();
    let gone = |_| std::io::Error::other("the starter thread is gone");
    STARTER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, done))
        .map_err(|_| std::io::Error::other("the starter thread is gone"))?;
    child.recv().map_err(gone)?
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let parent = rustix::process::getpid();
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have died before the signal was set.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::Error::other("the parent is gone"))
        }
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated unless the parent is gone.
    unsafe {
        command.pre_exec(before_exec);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
