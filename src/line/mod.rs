//! The waiting line: contenders below a prefix, ordered by the revision that created their keys, exactly as etcd's own
//! recipes keep it (`client/v3/concurrency/key.go`, `mutex.go`). It serves the mutex, the election, the read-write lock and
//! the semaphore.
//!
//! A contender *joins* with one transaction that also tells who is before it, *waits* until it is among the first (the first
//! one, or the first few of a semaphore), and *leaves* by deleting its key.
//!
//! **Late requests.** A request whose answer is lost may be applied much later: after a retry of it succeeded elsewhere,
//! after the lock was released. A join that is applied then leaves a key that nobody waits with, and everybody waits
//! for. So each join also compares the revision of the session's *fence key*, which does not exist until a request is
//! lost; and who leaves after a lost join writes that key in the transaction that deletes its own. After that no earlier
//! join can be applied. The fence key lives by the session's lease, beside the line (`NAME\0fence/LEASE`).
//!
//! Nor is a late *deletion* applied when the key has become another process's, which has taken over the lease: each deletion
//! compares the fence too, and who takes a key over moves it (`takeover.rs`).

mod fence;
mod leave;
mod takeover;
mod wait;
mod watching;

pub(crate) use wait::is_gone;
pub(crate) use watching::{Doubt, News, Watching};

use std::sync::Arc;

use futures_util::{FutureExt, select_biased};

use crate::kv::{
    Compare, CompareOp, KeyValue, Op, OpResponse, Put, Range, SortOrder, SortTarget, Txn, TxnResponse,
};
use crate::name::{Name, is_lease_hex, member_key};
use crate::session::{Failed, Outcome, Slot, Slots};
use crate::sync::{AtomicBool, Ordering};
use crate::{Error, Refusal, Session};

/// Which keys make up a line, and whom a contender waits for.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: Name,
    /// A contender waits for the older keys below this prefix.
    pub(crate) before: Vec<u8>,
    /// A prefix of both `before` and every contender's own key: what is watched.
    pub(crate) scope: Vec<u8>,
    /// How many the line grants at once by what a contender's key, less `before`, says; `None` if that is no contender's.
    permits_by: fn(&[u8]) -> Option<u32>,
    /// How many may be granted at once.
    pub(crate) permits: u32,
    /// Whether who joined last had to wait with a watch on the line: then the next one opens it with the join.
    hot: AtomicBool,
}

impl Line {
    pub(crate) fn new(
        name: Name,
        before: Vec<u8>,
        scope: Vec<u8>,
        permits_by: fn(&[u8]) -> Option<u32>,
    ) -> Self {
        Self { name, before, scope, permits_by, permits: 1, hot: AtomicBool::new(false) }
    }

    /// The same line, of which the first few are granted at once.
    pub(crate) fn with_permits(self, permits: u32) -> Self {
        Self { permits, ..self }
    }

    /// The line of a mutex or an election: everyone below the name, in order.
    pub(crate) fn plain(name: Name) -> Self {
        let prefix = name.prefix();
        Self::new(name, prefix.clone(), prefix, |rest| is_lease_hex(rest).then_some(1))
    }

    /// Takes in what of it changes.
    pub(crate) fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let Self { name: _, before: _, scope: _, permits_by: _, permits: _, hot } = self;
        into.write_u8(hot.load(Ordering::Relaxed).into());
    }

    /// A foreign key among those that a contender would wait for makes the line meaningless.
    fn check(&self, key: &[u8]) -> Result<(), Error> {
        let ours = self.permits;
        match key.strip_prefix(&*self.before).and_then(self.permits_by) {
            Some(theirs) if theirs == ours => Ok(()),
            Some(theirs) => Err(Error::PermitsDiffer { name: self.name.as_str().to_owned(), ours, theirs }),
            None => Err(Error::foreign_key(key)),
        }
    }

    /// Whether who has `before` contenders before it is granted.
    fn grants(&self, before: usize) -> bool {
        before < self.permits as usize
    }
}

/// One contender's place. Dropping it leaves the line in the background, whatever state it is in.
pub(crate) struct Place {
    contender: Option<Contender>,
}

/// What joining told.
pub(crate) struct Joined {
    /// It is among the first: the tenure is granted.
    pub(crate) is_first: bool,
    /// The contender's key as it was, if this join did not create it.
    pub(crate) adopted: Option<KeyValue>,
    /// The key was there, made by an earlier try of this join or by another process.
    existed: bool,
    /// For who waits: what the join told already.
    pub(crate) head_start: Option<HeadStart>,
}

