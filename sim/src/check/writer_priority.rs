//! `writer-priority`: a reader's key never gets in line while a writer's is there, and a writer is granted only when every
//! reader and writer before it is gone. Where all are granted in order of arrival, a reader is when every writer before it is
//! gone.

use super::{Breach, Evidence, KeyLife};
use crate::history::{Holding, Kind, What};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    evidence.history.steps.iter().enumerate().find_map(|(step, at)| {
        let What::Granted { holding, .. } = &at.what else { return None };
        let why = match holding.kind {
            Kind::Read if evidence.is_in_turn(&holding.name) => {
                still_there(evidence, holding, step, &["write"])?
            }
            Kind::Read => overtaken(evidence, holding)?,
            Kind::Write => still_there(evidence, holding, step, &["read", "write"])?,
            Kind::Mutex | Kind::Leader | Kind::Permit => return None,
        };
        let detail = format!(
            "c{} was granted the {} {:?} (token {}), but {why}",
            holding.client, holding.kind, &*holding.name, holding.token
        );
        Some(Breach { step, detail })
    })
}

fn lives<'a>(evidence: &'a Evidence<'_>, name: &str, side: &str) -> &'a [KeyLife] {
    evidence.keys.get(format!("{name}/{side}").as_bytes()).map_or(&[], Vec::as_slice)
}

/// A writer that was in line when the reader's key came in, and went only later.
fn overtaken(evidence: &Evidence<'_>, holding: &Holding) -> Option<String> {
    let writer = lives(evidence, &holding.name, "write").iter().find(|life| {
        life.create_revision < holding.token
            && life.deleted.is_none_or(|(deleted, _)| deleted > holding.token)
    })?;
    Some(format!("a writer had been in line since revision {}", writer.create_revision))
}

/// An older key that was still there at the grant.
fn still_there(evidence: &Evidence<'_>, holding: &Holding, step: usize, sides: &[&str]) -> Option<String> {
    sides.iter().find_map(|side| {
        let older = lives(evidence, &holding.name, side).iter().find(|life| {
            life.create_revision < holding.token
                && life.created.step < step
                && life.deleted.is_none_or(|(_, gone)| gone.step > step)
        })?;
        Some(format!("the {side} key of revision {} was still there", older.create_revision))
    })
}

#[cfg(test)]
mod tests {
    use crate::check::script::Script;
    use crate::history::Kind;

    #[test]
    fn readers_before_a_writer_and_after_it_are_right() {
        let mut script = Script::new();
        let reader = script.grant_of(Kind::Read, 0, "a", 0x10, &[]);
        let writer = script.queue_of(Kind::Write, 1, "a", 0x11);
        script.release(&reader);
        script.granted(&writer, &[]);
        script.release(&writer);
        script.grant_of(Kind::Read, 0, "a", 0x10, &[]);
        assert_eq!(script.breach("writer-priority"), None);
    }

    #[test]
    fn a_reader_that_overtakes_a_waiting_writer_is_found() {
        let mut script = Script::new();
        script.grant_of(Kind::Read, 0, "a", 0x10, &[]);
        script.queue_of(Kind::Write, 1, "a", 0x11);
        script.grant_of(Kind::Read, 2, "a", 0x12, &[]);
        let breach = script.breach("writer-priority").expect("overtakes");
        assert!(breach.detail.contains("a writer had been in line since revision 3"), "{breach:?}");
    }

    #[test]
    fn where_all_wait_in_turn_a_reader_is_granted_behind_a_writer_that_is_gone_and_not_beside_one() {
        for (gone, found) in [(true, false), (false, true)] {
            let mut script = Script::new();
            script.in_turn();
            let writer = script.grant_of(Kind::Write, 0, "a", 0x10, &[]);
            let reader = script.queue_of(Kind::Read, 1, "a", 0x11);
            script.queue_of(Kind::Write, 2, "a", 0x12);
            if gone {
                script.release(&writer);
            }
            script.granted(&reader, &[]);
            assert_eq!(script.breach("writer-priority").is_some(), found);
        }
    }

    #[test]
    fn a_writer_beside_an_older_reader_is_found() {
        let mut script = Script::new();
        script.grant_of(Kind::Read, 0, "a", 0x10, &[]);
        script.grant_of(Kind::Write, 1, "a", 0x11, &[]);
        assert!(script.breach("writer-priority").expect("beside").detail.contains("the read key"));
    }
}
