//! Hand-written histories of transactions and counters that `isolation`, `applied` and `true-errors` find right, and wrong ones that
//! they find.

use super::script_recipes::{RecipeScript, SECOND};
use crate::history::{
    Came, DeedEnd, Failure, RecipeDeed, RecipeEnd, Refused, TransactionRead, TransactionRun,
};
use crate::workload::recipes::program::Level;

const BANK: &str = "banks/0";
const COUNTER: &str = "counts/0";

fn says(script: &mut RecipeScript, invariant: &str) -> String {
    script.breach(invariant).map_or_else(String::new, |breach| breach.detail)
}

fn read(key: &str, value: &str, revision: i64) -> TransactionRead {
    let value = (!value.is_empty()).then(|| value.to_owned());
    TransactionRead { key: format!("{BANK}/{key}"), value, revision }
}

/// Five are moved from the first account to the second.
fn transfers(script: &mut RecipeScript, client: u32, id: &str, level: Level) -> u64 {
    let account = |which: u32| format!("{BANK}/{which}");
    let (from, to, blind) = (account(0), account(1), Some(format!("{BANK}/blind")));
    let what = RecipeDeed::Transfer { id: id.into(), level, from, to, amount: 5, blind, attempts: 1 };
    script.does(client, BANK, what)
}

fn audits(script: &mut RecipeScript, client: u32, level: Level) -> u64 {
    script.does(client, BANK, RecipeDeed::Audit { level, attempts: 1 })
}

/// What the transfer of this number writes, from these balances.
fn writes(id: &str, [from, to]: [i64; 2]) -> [(String, String); 4] {
    [
        (format!("{BANK}/0"), format!("{} {id}", from - 5)),
        (format!("{BANK}/1"), format!("{} {id}", to + 5)),
        (format!("{BANK}/blind"), id.to_owned()),
        (format!("made/{id}"), String::new()),
    ]
}

fn puts(writes: &[(String, String)]) -> Vec<(&str, &str)> {
    writes.iter().map(|(key, value)| (&**key, &**value)).collect()
}

fn ends(script: &mut RecipeScript, client: u32, deed: u64, came: Came, reads: &[TransactionRead]) {
    let runs = vec![TransactionRun { reads: reads.to_vec(), is_whole: true }];
    script.did(client, deed, DeedEnd::Recipe(RecipeEnd::Transacted { came, runs }));
}

/// A bank of which one transfer was made, at revision 2.
fn bank() -> RecipeScript {
    let mut script = RecipeScript::new();
    let deed = transfers(&mut script, 0, "1", Level::Serializable);
    let revision = script.commit(0, &puts(&writes("1", [0, 0])), &[]);
    let reads = [read("0", "", 0), read("1", "", 0)];
    ends(&mut script, 0, deed, Came::Committed { revision }, &reads);
    script
}

const AFTER_THE_FIRST: [(&str, &str, i64); 2] = [("0", "-5 1", 2), ("1", "5 1", 2)];

fn after_the_first() -> [TransactionRead; 2] {
    AFTER_THE_FIRST.map(|(key, value, revision)| read(key, value, revision))
}

/// A second transfer of the bank, at this level, which commits; `meanwhile` comes between what it reads and what it sends, `late` after
/// that.
fn second(level: Level, meanwhile: &[(&str, &str)], late: &[(&str, &str)]) -> String {
    let mut script = bank();
    let deed = transfers(&mut script, 1, "2", level);
    if !meanwhile.is_empty() {
        script.commit(2, meanwhile, &[]);
    }
    let call = script.send(1);
    if !late.is_empty() {
        script.commit(2, late, &[]);
    }
    let revision = script.commit_sent(call, &puts(&writes("2", [-5, 5])), &[]);
    ends(&mut script, 1, deed, Came::Committed { revision }, &after_the_first());
    says(&mut script, "isolation")
}

