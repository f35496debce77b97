//! One real etcd process: as a server of its own, or as a member of a [`Cluster`](super::Cluster).

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::ports::Port;
use super::{DEFAULT_VERSION, RealError, binary, procfs, spawn, wait_until};

/// What kind of server to start.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// One of [`VERSIONS`](super::VERSIONS).
    pub version: String,
    /// Heartbeats each 20 ms and elections after 200 ms instead of etcd's 100 and 1000 ms, so that it is healthy, and a
    /// failure is over, in a fifth of the time. The minimum TTL follows: 1 s instead of 2.
    pub fast: bool,
    /// More of etcd's own arguments.
    pub args: Vec<String>,
    /// The scheme of the client endpoint: `http`, or `https` with `--cert-file` and `--key-file` in `args`.
    pub scheme: String,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { version: DEFAULT_VERSION.to_owned(), fast: true, args: Vec::new(), scheme: "http".to_owned() }
    }
}

impl ServerOptions {
    /// The default server, of another version.
    pub fn version(version: &str) -> Self {
        Self { version: version.to_owned(), ..Self::default() }
    }
}

/// A real etcd on free ports of loopback, its data in a temporary folder; killed, and the folder deleted, when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The present process, 0 while there is none: the proxies of a cluster tell members apart by it.
    pid: Arc<AtomicU32>,
    binary: PathBuf,
    args: Vec<String>,
    ports: Ports,
    scheme: String,
    folder: TempDir,
}

/// The ports of one server.
#[derive(Debug)]
pub(super) struct Ports {
    client: Port,
    pub(super) peer: Port,
    /// Health and metrics, without TLS or users.
    metrics: Port,
}

impl Ports {
    pub(super) fn take() -> Result<Self, RealError> {
        Ok(Self { client: Port::take()?, peer: Port::take()?, metrics: Port::take()? })
    }
}

/// A start that meets a taken port, or a machine out of breath, is tried again.
const STARTS: u32 = 3;
const HEALTHY_WITHIN: Duration = Duration::from_secs(20);

impl Server {
    /// Starts a server and waits until it is healthy, at most 20 s.
    pub fn start(options: &ServerOptions) -> Result<Self, RealError> {
        let mut starts = 1;
        loop {
            let ports = Ports::take()?;
            let peer = ports.peer.url("http");
            let started =
                Self::launch(options, "single", ports, &peer, &format!("single={peer}"), Arc::default())
                    .and_then(|mut server| server.wait_healthy().map(|()| server));
            match started {
                Err(RealError::NotHealthy { .. }) if starts < STARTS => starts += 1,
                done => return done,
            }
        }
    }

    /// Starts the process of a member, without waiting for its health; its id goes to `pid`.
    pub(super) fn launch(
        options: &ServerOptions,
        name: &str,
        ports: Ports,
        advertised_peer: &str,
        initial_cluster: &str,
        pid: Arc<AtomicU32>,
    ) -> Result<Self, RealError> {
        let folder = tempfile::Builder::new()
            .prefix("tenure-etcd-")
            .tempdir()
            .map_err(RealError::io("making a folder for etcd's data"))?;
        let client = ports.client.url(&options.scheme);
        let mut args: Vec<String> = vec!["--name".into(), name.into()];
        for (flag, value) in [
            ("--data-dir", folder.path().join("data").display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", ports.peer.url("http")),
            ("--initial-advertise-peer-urls", advertised_peer.to_owned()),
            ("--initial-cluster", initial_cluster.to_owned()),
            ("--listen-metrics-urls", ports.metrics.url("http")),
            ("--logger", "zap".to_owned()),
        ] {
            args.extend([flag.to_owned(), value]);
        }
        args.push("--unsafe-no-fsync".into());
        if options.fast {
            args.extend(["--heartbeat-interval", "20", "--election-timeout", "200"].map(String::from));
        }
        args.extend(options.args.iter().cloned());
        let binary = binary(&options.version)?;
        let child = run(&binary, &args, &folder)?;
        pid.store(child.id(), Ordering::Release);
        Ok(Self { child, pid, binary, args, ports, scheme: options.scheme.clone(), folder })
    }

    /// The client endpoint, `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        self.ports.client.url(&self.scheme)
    }

    /// The port of the client endpoint.
    pub(super) fn client_port(&self) -> u16 {
        self.ports.client.number
    }

    /// The process's id; that of the last one if it was killed.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops the process where it stands (SIGSTOP): its connections stay open and nothing is answered. Returns when every
    /// thread of it stands.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        wait_until(Duration::from_secs(10), || procfs::stands_still(self.child.id()));
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process (SIGKILL) and waits for its end. Its data stays for [`Server::restart`].
    pub fn kill(&mut self) {
        self.pid.store(0, Ordering::Release);
        // That it has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it anew (killing it first, if it runs) with the same ports and data, and waits until it is healthy.
    pub fn restart(&mut self) -> Result<(), RealError> {
        self.restart_unhealthy()?;
        self.wait_healthy()
    }

    /// As [`Server::restart`], but returns at once: alone, the member of a cluster would never be healthy.
    pub fn restart_unhealthy(&mut self) -> Result<(), RealError> {
        self.kill();
        self.child = run(&self.binary, &self.args, &self.folder)?;
        self.pid.store(self.child.id(), Ordering::Release);
        Ok(())
    }

    /// Waits until it serves, at most 20 s.
    pub fn wait_healthy(&mut self) -> Result<(), RealError> {
        let mut ended = None;
        let healthy = wait_until(HEALTHY_WITHIN, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some() || self.is_healthy()
        });
        match ended {
            Some(status) => Err(self.not_healthy(format!("it ended with {status}"))),
            None if !healthy => Err(self.not_healthy(format!("not within {HEALTHY_WITHIN:?}"))),
            None => Ok(()),
        }
    }

    /// Whether it says that it is healthy, which takes a leader and a majority.
    pub fn is_healthy(&self) -> bool {
        // One that is out of space serves all the same.
        self.get("/health?exclude=NOSPACE").is_some_and(|body| body.contains("\"health\":\"true\""))
    }

    /// Whether it believes that it leads its cluster; false if it does not answer.
    pub fn is_leader(&self) -> bool {
        self.metric("etcd_server_is_leader") == Some(1.0)
    }

    /// One of etcd's metrics without labels, if it answers.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let body = self.get("/metrics")?;
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    fn signal(&self, signal: Signal) {
        // A process that has ended has nothing left to stop.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// A plain HTTP GET of the metrics port.
    fn get(&self, path: &str) -> Option<String> {
        let limit = Duration::from_secs(1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.metrics.number));
        let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    fn not_healthy(&self, reason: String) -> RealError {
        const LINES: usize = 20;
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        RealError::NotHealthy { reason, log: last }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(binary: &PathBuf, args: &[String], folder: &TempDir) -> Result<Child, RealError> {
    let open = || File::options().create(true).append(true).open(folder.path().join("log"));
    let log = open().map_err(RealError::io("opening etcd's log"))?;
    let errors = log.try_clone().map_err(RealError::io("opening etcd's log"))?;
    let mut command = Command::new(binary);
    command.args(args).stdin(Stdio::null()).stdout(log).stderr(errors);
    // etcd reads its flags from the environment too.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    spawn::spawn(command).map_err(RealError::io(format!("starting {}", binary.display())))
}
