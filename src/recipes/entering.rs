//! Entering a double barrier: who is there, as one watch tells in order of revision, and what follows from it for a member.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::double_barrier::DoubleBarrier;
use crate::Error;
use crate::kv::{
    Compare, CompareOp, DeleteRange, Event, EventKind, KeyValue, Op, Put, Range, SortOrder, SortTarget, Txn,
    WatchRequest,
};
use crate::line::{Doubt, News, Watching, keys};

/// A member that has written its key and waits for the others.
pub(crate) struct Entering<'a> {
    barrier: &'a DoubleBarrier,
    key: &'a [u8],
    created: i64,
    present: Present,
}

/// Who is there.
#[derive(Default)]
struct Present {
    as_of: i64,
    /// By the revision that created their keys.
    members: BTreeMap<i64, Member>,
    /// The key that opens the barrier.
    ready: Option<KeyValue>,
    /// One that was among the first, as many as are to enter, is gone.
    one_is_gone: bool,
}

struct Member {
    key: Vec<u8>,
    /// Not Go's: it can be told that the barrier is broken.
    is_ours: bool,
}

/// What is to become of the member.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is in.
    In { round: i64 },
    /// There were as many before it.
    TooMany,
    /// It is out: somebody has broken the barrier.
    Out,
    /// One that waited is gone.
    Broken,
    /// It is the last: it opens the barrier.
    Last,
    /// It waits.
    Wait,
}

impl<'a> Entering<'a> {
    pub(crate) fn new(barrier: &'a DoubleBarrier, key: &'a [u8], created: i64) -> Self {
        Self { barrier, key, created, present: Present::default() }
    }

    /// Waits until all are there, and gives the revision by which the barrier opened.
    pub(crate) async fn wait(mut self) -> Result<i64, Error> {
        let backend = self.barrier.session.backend();
        let below = [self.barrier.name().as_bytes(), b"/"].concat();
        loop {
            let mut watching = Watching::new(backend.watch(WatchRequest::prefix(&*below)));
            if watching.opened().await?.is_none() {
                continue;
            }
            self.look().await?;
            let mut doubt = Doubt::of(backend, &watching, self.present.as_of);
            loop {
                if let Some(round) = self.act().await? {
                    return Ok(round);
                }
                match watching.hear(&mut doubt).await? {
                    News::Events(events) => {
                        doubt.dispel();
                        self.hear(&events);
                    }
                    News::Doubted => self.look().await?,
                    News::Over => break,
                }
            }
        }
    }

    /// Does what is to be done; gives the round if the member is in, nothing if it waits.
    async fn act(&mut self) -> Result<Option<i64>, Error> {
        loop {
            match self.verdict() {
                Verdict::Wait => return Ok(None),
                Verdict::In { round } => return Ok(Some(round)),
                Verdict::TooMany => {
                    let (name, count) = (self.barrier.name().to_owned(), self.barrier.count);
                    return Err(Error::BarrierFull { name, count });
                }
                Verdict::Out => return Err(self.broken()),
                Verdict::Broken => {
                    if self.barrier.session.txn(self.breaking()).await?.value.succeeded {
                        return Err(self.broken());
                    }
                }
                Verdict::Last => {
                    let opened = self.barrier.session.txn(self.opening()).await?.value;
                    if opened.succeeded {
                        return Ok(Some(opened.header.revision));
                    }
                }
            }
            // By another, or by a lost try of this one's: the list tells.
            self.look().await?;
        }
    }

    fn verdict(&self) -> Verdict {
        let Present { members, ready, one_is_gone, .. } = &self.present;
        let rank = members.range(..=self.created).count();
        let is_there = members.contains_key(&self.created);
        if let Some(ready) = ready {
            // What Go's members write is empty; then all there is to go by is the order now.
            let is_in = match ready.value.is_empty() {
                true => is_there && rank <= self.barrier.count,
                // Not whether its key is there: it may be gone again, or have been gone before.
                false => is_named(self.created, &ready.value),
            };
            return match (is_in, is_there) {
                (true, _) => Verdict::In { round: ready.mod_revision },
                (false, true) => Verdict::TooMany,
                (false, false) => Verdict::Out,
            };
        }
        if !is_there {
            return Verdict::Out;
        }
        match rank.cmp(&self.barrier.count) {
            Ordering::Greater => Verdict::TooMany,
            _ if *one_is_gone => Verdict::Broken,
            Ordering::Equal => Verdict::Last,
            Ordering::Less => Verdict::Wait,
        }
    }

