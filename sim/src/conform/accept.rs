//! What is not compared, or not to the letter: every accepted difference, with its reason, in one list. A reply is
//! brought into the form that is compared here and nowhere else, and each use of an item of the list is counted.

use std::collections::BTreeMap;

use tenure::kv::{Header, KeyValue, OpResponse, Response, TxnResponse, WatchResponse};

use super::script::PICKED_LEASE;

/// A difference between the simulated store and a real server that is not held against the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accepted {
    /// The raft term in a header: it counts the elections of a server's life.
    RaftTerm,
    /// The cluster's and member's id in a header: a server draws them. That they stay the same is compared.
    ServerIds,
    /// A lease id that the server picked: it is drawn. Wherever it appears it stands for the one that the store picked.
    PickedLease,
    /// The order of leases in a list: by what each has left, which is equal within a script up to the time that it takes.
    LeaseOrder,
    /// The order of a lease's keys: etcd keeps them in a Go map.
    LeaseKeyOrder,
    /// The seconds that a lease has left: real time passes on one side only. Up to three seconds are let through.
    TimeLeft,
    /// The header in the answer to a renewal of a lease that does not exist: `etcd-client` gives an error instead.
    MissingLeaseHeader,
    /// Two transactions that etcd takes and dies of, both of which delete a range without an end and, nested or not, put a
    /// key; such a deletion is not checked against puts. A test shows it on all four lines; scripts hold none of them.
    /// - The put is to keep the key's value or lease, which the deletion took: etcd panics while it applies the
    ///   transaction ("unexpected error during txn with writes"), and again at each start. In scripts such puts keep
    ///   nothing.
    /// - The key is deleted and put in one revision, and then that very revision is compacted to: the key's value is lost,
    ///   and reading it is fatal (etcd 22376). In scripts that compact such deletions have an end.
    FatalTxn,
}

impl Accepted {
    /// The whole list.
    pub const ALL: [Self; 8] = [
        Self::RaftTerm,
        Self::ServerIds,
        Self::PickedLease,
        Self::LeaseOrder,
        Self::LeaseKeyOrder,
        Self::TimeLeft,
        Self::MissingLeaseHeader,
        Self::FatalTxn,
    ];

    /// The reason, in words for a reader of the report.
    pub fn reason(self) -> &'static str {
        match self {
            Self::RaftTerm => "raft terms count a server's elections",
            Self::ServerIds => "cluster and member ids are drawn (that they stay the same is compared)",
            Self::PickedLease => "lease ids that a server picks are drawn (each stands for the other)",
            Self::LeaseOrder => "leases are listed by time left, which is equal within a script",
            Self::LeaseKeyOrder => "a lease's keys come in the order of a Go map",
            Self::TimeLeft => "real time passes on one side only (up to 3 s)",
            Self::FatalTxn => "a put of a key that its transaction deleted by an open range can kill etcd",
            Self::MissingLeaseHeader => "etcd-client gives no header for a renewal of a missing lease",
        }
    }
}

/// How far apart the seconds left may be.
const TIME_LEFT_BAND_S: i64 = 3;

/// Brings the replies of one side into the form that is compared.
#[derive(Debug, Default)]
pub(super) struct Normal {
    ids: Option<(u64, u64)>,
    /// The ids that this side picked in this script.
    picked: Vec<i64>,
    used: BTreeMap<Accepted, u64>,
}

impl Normal {
    /// How often each item was made use of.
    pub(super) fn used(&self) -> &BTreeMap<Accepted, u64> {
        &self.used
    }

    /// Every new script picks its leases anew; a server's ids stay.
    pub(super) fn next_script(&mut self) {
        self.picked.clear();
    }

    /// The id that this side picked last.
    pub(super) fn picked(&self) -> Option<i64> {
        self.picked.last().copied()
    }

    fn count(&mut self, accepted: Accepted) {
        *self.used.entry(accepted).or_default() += 1;
    }

