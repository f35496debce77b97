//! One attempt of a transaction: what it has read, what it is to write, and the conditions that follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Isolation;
use crate::kv::{Compare, CompareOp, DeleteRange, Op, OpResponse, Put, Range};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::{Error, Session};

/// What the closure of [`Stm::run`](crate::Stm::run) reads and writes through. Clones are the same transaction; what is done
/// with one after the closure has returned has no effect.
#[derive(Clone)]
pub struct Transaction {
    session: Session,
    isolation: Isolation,
    state: Arc<Mutex<State>>,
}

/// The same transaction, for who commits it.
pub(super) struct Attempt {
    isolation: Isolation,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The revision of all reads, once there is one and the isolation asks for it.
    base: Option<i64>,
    /// What was read before it was asked for.
    ahead: Reads,
    reads: Reads,
    writes: BTreeMap<Vec<u8>, Write>,
}

/// Keys as they were read.
#[derive(Default)]
pub(super) struct Reads(BTreeMap<Vec<u8>, Read>);

#[derive(Clone)]
struct Read {
    value: Option<Vec<u8>>,
    /// The revision that wrote it; 0 if the key is absent.
    written: i64,
    /// As of which revision.
    as_of: i64,
}

enum Write {
    Put { value: Vec<u8>, lease: i64 },
    Delete,
}

/// An attempt as it is to be committed.
pub(super) struct Commit {
    pub(super) conditions: Vec<Compare>,
    pub(super) writes: Vec<Op>,
    pub(super) reads: Reads,
    /// A revision at which all that it read was so, 0 if none is known.
    pub(super) read_at: i64,
}

impl Reads {
    /// Reads of keys, in their order.
    pub(super) fn ops<'k>(keys: impl Iterator<Item = &'k [u8]>) -> impl Iterator<Item = Op> {
        keys.map(|key| Op::Range(Range::key(key)))
    }

    /// What these found.
    pub(super) fn of<'k>(
        keys: impl Iterator<Item = &'k [u8]>,
        responses: Vec<OpResponse>,
        as_of: i64,
    ) -> Self {
        let found = keys.zip(responses).filter_map(|(key, response)| match response {
            OpResponse::Range(range) => Some((key.to_vec(), Read::of(range.kvs, as_of))),
            _ => None,
        });
        Self(found.collect())
    }

    /// A revision at which all of these were so: the oldest that one was read at, if all others had been written by then. 0 if they
    /// need not have been so together: since when a key is absent is not known.
    fn true_at(&self) -> i64 {
        let oldest = self.0.values().map(|read| read.as_of).min().unwrap_or(0);
        let was_so = |read: &Read| read.as_of == oldest || (1..=oldest).contains(&read.written);
        if self.0.values().all(was_so) { oldest } else { 0 }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }
}

impl Read {
    fn of(kvs: Vec<crate::kv::KeyValue>, as_of: i64) -> Self {
        match kvs.into_iter().next() {
            Some(kv) => Self { value: Some(kv.value), written: kv.mod_revision, as_of },
            None => Self { value: None, written: 0, as_of },
        }
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("isolation", &self.isolation).finish_non_exhaustive()
    }
}

impl Transaction {
    pub(super) fn begin(session: &Session, isolation: Isolation, ahead: Reads) -> (Self, Attempt) {
        // All that was read ahead is of one revision; what is read later must be, too.
        let base = ahead.0.values().next().map(|read| read.as_of).filter(|_| isolation.is_snapshot());
        let state = Arc::new(Mutex::new(State { base, ahead, ..State::default() }));
        let attempt = Attempt { isolation, state: Arc::clone(&state) };
        (Self { session: session.clone(), isolation, state }, attempt)
    }

