//! Watches, and the writes that they tell of, across a change of leaders and across a cut.

use std::cell::Cell;

use futures_util::StreamExt;
use futures_util::future::{join, join_all};
use tenure::kv::{KeyValue, Op, Put, Request, Txn, WatchRequest};
use tenure::{Backend, CallError, WatchMessage, WatchStream, within};

use crate::band::Behaviour;
use crate::cluster::{Client, PATIENCE, TestCluster, Told, is_no_leader, others, told_of};
use crate::elections::{note_leader, succession};
use crate::log::Log;

/// How many write at once while the leader is killed.
const WRITERS: usize = 8;

/// What became of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    NotApplied,
    Unknown,
}

/// Kills the leader under writes and watches.
pub(crate) async fn across_failover(cluster: &mut impl TestCluster, log: &mut Log) {
    let client = cluster.client().clone();
    let prefix = client.name("failover");
    let before = client.steady().await;
    let follower = others(before.member).next().unwrap_or(0);
    let mut raw = client.watch(follower, &prefix).await;
    let mut resumed = client.etcd(before.member).watch(WatchRequest::prefix(prefix.clone()));
    let opened = within(&*client.runtime, client.now() + PATIENCE, resumed.next()).await;
    log.expect(matches!(opened, Ok(Some(Ok(WatchMessage::Created { .. })))), || {
        format!("the resuming watch does not open: {opened:?}")
    });
    let stop = Cell::new(false);
    let writers = join_all((0..WRITERS).map(|writer| write_until(&client, writer, &prefix, &stop)));
    let failover = async {
        client.out_of_step().await;
        let old = client.steady().await;
        cluster.kill(old.member);
        let seen = succession(&client, &old, false).await;
        // The new leader serves for a while.
        client.sleep_until(client.now() + client.settings.election() / 4).await;
        stop.set(true);
        (old, seen)
    };
    let (written, (old, seen)) = join(writers, failover).await;
    note_leader(&seen, &old, Behaviour::LeaderAfterKill, log);
    let answer = client.ask(old.member, Request::Status, client.now() + PATIENCE).await;
    log.expect(matches!(&answer, Some(Err(status)) if !status.sent), || {
        format!("a killed member does not refuse the connection: {answer:?}")
    });
    cluster.restart(old.member);
    let kvs = client.agreed(&prefix).await;
    judge_writes(&written.concat(), &kvs, log);
    let wanted: Vec<Told> = kvs.iter().map(told_of).collect();
    if old.member == follower {
        log.count("leader killed: it was the watched member");
    } else {
        judge_raw_watch(&client, &mut raw, &wanted, log).await;
    }
    let told = told_by(&client, &mut resumed, wanted.len()).await;
    log.expect(told == wanted, || difference("the resuming watch", &told, &wanted));
}

/// Writes keys, none twice, until it is told to stop.
async fn write_until(client: &Client, writer: usize, prefix: &str, stop: &Cell<bool>) -> Vec<(String, Fate)> {
    let etcd = client.etcd(writer);
    let mut written = Vec::new();
    while !stop.get() {
        let key = format!("{prefix}{writer}-{:04}", written.len());
        let put = Txn::new().and_then([Op::Put(Put::new(key.clone(), ""))]);
        let fate = match etcd.txn(put, client.now() + 4 * client.settings.election()).await {
            Ok(_) => Fate::Acknowledged,
            Err(CallError::Maybe(_)) => Fate::Unknown,
            Err(CallError::NotApplied(_) | CallError::Refused(_)) => Fate::NotApplied,
        };
        written.push((key, fate));
    }
    written
}

/// Each acknowledged write is there, each that was not applied is not; all else may be or not.
fn judge_writes(written: &[(String, Fate)], kvs: &[KeyValue], log: &mut Log) {
    let there = |key: &String| kvs.iter().any(|kv| kv.key == key.as_bytes());
    for (key, fate) in written {
        match fate {
            Fate::Acknowledged if !there(key) => {
                log.wrong.push(format!("{key} was acknowledged and is lost"))
            }
            Fate::NotApplied if there(key) => log.wrong.push(format!("{key} was not applied and is there")),
            Fate::Unknown if there(key) => log.count("leader killed: a write of unknown fate was applied"),
            Fate::Unknown => log.count("leader killed: a write of unknown fate was lost"),
            Fate::Acknowledged | Fate::NotApplied => {}
        }
    }
    let acknowledged = written.iter().filter(|(_, fate)| *fate == Fate::Acknowledged).count();
    log.expect(acknowledged > 0, || "no write was acknowledged".to_owned());
}

