//! The signals that are passed on to the command, and what the process that started us had decided about them.

use std::mem::MaybeUninit;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What is passed on. A signal that was ignored when we started (`nohup`, a background job of a script) stays ignored, by
/// us and by the command.
const PASSED_ON: [Signal; 6] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The signals that reach this process, one by one.
pub struct Signals {
    streams: Vec<(i32, Stream)>,
}

impl Signals {
    /// Listens for what is passed on, and for those that stop and continue a job of a terminal.
    pub fn listen() -> std::io::Result<Self> {
        let job = [Signal::TSTP, Signal::CONT];
        let wanted = PASSED_ON.into_iter().chain(job).map(Signal::as_raw).filter(|&raw| !is_ignored(raw));
        let streams = wanted.map(|raw| Ok((raw, signal(SignalKind::from_raw(raw))?)));
        Ok(Self { streams: streams.collect::<std::io::Result<_>>()? })
    }

    /// The next one's number. Cancel safe.
    pub async fn next(&mut self) -> i32 {
        std::future::poll_fn(|cx| {
            for (raw, stream) in &mut self.streams {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*raw);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// The next one that asks us to end: not those of a job that is stopped and continued. Cancel safe.
    pub async fn ending(&mut self) -> i32 {
        loop {
            let raw = self.next().await;
            if raw == libc::SIGTSTP {
                stop_here();
            } else if raw != libc::SIGCONT && raw != libc::SIGUSR1 && raw != libc::SIGUSR2 {
                return raw;
            }
        }
    }
}

/// Stops this process until it is continued, as if it did not catch TSTP: not at all where no shell is left to continue it (the
/// system then drops the signal).
pub fn stop_here() {
    let mut default = MaybeUninit::<libc::sigaction>::zeroed();
    let mut ours = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a zeroed action is the default one with an empty mask. The action that was ours is put back as it was given. `raise`
    // delivers to this thread before it returns, so that no other action can be met.
    unsafe {
        (*default.as_mut_ptr()).sa_sigaction = libc::SIG_DFL;
        if libc::sigaction(libc::SIGTSTP, default.as_ptr(), ours.as_mut_ptr()) == 0 {
            libc::raise(libc::SIGTSTP);
            libc::sigaction(libc::SIGTSTP, ours.as_ptr(), std::ptr::null_mut());
        }
    }
}

/// Whether the process was started with this signal ignored.
pub fn is_ignored(raw: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null new action it only writes the present one to where it is told, which is large enough.
    let asked = unsafe { libc::sigaction(raw, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed, and perhaps written by the call: either is a valid value of this plain structure.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Runs `work` while this thread does not mind that it writes to a terminal, or moves it, from the background.
pub fn from_background<T>(work: impl FnOnce() -> T) -> T {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: both sets are ours and initialised (by `sigemptyset`, and by zeroes); the mask is this thread's only, and is
    // put back below.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
    }
    let done = work();
    // SAFETY: the mask that the first call gave.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
    }
    done
}

/// Ends this process by SIGINT, as if nothing had caught it; or all of its process group.
pub fn die_of_interrupt(whole_group: bool) {
    // SAFETY: sets the default action, which runs no code of ours.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
    }
    let _ = if whole_group {
        rustix::process::kill_current_process_group(Signal::INT)
    } else {
        rustix::process::kill_process(rustix::process::getpid(), Signal::INT)
    };
}
