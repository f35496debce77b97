//! The server's own Lock and Election services: one script on the simulated server and on real ones gives the same answers, faults
//! included.

use std::time::Duration;

use etcd_client::{Client, Error, LeaderKey, LockOptions, ProclaimOptions, PutOptions, ResignOptions};
use tenure_sim::real::{Server, ServerOptions};
use tokio::time::timeout;

use super::{SOON, serve};

const BRIEFLY: Duration = Duration::from_millis(300);

/// What a script was answered, a line each.
struct Script {
    client: Client,
    transcript: Vec<String>,
}

impl Script {
    fn note(&mut self, what: &str, said: impl std::fmt::Display) {
        self.transcript.push(format!("{what}: {said}"));
    }

    fn refused<T>(&mut self, what: &str, outcome: Result<T, Error>) {
        let said = match outcome {
            Ok(_) => "done".to_owned(),
            Err(Error::GRpcStatus(status)) => format!("{:?}, {:?}", status.code(), status.message()),
            Err(other) => format!("another error: {other}"),
        };
        self.note(what, said);
    }

    async fn lease(&mut self, ttl_s: i64) -> i64 {
        self.client.lease_grant(ttl_s, None).await.expect("granted").id()
    }

    async fn keys(&mut self, what: &str) {
        let options = etcd_client::GetOptions::new().with_prefix();
        let read = self.client.get("n/", Some(options)).await.expect("read");
        let kvs = read
            .kvs()
            .iter()
            .map(|kv| format!("{} keys by a lease: {}", kv.value_str().unwrap_or_default(), kv.lease() != 0));
        let said = kvs.collect::<Vec<_>>().join("; ");
        self.note(what, format!("{} {said}", read.count()));
    }

    /// Locks with lease 0: the server makes one of 60 s, which nobody renews.
    async fn lock_without_lease(&mut self) {
        let held = self.client.lock("n", None).await.expect("it is free");
        let kv = self.client.get(held.key(), None).await.expect("read").kvs()[0].clone();
        let left = self.client.lease_time_to_live(kv.lease(), None).await.expect("asked");
        self.note("lock without a lease", format!("granted {}", left.granted_ttl()));
        let name = format!("n/{:x}", kv.lease());
        self.note("its key has the lease's name", held.key() == name.as_bytes());
        let same = held.header().expect("a header").revision() >= kv.create_revision();
        self.note("its header is not older than its key", same);
        self.client.unlock(held.key()).await.expect("unlocked");
        self.client.lease_revoke(kv.lease()).await.expect("revoked");
        self.keys("after the unlock").await;
        let again = self.client.unlock(held.key()).await;
        self.refused("unlock again", again);
    }

    async fn lock_with_leases(&mut self) {
        let unknown = self.client.lock("n", Some(LockOptions::new().with_lease(12345))).await;
        self.refused("lock with an unknown lease", unknown);
        let lease = self.lease(60).await;
        let options = || LockOptions::new().with_lease(lease);
        let held = self.client.lock("n", Some(options())).await.expect("it is free");
        let again = self.client.lock("n", Some(options())).await.expect("it is its own");
        self.note("the same lease locks again", held.key() == again.key());

        // A waiter that goes away leaves the line.
        let other = self.lease(60).await;
        let mut waiter = self.client.clone();
        let waiting = waiter.lock("n", Some(LockOptions::new().with_lease(other)));
        self.note("a waiter is granted", timeout(BRIEFLY, waiting).await.is_ok());
        self.until_keys(1).await;

        // A waiter whose lease dies.
        let mut waiter = self.client.clone();
        let waiting =
            tokio::spawn(async move { waiter.lock("n", Some(LockOptions::new().with_lease(other))).await });
        self.until_keys(2).await;
        self.client.lease_revoke(other).await.expect("revoked");
        self.until_keys(1).await;
        self.client.unlock(held.key()).await.expect("unlocked");
        let outcome = timeout(SOON, waiting).await.expect("soon").expect("no panic");
        self.refused("a waiter whose lease has died", outcome);
        self.client.lease_revoke(lease).await.expect("revoked");
    }