/// A raw watch at a follower goes on under the next leader, unless the follower was without one for so long that it ended
/// its watches; until then it told all in order.
async fn judge_raw_watch(
    client: &Client,
    watch: &mut crate::cluster::RawWatch,
    wanted: &[Told],
    log: &mut Log,
) {
    let (told, ended) = watch.events(client, wanted.len(), client.now() + PATIENCE).await;
    match ended {
        None => {
            log.count("leader killed: a follower's watch went on");
            log.expect(told == wanted, || difference("a follower's watch", &told, wanted));
        }
        Some(status) => {
            log.count("leader killed: a follower's watch ended, for want of a leader");
            log.expect(is_no_leader(&status), || format!("a follower's watch ended with {status:?}"));
            log.expect(wanted.starts_with(&told), || difference("a follower's watch", &told, wanted));
        }
    }
}

/// What the library's watch tells, until so many events were told or it says nothing for too long.
async fn told_by(client: &Client, watch: &mut WatchStream, wanted: usize) -> Vec<Told> {
    let mut told = Vec::new();
    let deadline = client.now() + PATIENCE;
    while told.len() < wanted {
        match within(&*client.runtime, deadline, watch.next()).await {
            Ok(Some(Ok(WatchMessage::Events { events }))) => {
                told.extend(events.iter().map(|event| told_of(&event.kv)));
            }
            Ok(Some(Ok(WatchMessage::Created { .. }))) => {}
            Ok(Some(Ok(WatchMessage::Compacted { .. }) | Err(_)) | None) | Err(_) => break,
        }
    }
    told
}

fn difference(who: &str, told: &[Told], wanted: &[Told]) -> String {
    let place = told.iter().zip(wanted).take_while(|(told, wanted)| told == wanted).count();
    format!(
        "{who} told {} events of {}; they differ from number {place} on: {:?} instead of {:?}",
        told.len(),
        wanted.len(),
        told.get(place),
        wanted.get(place)
    )
}

/// Cuts a watched follower off for less time than it takes to end its watches; half of them have begun to stand for election.
pub(crate) async fn across_short_cut(cluster: &mut impl TestCluster, log: &mut Log) {
    const KEYS: usize = 5;
    let client = cluster.client().clone();
    let prefix = client.name("short-cut");
    let before = client.steady().await;
    let follower = others(before.member).next().unwrap_or(0);
    let mut watch = client.watch(follower, &prefix).await;
    let lead = client.steady().await;
    if lead.member == follower {
        return log.count("short cut: the watched member had become the leader before");
    }
    cluster.isolate(follower);
    for key in 0..KEYS {
        client.write(lead.member, Some(follower), format!("{prefix}{key}"), "").await;
    }
    let (early, ended) = watch.events(&client, 1, lead.since + client.settings.election() * 3 / 2).await;
    log.expect(early.is_empty(), || format!("a cut-off member's watch told {early:?}"));
    let healed_at = client.now();
    cluster.heal();
    let (told, ended) = match ended {
        None => watch.events(&client, KEYS, client.now() + PATIENCE).await,
        ended => (Vec::new(), ended),
    };
    let caught_up_at = client.now();
    let wanted: Vec<Told> = client.agreed(&prefix).await.iter().map(told_of).collect();
    match ended {
        None => {
            log.took(Behaviour::WatchCatchesUp, caught_up_at.saturating_since(healed_at));
            log.expect(told == wanted, || difference("a watch after a cut", &told, &wanted));
        }
        // A slow machine may have let more time pass than it was to.
        Some(status) => {
            let soonest = Behaviour::StreamEnds.band(client.settings).least_ms;
            let too_soon = caught_up_at.saturating_since(lead.since).as_millis() < u128::from(soonest);
            log.expect(!too_soon && is_no_leader(&status), || {
                format!("a short cut ended a watch: {status:?}")
            });
            log.count("short cut: it was too long");
        }
    }
}