/// Those before the contender, and a watch on the line, if one was asked for with the join.
pub(crate) struct HeadStart {
    watching: Option<Watching>,
    /// The nearest before, nearest first, as of the join.
    nearest: Vec<KeyValue>,
    as_of: i64,
}

/// What a join is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// To wait until it is granted.
    Wait,
    /// To leave again if it is not granted at once.
    Try,
}

struct Contender {
    session: Session,
    line: Arc<Line>,
    key: Vec<u8>,
    /// Freed once the line is left.
    slot: Option<Slot>,
    presence: Presence,
    /// The revision as of which this process took the key over from an earlier one; 0 if it did not.
    taken_over_at: i64,
    /// The mark of this process's own takeover, from when it is first sent on: that may be applied late, too.
    takeover_mark: Vec<u8>,
    /// The key may appear only if this holds too.
    condition: Option<Compare>,
}

/// What is known of the contender's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It is not there and no request of ours can make it appear.
    Absent,
    /// It may be there, or appear yet.
    Unknown,
    /// It was created at `revision`; if `doubtful`, a lost request may create it again once it is deleted.
    Present { revision: i64, doubtful: bool },
}

impl Place {
    /// Takes the right to the key `key` in this process; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::SessionLost`]
    pub(crate) async fn take(session: &Session, line: Arc<Line>, key: Vec<u8>) -> Result<Self, Error> {
        let mut lost = std::pin::pin!(session.lost().fuse());
        let taken = select_biased! {
            taken = Slots::take(session.slots(), &key).fuse() => taken,
            () = lost => return Err(Error::SessionLost),
        };
        let slot = taken.map_err(|_| Error::InUse { name: line.name.as_str().to_owned() })?;
        let contender = Contender {
            session: session.clone(),
            line,
            key,
            slot: Some(slot),
            presence: Presence::Absent,
            taken_over_at: 0,
            takeover_mark: Vec::new(),
            condition: None,
        };
        Ok(Self { contender: Some(contender) })
    }

    /// Gets in line with a key below `prefix` that nobody has had, one of several that the session may have there, if
    /// `condition` holds too; `None` if it does not, and then no key is left.
    ///
    /// # Errors
    /// Those of [`Place::take`] and [`Place::join_if`].
    ///
    /// Cancel safe: dropping the future leaves the line, applied or not.
    pub(crate) async fn join_numbered(
        session: &Session,
        line: &Arc<Line>,
        prefix: &[u8],
        condition: Option<&Compare>,
        intent: Intent,
    ) -> Result<Option<(Self, Joined)>, Error> {
        loop {
            let key = member_key(prefix, session.lease(), session.next_number());
            let mut place = Self::take(session, Arc::clone(line), key).await?;
            place.contender_mut().condition = condition.cloned();
            let Some(joined) = place.join_if(b"", intent).await? else { return Ok(None) };
            if joined.adopted.is_none() {
                return Ok(Some((place, joined)));
            }
            // Numbered by an earlier process of the same lease: it stands for something of that one's.
            place.disown();
        }
    }

    /// Gets in line, by a key that an earlier process of the same session left there, if there is one.
    ///
    /// Cancel safe: dropping the place afterwards leaves the line, applied or not.
    pub(crate) async fn join(&mut self, value: &[u8], intent: Intent) -> Result<Joined, Error> {
        loop {
            let Some(joined) = self.join_if(value, intent).await? else { continue };
            let contender = self.contender_mut();
            // A key that this very join may have made is an earlier process's, too, if there was one.
            let made_by_another =
                joined.adopted.is_some() || joined.existed && contender.session.is_taken_over();
            if !made_by_another || contender.take_over_joined().await? {
                return Ok(joined);
            }
        }
    }

    /// Gets in line if the place's condition holds; `None` if it does not, and then no key is left.
    pub(crate) async fn join_if(&mut self, value: &[u8], intent: Intent) -> Result<Option<Joined>, Error> {
        self.contender_mut().join_if(value, intent).await
    }

    /// Takes over a key that was joined with before, perhaps by an earlier process of the same session.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if that incarnation of the key is gone.
    pub(crate) async fn resume(&mut self, revision: i64) -> Result<Joined, Error> {
        self.contender_mut().resume(revision).await
    }

    /// Forgets the key, which belongs to somebody else.
    pub(crate) fn disown(mut self) {
        self.contender_mut().presence = Presence::Absent;
    }

