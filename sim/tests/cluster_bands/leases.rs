//! The life of leases: of those that nobody renews, with one leader or when that is killed; and of those that are renewed
//! while an old leader, who has heard nothing of it, stands still.

use std::time::Duration;

use futures_util::future::join_all;
use tenure::Instant;
use tenure::kv::{Put, Request};

use crate::band::Behaviour;
use crate::cluster::{Client, PATIENCE, TestCluster};
use crate::elections::succession;
use crate::log::Log;

/// A lease as it was granted, with a key that lives by it.
struct Granted {
    lease: i64,
    ttl_s: u64,
    /// When it was asked for.
    asked_at: Instant,
}

/// Grants a lease and puts a key that lives by it.
async fn grant(client: &Client, member: usize, key: &str, ttl_s: u64) -> Granted {
    let asked_at = client.now();
    let (lease, ttl_s) = client.grant(member, ttl_s).await;
    client.insist(member, None, Request::Put(Put::new(key, "").lease(lease))).await;
    Granted { lease, ttl_s, asked_at }
}

/// When a key was first seen to be gone. Whoever has no leader is asked again.
async fn gone(client: &Client, member: usize, key: &str) -> Option<Instant> {
    let give_up_at = client.now() + PATIENCE;
    while client.now() < give_up_at {
        if let Some(Ok(None)) = client.read(member, key, true, give_up_at).await {
            return Some(client.now());
        }
        client.look_later().await;
    }
    None
}

/// Leases of several times to live that begin at several phases of the lessor's loop.
pub(crate) async fn not_renewed(cluster: &mut impl TestCluster, log: &mut Log) {
    const PHASES: u32 = 3;
    let client = cluster.client().clone();
    let prefix = client.name("leases");
    let lead = client.steady().await;
    let shortest_s = client.settings.min_ttl_s();
    let (begin, client, prefix) = (client.now(), &client, &prefix);
    let each = (1..=3).flat_map(|ttl_s| (0..PHASES).map(move |phase| (ttl_s, phase)));
    let lives = each.map(|(ttl_s, phase)| async move {
        client.sleep_until(begin + phase * Duration::from_millis(170)).await;
        let key = format!("{prefix}{ttl_s}-{phase}");
        let Granted { asked_at, ttl_s: granted_s, .. } = grant(client, lead.member, &key, ttl_s).await;
        // None can be gone before half its time, not even one that dies early.
        client.sleep_until(asked_at + Duration::from_millis(500 * granted_s - 100)).await;
        let gone_at = gone(client, lead.member, &key).await;
        (ttl_s, granted_s, gone_at.map(|at| at.saturating_since(asked_at)))
    });
    for (asked_s, granted_s, lived) in join_all(lives).await {
        log.expect(granted_s == asked_s.max(shortest_s), || {
            format!("a lease of {asked_s} s was asked for and one of {granted_s} s granted")
        });
        match lived {
            Some(span) => log.took(Behaviour::LeaseLives(granted_s), span),
            None => log.wrong.push(format!("a lease of {granted_s} s lives for ever")),
        }
    }
}

/// A lease whose leader is killed: the next gives it its time again.
pub(crate) async fn orphaned(cluster: &mut impl TestCluster, log: &mut Log) {
    let client = cluster.client().clone();
    let key = format!("{}key", client.name("orphan"));
    let (ttl_s, killed_after_s) = client.settings.orphaned_lease_s();
    let before = client.steady().await;
    let Granted { asked_at, ttl_s: granted_s, .. } = grant(&client, before.member, &key, ttl_s).await;
    log.expect(granted_s == ttl_s, || format!("a lease of {granted_s} s was granted instead of {ttl_s} s"));
    client.sleep_until(asked_at + Duration::from_secs(killed_after_s)).await;
    let old = client.steady().await;
    cluster.kill(old.member);
    let seen = succession(&client, &old, false).await;
    match seen.new {
        Some((new, led_at)) => match gone(&client, new, &key).await {
            Some(at) => {
                log.took(Behaviour::LeaseOrphaned, at.saturating_since(old.since));
                log.took(Behaviour::LeaseUnderNewLeader, at.saturating_since(led_at));
            }
            None => log.wrong.push("an orphaned lease lives for ever".to_owned()),
        },
        None => log.wrong.push("a killed leader has no successor".to_owned()),
    }
    cluster.restart(old.member);
}

/// Stops the leader for longer than the leases live that it knows of, while they are renewed elsewhere, and looks what it
/// does to them when it goes on.
pub(crate) async fn outlived(cluster: &mut impl TestCluster, log: &mut Log) {
    const LEASES: u32 = 8;
    let client = cluster.client().clone();
    let prefix = client.name("outlived");
    let ttl_s = 2 + client.settings.min_ttl_s();
    let mut leases = Vec::new();
    let lead = client.steady().await;
    for number in 0..LEASES {
        leases.push(grant(&client, lead.member, &format!("{prefix}{number}"), ttl_s).await.lease);
    }
    let old = client.steady().await;
    cluster.pause(old.member);
    let Some((other, _)) = succession(&client, &old, false).await.new else {
        return log.wrong.push("a stopped leader has no successor".to_owned());
    };
    let ttl = Duration::from_secs(ttl_s);
    let resumed_at = client.now() + ttl + client.settings.election() * 2;
    renew_until(&client, other, &leases, resumed_at).await;
    let before = client.count(other, &prefix).await;
    log.expect(before == Some(LEASES as usize), || format!("of the renewed leases {before:?} are left"));
    cluster.resume(old.member);
    renew_until(&client, other, &leases, client.now() + ttl / 3).await;
    let after = client.agreed(&prefix).await.len();
    log.answered(match after {
        _ if before != Some(after) => "leader stopped for a lease's time: it revokes live leases".to_owned(),
        _ => "leader stopped for a lease's time: it lets live leases be".to_owned(),
    });
}

/// Renews leases at one member again and again.
async fn renew_until(client: &Client, member: usize, leases: &[i64], until: Instant) {
    while client.now() < until {
        let deadline = client.now() + client.settings.election();
        let renewals = leases.iter().map(|&id| client.ask(member, Request::LeaseKeepAlive { id }, deadline));
        join_all(renewals).await;
        client.sleep_until(client.now() + client.settings.election() / 2).await;
    }
}