    fn header(&mut self, header: &mut Header) {
        if header.raft_term != 0 {
            self.count(Accepted::RaftTerm);
            header.raft_term = 0;
        }
        let ids = (header.cluster_id, header.member_id);
        if ids != (0, 0) && *self.ids.get_or_insert(ids) == ids {
            self.count(Accepted::ServerIds);
            (header.cluster_id, header.member_id) = (1, 1);
        }
    }

    fn lease(&mut self, id: &mut i64) {
        if let Some(index) = self.picked.iter().position(|picked| picked == id) {
            self.count(Accepted::PickedLease);
            *id = PICKED_LEASE.saturating_add_unsigned(index as u64);
        }
    }

    fn kv(&mut self, kv: &mut KeyValue) {
        self.lease(&mut kv.lease);
    }

    fn txn(&mut self, response: &mut TxnResponse) {
        self.header(&mut response.header);
        for op in &mut response.responses {
            match op {
                OpResponse::Range(range) => {
                    self.header(&mut range.header);
                    range.kvs.iter_mut().for_each(|kv| self.kv(kv));
                }
                OpResponse::Put(put) => {
                    self.header(&mut put.header);
                    put.prev_kv.iter_mut().for_each(|kv| self.kv(kv));
                }
                OpResponse::Delete(delete) => {
                    self.header(&mut delete.header);
                    delete.prev_kvs.iter_mut().for_each(|kv| self.kv(kv));
                }
                OpResponse::Txn(nested) => self.txn(nested),
            }
        }
    }

    /// A reply; `picks` says that it grants a lease whose id the server picks.
    pub(super) fn response(&mut self, response: &mut Response, picks: bool) {
        if let Response::LeaseKeepAlive { header, ttl_s: 0 } = response {
            self.count(Accepted::MissingLeaseHeader);
            *header = Header::default();
        }
        self.header(response.header_mut());
        match response {
            Response::Range(range) => range.kvs.iter_mut().for_each(|kv| self.kv(kv)),
            Response::Put(put) => put.prev_kv.iter_mut().for_each(|kv| self.kv(kv)),
            Response::Delete(delete) => delete.prev_kvs.iter_mut().for_each(|kv| self.kv(kv)),
            Response::Txn(txn) => self.txn(txn),
            Response::LeaseGrant { grant, .. } => {
                if picks {
                    self.picked.push(grant.id);
                }
                self.lease(&mut grant.id);
            }
            Response::LeaseTimeToLive { keys, .. } if keys.len() > 1 => {
                self.count(Accepted::LeaseKeyOrder);
                keys.sort_unstable();
            }
            Response::LeaseLeases { ids, .. } => {
                ids.iter_mut().for_each(|id| self.lease(id));
                if ids.len() > 1 {
                    self.count(Accepted::LeaseOrder);
                    ids.sort_unstable();
                }
            }
            Response::Status { leader, header, .. }
                if self.ids.is_some_and(|(_, member)| *leader == member) =>
            {
                self.count(Accepted::ServerIds);
                *leader = header.member_id;
            }
            _ => {}
        }
    }

    /// A message of a watch.
    pub(super) fn message(&mut self, message: &mut WatchResponse) {
        self.header(&mut message.header);
        for event in &mut message.events {
            self.kv(&mut event.kv);
            event.prev_kv.iter_mut().for_each(|kv| self.kv(kv));
        }
    }

    /// Lets the time left of `theirs` pass for that of `ours`, if they are near enough.
    pub(super) fn time_left(&mut self, ours: &Response, theirs: &mut Response) {
        if let (
            Response::LeaseTimeToLive { ttl_s: ours, .. },
            Response::LeaseTimeToLive { ttl_s: theirs, .. },
        ) = (ours, theirs)
            && *ours >= 0
            && *theirs >= 0
            && *theirs != *ours
            && ours.abs_diff(*theirs) <= TIME_LEFT_BAND_S.unsigned_abs()
        {
            self.count(Accepted::TimeLeft);
            *theirs = *ours;
        }
    }
}