    /// The value of a key as this transaction sees it, `None` if the key is absent.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::Refused`]; the closure is to return them. (A [`Refusal::Compacted`](crate::Refusal)
    /// that it returns is taken for a conflict.)
    ///
    /// Cancel safe.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        let key = key.into();
        let written = match self.state().writes.get(&key) {
            Some(Write::Put { value, .. }) => Some(Some(value.clone())),
            Some(Write::Delete) => Some(None),
            None => None,
        };
        match written {
            Some(value) => Ok(value),
            None => Ok(self.read(key).await?.value),
        }
    }

    /// The revision that last wrote a key, as this transaction has read it, and 0 if the key was absent. Its own
    /// writes have none yet.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    ///
    /// Cancel safe.
    pub async fn rev(&self, key: impl Into<Vec<u8>>) -> Result<i64, Error> {
        Ok(self.read(key.into()).await?.written)
    }

    /// Writes a key, without a lease, when the transaction commits.
    pub fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.put_leased(key, value, 0);
    }

    /// Writes a key that lives by `lease` when the transaction commits.
    pub fn put_leased(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: i64) {
        self.state().writes.insert(key.into(), Write::Put { value: value.into(), lease });
    }

    /// Deletes a key when the transaction commits.
    pub fn delete(&self, key: impl Into<Vec<u8>>) {
        self.state().writes.insert(key.into(), Write::Delete);
    }

    async fn read(&self, key: Vec<u8>) -> Result<Read, Error> {
        loop {
            let base = {
                let mut state = self.state();
                if let Some(read) = state.known(&key) {
                    return Ok(read);
                }
                state.base
            };
            let range = Range { revision: base.unwrap_or(0), ..Range::key(&*key) };
            let found = self.session.range(range).await?;
            let as_of = base.unwrap_or(found.header.revision);
            let mut state = self.state();
            if self.isolation.is_snapshot() && *state.base.get_or_insert(as_of) != as_of {
                // Another first read, beside this one, has said which revision it is to be.
                continue;
            }
            return Ok(state.reads.0.entry(key).or_insert_with(|| Read::of(found.kvs, as_of)).clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is known of the key; from now on it counts as read.
    fn known(&mut self, key: &[u8]) -> Option<Read> {
        if let Some(ahead) = self.ahead.0.remove(key) {
            self.reads.0.entry(key.to_vec()).or_insert(ahead);
        }
        self.reads.0.get(key).cloned()
    }
}

impl Attempt {
    /// Takes what is to be committed.
    pub(super) fn take(&self) -> Commit {
        let State { base, reads, writes, .. } =
            std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        let read_at = reads.true_at();
        let conditions = self.conditions(base, &reads, &writes);
        let writes = writes.into_iter().map(|(key, write)| match write {
            Write::Put { value, lease } => Op::Put(Put::new(key, value).lease(lease)),
            Write::Delete => Op::Delete(DeleteRange::key(key)),
        });
        Commit { conditions, writes: writes.collect(), reads, read_at }
    }

    fn conditions(
        &self,
        base: Option<i64>,
        reads: &Reads,
        writes: &BTreeMap<Vec<u8>, Write>,
    ) -> Vec<Compare> {
        // Reads of one revision are true together, and so is a single one: without writes there is nothing to check.
        let is_checked = match self.isolation {
            Isolation::SerializableSnapshot | Isolation::Serializable => !writes.is_empty(),
            Isolation::RepeatableReads => !writes.is_empty() || reads.0.len() > 1,
            Isolation::ReadCommitted => false,
        };
        if !is_checked {
            return Vec::new();
        }
        // An absent key's revision is 0, so one that was deleted, or made, since differs, too.
        let unread = |key: &&Vec<u8>| !reads.0.contains_key(*key);
        let since = base.filter(|_| self.isolation == Isolation::SerializableSnapshot && !reads.0.is_empty());
        let unwritten = since.into_iter().flat_map(|base| {
            let compare = move |key| Compare::mod_revision(key, CompareOp::Less, base + 1);
            writes.keys().filter(unread).cloned().map(compare)
        });
        let unchanged =
            reads.0.iter().map(|(key, read)| Compare::mod_revision(&**key, CompareOp::Equal, read.written));
        unchanged.chain(unwritten).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(isolation: Isolation, base: Option<i64>, reads: &[(&str, i64)], writes: &[&str]) -> Attempt {
        let read = |written| Read { value: None, written, as_of: 9 };
        let reads = reads.iter().map(|(key, written)| (key.as_bytes().to_vec(), read(*written)));
        let put = || Write::Put { value: Vec::new(), lease: 0 };
        let writes = writes.iter().map(|key| (key.as_bytes().to_vec(), put()));
        let state =
            State { base, ahead: Reads::default(), reads: Reads(reads.collect()), writes: writes.collect() };
        Attempt { isolation, state: Arc::new(Mutex::new(state)) }
    }

    #[test]
    fn each_level_commits_on_its_own_conditions() {
        let same = |key: &str, revision| Compare::mod_revision(key, CompareOp::Equal, revision);
        let older = |key: &str, revision| Compare::mod_revision(key, CompareOp::Less, revision);
        let (reads, writes) = (&[("a", 4), ("b", 0)], &["b", "c"]);
        let of = |isolation| attempt(isolation, Some(9), reads, writes).take().conditions;
        assert_eq!(of(Isolation::SerializableSnapshot), [same("a", 4), same("b", 0), older("c", 10)]);
        assert_eq!(of(Isolation::Serializable), [same("a", 4), same("b", 0)]);
        assert_eq!(of(Isolation::RepeatableReads), [same("a", 4), same("b", 0)]);
        assert_eq!(of(Isolation::ReadCommitted), []);
    }

    #[test]
    fn without_writes_only_reads_of_several_revisions_are_checked() {
        let of = |isolation, reads| attempt(isolation, Some(9), reads, &[]).take().conditions.len();
        for snapshot in [Isolation::SerializableSnapshot, Isolation::Serializable] {
            assert_eq!(of(snapshot, &[("a", 4), ("b", 5)]), 0);
        }
        assert_eq!(of(Isolation::RepeatableReads, &[("a", 4), ("b", 5)]), 2);
        assert_eq!(of(Isolation::RepeatableReads, &[("a", 4)]), 0);
        assert_eq!(of(Isolation::ReadCommitted, &[("a", 4), ("b", 5)]), 0);
    }

    #[test]
    fn reads_were_so_together_at_the_first_if_the_others_had_been_written_by_then() {
        let true_at = |reads: &[(i64, i64)]| {
            let read = |(key, (written, as_of)): (u8, &(i64, i64))| {
                (vec![key], Read { value: None, written: *written, as_of: *as_of })
            };
            Reads((0..).zip(reads).map(read).collect()).true_at()
        };
        assert_eq!(true_at(&[]), 0);
        assert_eq!(true_at(&[(4, 9), (0, 9)]), 9, "of one revision");
        assert_eq!(true_at(&[(8, 9), (7, 8)]), 8);
        assert_eq!(true_at(&[(4, 7), (8, 9)]), 0, "written after the first was read");
        assert_eq!(true_at(&[(4, 7), (0, 9)]), 0, "perhaps deleted after the first was read");
    }

    #[test]
    fn writes_without_reads_are_unconditional() {
        assert_eq!(attempt(Isolation::default(), None, &[], &["a"]).take().conditions, []);
    }
}
