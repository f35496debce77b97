//! Leaders that are lost in every way, and what follows: when the old one steps down, when a new one leads.

use tenure::Instant;
use tenure::kv::Request;

use crate::band::Behaviour;
use crate::cluster::{Client, Lead, PATIENCE, TestCluster, View, others};
use crate::log::Log;

/// How a leader is lost, but for the ways that have scripts of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It stands still.
    Pause,
    /// It sends, and hears nobody.
    Deaf,
    /// It hears, and reaches nobody.
    Mute,
}

/// Not to be, unless the machine is so slow that a leader's heartbeats do not come in time: its followers hear a deaf leader
/// until it steps down.
pub(crate) const DEAF_BESIDE_SUCCESSOR: &str = "leader hears nobody: it leads beside its successor";

/// What came after a leader's loss.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Succession {
    /// Who leads now, and since when at the latest.
    pub(crate) new: Option<(usize, Instant)>,
    /// When the old one was first seen not to lead.
    pub(crate) stepped_down: Option<Instant>,
    /// At one instant both claimed to lead.
    pub(crate) both_led: bool,
}

/// Looks until a new leader leads and, if it can be `asked`, the old one has stepped down.
pub(crate) async fn succession(client: &Client, old: &Lead, asked: bool) -> Succession {
    let give_up_at = client.now() + PATIENCE;
    let mut seen = Succession::default();
    while (seen.new.is_none() || asked && seen.stepped_down.is_none()) && client.now() < give_up_at {
        if seen.new.is_none() {
            seen.new = new_leader(client, old).await;
        }
        if asked && seen.stepped_down.is_none() {
            let led_before = seen.new;
            match client.view(old.member).await {
                // The new one led before this answer; that it still does makes it certain.
                View::Leads { term, .. } if term == old.term => {
                    seen.both_led |= led_before.is_some() && new_leader(client, old).await.is_some();
                }
                View::Silent => {}
                _ => seen.stepped_down = Some(client.now()),
            }
        }
        client.look_later().await;
    }
    seen
}

async fn new_leader(client: &Client, old: &Lead) -> Option<(usize, Instant)> {
    for other in others(old.member) {
        if let View::Leads { term, .. } = client.view(other).await
            && term > old.term
        {
            return Some((other, client.now()));
        }
    }
    None
}

/// Notes how long it took until there was a new leader.
pub(crate) fn note_leader(seen: &Succession, old: &Lead, behaviour: Behaviour, log: &mut Log) {
    match seen.new {
        Some((_, at)) => log.took(behaviour, at.saturating_since(old.since)),
        None => log.wrong.push(format!("{behaviour}: never")),
    }
}

/// Notes how long it took until the old leader had stepped down.
pub(crate) fn note_stepping_down(seen: &Succession, old: &Lead, behaviour: Behaviour, log: &mut Log) {
    match seen.stepped_down {
        Some(at) => log.took(behaviour, at.saturating_since(old.since)),
        None => log.wrong.push(format!("{behaviour}: never")),
    }
}

/// Loses a leader, waits for the next, and mends it.
pub(crate) async fn leader_lost(cluster: &mut impl TestCluster, loss: Loss, log: &mut Log) {
    let client = cluster.client().clone();
    client.out_of_step().await;
    let old = client.steady().await;
    match loss {
        Loss::Pause => cluster.pause(old.member),
        Loss::Deaf => others(old.member).for_each(|other| cluster.cut(other, old.member)),
        Loss::Mute => others(old.member).for_each(|other| cluster.cut(old.member, other)),
    }
    let seen = succession(&client, &old, loss != Loss::Pause).await;
    if loss == Loss::Pause {
        let answer = client.ask(old.member, Request::Status, client.now() + client.settings.election()).await;
        log.expect(answer.is_none(), || format!("a stopped member answers: {answer:?}"));
    }
    match loss {
        Loss::Pause => {
            cluster.resume(old.member);
            note_leader(&seen, &old, Behaviour::LeaderAfterPause, log);
        }
        Loss::Deaf => {
            cluster.heal();
            note_leader(&seen, &old, Behaviour::LeaderAfterDeaf, log);
            note_stepping_down(&seen, &old, Behaviour::DeafLeaderStepsDown, log);
            if seen.both_led {
                log.count(DEAF_BESIDE_SUCCESSOR);
            }
        }
        Loss::Mute => {
            cluster.heal();
            note_leader(&seen, &old, Behaviour::LeaderAfterMute, log);
            note_stepping_down(&seen, &old, Behaviour::MuteLeaderStepsDown, log);
        }
    }
}
