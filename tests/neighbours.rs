//! Other clients of etcd on the same names: `etcdctl lock` and `etcdctl elect`, and the server's own Lock and Election
//! services, contend with ours in both directions, on every server line. The tests with etcdctl say so and pass where the
//! program is not installed.

#![cfg(unix)]
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes in real time, on tokio")]

use std::process::Stdio;
use std::time::Duration;

use etcd_client::{Client, LockOptions, ProclaimOptions, ResignOptions};
use rustix::process::{Pid, Signal, kill_process};
use tenure::kv::Range;
use tenure::{Backend, Election, Etcd, Mutex, Observation, Runtime, Session};
use tenure_sim::real::{Server, ServerOptions};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const NAME: &str = "neighbours/name";
const SOON: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_millis(300);

/// A real server and our way to it.
struct Place {
    server: Server,
    etcd: Etcd,
}

impl Place {
    async fn new(version: &str) -> Self {
        let version = version.to_owned();
        let started =
            tokio::task::spawn_blocking(move || Server::start(&ServerOptions::version(&version))).await;
        let server = started.expect("no panic").expect("etcd starts");
        let etcd = Etcd::connect([server.endpoint()]).await.expect("etcd");
        Self { server, etcd }
    }

    async fn session(&self) -> Session {
        Session::builder(&self.etcd).ttl(Duration::from_secs(20)).open().await.expect("etcd")
    }

    async fn mutex(&self) -> Mutex {
        Mutex::new(&self.session().await, NAME).expect("a name")
    }

    async fn election(&self) -> Election {
        Election::new(&self.session().await, NAME).expect("a name")
    }

    /// Waits until so many are in line.
    async fn until_in_line(&self, contenders: usize) {
        let waited = async {
            loop {
                let deadline = self.etcd.now() + SOON;
                let line = self.etcd.range(Range::prefix(format!("{NAME}/")), deadline).await.expect("etcd");
                if line.kvs.len() == contenders {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, waited).await.expect("as many get in line");
    }

    /// The server's own services, and a lease for them.
    async fn neighbour(&self) -> (Client, i64) {
        let mut client = Client::connect([self.server.endpoint()], None).await.expect("etcd");
        let lease = client.lease_grant(20, None).await.expect("etcd").id();
        (client, lease)
    }

    fn etcdctl(&self, args: &[&str]) -> Etcdctl {
        let mut child = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.server.endpoint()])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("etcdctl starts");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        Etcdctl { child, said }
    }
}

/// An etcdctl at work.
struct Etcdctl {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Etcdctl {
    /// The next line that it prints: a key once it holds.
    async fn says(&mut self) -> String {
        let line = timeout(SOON, self.said.next_line()).await.expect("etcdctl says something");
        line.expect("text").expect("etcdctl goes on")
    }

    async fn says_nothing(&mut self) {
        assert!(timeout(GRACE, self.said.next_line()).await.is_err(), "etcdctl was granted too early");
    }

