//! A part of `no-residue`: of the receipts by which transactions are applied once, a session has as many for a name as ever go on
//! at once. Each is a key, and is gone by again once nothing goes by it (`src/session/receipts.rs`).

use std::collections::BTreeMap;

use tenure::kv::Shown;

use super::{Breach, DeedLife, Evidence, KeyLife};
use crate::history::{Deed, DeedEnd};
use crate::planted::is_receipt;

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let mut made: BTreeMap<&[u8], BTreeMap<&[u8], &KeyLife>> = BTreeMap::new();
    for life in evidence.keys.values().flatten().filter(|life| is_receipt(&life.key)) {
        let Some(dot) = life.key.iter().rposition(|&byte| byte == b'.') else { continue };
        made.entry(&life.key[..=dot]).or_default().entry(&life.key).or_insert(life);
    }
    made.into_iter().filter_map(|(prefix, made)| too_many(evidence, prefix, made)).min_by_key(|b| b.step)
}

fn too_many(evidence: &Evidence<'_>, prefix: &[u8], made: BTreeMap<&[u8], &KeyLife>) -> Option<Breach> {
    let (of, by) = std::str::from_utf8(prefix).ok()?.split_once("\0receipt/")?;
    let by = i64::from_str_radix(by.strip_suffix('.')?, 16).ok()?;
    let bears = |deed: &&DeedLife<'_>| match deed.what {
        Deed::Recipe { name, lease, .. } => {
            *lease == by && of.strip_suffix(&**name).is_some_and(|front| front.ends_with("__"))
        }
        _ => false,
    };
    let deeds: Vec<_> = evidence.deeds.iter().filter(bears).collect();
    // A later process of a lease does not know how many there are.
    let is_taken_over = deeds.iter().any(|deed| {
        let Deed::Recipe { lease, .. } = deed.what else { return false };
        evidence.causes().leases.get(&(deed.client, *lease)).is_some_and(|known| known.opened.len() > 1)
    });
    let most = at_once(&deeds);
    let mut made: Vec<_> = made.into_values().collect();
    made.sort_unstable_by_key(|life| life.create_revision);
    let life = made.get(most).filter(|_| !is_taken_over)?;
    let detail = format!(
        "the receipt {} is one more than the {most} of what ever went on at once: one was free",
        Shown(&life.key)
    );
    Some(Breach { step: life.created.step, detail })
}

/// How many of them go on at once, at most. What was given up, or was late, may go on in the background.
fn at_once(deeds: &[&DeedLife<'_>]) -> usize {
    let ends = |deed: &DeedLife<'_>| match deed.ended {
        Some((ended, end)) if !matches!(end, DeedEnd::Failed(_)) => ended.step,
        _ => usize::MAX,
    };
    let begun_by = |step: usize| deeds.iter().filter(move |deed| deed.began.step <= step);
    let going_on = |step: usize| begun_by(step).filter(|deed| ends(deed) > step).count();
    deeds.iter().map(|deed| going_on(deed.began.step)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::check::script_recipes::RecipeScript;
    use crate::history::{DeedEnd, RecipeDeed};

    #[test]
    fn there_are_no_more_receipts_than_transactions_that_go_on_at_once() {
        let add = || RecipeDeed::Enqueue { priority: None, items: Vec::new() };
        let adds = |script: &mut RecipeScript, receipt: &str| {
            let deed = script.does(1, "q", add());
            script.commit_leased(1, &[(receipt, "")], &[]);
            script.did(1, deed, DeedEnd::Done);
        };
        let mut script = RecipeScript::new();
        script.session(1);
        adds(&mut script, "__q\0receipt/1.0");
        adds(&mut script, "__q\0receipt/1.0");
        let first = script.does(1, "q", add());
        adds(&mut script, "__q\0receipt/1.2");
        script.did(1, first, DeedEnd::Done);
        assert_eq!(script.breach("no-residue"), None, "two went on at once");
        adds(&mut script, "__q\0receipt/1.4");
        let breach = script.breach("no-residue").expect("a third").detail;
        assert!(breach.contains("one more than the 2 of what"), "{breach}");
    }
}