#[test]
fn what_was_read_and_others_wrote_before_it_committed_is_found_where_the_level_forbids_it() {
    let others: &[(&str, &str)] = &[("banks/0/0", "-6 x"), ("banks/0/1", "6 x")];
    for level in [Level::SerializableSnapshot, Level::Serializable, Level::RepeatableReads] {
        assert_eq!(second(level, &[], &[]), "");
        assert!(second(level, others, &[]).contains("which others wrote before it committed"), "{level:?}");
    }
    assert_eq!(second(Level::ReadCommitted, others, &[]), "");
}

#[test]
fn a_blind_write_over_anothers_is_found_in_a_snapshot() {
    let others: &[(&str, &str)] = &[("banks/0/blind", "x")];
    assert_eq!(second(Level::Serializable, &[], others), "");
    assert_eq!(second(Level::SerializableSnapshot, others, &[]), "", "it may have been there when it read");
    assert!(second(Level::SerializableSnapshot, &[], others).contains("which others wrote at 3 after"));
}

#[test]
fn a_transaction_that_writes_something_else_or_at_another_revision_is_found() {
    let committed = |wrote: [i64; 2], later: i64| {
        let mut script = bank();
        let deed = transfers(&mut script, 1, "2", Level::ReadCommitted);
        let revision = script.commit(1, &puts(&writes("2", wrote)), &[]) + later;
        ends(&mut script, 1, deed, Came::Committed { revision }, &after_the_first());
        says(&mut script, "isolation")
    };
    assert_eq!(committed([-5, 5], 0), "");
    assert!(committed([-5, 5], -1).contains("which wrote something else"));
    assert!(committed([-5, 5], 1).contains("but nothing did"));
    assert!(committed([-4, 4], 0).contains("which wrote something else"));
}

#[test]
fn what_is_read_that_was_never_so_or_is_old_or_is_read_twice_is_found() {
    let audited = |reads: &[TransactionRead]| {
        let mut script = bank();
        script.commit(2, &[("banks/0/0", "-6 x"), ("banks/0/1", "6 x")], &[]);
        let deed = audits(&mut script, 1, Level::ReadCommitted);
        script.commit(2, &[("banks/0/0", "-7 y"), ("banks/0/1", "7 y")], &[]);
        ends(&mut script, 1, deed, Came::Committed { revision: 0 }, reads);
        says(&mut script, "isolation")
    };
    let (before, after) = (read("0", "-6 x", 3), read("0", "-7 y", 4));
    assert_eq!(audited(std::slice::from_ref(&before)), "");
    assert_eq!(audited(std::slice::from_ref(&after)), "");
    assert!(audited(&[read("0", "-5 1", 2)]).contains("which was not so while it ran"), "old");
    assert!(audited(&[read("0", "-8 z", 4)]).contains("which was not so"), "never so");
    assert!(audited(&[read("0", "", 0)]).contains("which was not so"), "there");
    assert!(audited(&[before, after]).contains("and then"));
}

#[test]
fn what_was_never_so_together_is_found_where_all_is_to_be_of_one_revision() {
    let audited = |level: Level, revision: i64| {
        let mut script = bank();
        let deed = audits(&mut script, 1, level);
        script.commit(2, &[("banks/0/0", "-6 x"), ("banks/0/1", "6 x")], &[]);
        let reads = [read("0", "-5 1", 2), read("1", "6 x", 3)];
        ends(&mut script, 1, deed, Came::Committed { revision }, &reads);
        says(&mut script, "isolation")
    };
    assert!(audited(Level::Serializable, 3).contains("which were never so together"));
    assert!(audited(Level::RepeatableReads, 3).contains("which was not so at its revision"));
    assert!(audited(Level::RepeatableReads, 0).contains("knows no revision"));
    assert!(audited(Level::ReadCommitted, 3).contains("which was not so at its revision"));
    assert_eq!(audited(Level::ReadCommitted, 0), "");
}

#[test]
fn a_sum_that_is_changed_is_found_but_not_where_updates_may_be_lost() {
    for (level, is_found) in [(Level::RepeatableReads, true), (Level::ReadCommitted, false)] {
        let mut script = bank();
        transfers(&mut script, 1, "2", level);
        script.commit(2, &[("banks/0/0", "-4 x")], &[]);
        assert_eq!(says(&mut script, "isolation").contains("sum up to 1"), is_found, "{level:?}");
    }
}

