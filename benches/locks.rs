//! What a lock costs over what the server costs: each figure beside the raw requests that it cannot do without, in
//! interleaved rounds on one server, so that noise hits both alike. Prints a table, and the same as JSON.
//!
//!     cargo bench --bench locks                     # etcd 3.7.2; ETCD_BIN names another
//!     cargo bench --bench locks -- --json FILE
//!     cargo bench --bench locks -- uncontended      # or handoff, resign, rwlock, go (Go's own locks beside ours)

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "a bench")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measures real time on tokio")]

mod beside_go;
mod measure;

use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

use clap::Parser as _;
use etcd_client::{
    Client, Compare, CompareOp, EventType, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    WatchOptions,
};
use measure::{Report, Samples};
use tenure::{Election, Etcd, Mutex, RwLock, Session};
use tenure_sim::real::{Server, ServerOptions};

/// Rounds of each measurement; its raw counterpart has as many, in between.
const ROUNDS: usize = 6;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = Arguments::parse();
    if let (Some(endpoint), Some(waiters)) = (&arguments.endpoint, arguments.waiters) {
        return beside_go::wait(endpoint, waiters, arguments.shared).await;
    }
    let server = Server::start(&ServerOptions::default()).expect("etcd starts");
    let endpoint = server.endpoint();
    let mut report = Report::default();
    if arguments.wants("uncontended") {
        uncontended(&endpoint, &mut report).await;
    }
    if arguments.wants("handoff") {
        for contenders in [2, 8, 32, 128] {
            handoff(&endpoint, contenders, &mut report).await;
        }
    }
    if arguments.wants("resign") {
        resign(&endpoint, &mut report).await;
    }
    if arguments.wants("rwlock") {
        read_write(&endpoint, &mut report).await;
    }
    if arguments.wants("go") {
        beside_go::measure(&endpoint, &mut report).await;
    }
    report.print();
    if let Some(file) = arguments.json {
        std::fs::write(&file, report.json()).expect("the JSON can be written");
    }
}

/// What a lock costs over what etcd costs.
#[derive(clap::Parser)]
struct Arguments {
    /// What to measure; all if none is named.
    #[arg(value_parser = ["uncontended", "handoff", "resign", "rwlock", "go"])]
    what: Vec<String>,
    /// Writes the figures to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    /// Only waits in line for a lock of this server, for whoever measures that.
    #[arg(long, hide = true)]
    endpoint: Option<String>,
    /// How many wait.
    #[arg(long, hide = true)]
    waiters: Option<usize>,
    /// By one connection.
    #[arg(long, hide = true)]
    shared: bool,
}

impl Arguments {
    fn wants(&self, what: &str) -> bool {
        self.what.is_empty() || self.what.iter().any(|wanted| wanted == what)
    }
}

async fn session(endpoint: &str) -> Session {
    let etcd = Etcd::connect([endpoint]).await.expect("etcd");
    Session::builder(&etcd).ttl(Duration::from_secs(60)).open().await.expect("etcd")
}

/// Lock and release, beside put and delete, and beside the bare transactions that they are made of: in turn, one by one.
async fn uncontended(endpoint: &str, report: &mut Report) {
    let mut raw = Client::connect([endpoint], None).await.expect("etcd");
    let session = session(endpoint).await;
    let mutex = Mutex::new(&session, "bench/uncontended").expect("a good name");
    let (mut ours, mut bare, mut server) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..3_000 {
        let begun = Instant::now();
        raw.put("bench/raw", "", None).await.expect("etcd");
        raw.delete("bench/raw", None).await.expect("etcd");
        let raw_took = begun.elapsed();
        let begun = Instant::now();
        mutex.lock().await.expect("it is free").release().await.expect("it is held");
        let our_took = begun.elapsed();
        let begun = Instant::now();
        bare_lock(&mut raw, session.lease()).await;
        // The first hundred warm connections up.
        if round >= 100 {
            server.add(raw_took);
            ours.add(our_took);
            bare.add(begun.elapsed());
        }
    }
    report.compare("lock + release, uncontended", &ours, "put + delete", &server);
    report.compare("lock + release, uncontended", &ours, "the bare transactions", &bare);
}

/// The very requests that a lock and its release send, without what is around them.
async fn bare_lock(client: &mut Client, lease: i64) {
    let (key, fence) = (format!("bench/bare/{lease:x}"), format!("bench/bare\0fence/{lease:x}"));
    let first = TxnOp::get(
        "bench/bare/",
        Some(GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend).with_limit(1)),
    );
    let join = Txn::new()
        .when([
            Compare::create_revision(&*key, CompareOp::Equal, 0),
            Compare::mod_revision(&*fence, CompareOp::Equal, 0),
        ])
        .and_then([TxnOp::put(&*key, "", Some(PutOptions::new().with_lease(lease))), first.clone()])
        .or_else([TxnOp::get(&*key, None), first, TxnOp::get(&*fence, None)]);
    let joined = client.txn(join).await.expect("etcd");
    let revision = joined.header().expect("etcd sends it").revision();
    let leave = Txn::new()
        .when([Compare::create_revision(&*key, CompareOp::Equal, revision)])
        .and_then([TxnOp::delete(&*key, None)]);
    assert!(client.txn(leave).await.expect("etcd").succeeded());
}

