//! `fencing`: the remote resource never takes a write of a holder after one of a newer holder, and a transaction guarded by
//! a tenure commits only while its key is the oldest of the line.

use std::collections::BTreeMap;

use super::{Breach, Evidence};
use crate::history::{Deed, DeedEnd, Holding, Kind, What};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut newest: BTreeMap<&str, (i64, u32)> = BTreeMap::new();
    for (step, at) in evidence.history.steps.iter().enumerate() {
        match &at.what {
            What::ResourceWrite { holding, accepted: true, token } => {
                let newest = newest.entry(&holding.name).or_insert((holding.token, holding.client));
                if holding.token < newest.0 {
                    let sent = token.map_or("no token".to_owned(), |token| format!("token {token}"));
                    let detail = format!(
                        "the resource of {:?} took a write of c{} (tenure {}, sent with {sent}) after one of c{} \
                         (tenure {})",
                        &*holding.name, holding.client, holding.token, newest.1, newest.0
                    );
                    return Some(Breach { step, detail });
                }
                *newest = (holding.token, holding.client);
            }
            What::Did { deed, end: DeedEnd::Committed { revision } } => {
                let Some(Deed::Txn { holding }) = evidence.deed(*deed).map(|deed| deed.what) else {
                    continue;
                };
                if let Some(why) = not_held_at(evidence, holding, *revision) {
                    let detail = format!(
                        "a transaction of c{} guarded by {:?} (token {}) committed at revision {revision}, but {why}",
                        holding.client, &*holding.name, holding.token
                    );
                    return Some(Breach { step, detail });
                }
            }
            _ => {}
        }
    }
    None
}

/// Why the store says that this was not held at a revision.
fn not_held_at(evidence: &Evidence<'_>, holding: &Holding, revision: i64) -> Option<String> {
    if matches!(holding.kind, Kind::Read | Kind::Write | Kind::Permit) {
        // A read-write lock has two lines, and readers share, as do holders of permits: only the key itself can be asked for.
        let mut lives = evidence.keys.values().flatten();
        let held = lives.any(|life| {
            life.create_revision == holding.token
                && life.deleted.is_none_or(|(deleted, _)| deleted > revision)
        });
        return (!held).then(|| "its key was not there".to_owned());
    }
    let lives = evidence.keys.get(holding.name.as_bytes()).map_or(&[][..], Vec::as_slice);
    let there_at = |deleted: Option<i64>| deleted.is_none_or(|deleted| deleted > revision);
    let mut own = false;
    for life in lives.iter().take_while(|life| life.create_revision <= holding.token) {
        let there = there_at(life.deleted.map(|(revision, _)| revision));
        if life.create_revision == holding.token {
            own = there;
        } else if there {
            return Some(format!("an older key (revision {}) was still in line", life.create_revision));
        }
    }
    (!own).then(|| "its key was gone".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;

    #[test]
    fn writes_in_the_order_of_tokens_are_right_and_refused_ones_do_not_count() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        script.write(&first, true, true);
        script.release(&first);
        let second = script.grant(1, "a", 0x11);
        script.write(&second, true, true);
        script.write(&first, true, false);
        script.write(&second, true, true);
        assert_eq!(script.breach("fencing"), None);
    }

    #[test]
    fn an_older_holders_write_that_is_taken_is_found() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        script.release(&first);
        let second = script.grant(1, "a", 0x11);
        script.write(&second, false, true);
        let step = script.next_step();
        script.write(&first, false, true);
        assert_eq!(script.breach("fencing").expect("taken").step, step);
    }

    #[test]
    fn other_names_are_other_resources() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        let second = script.grant(1, "b", 0x11);
        script.write(&second, true, true);
        script.write(&first, true, true);
        assert_eq!(script.breach("fencing"), None);
    }

    #[test]
    fn a_guarded_txn_commits_while_held_only() {
        let mut script = Script::new();
        let first = script.grant(0, "a", 0x10);
        script.txn(&first);
        assert_eq!(script.breach("fencing"), None);
        script.release(&first);
        script.txn(&first);
        assert!(script.breach("fencing").expect("gone").detail.contains("its key was gone"));
    }

    #[test]
    fn a_guarded_txn_of_one_who_queues_is_found() {
        let mut script = Script::new();
        script.grant(0, "a", 0x10);
        let queued = script.queue(1, "a", 0x11);
        script.txn(&queued);
        assert!(script.breach("fencing").expect("queued").detail.contains("older key"));
    }
}
