//! `fifo`: a mutex or an election is granted to the head of the line as the store's commits have it: the contender's own
//! key is there, and none with a smaller create_revision. Who withdrew or expired has no key, so is passed over. Whose
//! lease etcd took from it (`robbed`) cannot know yet that its key is gone.

use std::collections::BTreeMap;

use tenure::kv::EventKind;

use super::evidence::{Moment, line_of};
use super::{Breach, Evidence};
use crate::history::{Holding, Kind, What};

type Line<'a> = BTreeMap<i64, &'a [u8]>;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    // The lines as they stand at the step that is looked at.
    let mut lines: BTreeMap<&[u8], Line<'_>> = BTreeMap::new();
    for (step, at) in evidence.history.steps.iter().enumerate() {
        match &at.what {
            What::Committed { events, .. } => {
                for event in events {
                    let line = lines.entry(line_of(&event.kv.key)).or_default();
                    match event.kind {
                        EventKind::Put => {
                            line.insert(event.kv.create_revision, &event.kv.key);
                        }
                        EventKind::Delete => line.retain(|_, key| *key != event.kv.key.as_slice()),
                    }
                }
            }
            What::Granted { holding, .. } if matches!(holding.kind, Kind::Mutex | Kind::Leader) => {
                // What was taken by hand while the grant was on its way.
                let now = Moment { step, at_ns: at.at_ns };
                if evidence.causes().taken_by_hand(evidence, holding, now) {
                    continue;
                }
                if let Some(why) = lines.get(holding.name.as_bytes()).map_or_else(
                    || Some("its line is empty".to_owned()),
                    |line| not_head(line, holding, at.at_ns, evidence),
                ) {
                    let detail = format!(
                        "c{} was granted the {} {:?} (token {}), but {why}",
                        holding.client, holding.kind, &*holding.name, holding.token
                    );
                    return Some(Breach { step, detail });
                }
            }
            _ => {}
        }
    }
    None
}

fn not_head(line: &Line<'_>, holding: &Holding, now_ns: u64, evidence: &Evidence<'_>) -> Option<String> {
    if let Some((older, key)) = line.range(..holding.token).next() {
        return Some(format!("the key {} (revision {older}) is before it in line", tenure::kv::Shown(key)));
    }
    if line.contains_key(&holding.token) || evidence.is_robbed(holding.lease, now_ns) {
        return None;
    }
    let life = evidence
        .keys
        .get(holding.name.as_bytes())
        .and_then(|lives| lives.iter().find(|life| life.create_revision == holding.token));
    Some(match life.and_then(|life| life.deleted) {
        Some((revision, _)) => format!("its own key is gone since revision {revision}"),
        None => "no key of that revision was ever in line".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::history::What;
    use crate::node::Node;
    use crate::workload::program::OperatorAct;

    #[test]
    fn the_head_of_the_line_is_granted_also_when_one_before_it_withdrew() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        let second = script.queue(1, "a", 0x11);
        let third = script.queue(2, "a", 0x12);
        script.release(&first);
        script.delete(&second);
        script.granted(&third, &[]);
        assert_eq!(script.breach("fifo"), None);
    }

    #[test]
    fn one_who_overtakes_is_found() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        script.queue(1, "a", 0x11);
        let third = script.queue(2, "a", 0x12);
        script.release(&first);
        let step = script.next_step();
        script.granted(&third, &[]);
        let breach = script.breach("fifo").expect("overtakes");
        assert_eq!(breach.step, step);
        assert!(breach.detail.contains("a/11"), "{breach:?}");
    }

    #[test]
    fn one_whose_key_is_gone_is_found() {
        let mut script = Script::new();
        let first = script.queue(0, "a", 0x10);
        script.delete(&first);
        script.granted(&first, &[]);
        assert!(script.breach("fifo").expect("gone").detail.contains("its own key is gone since"));
    }

    #[test]
    fn one_whose_key_was_deleted_by_hand_meanwhile_cannot_know() {
        let mut script = Script::new();
        let first = script.queue(0, "a", 0x10);
        script.by_hand(1, &first, OperatorAct::DeleteHolder);
        script.granted(&first, &[]);
        assert_eq!(script.breach("fifo"), None);
    }

    #[test]
    fn one_whose_lease_an_old_leader_revoked_meanwhile_cannot_know() {
        for (wanted_by, excused) in [(0, true), (1, false)] {
            let mut script = Script::new();
            script.granted_lease(0, 0x10, 3);
            let first = script.queue(0, "a", 0x10);
            for leader in [0, 1] {
                script.record(Node::Member(leader), What::Leads { term: u64::from(leader) + 2 });
            }
            script.record(Node::Member(wanted_by), What::LeaseExpired { lease: 0x10 });
            script.runs_out(0x10);
            script.granted(&first, &[]);
            assert_eq!(script.breach("fifo").is_none(), excused);
        }
    }

    #[test]
    fn one_who_was_never_in_line_is_found() {
        let mut script = Script::new();
        let holding = Script::holding(0, "a", 0x10, 77);
        script.granted(&holding, &[]);
        assert!(script.breach("fifo").is_some());
    }
}