    /// Waits until it is among the first; the place must have been joined, and that may have given a head start.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the contender's key is gone, [`Error::SessionLost`], [`Error::ForeignKey`].
    ///
    /// Cancel safe.
    pub(crate) async fn wait_turn(&self, head_start: Option<HeadStart>) -> Result<(), Error> {
        let contender = self.contender();
        let Presence::Present { revision, .. } = contender.presence else {
            return Err(Error::NotHeld);
        };
        wait::wait_turn(&contender.session, &contender.line, &contender.key, revision, head_start).await
    }

    /// The revision that created the contender's key; 0 before it has joined.
    pub(crate) fn revision(&self) -> i64 {
        self.contender().created()
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.contender().key
    }

    pub(crate) fn session(&self) -> &Session {
        &self.contender().session
    }

    /// Deletes the contender's key and waits until etcd has confirmed it.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the key was gone already, [`Error::SessionLost`], [`Error::Refused`]. Only after the last may
    /// the key still be there, and leaving be tried again.
    ///
    /// # Cancel safety
    /// Dropping the future and the place leaves the rest to the background. Who drops the future alone must say that the
    /// place [stays](Self::stay).
    pub(crate) async fn leave(&mut self) -> Result<(), Error> {
        let contender = self.contender_mut();
        contender.slot.iter().for_each(Slot::leave);
        let left = contender.leave().await;
        if matches!(left, Err(Error::Refused(_))) {
            self.stay();
        }
        left
    }

    /// After [`Place::leave`] was given up half-way: the key is held as before, and who waits for it is refused.
    ///
    /// Not when the future of `leave` is dropped: the place may be dropped right after, and between the two who waits
    /// would be refused without reason.
    pub(crate) fn stay(&self) {
        self.contender().slot.iter().for_each(Slot::stay);
    }

    /// Leaves the line without having been granted: that the key is gone already is as good.
    pub(crate) async fn withdraw(mut self) -> Result<(), Error> {
        match self.leave().await {
            Err(Error::NotHeld) => Ok(()),
            left => left,
        }
    }

    /// Takes in what is known of the contender's key.
    pub(crate) fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let (state, revision) = match self.contender().presence {
            Presence::Absent => (0, 0),
            Presence::Unknown => (1, 0),
            Presence::Present { revision, doubtful } => (2 + u8::from(doubtful), revision),
        };
        into.write_u8(state);
        into.write_i64(revision);
    }

    fn contender(&self) -> &Contender {
        self.contender.as_ref().expect("taken out only in drop")
    }

    fn contender_mut(&mut self) -> &mut Contender {
        self.contender.as_mut().expect("taken out only in drop")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(mut contender) = self.contender.take() else { return };
        if contender.presence == Presence::Absent {
            return;
        }
        // At once, not when the task first runs: who locks again right after a drop is to wait, not to be refused.
        contender.slot.iter().for_each(Slot::leave);
        let backend = Arc::clone(contender.session.backend());
        backend.spawn(
            async move {
                match contender.leave().await {
                    Ok(()) | Err(Error::NotHeld | Error::SessionLost) => {}
                    Err(error) => {
                        let name = contender.line.name.as_str();
                        tracing::warn!(name, %error, "the place in line could not be given up; it ends with the session");
                    }
                }
            }
            .boxed(),
        );
    }
}

impl Contender {
    async fn join_if(&mut self, value: &[u8], intent: Intent) -> Result<Option<Joined>, Error> {
        let mut doubtful = false;
        let is_hot = intent == Intent::Wait && self.line.hot.load(Ordering::Relaxed);
        let mut watching = is_hot.then(|| Watching::line(&self.session, &self.line));
        self.settle_fence().await?;
        loop {
            let fence_key = self.fence_key();
            let fence = self.session.fence(&fence_key);
            let txn = self.join_txn(value, &fence_key, fence);
            self.presence = Presence::Unknown;
            let Outcome { value: response, doubtful: lost_some } =
                match watching::while_opening(&mut watching, self.txn(txn)).await {
                    Ok(outcome) => outcome,
                    Err(Failed { error, doubtful: lost_some }) => {
                        // Out of space may mean: applied, and only then found too much (etcd's quotaApplierV3, apply.go).
                        let may_be_applied = matches!(error, Error::Refused(Refusal::NoSpace));
                        if !doubtful && !lost_some && !may_be_applied {
                            self.presence = Presence::Absent;
                        }
                        return Err(error);
                    }
                };
            doubtful |= lost_some;
            let revision = response.header.revision;
            if response.succeeded {
                self.presence = Presence::Present { revision, doubtful };
                let joined = self.joined(keys(&response, 1), revision, None)?;
                return Ok(Some(self.with_head_start(joined, watching, response, revision)));
            }
            let fence_now = fence_of(&response, 2);
            if let Some(own) = keys(&response, 0).first() {
                self.session.set_fence(&fence_key, fence_now);
                // After a lost try a key with our value is taken for that try's.
                let adopted = Some(own).filter(|own| !doubtful || own.value != value).cloned();
                // What an earlier process of the lease may have lost on the way is not known.
                let doubtful = doubtful || adopted.is_some();
                self.presence = Presence::Present { revision: own.create_revision, doubtful };
                let joined = self.joined(keys(&response, 1), own.create_revision, adopted)?;
                return Ok(Some(Joined { existed: true, ..joined }));
            }
            if fence_now != fence {
                self.session.set_fence(&fence_key, fence_now);
                continue;
            }
            // The condition does not hold. A lost try may still find it holding, unless it is fenced off.
            if doubtful {
                self.delete_doubtful().await?;
            }
            self.presence = Presence::Absent;
            for kv in keys(&response, 1) {
                self.line.check(&kv.key)?;
            }
            return Ok(None);
        }
    }

