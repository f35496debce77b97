//! `isolation`: every run of a transaction's closure, also one that came to nothing, reads what was committed and not old, each key
//! once, and all of one revision where the level of isolation has it so. What commits writes what it was to write, in one revision, and
//! up to there nothing that it read was written by others, nor, at the strictest level, what it wrote. So the accounts of a bank keep
//! their sum.

use std::collections::{BTreeMap, BTreeSet};

use tenure::kv::{Event, EventKind};

use super::order::{Commit, Order};
use super::recipe_deeds::of_recipes;
use super::transactions::{Transaction, transactions};
use super::{Breach, Evidence};
use crate::history::{Came, RecipeDeed, TransactionRead, TransactionRun};
use crate::workload::recipes::program::{ACCOUNTS, Level};
use crate::workload::recipes::{MADE, account, balance, changed};

pub(super) fn check(evidence: &Evidence<'_>) -> Option<Breach> {
    let judge = Judge { evidence, order: evidence.order() };
    let of_transactions = transactions(evidence).filter_map(|transaction| {
        let why = judge.read(&transaction).and_then(|()| judge.came(&transaction)).err()?;
        let Transaction { deed, bank, level, ended, .. } = transaction;
        let detail = format!("a transaction of c{} on {bank:?} ({}) {why}", deed.client, level.name());
        Some(Breach { step: ended.step, detail })
    });
    of_transactions.chain(judge.sums()).min_by_key(|breach| breach.step)
}

type Verdict = Result<(), String>;

struct Judge<'e, 'a> {
    evidence: &'e Evidence<'a>,
    order: &'e Order<'a>,
}

impl Judge<'_, '_> {
    /// What each of its runs read.
    fn read(&self, transaction: &Transaction<'_, '_>) -> Verdict {
        let (oldest, newest) = transaction.may_read(self.order);
        for TransactionRun { reads, .. } in transaction.runs {
            let mut known: BTreeMap<&str, &TransactionRead> = BTreeMap::new();
            for read in reads {
                // From when it was written, or the transaction began, on.
                let was_so = read.revision <= newest && read.was_so_at(self.order, read.revision.max(oldest));
                if !was_so {
                    return Err(format!("read {}, which was not so while it ran", read));
                }
                let first = *known.entry(&read.key).or_insert(read);
                if first != read {
                    return Err(format!("read {}, and then {}", first, read));
                }
            }
            let one = transaction.level.is_of_one_revision();
            if one && !Transaction::were_so_together(self.order, reads, oldest) {
                return Err(format!("read {}, which were never so together", list(reads)));
            }
        }
        Ok(())
    }

    /// How it committed.
    fn came(&self, transaction: &Transaction<'_, '_>) -> Verdict {
        let Came::Committed { revision } = transaction.came else { return Ok(()) };
        let Some(TransactionRun { reads, is_whole: true }) = transaction.runs.last() else {
            return Err(format!("committed at {revision}, though its last run did not come to its end"));
        };
        let RecipeDeed::Transfer { id, from, to, amount, blind, .. } = transaction.what else {
            return self.read_only(transaction, reads, revision);
        };
        let Some(commit) = self.order.commit(revision) else {
            return Err(format!("committed at {revision}, but nothing did"));
        };
        let mut writes = BTreeMap::from([(format!("{MADE}{id}"), String::new())]);
        for (key, by) in [(from, -amount), (to, *amount)] {
            let read = reads.iter().find(|read| read.key == *key);
            let was = read.and_then(|read| read.value.as_deref()).map_or(0, balance);
            writes.insert(key.clone(), changed(was + by, id));
        }
        writes.extend(blind.iter().map(|key| (key.clone(), id.clone())));
        if written(commit) != writes {
            return Err(format!("committed at {revision}, which wrote something else than it was to write"));
        }
        if transaction.level == Level::ReadCommitted {
            return Ok(());
        }
        if let Some(read) = reads.iter().find(|read| !read.was_so_at(self.order, revision - 1)) {
            return Err(format!("read {}, which others wrote before it committed at {revision}", read));
        }
        match blind {
            Some(key) if transaction.level == Level::SerializableSnapshot => self.unwritten(key, commit),
            _ => Ok(()),
        }
    }

    /// What it wrote without having read it was not written by others since it read: so not since its commit was sent either.
    fn unwritten(&self, key: &str, commit: &Commit<'_>) -> Verdict {
        let sent = commit.call.and_then(|call| self.evidence.calls.get(&call)?.sent);
        let known = self.order.newest_before(sent.unwrap_or(commit.at.step));
        let before = self.order.state(key.as_bytes(), commit.revision - 1);
        match before.filter(|kv| kv.mod_revision > known) {
            Some(kv) => Err(format!(
                "wrote {key} at {}, which others wrote at {} after it had read",
                commit.revision, kv.mod_revision
            )),
            None => Ok(()),
        }
    }

    /// What wrote nothing gives a revision at which all that it read was so, and none only if it does not ask for one.
    fn read_only(
        &self,
        transaction: &Transaction<'_, '_>,
        reads: &[TransactionRead],
        revision: i64,
    ) -> Verdict {
        if revision == 0 {
            return match transaction.level {
                Level::ReadCommitted => Ok(()),
                _ => Err(format!("read {}, and knows no revision", list(reads))),
            };
        }
        match reads.iter().find(|read| !read.was_so_at(self.order, revision)) {
            Some(read) => Err(format!("read {}, which was not so at its revision {revision}", read)),
            None => Ok(()),
        }
    }

    /// The sum of the accounts of a bank, where no level lets updates be lost.
    fn sums(&self) -> Option<Breach> {
        let mut loose = BTreeSet::new();
        let mut accounts: BTreeMap<String, &str> = BTreeMap::new();
        for (_, bank, what) in of_recipes(self.evidence) {
            if let RecipeDeed::Transfer { level, .. } = what {
                if *level == Level::ReadCommitted {
                    loose.insert(bank);
                }
                accounts.extend((0..ACCOUNTS).map(|which| (account(bank, which), bank)));
            }
        }
        accounts.retain(|_, bank| !loose.contains(bank));
        let mut balances: BTreeMap<&str, i64> = BTreeMap::new();
        self.order.commits().iter().find_map(|commit| {
            let written: Vec<_> =
                written(commit).into_iter().filter(|(key, _)| accounts.contains_key(key)).collect();
            let bank = accounts[&written.first()?.0];
            for (key, value) in written {
                if let Some((key, _)) = accounts.get_key_value(&key) {
                    balances.insert(key, balance(&value));
                }
            }
            let of_it = balances.iter().filter(|(key, _)| accounts[**key] == bank);
            let sum: i64 = of_it.map(|(_, balance)| balance).sum();
            (sum != 0).then(|| Breach {
                step: commit.at.step,
                detail: format!(
                    "after revision {} the accounts of {bank:?} sum up to {sum}",
                    commit.revision
                ),
            })
        })
    }
}

/// What a commit wrote, without what the library keeps for itself.
fn written(commit: &Commit<'_>) -> BTreeMap<String, String> {
    let puts = commit.events.iter().filter(|event| event.kind == EventKind::Put);
    let own = |event: &&Event| event.kv.key.contains(&0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    puts.filter(|event| !own(event)).map(|event| (text(&event.kv.key), text(&event.kv.value))).collect()
}

fn list(reads: &[TransactionRead]) -> String {
    reads.iter().map(TransactionRead::to_string).collect::<Vec<_>>().join(" and ")
}
