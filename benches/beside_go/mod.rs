//! Go's own locks on the same server, in rounds that alternate with ours: locks a second, handoffs, CPU, and memory of those who wait.

#[path = "../../tests/go/peer.rs"]
mod peer;

use std::path::Path;
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions};
use peer::Peer;
use tenure::{Etcd, Mutex, Policy, RwLock, Session};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::measure::{Report, Samples};
use super::{RawHandoff, contend, session};

/// Go's recipe hands over some ten times a second in a short line, so many rounds would take minutes.
const ROUNDS: usize = 2;
const READERS: usize = 8;
const WRITERS: usize = 2;
const HOLD: Duration = Duration::from_millis(1);
const WAITED_FOR: &str = "bench/waited-for";

pub(crate) async fn measure(endpoint: &str, report: &mut Report) {
    let program = match peer::program() {
        Ok(program) => program,
        Err(why) => return report.note(&format!("beside Go: not measured: {why}")),
    };
    for contenders in [2, 8, 32, 128] {
        contended(program, endpoint, contenders, report).await;
    }
    read_write(program, endpoint, report).await;
    for (waiters, shared) in [(32, false), (128, false), (1_000, true)] {
        waiting(program, endpoint, waiters, shared, report).await;
    }
}

async fn contended(program: &Path, endpoint: &str, contenders: usize, report: &mut Report) {
    let mut go = Peer::start(program, &[endpoint, "contend", "bench/go-contended", &contenders.to_string()]);
    assert_eq!(go.answer().await, "ok");
    let mut sessions = Vec::new();
    for _ in 0..contenders {
        sessions.push(session(endpoint).await);
    }
    let mut raw = RawHandoff::new(endpoint).await;
    let (mut our_handoffs, mut gos_handoffs, mut server) =
        (Samples::default(), Samples::default(), Samples::default());
    let (mut ours, mut gos) = (Spent::default(), Spent::default());
    let our_turns = 1_200_usize.div_ceil(contenders);
    // In a short line Go's watches begin in the past, and each costs a tenth of a second.
    let gos_turns = if contenders < 32 { 80 / contenders } else { our_turns };
    for _ in 0..ROUNDS {
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        our_handoffs.extend(contend(&sessions, our_turns).await);
        ours.add(our_turns * contenders, begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let told = figures(&mut go, &format!("turns {gos_turns}")).await;
        gos.add(gos_turns * contenders, told[0], told[1]);
        gos_handoffs.extend(told[2..].iter().map(|micros| Duration::from_secs_f64(micros / 1e6)));
        for _ in 0..200 {
            server.add(raw.once().await);
        }
    }
    let what = format!("handoff, {contenders} contenders");
    report.compare(&what, &our_handoffs, "delete to watch event", &server);
    report.compare(&format!("Go's {what}"), &gos_handoffs, "delete to watch event", &server);
    report.beside(&format!("locks/s, {contenders} contenders"), ours.rate(), gos.rate());
    let what = format!("CPU us a lock, {contenders} contenders");
    report.beside(&what, ours.cpu_micros(), gos.cpu_micros());
}

/// Readers and writers who hold for a millisecond each.
async fn read_write(program: &Path, endpoint: &str, report: &mut Report) {
    let (readers, writers) = (READERS.to_string(), WRITERS.to_string());
    let mut go = Peer::start(program, &[endpoint, "readwrite", "bench/go-rwmutex", &readers, &writers]);
    assert_eq!(go.answer().await, "ok");
    let mut sessions = Vec::new();
    for _ in 0..READERS + WRITERS {
        sessions.push(session(endpoint).await);
    }
    let (mut first, mut in_turn, mut gos) = (Spent::default(), Spent::default(), Spent::default());
    let (our_turns, gos_turns) = (100, 10);
    for _ in 0..ROUNDS {
        for (policy, spent) in [(Policy::WritersFirst, &mut first), (Policy::Fifo, &mut in_turn)] {
            let (begun, cpu) = (Instant::now(), cpu_seconds());
            hold_in_turns(&sessions, policy, our_turns).await;
            let took = begun.elapsed().as_secs_f64();
            spent.add(our_turns * sessions.len(), took, cpu_seconds() - cpu);
        }
        let told = figures(&mut go, &format!("turns {gos_turns}")).await;
        gos.add(gos_turns * sessions.len(), told[0], told[1]);
    }
    report.beside("rwlock locks/s, writers first", first.rate(), gos.rate());
    report.beside("rwlock locks/s, fifo", in_turn.rate(), gos.rate());
}

async fn hold_in_turns(sessions: &[Session], policy: Policy, turns: usize) {
    let tasks = sessions.iter().enumerate().map(|(contender, session)| {
        let lock = RwLock::with_policy(session, format!("bench/rw-{policy:?}"), policy).expect("a good name");
        tokio::spawn(async move {
            for _ in 0..turns {
                if contender < READERS {
                    let guard = lock.read().await.expect("its turn comes");
                    tokio::time::sleep(HOLD).await;
                    guard.release().await.expect("it is held");
                } else {
                    let guard = lock.write().await.expect("its turn comes");
                    tokio::time::sleep(HOLD).await;
                    guard.release().await.expect("it is held");
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
}

/// Memory of a process for each of those that wait in it, in processes that do nothing else.
async fn waiting(program: &Path, endpoint: &str, waiters: usize, shared: bool, report: &mut Report) {
    let held = Mutex::new(&session(endpoint).await, WAITED_FOR).expect("a good name");
    let held = held.lock().await.expect("it is free");
    let count = waiters.to_string();
    let own = std::env::current_exe().expect("a path");
    let mut ours = vec!["--waiters", &count, "--endpoint", endpoint];
    ours.extend(shared.then_some("--shared"));
    let how = if shared { "shared" } else { "each" };
    let gos = [endpoint, "wait", WAITED_FOR, &count, how];
    let mut each = [0.0; 2];
    for (of, (program, args)) in each.iter_mut().zip([(&*own, &ours[..]), (program, &gos[..])]) {
        until_in_line(endpoint, 1).await;
        let mut process = Peer::start(program, args);
        assert_eq!(process.answer().await, "ok");
        let before = figures(&mut process, "rss").await[0];
        process.ask("wait").await;
        assert_eq!(process.answer().await, "ok");
        until_in_line(endpoint, waiters + 1).await;
        // What each does once it is in line is over soon after.
        tokio::time::sleep(Duration::from_secs(1)).await;
        *of = (figures(&mut process, "rss").await[0] - before) / waiters as f64;
        drop(process);
        clear_line(endpoint, held.key()).await;
    }
    let on = if shared { ", one client" } else { "" };
    report.beside(&format!("RSS KiB a waiter, {waiters}{on}"), each[0], each[1]);
    held.release().await.expect("it is held");
}

/// Waits until so many are in line for the lock that nobody else gets.
async fn until_in_line(endpoint: &str, contenders: usize) {
    let mut client = Client::connect([endpoint], None).await.expect("etcd");
    let below = GetOptions::new().with_prefix().with_count_only();
    loop {
        let line = client.get(format!("{WAITED_FOR}/"), Some(below.clone())).await.expect("etcd");
        if usize::try_from(line.count()) == Ok(contenders) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Takes a dead process's waiters out, whose leases would last for a minute.
async fn clear_line(endpoint: &str, holder: &[u8]) {
    let mut client = Client::connect([endpoint], None).await.expect("etcd");
    // Not the keys alone: etcd 3.7 tells of no lease then.
    let below = GetOptions::new().with_prefix();
    let line = client.get(format!("{WAITED_FOR}/"), Some(below)).await.expect("etcd");
    for kv in line.kvs().iter().filter(|kv| kv.key() != holder) {
        client.lease_revoke(kv.lease()).await.expect("etcd");
    }
}

/// What the bench is in a process of its own: those who wait. It is driven as Go's side is.
pub(crate) async fn wait(endpoint: &str, waiters: usize, shared: bool) {
    let etcd = Etcd::connect([endpoint]).await.expect("etcd");
    println!("ok");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "rss" {
            println!("ok {}", rss_kib());
            continue;
        }
        for _ in 0..waiters {
            let etcd = if shared { etcd.clone() } else { Etcd::connect([endpoint]).await.expect("etcd") };
            let opened = Session::builder(&etcd).ttl(Duration::from_secs(60)).open().await.expect("etcd");
            let mutex = Mutex::new(&opened, WAITED_FOR).expect("a good name");
            tokio::spawn(async move { mutex.lock().await.map(drop) });
        }
        println!("ok");
    }
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    rss.and_then(|rss| rss.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// The numbers that a process answers a command with.
async fn figures(process: &mut Peer, command: &str) -> Vec<f64> {
    process.ask(command).await;
    let answer = process.answer().await;
    let told = answer.strip_prefix("ok").unwrap_or_else(|| panic!("{answer}"));
    told.split_whitespace().map(|figure| figure.parse().expect("a number")).collect()
}

/// Locks taken, and what they took.
#[derive(Default)]
struct Spent {
    locks: usize,
    seconds: f64,
    cpu_seconds: f64,
}

impl Spent {
    fn add(&mut self, locks: usize, seconds: f64, cpu_seconds: f64) {
        self.locks += locks;
        self.seconds += seconds;
        self.cpu_seconds += cpu_seconds;
    }

    fn rate(&self) -> f64 {
        self.locks as f64 / self.seconds
    }

    fn cpu_micros(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.locks as f64
    }
}