    /// `listed` holds as many of those before the contender as keep it from being granted, if there are so many.
    fn joined(&self, listed: &[KeyValue], revision: i64, adopted: Option<KeyValue>) -> Result<Joined, Error> {
        let mut before = 0;
        for kv in listed.iter().filter(|kv| kv.create_revision < revision) {
            self.line.check(&kv.key)?;
            before += 1;
        }
        Ok(Joined { is_first: self.line.grants(before), adopted, existed: false, head_start: None })
    }

    fn with_head_start(
        &self,
        joined: Joined,
        watching: Option<Watching>,
        mut response: TxnResponse,
        revision: i64,
    ) -> Joined {
        let mut nearest = take_keys(&mut response, 1);
        nearest.retain(|kv| kv.create_revision < revision);
        self.line.hot.store(wait::is_near(&self.line, &nearest) && !joined.is_first, Ordering::Relaxed);
        Joined { head_start: Some(HeadStart { watching, nearest, as_of: revision }), ..joined }
    }

    /// etcd's own transaction, which tells of more than the first, and the fence.
    fn join_txn(&self, value: &[u8], fence_key: &[u8], fence: i64) -> Txn {
        let own = Range::key(&*self.key);
        let nearest = Range {
            keys_only: true,
            // One more for the own key.
            ..Range::prefix(&*self.line.before)
                .sorted(SortTarget::Create, SortOrder::Descend)
                .limit(wait::most_listed(&self.line) + 1)
        };
        let put = Put::new(&*self.key, value).lease(self.session.lease());
        Txn::new()
            .when([
                Compare::create_revision(&*self.key, CompareOp::Equal, 0),
                Compare::mod_revision(fence_key, CompareOp::Equal, fence),
            ])
            .when(self.condition.clone())
            .and_then([Op::Put(put), Op::Range(nearest)])
            .or_else([Op::Range(own), Op::Range(self.first()), Op::Range(Range::key(fence_key))])
    }

    /// The revision that created the key; 0 if that is not known.
    fn created(&self) -> i64 {
        match self.presence {
            Presence::Present { revision, .. } => revision,
            Presence::Absent | Presence::Unknown => 0,
        }
    }

    fn fence_key(&self) -> Vec<u8> {
        self.line.name.fence_key(self.session.lease())
    }

    /// Those that are granted, if nobody is to be passed over.
    fn first(&self) -> Range {
        let first = Range::prefix(&*self.line.before).sorted(SortTarget::Create, SortOrder::Ascend);
        first.limit(self.line.permits.into())
    }

    async fn txn(&self, txn: Txn) -> Result<Outcome<TxnResponse>, Failed> {
        self.session.txn(txn).await
    }
}

/// The revision of the fence key that operation `index` of a transaction read; 0 if it is not there.
fn fence_of(response: &TxnResponse, index: usize) -> i64 {
    keys(response, index).first().map_or(0, |kv| kv.mod_revision)
}

fn take_keys(response: &mut TxnResponse, index: usize) -> Vec<KeyValue> {
    match response.responses.get_mut(index) {
        Some(OpResponse::Range(range)) => std::mem::take(&mut range.kvs),
        _ => Vec::new(),
    }
}

/// The keys that operation `index` of a transaction read.
pub(crate) fn keys(response: &TxnResponse, index: usize) -> &[KeyValue] {
    match response.responses.get(index) {
        Some(OpResponse::Range(range)) => &range.kvs,
        _ => &[],
    }
}
