//! Go's own package (`clientv3/concurrency`, `contrib/recipes`, as Debian has it) on the same names as ours: what the documentation says of
//! both together. Says so on stderr and passes where Go or its packages are not installed.

#![cfg(unix)]
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "real processes in real time, on tokio")]

#[path = "go/driven.rs"]
mod driven;
#[path = "go/peer.rs"]
mod peer;

use std::path::Path;
use std::time::Duration;

use driven::Go;
use peer::Peer;
use tenure::kv::{Compare, CompareOp, DeleteRange, Op, Put, Range, Txn};
use tenure::{
    Backend, Barrier, Departure, DoubleBarrier, Election, Error, Etcd, Mutex, Observation, Policy,
    PriorityQueue, Queue, Runtime, RwLock, Session,
};
use tenure_sim::real::{Server, ServerOptions};
use tokio::time::timeout;

const NAME: &str = "neighbours/go";
const SOON: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_millis(300);

/// A real server, our way to it and Go's.
struct Place {
    server: Server,
    etcd: Etcd,
    program: &'static Path,
}

impl Place {
    /// `None`, with the reason on stderr, where Go is not there.
    async fn new(version: &str) -> Option<Self> {
        let version = version.to_owned();
        let started = tokio::task::spawn_blocking(move || {
            peer::program().map(|program| (Server::start(&ServerOptions::version(&version)), program))
        });
        match started.await.expect("no panic") {
            Err(why) => {
                eprintln!("skipped: {why}");
                None
            }
            Ok((server, program)) => {
                let server = server.expect("etcd starts");
                let etcd = Etcd::connect([server.endpoint()]).await.expect("etcd");
                Some(Self { server, etcd, program })
            }
        }
    }

    async fn session(&self) -> Session {
        Session::builder(&self.etcd).ttl(Duration::from_secs(20)).open().await.expect("etcd")
    }

    async fn mutex(&self) -> Mutex {
        Mutex::new(&self.session().await, NAME).expect("a name")
    }

    async fn rwlock(&self, policy: Policy) -> RwLock {
        RwLock::with_policy(&self.session().await, NAME, policy).expect("a name")
    }

    async fn double(&self, count: usize) -> DoubleBarrier {
        DoubleBarrier::new(&self.session().await, NAME, count).expect("a name")
    }

    fn go(&self, what: &str) -> Go {
        self.go_with(what, NAME, &[])
    }

    fn go_with(&self, what: &str, name: &str, rest: &[&str]) -> Go {
        let endpoint = self.server.endpoint();
        Go::new(Peer::start(self.program, &[&[&*endpoint, what, name], rest].concat()))
    }

    async fn read(&self, range: Range) -> Vec<tenure::kv::KeyValue> {
        self.etcd.range(range, self.etcd.now() + SOON).await.expect("etcd").kvs
    }

    async fn txn(&self, txn: Txn) -> bool {
        self.etcd.txn(txn, self.etcd.now() + SOON).await.expect("etcd").succeeded
    }

