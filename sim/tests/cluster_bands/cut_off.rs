//! What a member that is cut off from the others answers: of its own state what is asked for serializable, as long as it
//! knows of a leader; and nothing else, at no time, as if it still had a say.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tenure::kv::{Put, Range, Request, Response};
use tenure::wire::Status;
use tenure::{Code, Instant};

use crate::band::{Behaviour, Settings};
use crate::cluster::{Client, Lead, Outcome, PATIENCE, RawWatch, TestCluster, View, is_no_leader, others};
use crate::elections::{note_leader, note_stepping_down, succession};
use crate::log::Log;

/// How long a cut-off member is asked for what it has no say in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Until everybody must have noticed the cut.
    Short,
    /// Until it must have told of its own accord that the request has waited too long.
    Long,
}

impl Patience {
    fn span(self, settings: Settings) -> Duration {
        match self {
            Self::Short => 3 * settings.election(),
            Self::Long => Duration::from_millis(Behaviour::RequestTimesOut.band(settings).most_ms + 2_500),
        }
    }
}

/// Cuts the leader off.
pub(crate) async fn leader(cluster: &mut impl TestCluster, patience: Patience, log: &mut Log) {
    let client = cluster.client().clone();
    let patience = patience.span(client.settings);
    let prefix = client.name("cut-leader");
    let (old, lease) = prepare(&client, &prefix).await;
    cluster.isolate(old.member);
    let knows_until = old.since + client.settings.election() - 2 * tick(&client);
    reads_old(&client, old.member, &prefix, knows_until, log).await;
    let (answers, seen) = join(
        has_no_say(&client, ("leader", old.member), &prefix, lease, patience),
        succession(&client, &old, true),
    )
    .await;
    log.add(answers);
    note_leader(&seen, &old, Behaviour::LeaderAfterPartition, log);
    note_stepping_down(&seen, &old, Behaviour::CutLeaderStepsDown, log);
    if seen.both_led {
        log.count("leader cut off: for a while two claim to lead");
    }
    if let Some((new, _)) = seen.new {
        client.write(new, Some(old.member), format!("{prefix}value"), "new").await;
    }
    refuses(&client, old.member, &prefix, log).await;
    cluster.heal();
    has_one_value(&client, &prefix, "new", log).await;
}

/// Cuts a follower off, one that is watched.
pub(crate) async fn follower(cluster: &mut impl TestCluster, patience: Patience, log: &mut Log) {
    let client = cluster.client().clone();
    let patience = patience.span(client.settings);
    let prefix = client.name("cut-follower");
    let before = client.steady().await;
    let follower = others(before.member).next().unwrap_or(0);
    let mut watch = client.watch(follower, &prefix).await;
    let (lead, lease) = prepare(&client, &prefix).await;
    if lead.member == follower {
        return log.count("follower cut off: it had become the leader before");
    }
    let opening = watch.events(&client, 1, client.now() + PATIENCE).await;
    log.expect(opening.0.len() == 1, || format!("the watch misses what came before the cut: {opening:?}"));
    cluster.isolate(follower);
    client.write(lead.member, Some(follower), format!("{prefix}value"), "new").await;
    let knows_until = lead.since + client.settings.election() - 2 * tick(&client);
    reads_old(&client, follower, &prefix, knows_until, log).await;
    let (answers, (noticed, ended)) = join(
        has_no_say(&client, ("follower", follower), &prefix, lease, patience),
        join(notices(&client, follower), ends(&client, &mut watch)),
    )
    .await;
    log.add(answers);
    match noticed {
        Some(at) => log.took(Behaviour::FollowerNotices, at.saturating_since(lead.since)),
        None => log.wrong.push(format!("{}: never", Behaviour::FollowerNotices)),
    }
    match ended {
        Ok(at) => log.took(Behaviour::StreamEnds, at.saturating_since(lead.since)),
        Err(wrong) => log.wrong.push(wrong),
    }
    refuses(&client, follower, &prefix, log).await;
    cluster.heal();
    has_one_value(&client, &prefix, "new", log).await;
}

fn tick(client: &Client) -> Duration {
    Duration::from_millis(client.settings.heartbeat_ms)
}

/// Grants a lease that outlives the script, writes the old value, and waits until everybody has both.
async fn prepare(client: &Client, prefix: &str) -> (Lead, i64) {
    client.out_of_step().await;
    let lead = client.steady().await;
    let (lease, _) = client.grant(lead.member, 60).await;
    client.write(lead.member, None, format!("{prefix}value"), "old").await;
    (client.steady().await, lease)
}

