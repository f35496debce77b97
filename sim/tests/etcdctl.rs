//! One etcdctl script against `tenure serve` and against a real server: the outputs are the same.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "real processes are waited for in real time")]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tenure_sim::real::{Server, ServerOptions};
use tenure_sim::serve::{ServeOptions, Serving};
use tenure_sim::store::EtcdVersion;

/// What a server's side of the script printed, one entry a command.
type Transcript = Vec<String>;

/// One server, and the etcdctl commands that were run on it.
struct Session {
    endpoint: String,
    transcript: Transcript,
    folder: TempDir,
}

/// An etcdctl that runs on beside the script.
struct Running {
    child: Child,
    output: std::path::PathBuf,
    command: String,
}

fn etcdctl(endpoint: &str, args: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").arg("--endpoints").arg(endpoint).args(args);
    command
}

impl Session {
    fn new(endpoint: String) -> Self {
        Self { endpoint, transcript: Vec::new(), folder: TempDir::new().expect("a folder") }
    }

    /// Runs one command to its end and notes what it said and how it ended.
    fn run(&mut self, args: &[&str]) -> String {
        self.run_with_input(args, "")
    }

    fn run_with_input(&mut self, args: &[&str], input: &str) -> String {
        let path = self.folder.path().join("input");
        std::fs::write(&path, input).expect("input written");
        let output = etcdctl(&self.endpoint, args)
            .stdin(File::open(path).expect("input"))
            .output()
            .expect("etcdctl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        // Beside its error etcdctl logs the attempt, with a time and its own addresses.
        let errors: String = errors.lines().filter(|line| line.starts_with("Error")).collect();
        self.note(&args.join(" "), &format!("{said}{errors}\nexit {:?}", output.status.code()));
        said
    }

    fn note(&mut self, command: &str, said: &str) {
        self.transcript.push(format!("$ {}\n{}", same(command), same(said)));
    }

    fn start(&self, args: &[&str]) -> Running {
        let output = self.folder.path().join(format!("output-{}", args.join("-").replace('/', "_")));
        let child = etcdctl(&self.endpoint, args)
            .stdout(File::create(&output).expect("output"))
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .expect("etcdctl starts");
        Running { child, output, command: args.join(" ") }
    }

    /// Ends a running command as a user does, once it has said this many lines; notes them.
    fn finish(&mut self, mut running: Running, lines: usize) {
        let said = running.wait_for(lines);
        if let Some(pid) = Pid::from_raw(running.child.id().cast_signed()) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        running.child.wait().expect("etcdctl ends");
        self.note(&running.command, &said);
    }

    /// Notes a command that ends by itself.
    fn join(&mut self, mut running: Running) {
        let status = running.child.wait().expect("etcdctl ends");
        let said = running.said();
        self.note(&running.command, &format!("{said}\nexit {:?}", status.code()));
    }
}

impl Running {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.output).expect("output")
    }

    fn wait_for(&self, lines: usize) -> String {
        for _ in 0..1000 {
            let said = self.said();
            if said.lines().count() >= lines {
                return said;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} said only {:?}", self.command, self.said());
    }
}

/// Leaves out what a server draws: ids of leases, members and the cluster, the raft term, and the time that passed.
fn same(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        !["\"ClusterID\"", "\"MemberID\"", "\"RaftTerm\""].iter().any(|field| line.starts_with(field))
    });
    lines.map(|line| ids_hidden(&time_left_hidden(line)) + "\n").collect()
}