    /// Waits until there are so many keys below the name.
    async fn until_below(&self, what: &str, keys: usize) {
        let waited = async {
            while self.read(Range::prefix(format!("{NAME}/{what}"))).await.len() != keys {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, waited).await.expect("as many are there");
    }
}

/// The future has not ended, and does not soon.
async fn waits<F: Future + Unpin>(future: &mut F) {
    assert!(timeout(GRACE, future).await.is_err(), "ours did not wait");
}

async fn soon<T>(future: impl Future<Output = Result<T, Error>>) -> T {
    timeout(SOON, future).await.expect("soon").expect("its turn has come")
}

async fn a_mutex_is_granted_to_go_and_ours_in_order_of_arrival(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let (mut first, mut third) = (place.go("mutex"), place.go("mutex"));
    let (second, fourth) = (place.mutex().await, place.mutex().await);
    let key = first.does("lock").await;
    assert!(key.starts_with(&format!("{NAME}/")), "{key}");
    assert!(second.try_lock().await.expect("etcd").is_none());
    let mut second = Box::pin(second.lock());
    waits(&mut second).await;
    third.begin("lock").await;
    place.until_below("", 3).await;
    let mut fourth = Box::pin(fourth.lock());
    waits(&mut fourth).await;
    first.does("unlock").await;
    let held = soon(second).await;
    third.waits().await;
    held.release().await.expect("it is held");
    third.ends().await;
    waits(&mut fourth).await;
    third.does("unlock").await;
    soon(fourth).await.release().await.expect("it is held");
}

async fn go_and_ours_count_under_one_mutex_and_none_meets_another(version: &str) {
    const TURNS: usize = 12;
    let Some(place) = Place::new(version).await else { return };
    let mut theirs = [place.go("mutex"), place.go("mutex")];
    for go in &mut theirs {
        go.begin(&format!("count {TURNS} counter")).await;
    }
    let ours = [place.mutex().await, place.mutex().await];
    let [first, second] = &ours;
    tokio::join!(count(&place, first, TURNS), count(&place, second, TURNS));
    for go in &mut theirs {
        go.ends().await;
    }
    let counted = place.read(Range::key("counter")).await.remove(0).value;
    assert_eq!(String::from_utf8(counted).expect("a number"), (4 * TURNS).to_string());
}

/// As Go's side counts: nothing but the lock holds the read and the write together.
async fn count(place: &Place, mutex: &Mutex, turns: usize) {
    for _ in 0..turns {
        let guard = soon(mutex.lock()).await;
        let enter = Txn::new()
            .when([Compare::create_revision("counter.inside", CompareOp::Equal, 0)])
            .and_then([Op::Put(Put::new("counter.inside", "ours"))]);
        assert!(place.txn(enter).await, "another is inside");
        let read = place.read(Range::key("counter")).await;
        let count =
            read.first().map_or(0, |kv| String::from_utf8_lossy(&kv.value).parse().expect("a number"));
        let next: usize = count + 1;
        place.txn(Txn::new().and_then([Op::Put(Put::new("counter", next.to_string()))])).await;
        place.txn(Txn::new().and_then([Op::Delete(DeleteRange::key("counter.inside"))])).await;
        guard.release().await.expect("it is held");
    }
}

async fn an_election_is_won_by_go_and_ours_in_turn_and_both_see_who_leads(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let election = Election::new(&place.session().await, NAME).expect("a name");
    let (mut candidate, mut onlooker) = (place.go("election"), place.go("election"));
    let mut observer = election.observe();
    assert_eq!(observer.next().await, Ok(Observation::NoLeader));
    candidate.does("campaign theirs").await;
    assert_eq!(led(&mut observer).await, b"theirs");
    assert_eq!(onlooker.does("observe").await, "theirs");
    candidate.does("proclaim theirs again").await;
    assert_eq!(led(&mut observer).await, b"theirs again");
    assert_eq!(onlooker.does("observe").await, "theirs again");
    let mut campaign = Box::pin(election.campaign("ours"));
    waits(&mut campaign).await;
    candidate.does("resign").await;
    let leadership = soon(campaign).await;
    assert_eq!(led(&mut observer).await, b"ours");
    assert_eq!(onlooker.does("observe").await, "ours");
    leadership.proclaim("ours again").await.expect("it leads");
    assert_eq!(onlooker.does("observe").await, "ours again");
    assert_eq!(onlooker.does("leader").await, "ours again");
    candidate.begin("campaign theirs").await;
    place.until_below("", 2).await;
    candidate.waits().await;
    leadership.resign().await.expect("it leads");
    candidate.ends().await;
}

/// The next leader's value.
async fn led(observer: &mut tenure::Observer) -> Vec<u8> {
    loop {
        let observed = timeout(SOON, observer.next()).await.expect("an observation").expect("etcd");
        if let Observation::Leader(leader) = observed {
            return leader.value;
        }
    }
}

async fn what_go_and_ours_enqueue_is_one_queue_first_in_first_out(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let queue = Queue::new(&place.session().await, NAME).expect("a name");
    let mut go = place.go("queue");
    for item in 1..=4 {
        go.does(&format!("enqueue go{item}")).await;
        queue.enqueue(format!("ours{item}")).await.expect("etcd");
    }
    assert_eq!(queue.dequeue().await.expect("an item"), b"go1");
    assert_eq!(go.does("dequeue").await, "ours1");
    assert_eq!(go.does("dequeue").await, "go2");
    assert_eq!(queue.dequeue_batch(3).await.expect("items"), [&b"ours2"[..], b"go3", b"ours3"]);
    // A claim is no matter to Go: it takes the item, and who claimed it is told.
    let claim = queue.claim().await.expect("an item");
    assert_eq!(claim.value(), b"go4");
    assert_eq!(go.does("dequeue").await, "go4");
    assert_eq!(claim.ack().await, Err(Error::NotHeld));
    assert_eq!(go.does("dequeue").await, "ours4");
    // Both wait, and are woken by the other.
    let mut next = Box::pin(queue.dequeue());
    waits(&mut next).await;
    go.does("enqueue for ours").await;
    assert_eq!(soon(next).await, b"for ours");
    go.begin("dequeue").await;
    go.waits().await;
    queue.enqueue("for Go").await.expect("etcd");
    assert_eq!(go.ends().await, "for Go");
}

async fn gos_queue_takes_of_every_name_that_begins_alike_and_ours_does_not(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let queue = Queue::new(&place.session().await, NAME).expect("a name");
    let longer = format!("{NAME}2");
    place.go_with("queue", &longer, &[]).does("enqueue of another queue").await;
    assert_eq!(queue.try_dequeue().await.expect("etcd"), None);
    assert_eq!(place.go("queue").does("dequeue").await, "of another queue");
}

async fn what_go_and_ours_enqueue_is_one_priority_queue(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let queue = PriorityQueue::new(&place.session().await, NAME).expect("a name");
    let mut go = place.go("priority");
    for round in 1..=2 {
        for rank in [7, 300] {
            go.does(&format!("enqueue {rank} go{rank}.{round}")).await;
            queue.enqueue(rank, format!("ours{rank}.{round}")).await.expect("etcd");
        }
    }
    assert_eq!(go.does("dequeue").await, "go7.1");
    assert_eq!(queue.dequeue().await.expect("an item"), b"ours7.1");
    assert_eq!(go.does("dequeue").await, "go7.2");
    go.does("enqueue 6 go6.1").await;
    assert_eq!(queue.dequeue_batch(3).await.expect("items"), [&b"go6.1"[..], b"ours7.2", b"go300.1"]);
    assert_eq!(go.does("dequeue").await, "ours300.1");
    assert_eq!(queue.dequeue().await.expect("an item"), b"go300.2");
    assert_eq!(go.does("dequeue").await, "ours300.2");
    let mut next = Box::pin(queue.dequeue());
    waits(&mut next).await;
    go.does("enqueue 1 for ours").await;
    assert_eq!(soon(next).await, b"for ours");
    go.begin("dequeue").await;
    go.waits().await;
    queue.enqueue(1, "for Go").await.expect("etcd");
    assert_eq!(go.ends().await, "for Go");
}

async fn a_barrier_that_go_holds_is_released_by_ours_and_the_other_way(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let barrier = Barrier::new(&place.session().await, NAME).expect("a name");
    let (mut go, mut waiter) = (place.go("barrier"), place.go("barrier"));
    let held = Err(Error::BarrierHeld { name: NAME.to_owned() });

    go.does("hold").await;
    assert_eq!(barrier.hold().await.map(drop), held);
    let mut wait = Box::pin(barrier.wait());
    waits(&mut wait).await;
    go.does("release").await;
    soon(wait).await;

    go.does("hold").await;
    waiter.begin("wait").await;
    waiter.waits().await;
    barrier.release().await.expect("etcd");
    waiter.ends().await;

    barrier.hold_for_good().await.expect("nobody holds it");
    assert_eq!(go.fails("hold").await, "key already exists");
    waiter.begin("wait").await;
    waiter.waits().await;
    go.does("release").await;
    waiter.ends().await;
    assert!(!barrier.is_held().await.expect("etcd"));

    // Go releases whoever holds: who does is told.
    let hold = barrier.hold().await.expect("nobody holds it");
    go.does("release").await;
    assert_eq!(hold.release().await, Err(Error::NotHeld));
    // A hold that is dropped, or whose session ends, frees Go's waiters, too.
    let hold = barrier.hold().await.expect("nobody holds it");
    waiter.begin("wait").await;
    waiter.waits().await;
    drop(hold);
    waiter.ends().await;
}

async fn gos_wait_at_a_barrier_misses_the_release_if_anything_was_written_since_the_hold(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let barrier = Barrier::new(&place.session().await, NAME).expect("a name");
    let mut go = place.go("barrier");
    go.does("hold").await;
    place.txn(Txn::new().and_then([Op::Put(Put::new("another", ""))])).await;
    let mut wait = Box::pin(barrier.wait());
    waits(&mut wait).await;
    go.begin("wait").await;
    go.waits().await;
    barrier.release().await.expect("etcd");
    soon(wait).await;
    go.waits().await;
}

async fn go_and_ours_enter_and_leave_a_double_barrier_together(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let barrier = place.double(3).await;
    let mut go = place.go_with("double", NAME, &["3"]);
    let second = place.double(3).await;
    // The last to come opens: ours, then Go's.
    for ours_is_last in [true, false] {
        let mut first = Box::pin(barrier.enter());
        waits(&mut first).await;
        let other = if ours_is_last {
            go.begin("enter").await;
            place.until_below("waiters/", 2).await;
            go.waits().await;
            soon(second.enter()).await
        } else {
            let mut other = Box::pin(second.enter());
            waits(&mut other).await;
            go.begin("enter").await;
            soon(other).await
        };
        let first = soon(first).await;
        go.ends().await;

        let full = Err(Error::BarrierFull { name: NAME.to_owned(), count: 3 });
        assert_eq!(place.double(3).await.enter().await.map(drop), full);

        let mut leaving = Box::pin(first.leave());
        waits(&mut leaving).await;
        go.begin("leave").await;
        go.waits().await;
        let (left, others) = tokio::join!(soon(leaving), soon(other.leave()));
        go.ends().await;
        // Go's members do not tell that they have left.
        assert_eq!([left, others], [Departure::Crashed(1); 2]);
        place.until_below("", 0).await;
    }
}

async fn a_go_member_that_is_gone_breaks_the_double_barrier_for_ours(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let barrier = place.double(3).await;
    let mut go = place.go_with("double", NAME, &["3"]);
    go.begin("enter").await;
    place.until_below("waiters/", 1).await;
    let mut entering = Box::pin(barrier.enter());
    waits(&mut entering).await;
    // As when its lease has run out.
    let gone = place.read(Range::prefix(format!("{NAME}/waiters/"))).await.remove(0).key;
    place.txn(Txn::new().and_then([Op::Delete(DeleteRange::key(gone))])).await;
    let broken = timeout(SOON, entering).await.expect("soon");
    assert_eq!(broken.map(drop), Err(Error::BarrierBroken { name: NAME.to_owned() }));
}

async fn a_read_write_lock_in_order_of_arrival_is_one_with_gos(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let (reader, writer) = (place.rwlock(Policy::Fifo).await, place.rwlock(Policy::Fifo).await);
    let (mut go, mut another) = (place.go("rwmutex"), place.go("rwmutex"));
    // Readers beside each other, then a writer of each, then a reader.
    go.does("rlock").await;
    let read = soon(reader.read()).await;
    let mut write = Box::pin(writer.write());
    waits(&mut write).await;
    another.begin("lock").await;
    place.until_below("", 4).await;
    let mut late = Box::pin(reader.read());
    waits(&mut late).await;
    go.does("runlock").await;
    waits(&mut write).await;
    read.release().await.expect("it is held");
    let held = soon(write).await;
    another.waits().await;
    held.release().await.expect("it is held");
    another.ends().await;
    waits(&mut late).await;
    go.begin("rlock").await;
    go.waits().await;
    another.does("unlock").await;
    soon(late).await.release().await.expect("it is held");
    go.ends().await;
}

async fn a_read_write_lock_with_writers_first_never_overlaps_gos(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let (reader, writer) =
        (place.rwlock(Policy::WritersFirst).await, place.rwlock(Policy::WritersFirst).await);
    let (mut go, mut another) = (place.go("rwmutex"), place.go("rwmutex"));
    go.does("lock").await;
    assert!(reader.try_read().await.expect("etcd").is_none());
    assert!(writer.try_write().await.expect("etcd").is_none());
    let mut read = Box::pin(reader.read());
    waits(&mut read).await;
    go.does("unlock").await;
    let read = soon(read).await;
    go.does("rlock").await;
    another.begin("lock").await;
    place.until_below("", 3).await;
    another.waits().await;
    assert!(reader.try_read().await.expect("etcd").is_none(), "before a writer in line");
    let mut write = Box::pin(writer.write());
    waits(&mut write).await;
    read.release().await.expect("it is held");
    go.does("runlock").await;
    another.ends().await;
    waits(&mut write).await;
    another.does("unlock").await;
    let held = soon(write).await;
    go.begin("rlock").await;
    go.waits().await;
    held.release().await.expect("it is held");
    go.ends().await;
}

async fn another_kind_of_gos_lock_on_the_name_is_refused_as_a_foreign_key(version: &str) {
    let Some(place) = Place::new(version).await else { return };
    let mut go = place.go("rwmutex");
    go.does("rlock").await;
    assert_foreign(place.mutex().await.lock().await.map(drop));
    let election = Election::new(&place.session().await, NAME).expect("a name");
    assert_foreign(election.campaign("ours").await.map(drop));
    go.does("runlock").await;
    place.until_below("", 0).await;
    let mut go = place.go("mutex");
    go.does("lock").await;
    for policy in [Policy::Fifo, Policy::WritersFirst] {
        assert_foreign(place.rwlock(policy).await.write().await.map(drop));
    }
}

fn assert_foreign(outcome: Result<(), Error>) {
    assert!(matches!(&outcome, Err(Error::ForeignKey { key }) if key.starts_with(NAME)), "{outcome:?}");
}

macro_rules! on_lines {
    ($($line:ident $version:literal)*; $tests:tt) => {
        $(mod $line {
            on_lines!(@ $version $tests);
        })*
    };
    (@ $version:literal ($($test:ident)*)) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            super::$test($version).await;
        })*
    };
}

on_lines! {
    etcd_3_4 "3.4.45"
    etcd_3_7 "3.7.2";
    (
        a_mutex_is_granted_to_go_and_ours_in_order_of_arrival
        go_and_ours_count_under_one_mutex_and_none_meets_another
        an_election_is_won_by_go_and_ours_in_turn_and_both_see_who_leads
        what_go_and_ours_enqueue_is_one_queue_first_in_first_out
        gos_queue_takes_of_every_name_that_begins_alike_and_ours_does_not
        what_go_and_ours_enqueue_is_one_priority_queue
        a_barrier_that_go_holds_is_released_by_ours_and_the_other_way
        gos_wait_at_a_barrier_misses_the_release_if_anything_was_written_since_the_hold
        go_and_ours_enter_and_leave_a_double_barrier_together
        a_go_member_that_is_gone_breaks_the_double_barrier_for_ours
        a_read_write_lock_in_order_of_arrival_is_one_with_gos
        a_read_write_lock_with_writers_first_never_overlaps_gos
        another_kind_of_gos_lock_on_the_name_is_refused_as_a_foreign_key
    )
}
