//! A script: steps that are played on the simulated store and on a real server alike. Revisions in it are relative,
//! so that a script means the same wherever a server's revision stands.

use tenure::kv::{Compare, CompareTarget, Op, Request, Txn, WatchRequest};

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A request; its reply is compared.
    Call(Request),
    /// A watch is opened; all that it tells until the end of the script is compared.
    Watch(WatchRequest),
    /// The short lease is granted, used by a put of this key, and left to die; then the script goes on.
    Expire {
        /// The key that dies with it.
        key: Vec<u8>,
    },
}

/// Revisions in a script are counted from one of three marks. A mark is a number far above any real revision, and
/// what is added to it counts from there.
const MARK: i64 = 1 << 40;

/// The revision at which the script began, and `after` more.
pub(super) fn from_start(after: i64) -> i64 {
    MARK + after
}

/// The present revision, and `after` more.
pub(super) fn from_head(after: i64) -> i64 {
    2 * MARK + after
}

/// The present compact revision, and `after` more.
pub(super) fn from_compacted(after: i64) -> i64 {
    3 * MARK + after
}

/// The id that stands for the lease whose id the server picked last.
pub(super) const PICKED_LEASE: i64 = 0x7fff_0000_0000_0000;
/// The lease of [`Step::Expire`].
pub(super) const SHORT_LEASE: i64 = 0x5057;
/// A lease that is never granted.
pub(super) const NO_SUCH_LEASE: i64 = 0x0dea;
/// The ids that scripts grant leases with.
pub(super) const LEASES: [i64; 3] = [0x11, 0x12, 0x13];

/// What a script's relative numbers stand for at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) start: i64,
    pub(super) head: i64,
    pub(super) compacted: i64,
    /// The picked lease's id, on the side that the request is for.
    pub(super) picked: Option<i64>,
}

impl Scope {
    fn revision(&self, number: i64) -> i64 {
        let mark = number.saturating_add(MARK / 2).div_euclid(MARK);
        match mark {
            1 => self.start + number - MARK,
            2 => self.head + number - 2 * MARK,
            3 => self.compacted + number - 3 * MARK,
            _ => number,
        }
    }

    fn lease(&self, id: i64) -> i64 {
        if id == PICKED_LEASE { self.picked.unwrap_or(NO_SUCH_LEASE) } else { id }
    }

    pub(super) fn request(&self, request: &Request) -> Request {
        let mut request = request.clone();
        match &mut request {
            Request::Range(range) => self.range(range),
            Request::Put(put) => put.lease = self.lease(put.lease),
            Request::Txn(txn) => self.txn(txn),
            Request::Compact { revision, .. } => *revision = self.revision(*revision),
            Request::LeaseRevoke { id }
            | Request::LeaseKeepAlive { id }
            | Request::LeaseTimeToLive { id, .. }
            | Request::LeaseGrant { id, .. } => *id = self.lease(*id),
            Request::Delete(_) | Request::LeaseLeases | Request::Status => {}
        }
        request
    }

    pub(super) fn watch(&self, watch: &WatchRequest) -> WatchRequest {
        WatchRequest { start_revision: self.revision(watch.start_revision), ..watch.clone() }
    }

    fn range(&self, range: &mut tenure::kv::Range) {
        for number in [
            &mut range.revision,
            &mut range.min_mod_revision,
            &mut range.max_mod_revision,
            &mut range.min_create_revision,
            &mut range.max_create_revision,
        ] {
            *number = self.revision(*number);
        }
    }

    fn txn(&self, txn: &mut Txn) {
        for Compare { target, .. } in &mut txn.compares {
            match target {
                CompareTarget::Create(number) | CompareTarget::Mod(number) => {
                    *number = self.revision(*number)
                }
                CompareTarget::Lease(id) => *id = self.lease(*id),
                CompareTarget::Version(_) | CompareTarget::Value(_) => {}
            }
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match op {
                Op::Range(range) => self.range(range),
                Op::Put(put) => put.lease = self.lease(put.lease),
                Op::Delete(_) => {}
                Op::Txn(nested) => self.txn(nested),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_revision_is_counted_from_its_mark() {
        let scope = Scope { start: 100, head: 107, compacted: 103, picked: None };
        assert_eq!(scope.revision(from_start(2)), 102);
        assert_eq!(scope.revision(from_head(-3)), 104);
        assert_eq!(scope.revision(from_compacted(-1)), 102);
        assert_eq!(scope.revision(-5), -5);
        assert_eq!(scope.revision(0), 0);
        assert_eq!(scope.revision(i64::MAX), i64::MAX);
        assert_eq!(scope.lease(PICKED_LEASE), NO_SUCH_LEASE);
    }
}