/// Serializable reads at a member that was just cut off: it reads from its own state as long as it takes somebody for the
/// leader, at least `knows_until`.
async fn reads_old(client: &Client, member: usize, prefix: &str, knows_until: Instant, log: &mut Log) {
    let read = client.read(member, &format!("{prefix}value"), true, client.now() + PATIENCE).await;
    let in_time = client.now() < knows_until;
    match &read {
        Some(Ok(Some(value))) if value == "old" => log.count("cut off: it reads its own state"),
        Some(Err(status)) if is_no_leader(status) && !in_time => {}
        other => log.wrong.push(format!("a serializable read at a cut-off member ({in_time}): {other:?}")),
    }
}

/// Asks a cut-off member for what it has no say in: a linearizable read, a write and the renewal of a lease. None may
/// succeed, but for renewals by a leader that does not know yet: those are in its memory only, and etcd lets it (see
/// `EtcdVersion::leadership_check`).
async fn has_no_say(
    client: &Client,
    (who, member): (&'static str, usize),
    prefix: &str,
    lease: i64,
    patience: Duration,
) -> Log {
    let asked_at = client.now();
    let requests = [
        ("read", Request::Range(Range::key(format!("{prefix}value")))),
        ("write", Request::Put(Put::new(format!("{prefix}lost"), "of no use"))),
        ("renewal", Request::LeaseKeepAlive { id: lease }),
    ];
    let asked = requests.map(|(what, request)| async move {
        let outcome = client.ask(member, request, asked_at + patience).await;
        (what, outcome, client.now().saturating_since(asked_at))
    });
    let mut log = Log::default();
    for (what, outcome, took) in join_all(asked).await {
        let said = match outcome {
            None => "no answer in time".to_owned(),
            Some(Ok(Response::LeaseKeepAlive { ttl_s: 1.., .. })) if who == "leader" => "renewed".to_owned(),
            Some(Ok(response)) => {
                log.wrong.push(format!("a {who} that is cut off answered a {what} with {response:?}"));
                continue;
            }
            Some(Err(status)) => {
                if is_timeout(&status) {
                    log.took(Behaviour::RequestTimesOut, took);
                }
                if what == "renewal" && who == "follower" && is_no_leader(&status) {
                    log.took(Behaviour::StreamEnds, took);
                }
                answer_words(&status)
            }
        };
        log.answered(format!("{who} cut off, {what}: {said}"));
    }
    log
}

/// A refusal without what it adds when leader or connection were lost at a certain moment.
fn answer_words(status: &Status) -> String {
    status.to_string().split(", possibly due to").next().unwrap_or_default().to_owned()
}

fn is_timeout(status: &Status) -> bool {
    status.code == Code::Unavailable && status.message.starts_with("etcdserver: request timed out")
}

/// A member that has found out that it has no leader refuses all at once.
async fn refuses(client: &Client, member: usize, prefix: &str, log: &mut Log) {
    let (value, deadline) = (format!("{prefix}value"), client.now() + PATIENCE);
    for serializable in [true, false] {
        let read = client.read(member, &value, serializable, deadline).await;
        let refused = matches!(&read, Some(Err(status)) if is_no_leader(status));
        log.expect(refused, || {
            format!("without a leader a read (serializable: {serializable}) was answered with {read:?}")
        });
    }
    let put: Outcome = client.put(member, &format!("{prefix}refused"), "", deadline).await;
    let refused = matches!(&put, Some(Err(status)) if is_no_leader(status));
    log.expect(refused, || format!("without a leader a write was answered with {put:?}"));
}

/// When a member was first seen to know of no leader.
async fn notices(client: &Client, member: usize) -> Option<Instant> {
    let give_up_at = client.now() + PATIENCE;
    while client.now() < give_up_at {
        if client.view(member).await == View::NoLeader {
            return Some(client.now());
        }
        client.look_later().await;
    }
    None
}

/// When a cut-off member's watch ended; it must not tell anything before.
async fn ends(client: &Client, watch: &mut RawWatch) -> Result<Instant, String> {
    match watch.next(client, client.now() + PATIENCE).await {
        Some(Err(status)) if is_no_leader(&status) => Ok(client.now()),
        other => Err(format!("a cut-off member's watch told {other:?}")),
    }
}

/// When all is healed: all members agree, and on what the majority wrote.
async fn has_one_value(client: &Client, prefix: &str, wanted: &str, log: &mut Log) {
    let kvs = client.agreed(prefix).await;
    let value = kvs.iter().find(|kv| kv.key.ends_with(b"/value")).map(|kv| &kv.value[..]);
    log.expect(value == Some(wanted.as_bytes()), || format!("after the cut healed there is {kvs:?}"));
    log.expect(!kvs.iter().any(|kv| kv.key.ends_with(b"/refused")), || {
        format!("what was refused was written: {kvs:?}")
    });
}
