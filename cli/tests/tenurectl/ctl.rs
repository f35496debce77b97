//! What the tests are made of: a server, `tenurectl` processes on it, and a look into etcd.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tenure::kv::{DeleteRange, KeyValue, Range, Request, Response};
use tenure::{Backend, Etcd, Runtime};
use tenure_sim::real::{Server, ServerOptions};

/// Longer than anything takes; who waits this long has failed.
pub const SOON: Duration = Duration::from_secs(20);

/// A server that is shared by the tests that do it no harm, as long as one of them runs.
pub fn shared() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(own());
    *shared = Arc::downgrade(&server);
    server
}

/// A server of a test's own.
pub fn own() -> Server {
    Server::start(&ServerOptions::default()).expect("etcd starts")
}

/// A command line of `tenurectl`, without anything from the environment of the tests.
pub fn tenurectl<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_tenurectl"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TENURE_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// A command line with no signal ignored because the tests were started so (`nohup`, a background job of a script).
pub fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    // SAFETY: `signal` is async-signal-safe, and nothing else is called between fork and exec.
    unsafe { command.pre_exec(nothing_is_ignored) };
    command
}

fn nothing_is_ignored() -> std::io::Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2] {
        // SAFETY: the default action is no handler of ours.
        unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
    }
    Ok(())
}

/// Starts `tenurectl` on a server.
pub fn start<S: AsRef<OsStr>>(endpoints: &str, args: impl IntoIterator<Item = S>) -> Running {
    let mut command = tenurectl(args);
    command.env("TENURE_ENDPOINTS", endpoints);
    Running::of(command)
}

/// Runs it to its end.
pub fn run<S: AsRef<OsStr>>(endpoints: &str, args: impl IntoIterator<Item = S>) -> Ended {
    start(endpoints, args).end()
}

/// A program that runs, and what it prints.
pub struct Running {
    child: Child,
    said: Receiver<String>,
    ended: Option<ExitStatus>,
}

/// How a program ended, and what it had printed that was not read before.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Running {
    pub fn of(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (tells, said) = channel();
        let out = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tells.send(line);
            }
        });
        Self { child, said, ended: None }
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.said.recv_timeout(SOON).expect("it prints a line")
    }

    /// Whether it prints nothing for a while.
    pub fn says_nothing_for(&self, span: Duration) -> bool {
        self.said.recv_timeout(span).is_err()
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn signal(&self, signal: Signal) {
        signal_to(self.pid(), signal);
    }

    /// Waits for its end. Processes that it left behind may hold its outputs open; those are not waited for.
    pub fn end(mut self) -> Ended {
        let mut status = None;
        until("it ends", || {
            status = self.child.try_wait().expect("it can be waited for");
            status.is_some()
        });
        let status = status.expect("it has ended");
        self.ended = Some(status);
        let mut out = String::new();
        while let Ok(line) = self.said.recv_timeout(Duration::from_millis(100)) {
            out += &line;
            out.push('\n');
        }
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        let (tells, told) = channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                text.extend_from_slice(&buffer[..read]);
                let _ = tells.send(String::from_utf8_lossy(&text).into_owned());
            }
        });
        while let Ok(text) = told.recv_timeout(Duration::from_millis(100)) {
            err = text;
        }
        Ended { code: status.code(), signal: status.signal(), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub fn signal_to(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it can be signalled");
}

/// Looks every few milliseconds until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The letter that Linux has for what a process does; none if it is gone.
pub fn state(pid: i32) -> Option<char> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("State:"))?.trim().chars().next()
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// A shell command that prints the state of a process: nothing, or `Z`, if it is dead.
pub fn state_of(pid: i32) -> String {
    format!("echo \"state:$(sed -n 's/^State:[^A-Z]*\\(.\\).*/\\1/p' /proc/{pid}/status 2>/dev/null)\"")
}

/// The process that a `tenurectl` has started: its guardian.
pub fn guardian_of(ctl: &Running) -> i32 {
    let mut found = None;
    until("it has a guardian", || {
        found = children_of(ctl.pid()).into_iter().find(|&pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("guardian")
        });
        found.is_some()
    });
    found.expect("found")
}

fn children_of(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// A direct look into etcd.
pub struct Look {
    tokio: tokio::runtime::Runtime,
    etcd: Etcd,
}

impl Look {
    pub fn into(endpoint: &str) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("tokio starts");
        let etcd = tokio.block_on(Etcd::connect([endpoint])).expect("etcd");
        Self { tokio, etcd }
    }

    pub fn call(&self, request: Request) -> Response {
        let deadline = self.etcd.now() + SOON;
        self.tokio.block_on(self.etcd.call(request, deadline)).expect("etcd answers")
    }

    /// The keys in line for a name.
    pub fn line(&self, name: &str) -> Vec<KeyValue> {
        let range = Range::prefix(format!("{name}/"));
        self.tokio.block_on(self.etcd.range(range, self.etcd.now() + SOON)).expect("etcd").kvs
    }

    /// Everything that begins with a name, beside its line too.
    pub fn all(&self, name: &str) -> Vec<KeyValue> {
        let range = Range::prefix(name);
        self.tokio.block_on(self.etcd.range(range, self.etcd.now() + SOON)).expect("etcd").kvs
    }

    pub fn until_in_line(&self, name: &str, contenders: usize) {
        until("as many are in line", || self.line(name).len() == contenders);
    }

    pub fn delete(&self, key: &[u8]) {
        self.call(Request::Delete(DeleteRange::key(key)));
    }
}
