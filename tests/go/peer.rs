//! Builds Go's side (`main.go`) where Go and etcd's Go packages are installed, and talks with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Where Debian's packages put Go sources (`golang-etcd-server-dev`; the recipes are in no other).
const SOURCES: &str = "/usr/share/gocode";

/// The built program, or why there is none.
pub(crate) fn program() -> Result<&'static Path, &'static str> {
    static BUILT: OnceLock<Result<PathBuf, &'static str>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref().map_err(|why| *why)
}

fn build() -> Result<PathBuf, &'static str> {
    if std::process::Command::new("go").arg("version").output().is_err() {
        return Err("Go is not installed (Debian: apt-get install golang-go golang-etcd-server-dev)");
    }
    if !Path::new(SOURCES).join("src/go.etcd.io/etcd/contrib/recipes").is_dir() {
        return Err("etcd's Go packages are not installed (Debian: apt-get install golang-etcd-server-dev)");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join("go-peer");
    let built = std::process::Command::new("go")
        .envs([("GO111MODULE", "off"), ("GOPATH", SOURCES), ("CGO_ENABLED", "0")])
        .env("GOCACHE", folder.join("go-cache"))
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/main.go"))
        .output()
        .expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    Ok(program)
}

/// A Go process at work; killed when dropped.
pub(crate) struct Peer {
    _child: Child,
    asked: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts one, with what it is to be: see `main.go`.
    pub(crate) fn start(program: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Go's side starts");
        let asked = child.stdin.take().expect("piped");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { _child: child, asked, said }
    }

    /// Gives it a command, whose answer is the next line.
    pub(crate) async fn ask(&mut self, command: &str) {
        self.asked.write_all(format!("{command}\n").as_bytes()).await.expect("it listens");
    }

    /// The next answer, once it comes.
    ///
    /// Cancel safe.
    pub(crate) async fn answer(&mut self) -> String {
        self.said.next_line().await.expect("text").expect("it goes on")
    }
}
