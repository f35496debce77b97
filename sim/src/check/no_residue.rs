//! `no-residue`: no key is left in a line but those of sessions that hold or wait there. A release that was confirmed has
//! deleted its key, and so has a try that was told that another holds; once calm, a key of an open session that neither holds
//! nor waits is gone within its TTL, the election timeout and a second; at the end of a run so are those of sessions that ended.

use tenure::kv::Shown;

use super::causes::{lives, own_line};
use super::evidence::is_line_of;
use super::{Breach, Evidence, KeyLife, SessionLife};
use crate::history::{Failure, Kind, What};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let left = evidence
        .keys
        .iter()
        .filter(|(line, _)| evidence.is_contended(line))
        .flat_map(|(line, lives)| lives.iter().map(move |life| (line, life)))
        .filter_map(|(line, life)| residue(evidence, line, life));
    left.chain(confirmed(evidence)).chain(tried(evidence)).min_by_key(|breach| breach.step)
}

/// A try that was answered though the key that it got in line with is still there. Of kinds of which each ask of a session has a key
/// of its own it is not known which that was.
fn tried(evidence: &Evidence<'_>) -> Option<Breach> {
    evidence.asks.iter().filter(|ask| matches!(ask.kind, Kind::Mutex | Kind::Leader | Kind::Write)).find_map(
        |ask| {
            let (ended, _) = ask.ended?;
            let told = &evidence.history.steps[ended.step].what;
            if !matches!(told, What::NotGranted { why: Failure::HeldByAnother, .. }) {
                return None;
            }
            let made = |life: &&KeyLife| {
                life.lease == ask.lease && (ask.asked.step..ended.step).contains(&life.created.step)
            };
            let life = lives(evidence, &own_line(&ask.name, ask.kind)).iter().find(made)?;
            if life.deleted.is_some_and(|(_, gone)| gone.step < ended.step) {
                return None;
            }
            let (client, key) = (ask.client, Shown(&life.key));
            let detail =
                format!("c{client} was told that another holds, but the key {key} of its try is still there");
            Some(Breach { step: ended.step, detail })
        },
    )
}

/// A release that was confirmed though its key is still there.
fn confirmed(evidence: &Evidence<'_>) -> Option<Breach> {
    evidence.history.steps.iter().enumerate().find_map(|(step, at)| {
        let What::Released { holding, error: None } = &at.what else { return None };
        let lines = evidence.keys.iter().filter(|(line, _)| is_line_of(&holding.name, line));
        let life = lines.flat_map(|(_, lives)| lives).find(|life| life.create_revision == holding.token)?;
        if life.deleted.is_some_and(|(_, gone)| gone.step < step) {
            return None;
        }
        let detail = format!(
            "c{} was told that its {} {:?} is released, but the key {} is still there",
            holding.client,
            holding.kind,
            &*holding.name,
            Shown(&life.key)
        );
        Some(Breach { step, detail })
    })
}

fn residue(evidence: &Evidence<'_>, line: &[u8], life: &KeyLife) -> Option<Breach> {
    let key = Shown(&life.key);
    let Some(session) = evidence.sessions.get(&life.lease) else {
        // Its session was opened, but its client died before it could say so: then the lease runs out.
        let lived_ns = life.deleted.map_or(evidence.end_ns, |(_, gone)| gone.at_ns) - life.created.at_ns;
        let detail = format!("the key {key} belongs to no session of the run");
        let never = life.deleted.is_none() && lived_ns > evidence.bounds.progress_ns;
        return never.then_some(Breach { step: life.created.step, detail });
    };
    if let (Some(ended), None) = (session.ended, life.deleted) {
        let by_ns = evidence.gone_by_ns(session)?;
        if by_ns <= evidence.end_ns {
            let last = evidence.history.steps.len() - 1;
            let at_s = ended.at_ns as f64 / 1e9;
            let detail = format!(
                "the key {key} is left at the end: c{}'s session ended at {at_s:.3} s",
                session.client
            );
            return Some(Breach { step: last, detail });
        }
    }
    let idle_until_ns = idle_too_long(evidence, line, life, session)?;
    let detail = format!(
        "the key {key} is left: c{} neither holds nor waits, and its session goes on",
        session.client
    );
    Some(Breach { step: evidence.step_at(idle_until_ns), detail })
}