    async fn end(mut self, signal: Signal) {
        let pid =
            i32::try_from(self.child.id().expect("it runs")).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("it can be signalled");
        timeout(SOON, self.child.wait()).await.expect("it ends").expect("it ended");
    }
}

fn etcdctl_is_there() -> bool {
    let there = std::process::Command::new("etcdctl").arg("version").output().is_ok();
    if !there {
        println!("skipped: etcdctl is not installed (Debian: apt-get install etcd-client)");
    }
    there
}

async fn etcdctl_holds_and_ours_waits_until_it_ends(version: &str) {
    if !etcdctl_is_there() {
        return;
    }
    let place = Place::new(version).await;
    let mutex = place.mutex().await;
    let mut holder = place.etcdctl(&["lock", NAME]);
    assert!(holder.says().await.starts_with(&format!("{NAME}/")));
    assert!(mutex.try_lock().await.expect("etcd").is_none());
    let mut lock = Box::pin(mutex.lock());
    assert!(timeout(GRACE, &mut lock).await.is_err(), "granted beside etcdctl");
    holder.end(Signal::TERM).await;
    let _held = timeout(SOON, lock).await.expect("soon").expect("its turn has come");
}

async fn ours_holds_and_etcdctl_waits_until_it_is_released(version: &str) {
    if !etcdctl_is_there() {
        return;
    }
    let place = Place::new(version).await;
    let guard = place.mutex().await.lock().await.expect("it is free");
    let mut waiter = place.etcdctl(&["lock", NAME]);
    place.until_in_line(2).await;
    waiter.says_nothing().await;
    guard.release().await.expect("it is held");
    assert!(waiter.says().await.starts_with(&format!("{NAME}/")));
    waiter.end(Signal::TERM).await;
}

async fn a_killed_etcdctls_lock_is_ours_when_its_lease_has_run_out(version: &str) {
    if !etcdctl_is_there() {
        return;
    }
    let place = Place::new(version).await;
    let mut holder = place.etcdctl(&["lock", "--ttl", "2", NAME]);
    holder.says().await;
    holder.end(Signal::KILL).await;
    let _held = place.mutex().await.lock_timeout(SOON).await.expect("the lease runs out");
}

async fn an_interrupted_etcdctl_in_the_middle_promotes_nobody(version: &str) {
    if !etcdctl_is_there() {
        return;
    }
    let place = Place::new(version).await;
    let guard = place.mutex().await.lock().await.expect("it is free");
    let middle = place.etcdctl(&["lock", NAME]);
    place.until_in_line(2).await;
    let last = place.mutex().await;
    let mut lock = Box::pin(last.lock());
    assert!(timeout(GRACE, &mut lock).await.is_err(), "granted beside the holder");
    middle.end(Signal::TERM).await;
    assert!(timeout(GRACE, &mut lock).await.is_err(), "promoted when the middle one was interrupted");
    guard.release().await.expect("it is held");
    let _held = timeout(SOON, lock).await.expect("soon").expect("its turn has come");
}

async fn etcdctl_leads_and_ours_follows(version: &str) {
    if !etcdctl_is_there() {
        return;
    }
    let place = Place::new(version).await;
    let election = place.election().await;
    let mut leader = place.etcdctl(&["elect", NAME, "etcdctl"]);
    leader.says().await;
    assert_eq!(election.leader().await.expect("etcd").expect("a leader").value, b"etcdctl");
    let mut campaign = Box::pin(election.campaign("ours"));
    assert!(timeout(GRACE, &mut campaign).await.is_err(), "elected beside etcdctl");
    leader.end(Signal::TERM).await;
    let _leads = timeout(SOON, campaign).await.expect("soon").expect("its turn has come");
}

async fn ours_leads_and_etcdctl_listens(version: &str) {
    if !etcdctl_is_there() {
        return;
    }
    let place = Place::new(version).await;
    let leadership = place.election().await.campaign("ours").await.expect("nobody stands");
    let mut listener = place.etcdctl(&["elect", "-l", NAME]);
    assert_eq!(listener.says().await.as_bytes(), leadership.key());
    assert_eq!(listener.says().await, "ours");
    let mut candidate = place.etcdctl(&["elect", NAME, "etcdctl"]);
    place.until_in_line(2).await;
    candidate.says_nothing().await;
    leadership.proclaim("ours again").await.expect("it leads");
    assert_eq!(listener.says().await.as_bytes(), leadership.key());
    assert_eq!(listener.says().await, "ours again");
    leadership.resign().await.expect("it leads");
    assert!(candidate.says().await.starts_with(&format!("{NAME}/")));
    candidate.end(Signal::TERM).await;
    listener.end(Signal::KILL).await;
}

async fn the_servers_lock_service_and_ours_exclude_each_other(version: &str) {
    let place = Place::new(version).await;
    let mutex = place.mutex().await;
    let (mut client, lease) = place.neighbour().await;
    let theirs = client.lock(NAME, Some(LockOptions::new().with_lease(lease))).await.expect("it is free");
    assert!(mutex.try_lock().await.expect("etcd").is_none());
    let mut lock = Box::pin(mutex.lock());
    assert!(timeout(GRACE, &mut lock).await.is_err(), "granted beside the service's holder");
    client.unlock(theirs.key()).await.expect("it is held");
    let ours = timeout(SOON, lock).await.expect("soon").expect("its turn has come");

    let mut again = Box::pin(client.lock(NAME, Some(LockOptions::new().with_lease(lease))));
    assert!(timeout(GRACE, &mut again).await.is_err(), "the service granted it beside ours");
    ours.release().await.expect("it is held");
    timeout(SOON, again).await.expect("soon").expect("its turn has come");
}

async fn the_servers_election_service_and_ours_take_turns(version: &str) {
    let place = Place::new(version).await;
    let election = place.election().await;
    let mut observer = election.observe();
    assert_eq!(observer.next().await, Ok(Observation::NoLeader));
    let (mut client, lease) = place.neighbour().await;
    let won = client.campaign(NAME, "theirs", lease).await.expect("nobody stands");
    let key = won.leader().expect("a leader's key").clone();
    assert_eq!(led(&mut observer).await, b"theirs");
    client
        .proclaim("theirs again", Some(ProclaimOptions::new().with_leader(key.clone())))
        .await
        .expect("they lead");
    assert_eq!(led(&mut observer).await, b"theirs again");
    let mut campaign = Box::pin(election.campaign("ours"));
    assert!(timeout(GRACE, &mut campaign).await.is_err(), "elected beside the service's leader");
    client.resign(Some(ResignOptions::new().with_leader(key))).await.expect("they lead");
    let ours = timeout(SOON, campaign).await.expect("soon").expect("its turn has come");
    assert_eq!(led(&mut observer).await, b"ours");

    let mut theirs = Box::pin(client.campaign(NAME, "theirs", lease));
    assert!(timeout(GRACE, &mut theirs).await.is_err(), "the service's candidate elected beside ours");
    ours.resign().await.expect("it leads");
    timeout(SOON, theirs).await.expect("soon").expect("its turn has come");
    assert_eq!(led(&mut observer).await, b"theirs");
}

/// The next leader's value.
async fn led(observer: &mut tenure::Observer) -> Vec<u8> {
    match timeout(SOON, observer.next()).await.expect("an observation").expect("etcd") {
        Observation::Leader(leader) => leader.value,
        Observation::NoLeader => panic!("no leader in between"),
    }
}

macro_rules! on_every_line {
    ($($line:ident $version:literal)*; $tests:tt) => {
        $(mod $line {
            on_every_line!(@ $version $tests);
        })*
    };
    (@ $version:literal ($($test:ident)*)) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            super::$test($version).await;
        })*
    };
}

on_every_line! {
    etcd_3_4 "3.4.45"
    etcd_3_5 "3.5.34"
    etcd_3_6 "3.6.15"
    etcd_3_7 "3.7.2";
    (
        etcdctl_holds_and_ours_waits_until_it_ends
        ours_holds_and_etcdctl_waits_until_it_is_released
        a_killed_etcdctls_lock_is_ours_when_its_lease_has_run_out
        an_interrupted_etcdctl_in_the_middle_promotes_nobody
        etcdctl_leads_and_ours_follows
        ours_leads_and_etcdctl_listens
        the_servers_lock_service_and_ours_exclude_each_other
        the_servers_election_service_and_ours_take_turns
    )
}