/// From the beginning of a release to the next one's grant, beside a delete and its event at a watcher.
async fn handoff(endpoint: &str, contenders: usize, report: &mut Report) {
    let mut sessions = Vec::new();
    for _ in 0..contenders {
        sessions.push(session(endpoint).await);
    }
    let mut raw = RawHandoff::new(endpoint).await;
    let (mut ours, mut server) = (Samples::default(), Samples::default());
    let (mut locks, mut busy) = (0_usize, Duration::ZERO);
    let turns = 1_200 / contenders;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        ours.extend(contend(&sessions, turns).await);
        busy += begun.elapsed();
        locks += turns * contenders;
        for _ in 0..200 {
            server.add(raw.once().await);
        }
    }
    report.compare(&format!("handoff, {contenders} contenders"), &ours, "delete to watch event", &server);
    report.rate(&format!("locks/s, {contenders} contenders"), locks, busy);
}

/// Every contender takes `turns` turns; gives the handoffs between them.
async fn contend(sessions: &[Session], turns: usize) -> Vec<Duration> {
    let released: Arc<StdMutex<Option<Instant>>> = Arc::default();
    let handoffs: Arc<StdMutex<Vec<Duration>>> = Arc::default();
    let contenders = sessions.iter().map(|session| {
        let mutex = Mutex::new(session, "bench/handoff").expect("a good name");
        let (released, handoffs) = (Arc::clone(&released), Arc::clone(&handoffs));
        tokio::spawn(async move {
            for _ in 0..turns {
                let guard = mutex.lock().await.expect("its turn comes");
                let granted = Instant::now();
                if let Some(released) = released.lock().expect("no panic").take() {
                    handoffs.lock().expect("no panic").push(granted - released);
                }
                *released.lock().expect("no panic") = Some(Instant::now());
                guard.release().await.expect("it is held");
            }
        })
    });
    for contender in contenders.collect::<Vec<_>>() {
        contender.await.expect("no panic");
    }
    std::mem::take(&mut *handoffs.lock().expect("no panic"))
}

/// One client deletes a key, another watches it.
struct RawHandoff {
    writer: Client,
    watch: etcd_client::WatchStream,
}

impl RawHandoff {
    async fn new(endpoint: &str) -> Self {
        let writer = Client::connect([endpoint], None).await.expect("etcd");
        let mut watcher = Client::connect([endpoint], None).await.expect("etcd").watch_client();
        let mut watch = watcher.watch("bench/watched", Some(WatchOptions::new())).await.expect("etcd");
        assert!(watch.message().await.expect("etcd").expect("a message").created());
        Self { writer, watch }
    }

    async fn once(&mut self) -> Duration {
        self.writer.put("bench/watched", "", None).await.expect("etcd");
        self.until(EventType::Put).await;
        let begun = Instant::now();
        let (deleted, took) = tokio::join!(self.writer.delete("bench/watched", None), async {
            loop {
                let message = self.watch.message().await.expect("etcd").expect("a message");
                if message.events().iter().any(|event| event.event_type() == EventType::Delete) {
                    return begun.elapsed();
                }
            }
        });
        deleted.expect("etcd");
        took
    }

    async fn until(&mut self, kind: EventType) {
        loop {
            let message = self.watch.message().await.expect("etcd").expect("a message");
            if message.events().iter().any(|event| event.event_type() == kind) {
                return;
            }
        }
    }
}

/// From the beginning of a resignation to the next one's election.
async fn resign(endpoint: &str, report: &mut Report) {
    let sessions = [session(endpoint).await, session(endpoint).await];
    let elections =
        sessions.each_ref().map(|session| Election::new(session, "bench/election").expect("a good name"));
    let mut raw = RawHandoff::new(endpoint).await;
    let (mut ours, mut server) = (Samples::default(), Samples::default());
    let mut leading = elections[0].campaign("0").await.expect("nobody stands");
    for turn in 1..=1_000_usize {
        let next = elections[turn % 2].clone();
        let elected = tokio::spawn(async move {
            let leadership = next.campaign("next").await.expect("its turn comes");
            (Instant::now(), leadership)
        });
        // Until the other is in line: its watch is open soon after.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let begun = Instant::now();
        leading.resign().await.expect("it leads");
        let (at, leadership) = elected.await.expect("no panic");
        ours.add(at - begun);
        leading = leadership;
        server.add(raw.once().await);
    }
    report.compare("resign to next leader", &ours, "delete to watch event", &server);
}

/// Many readers at once; writers in turn.
async fn read_write(endpoint: &str, report: &mut Report) {
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(session(endpoint).await);
    }
    for (what, writes) in [("reads/s, 8 readers", false), ("writes/s, 8 writers", true)] {
        let begun = Instant::now();
        let tasks = sessions.iter().map(|session| {
            let lock = RwLock::new(session, "bench/rwlock").expect("a good name");
            tokio::spawn(async move {
                for _ in 0..300 {
                    if writes {
                        lock.write().await.expect("its turn comes").release().await.expect("it is held");
                    } else {
                        lock.read().await.expect("no writer").release().await.expect("it is held");
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("no panic");
        }
        report.rate(what, 8 * 300, begun.elapsed());
    }
}