/// When a key of an open session has been without an ask or a tenure for too long, once calm.
fn idle_too_long(evidence: &Evidence<'_>, line: &[u8], life: &KeyLife, session: &SessionLife) -> Option<u64> {
    if evidence.outside.contains(&session.client) {
        return None;
    }
    let grace_ns = evidence.grace_ns(session);
    let gone_ns = life.deleted.map_or(evidence.end_ns, |(_, gone)| gone.at_ns);
    let until_ns = session.ended.map_or(gone_ns, |ended| ended.at_ns.min(gone_ns));
    let mut idle_since_ns = evidence.calm?.at_ns.max(life.created.at_ns);
    if until_ns < idle_since_ns + grace_ns {
        return None;
    }
    let same = |name: &str, lease: i64| lease == life.lease && is_line_of(name, line);
    let asks = evidence.asks.iter().filter(|ask| same(&ask.name, ask.lease));
    let tenures = evidence.tenures.iter().filter(|tenure| same(&tenure.holding.name, tenure.holding.lease));
    let end_ns = evidence.end_ns;
    let mut busy: Vec<(u64, u64)> = asks
        .map(|ask| (ask.asked.at_ns, ask.ended.map_or(end_ns, |(ended, _)| ended.at_ns)))
        .chain(tenures.map(|tenure| {
            let over = tenure.releases.or(tenure.crashed);
            (tenure.granted.at_ns, over.map_or(end_ns, |over| over.at_ns))
        }))
        .collect();
    busy.sort_unstable();
    for (from_ns, to_ns) in busy.into_iter().chain([(until_ns, until_ns)]) {
        if from_ns.min(until_ns) >= idle_since_ns + grace_ns {
            return Some(idle_since_ns + grace_ns);
        }
        idle_since_ns = idle_since_ns.max(to_ns);
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::history::Failure;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn nothing_is_left_after_releases_crashes_and_expiry() {
        let mut script = Script::new();
        script.session(0, 0x10, 2_000);
        script.session(1, 0x11, 2_000);
        let held = script.grant(0, "a", 0x10);
        script.calm();
        script.release(&held);
        script.grant(1, "a", 0x11);
        script.crash(1);
        script.expire(0x11);
        script.wait(10 * SECOND);
        assert_eq!(script.breach("no-residue"), None);
    }

    #[test]
    fn a_key_that_outlives_its_release_is_found() {
        let mut script = Script::new();
        script.session(0, 0x10, 2_000);
        let held = script.grant(0, "a", 0x10);
        script.calm();
        script.releases_without_deleting(&held);
        script.wait(5 * SECOND);
        assert!(script.breach("no-residue").expect("left").detail.contains("neither holds nor waits"));
    }

    #[test]
    fn a_release_that_is_confirmed_without_deleting_is_found_at_once() {
        let mut script = Script::new();
        script.session(0, 0x10, 2_000);
        let held = script.grant(0, "a", 0x10);
        script.releases_without_deleting(&held);
        assert_eq!(script.breach("no-residue"), None);
        script.released(&held);
        assert!(script.breach("no-residue").expect("still there").detail.contains("was told"));
    }

    #[test]
    fn a_try_that_is_answered_before_its_key_is_gone_is_found() {
        let tried = |gone: bool| {
            let mut script = Script::new();
            script.session(0, 0x10, 2_000);
            script.session(1, 0x11, 2_000);
            script.grant(0, "a", 0x10);
            let tried = script.queue(1, "a", 0x11);
            if gone {
                script.delete(&tried);
            }
            script.refuse(&tried, Failure::HeldByAnother);
            script.delete(&tried);
            script.breach("no-residue").is_some()
        };
        assert!(!tried(true));
        assert!(tried(false));
    }

    #[test]
    fn a_key_that_nobody_waits_with_is_found_also_if_the_session_is_closed_later() {
        let mut script = Script::new();
        script.session(0, 0x10, 2_000);
        let held = script.grant(0, "a", 0x10);
        script.calm();
        script.releases_without_deleting(&held);
        script.wait(5 * SECOND);
        script.crash(0);
        script.expire(0x10);
        assert!(script.breach("no-residue").is_some());
    }

    #[test]
    fn a_key_that_outlives_its_session_is_found() {
        let mut script = Script::new();
        script.session(0, 0x10, 2_000);
        script.grant(0, "a", 0x10);
        script.calm();
        script.crash(0);
        script.wait(3 * SECOND);
        assert_eq!(script.breach("no-residue"), None, "it still has time");
        script.wait(5 * SECOND);
        assert!(script.breach("no-residue").expect("left").detail.contains("session ended at"));
    }

    #[test]
    fn who_holds_or_waits_leaves_no_residue() {
        let mut script = Script::new();
        script.session(0, 0x10, 2_000);
        script.session(1, 0x11, 2_000);
        script.grant(0, "a", 0x10);
        script.queue(1, "a", 0x11);
        script.calm();
        script.wait(60 * SECOND);
        assert_eq!(script.breach("no-residue"), None);
    }
}
