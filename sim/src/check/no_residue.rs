//! `no-residue`: at the end of a run no key is left in a line but those of sessions that hold or wait there, or that have not
//! had the time to expire.

use tenure::kv::Shown;

use super::evidence::is_line_of;
use super::{Breach, Evidence, KeyLife};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let last = evidence.history.steps.len().checked_sub(1)?;
    evidence
        .keys
        .iter()
        .filter(|(line, _)| evidence.is_contended(line))
        .flat_map(|(line, lives)| lives.iter().map(move |life| (line, life)))
        .filter(|(_, life)| life.deleted.is_none())
        .find_map(|(line, life)| {
            let why = residue(evidence, line, life)?;
            Some(Breach {
                step: last,
                detail: format!("the key {} is left at the end: {why}", Shown(&life.key)),
            })
        })
}

fn residue(evidence: &Evidence<'_>, line: &[u8], life: &KeyLife) -> Option<String> {
    let Some(session) = evidence.sessions.get(&life.lease) else {
        return Some("it belongs to no session of the run".to_owned());
    };
    if session.ended.is_some() {
        let by_ns = evidence.gone_by_ns(session)?;
        return (by_ns <= evidence.end_ns).then(|| format!("the session of c{} has ended", session.client));
    }
    let same = |name: &str, lease: i64| is_line_of(name, line) && lease == life.lease;
    let waits = evidence.asks.iter().any(|ask| ask.ended.is_none() && same(&ask.name, ask.lease));
    let holds = evidence.tenures.iter().any(|tenure| {
        same(&tenure.holding.name, tenure.holding.lease)
            && tenure.holding.token == life.create_revision
            && tenure.releases.is_none()
            && tenure.crashed.is_none()
    });
    if waits || holds {
        return None;
    }
    let since = evidence
        .asks
        .iter()
        .filter(|ask| same(&ask.name, ask.lease))
        .filter_map(|ask| ask.ended.map(|(moment, _)| moment.at_ns))
        .chain(
            evidence
                .tenures
                .iter()
                .filter(|tenure| same(&tenure.holding.name, tenure.holding.lease))
                .filter_map(|tenure| tenure.releases.map(|moment| moment.at_ns)),
        )
        .chain([life.created.at_ns, evidence.calm?.at_ns])
        .max()?;
    let grace_ns = session.ttl_ns + evidence.bounds.election_timeout_ns + 1_000_000_000;
    (since + grace_ns <= evidence.end_ns)
        .then(|| format!("c{} neither holds nor waits, and its session goes on", session.client))
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;

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
    fn a_key_that_outlives_its_session_is_found() {
        let mut script = Script::new();
        script.session(0, 0x10, 2_000);
        script.grant(0, "a", 0x10);
        script.calm();
        script.crash(0);
        script.wait(3 * SECOND);
        assert_eq!(script.breach("no-residue"), None, "it still has time");
        script.wait(5 * SECOND);
        assert!(script.breach("no-residue").expect("left").detail.contains("has ended"));
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