fn time_left_hidden(line: &str) -> String {
    match line.split_once("remaining(") {
        Some((before, after)) => {
            format!("{before}remaining({}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        None => line.to_owned(),
    }
}

/// Long numbers, hexadecimal or not, are ids.
fn ids_hidden(line: &str) -> String {
    let mut hidden = String::new();
    let mut run = String::new();
    for next in line.chars().chain([' ']) {
        if next.is_ascii_hexdigit() {
            run.push(next);
            continue;
        }
        hidden.push_str(if run.len() >= 12 { "<id>" } else { &run });
        run.clear();
        hidden.push(next);
    }
    hidden.trim_end().to_owned()
}

/// The id that `lease grant` printed.
fn lease_in(said: &str) -> String {
    said.split_whitespace().nth(1).expect("lease ID granted with ..").to_owned()
}

fn script(session: &mut Session) {
    keys(session);
    transactions(session);
    leases(session);
    watches(session);
    compaction(session);
    locks(session);
    elections(session);
}

fn keys(session: &mut Session) {
    for (key, value) in [("k/a", "1"), ("k/b", "3"), ("k/c", "2"), ("k/b", "4")] {
        session.run(&["put", key, value]);
    }
    session.run(&["put", "k/a", "5", "--prev-kv", "-w", "fields"]);
    session.run(&["put", "k/a", "--ignore-value"]);
    session.run(&["put", "none", "--ignore-value"]);
    session.run(&["get", "k/a", "-w", "fields"]);
    session.run(&["get", "--prefix", "k/", "--sort-by=VALUE", "--order=DESCEND"]);
    session.run(&["get", "--prefix", "k/", "--limit=2", "-w", "fields"]);
    session.run(&["get", "--prefix", "k/", "--keys-only"]);
    session.run(&["get", "k/a", "k/c", "--rev=4", "-w", "fields"]);
    session.run(&["get", "--from-key", "k/b", "--consistency=s"]);
    session.run(&["get", "k/a", "--rev=999"]);
    session.run(&["get", "nothing"]);
    session.run(&["del", "k/b", "--prev-kv"]);
    session.run(&["del", "nothing", "-w", "fields"]);
    session.run(&["del", "k/", "--prefix", "-w", "fields"]);
}

fn transactions(session: &mut Session) {
    let hit = "create(\"t\") = \"0\"\nvalue(\"u\") = \"\"\n\nput t 1\nget t\n\nput t 2\nget t\n\n";
    session.run_with_input(&["txn", "-w", "fields"], hit);
    session.run_with_input(&["txn"], "mod(\"t\") > \"0\"\n\nget t\ndel t\nget t\n\nput t never\n\n");
    session.run_with_input(&["txn"], "\nput t 1\nput t 2\n\n\n");
}

fn leases(session: &mut Session) {
    let granted = session.run(&["lease", "grant", "100"]);
    let lease = lease_in(&granted);
    session.run(&["put", "leased/b", "1", "--lease", &lease]);
    session.run(&["put", "leased/a", "1", "--lease", &lease]);
    session.run(&["get", "leased/a", "-w", "fields"]);
    session.run(&["lease", "keep-alive", "--once", &lease]);
    session.run(&["lease", "list"]);
    session.run(&["lease", "revoke", &lease]);
    session.run(&["lease", "revoke", &lease]);
    session.run(&["lease", "timetolive", &lease]);
    session.run(&["get", "leased/", "--prefix", "-w", "fields"]);
    session.run(&["put", "leased/c", "1", "--lease", "1234"]);
    let one_key = lease_in(&session.run(&["lease", "grant", "200"]));
    session.run(&["put", "leased/d", "1", "--lease", &one_key]);
    session.run(&["lease", "timetolive", &one_key, "--keys"]);
    session.run(&["lease", "revoke", &one_key]);
}

fn watches(session: &mut Session) {
    session.run(&["put", "w/a", "1"]);
    session.run(&["put", "w/a", "2"]);
    session.run(&["del", "w/a"]);
    let past = session.start(&["watch", "w/", "--prefix", "--rev=2", "--prev-kv"]);
    past.wait_for(11);
    session.run(&["put", "w/b", "3"]);
    session.finish(past, 14);
}

fn compaction(session: &mut Session) {
    session.run(&["compact", "3"]);
    session.run(&["compact", "3"]);
    session.run(&["compact", "99999"]);
    session.run(&["get", "k/a", "--rev=2"]);
    session.run(&["watch", "w/a", "--rev=2"]);
}

fn locks(session: &mut Session) {
    session.run(&["lock", "alone", "echo", "held"]);
    let holder = session.start(&["lock", "shared"]);
    holder.wait_for(1);
    let waiter = session.start(&["lock", "shared", "echo", "mine", "now"]);
    // The waiter is in line once both keys are there.
    let listed = |session: &Session| {
        let output = etcdctl(&session.endpoint, &["get", "shared/", "--prefix", "--keys-only"]).output();
        let output = output.expect("etcdctl runs").stdout;
        String::from_utf8_lossy(&output).lines().filter(|line| !line.is_empty()).count()
    };
    while listed(session) < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    session.finish(holder, 1);
    session.join(waiter);
    session.run(&["get", "shared/", "--prefix"]);
}

fn elections(session: &mut Session) {
    let leader = session.start(&["elect", "chair", "first"]);
    leader.wait_for(2);
    let listener = session.start(&["elect", "-l", "chair"]);
    session.finish(listener, 2);
    let next = session.start(&["elect", "chair", "second"]);
    session.finish(leader, 2);
    session.finish(next, 2);
    session.run(&["get", "chair/", "--prefix"]);
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

#[test]
fn etcdctl_sees_no_difference_between_the_simulated_server_and_a_real_one() {
    if !is_installed("etcdctl") {
        println!("skipped: etcdctl is not installed (Debian: apt-get install etcd-client)");
        return;
    }
    for etcd_version in [EtcdVersion::V3_4(45), EtcdVersion::V3_7(2)] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let version = etcd_version.to_string();
        let options = ServeOptions::of(["--listen", "127.0.0.1:0", "--version", &version]).expect("options");
        let serving = runtime.block_on(Serving::start(&options)).expect("it serves");
        let mut ours = Session::new(serving.endpoint());
        script(&mut ours);

        let settings = ServerOptions { fast: false, ..ServerOptions::version(&etcd_version.to_string()) };
        let server = Server::start(&settings).expect("a real server");
        let mut theirs = Session::new(server.endpoint());
        script(&mut theirs);

        assert_eq!(ours.transcript.len(), theirs.transcript.len());
        for (ours, theirs) in ours.transcript.iter().zip(&theirs.transcript) {
            assert_eq!(ours, theirs, "{etcd_version}: simulated on the left, real on the right");
        }
        println!("{}", ours.transcript.concat());
        println!("{etcd_version}: {} commands with the same output", ours.transcript.len());
    }
}