#[test]
fn a_transaction_that_is_applied_twice_or_is_acknowledged_without_is_found() {
    let mut script = bank();
    assert_eq!(says(&mut script, "applied"), "");
    script.commit(0, &[("made/1", "")], &[]);
    assert!(says(&mut script, "applied").contains("transfer 1 of c0 was applied twice"));
    let mut script = bank();
    let deed = transfers(&mut script, 1, "2", Level::Serializable);
    ends(&mut script, 1, deed, Came::Committed { revision: 2 }, &after_the_first());
    assert!(says(&mut script, "applied").contains("was not applied"));
    script.commit(1, &[("made/2", "")], &[]);
    assert!(says(&mut script, "applied").contains("was not applied while it was under way"));
}

#[test]
fn what_is_said_not_to_be_applied_never_is() {
    let applied = |end: DeedEnd| {
        let mut script = bank();
        let deed = transfers(&mut script, 1, "2", Level::Serializable);
        let call = script.send(1);
        script.did(1, deed, end);
        script.commit_sent(call, &[("made/2", "")], &[]);
        says(&mut script, "applied")
    };
    let conflict = RecipeEnd::Transacted { came: Came::Conflict, runs: Vec::new() };
    for end in [
        DeedEnd::Recipe(conflict),
        DeedEnd::Failed(Failure::SessionLost),
        DeedEnd::Failed(Failure::Refused(Refused::NoSpace)),
    ] {
        assert!(applied(end.clone()).contains("is said not to be applied, and was"), "{end:?}");
    }
    for end in [Failure::Cancelled, Failure::Maybe("lost".into())] {
        assert_eq!(applied(DeedEnd::Failed(end)), "");
    }
}

#[test]
fn an_addition_is_made_once_and_told_as_it_is() {
    let counted = |made: &[&str], told: i64| {
        let mut script = RecipeScript::new();
        let deed = script.does(0, COUNTER, RecipeDeed::Add { by: 7 });
        for made in made {
            script.commit(0, &[(COUNTER, made)], &[]);
        }
        script.did(0, deed, DeedEnd::Recipe(RecipeEnd::Counted(told)));
        says(&mut script, "applied")
    };
    assert_eq!(counted(&["7"], 7), "");
    assert!(counted(&[], 7).contains("was not applied"));
    assert!(counted(&["7", "14"], 14).contains("was applied twice"));
    assert!(counted(&["7"], 8).contains("made 7, and was told 8"));
    assert!(counted(&["5"], 7).contains("changed by 5, which nobody asked for"));
}

#[test]
fn a_conflict_is_true_only_if_others_wrote_and_in_each_run() {
    let met = |others: &[(&str, &str)], attempts: u32| {
        let mut script = bank();
        let what = RecipeDeed::Audit { level: Level::RepeatableReads, attempts };
        let deed = script.does(1, BANK, what);
        if !others.is_empty() {
            script.commit(2, others, &[]);
        }
        ends(&mut script, 1, deed, Came::Conflict, &after_the_first());
        says(&mut script, "true-errors")
    };
    assert_eq!(met(&[("banks/0/1", "6 x")], 1), "");
    assert!(met(&[("banks/0/2", "6 x")], 1).contains("nobody wrote what it had read"));
    assert!(met(&[("banks/0/1", "6 x")], 2).contains("but ran 1 times"));
}

#[test]
fn a_transaction_that_meets_conflicts_again_and_again_is_found_once_calm() {
    for (attempts, is_found) in [(3, false), (100, true)] {
        let mut script = RecipeScript::new();
        script.calm();
        script.wait(5 * SECOND);
        let what = RecipeDeed::Audit { level: Level::RepeatableReads, attempts };
        let deed = script.does(1, BANK, what);
        ends(&mut script, 1, deed, Came::Conflict, &[]);
        assert_eq!(says(&mut script, "progress").contains("met conflicts in each"), is_found);
    }
}