    /// Opens the barrier if all are there and it is not open, and says who they are. A late try can do no harm: it needs all of
    /// them there, and not let in.
    fn opening(&self) -> Txn {
        let first = || self.present.members.iter().take(self.barrier.count);
        let all_there = first()
            .map(|(created, member)| Compare::create_revision(&*member.key, CompareOp::Equal, *created));
        let named: Vec<_> = first().map(|(created, _)| created.to_string()).collect();
        Txn::new()
            .when([self.not_open()])
            .when(all_there)
            .and_then([Op::Put(Put::new(self.barrier.ready(), named.join(" ")))])
    }

    /// Takes out all who wait, in one transaction, so that nobody who enters again meets one of those. Not Go's members: they would
    /// wait on for ever.
    fn breaking(&self) -> Txn {
        let ours = self.present.members.values().filter(|member| member.is_ours).take(self.barrier.count);
        Txn::new()
            .when([Compare::create_revision(self.key, CompareOp::Equal, self.created), self.not_open()])
            .and_then(ours.map(|member| Op::Delete(DeleteRange::key(&*member.key))))
    }

    fn not_open(&self) -> Compare {
        Compare::create_revision(self.barrier.ready(), CompareOp::Equal, 0)
    }

    fn broken(&self) -> Error {
        Error::BarrierBroken { name: self.barrier.name().to_owned() }
    }

    /// Reads who is there.
    async fn look(&mut self) -> Result<(), Error> {
        let members = Range::prefix(self.barrier.members()).sorted(SortTarget::Create, SortOrder::Ascend);
        let txn = Txn::new().and_then([Op::Range(members), Op::Range(Range::key(self.barrier.ready()))]);
        let listed = self.barrier.session.txn(txn).await?.value;
        let members: BTreeMap<_, _> =
            keys(&listed, 0).iter().map(|kv| (kv.create_revision, Member::of(kv))).collect();
        let mut knew = self.present.members.keys().take(self.barrier.count);
        let one_is_gone = self.present.one_is_gone || knew.any(|created| !members.contains_key(created));
        let ready = keys(&listed, 1).first().cloned();
        self.present = Present { as_of: listed.header.revision, members, ready, one_is_gone };
        Ok(())
    }

    /// Takes in what the watch tells, up to the revision by which the barrier opened.
    fn hear(&mut self, events: &[Event]) {
        let (prefix, ready) = (self.barrier.members(), self.barrier.ready());
        let as_of = self.present.as_of;
        for event in events.iter().filter(|event| event.kv.mod_revision > as_of) {
            let present = &mut self.present;
            if present.ready.is_some() {
                return;
            }
            if event.kv.key == ready && event.kind == EventKind::Put {
                present.ready = Some(event.kv.clone());
            } else if event.kv.key.starts_with(&prefix) {
                match event.kind {
                    EventKind::Put => {
                        present.members.insert(event.kv.create_revision, Member::of(&event.kv));
                    }
                    EventKind::Delete => present.remove(&event.kv.key, self.barrier.count),
                }
            }
        }
    }
}

/// Whether the member whose key was created at `created` is among those that the barrier was opened for.
fn is_named(created: i64, ready: &[u8]) -> bool {
    ready.split(|byte| *byte == b' ').any(|named| named == created.to_string().as_bytes())
}

impl Present {
    fn remove(&mut self, key: &[u8], count: usize) {
        let found = self.members.iter().enumerate().find(|(_, (_, member))| member.key == key);
        if let Some((rank, created)) = found.map(|(rank, (created, _))| (rank, *created)) {
            self.members.remove(&created);
            self.one_is_gone |= rank < count;
        }
    }
}

impl Member {
    fn of(kv: &KeyValue) -> Self {
        Self { key: kv.key.clone(), is_ours: !kv.value.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn a_member_is_named_by_its_whole_revision() {
        assert!([3, 12, 40].into_iter().all(|created| is_named(created, b"3 12 40")));
        assert!(!is_named(1, b"3 12 40") && !is_named(4, b"3 12 40") && !is_named(3, b""));
    }
}