    async fn until_keys(&mut self, count: i64) {
        let waited = async {
            loop {
                let options = etcd_client::GetOptions::new().with_prefix().with_count_only();
                if self.client.get("n/", Some(options)).await.expect("read").count() == count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, waited).await.expect("as many keys");
    }

    async fn elections(&mut self) {
        let none = self.client.leader("n").await;
        self.refused("the leader of none", none);
        let lease = self.lease(60).await;
        let won = self.client.campaign("n", "first", lease).await.expect("nobody stands");
        let key = won.leader().expect("a key").clone();
        self.note("campaign", format!("{} {}", key.name_str().expect("text"), key.lease() == lease));
        let led = self.client.leader("n").await.expect("a leader");
        let value = led.kv().expect("a leader").value_str().expect("text").to_owned();
        self.note("leader", value);

        let mut observed = self.client.observe("n").await.expect("observing");
        self.seen("observe first", &mut observed).await;
        let proclaim = |key: &LeaderKey| ProclaimOptions::new().with_leader(key.clone());
        self.client.proclaim("second", Some(proclaim(&key))).await.expect("it leads");
        self.seen("observe a proclamation", &mut observed).await;
        let again = self.client.campaign("n", "third", lease).await.expect("it leads");
        self.note("campaign again", again.leader().expect("a key").rev() == key.rev());
        self.seen("observe another campaign", &mut observed).await;

        // A candidate whose lease dies is elected all the same.
        let other = self.lease(60).await;
        let mut candidate = self.client.clone();
        let standing = tokio::spawn(async move { candidate.campaign("n", "other", other).await });
        self.until_keys(2).await;
        self.client.lease_revoke(other).await.expect("revoked");
        self.until_keys(1).await;
        self.client.resign(Some(ResignOptions::new().with_leader(key.clone()))).await.expect("it leads");
        let outcome = timeout(SOON, standing).await.expect("soon").expect("no panic");
        self.refused("a candidate whose lease has died", outcome);
        self.keys("after that").await;
        let late = self.client.proclaim("late", Some(proclaim(&key))).await;
        self.refused("proclaim after resigning", late);
        let twice = self.client.resign(Some(ResignOptions::new().with_leader(key))).await;
        self.refused("resign twice", twice);
        let nothing = self.client.resign(Some(ResignOptions::new())).await;
        self.refused("resign without a key", nothing);
        let nothing = self.client.proclaim("x", Some(ProclaimOptions::new())).await;
        self.refused("proclaim without a key", nothing);

        // The next leader, to somebody who observes on.
        let next = self.lease(60).await;
        self.client.campaign("n", "next", next).await.expect("nobody stands");
        self.seen("observe the next", &mut observed).await;
        self.client.put("n/other", "no candidate", Some(PutOptions::new())).await.expect("put");
        self.keys("at the end").await;
    }

    async fn seen(&mut self, what: &str, observed: &mut etcd_client::ObserveStream) {
        let told = timeout(SOON, observed.message()).await.expect("soon").expect("told").expect("it goes on");
        let value = told.kv().expect("a leader").value_str().expect("text").to_owned();
        self.note(what, value);
    }
}

async fn transcript(endpoint: String) -> Vec<String> {
    let client = Client::connect([endpoint], None).await.expect("connected");
    let mut script = Script { client, transcript: Vec::new() };
    script.lock_without_lease().await;
    script.lock_with_leases().await;
    script.elections().await;
    script.transcript
}

async fn the_services_answer_as_the_real_ones(version: &str) {
    let simulated = serve(&["--version", version]).await;
    let settings = ServerOptions::version(version);
    let real = tokio::task::spawn_blocking(move || Server::start(&settings).expect("a real server"));
    let real = real.await.expect("no panic");
    let ours = transcript(simulated.endpoint()).await;
    let theirs = transcript(real.endpoint()).await;
    println!("{}", theirs.join("\n"));
    assert_eq!(ours, theirs, "{version}: simulated on the left, real on the right");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_in_3_4() {
    the_services_answer_as_the_real_ones("3.4.45").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_in_3_5() {
    the_services_answer_as_the_real_ones("3.5.34").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_in_3_7() {
    the_services_answer_as_the_real_ones("3.7.2").await;
}
