//! What a failed attempt means: whether the request can have been applied, and whether trying again can help.
//!
//! The words are etcd's (`api/v3rpc/rpctypes/error.go`); what each says of the proposal was read in
//! `server/etcdserver/v3_server.go` and `server/etcdserver/api/v3rpc/interceptor.go`.

use crate::backend::{Code, Refusal};
use crate::wire::Status;

/// The meaning of one failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not applied, and another member, or a later attempt, may do better.
    NotApplied,
    /// It may have been applied, or may be yet.
    Lost,
    /// Not applied, and a retry will not mend it.
    Refused(Refusal),
}

/// Refused before it was proposed, for a reason that passes.
const NOT_PROPOSED: [&str; 7] = [
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: not capable",
    "etcdserver: rpc not supported for learner",
    // A token of before a change of users or roles; the wire gets a new one.
    "etcdserver: revision of auth store is old",
    "etcdserver: invalid auth token",
    // raft has no leader to forward the proposal to.
    "raft proposal dropped",
];

/// What `status` means for the request that it answered.
pub(super) fn classify(status: &Status) -> Failure {
    let message = status.message.as_str();
    if !status.sent || NOT_PROPOSED.iter().any(|words| message.contains(words)) {
        return Failure::NotApplied;
    }
    match status.code {
        Code::NotFound if message.contains("lease not found") => Failure::Refused(Refusal::LeaseNotFound),
        Code::OutOfRange if message.contains("compacted") => Failure::Refused(Refusal::Compacted),
        Code::ResourceExhausted if message.contains("space exceeded") => Failure::Refused(Refusal::NoSpace),
        Code::PermissionDenied | Code::Unauthenticated => denied(status),
        // etcd says "who are you" with InvalidArgument.
        Code::InvalidArgument
            if message.contains("authentication failed") || message.contains("user name is empty") =>
        {
            denied(status)
        }
        Code::DataLoss if message.contains("corrupt cluster") => other(status),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => other(status),
        // gRPC's own limits ("message larger than max") are not mended by sending it again; a connection closed for too
        // many pings is.
        Code::ResourceExhausted if message.contains("larger than max") => other(status),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Failure::Lost,
    }
}

fn denied(status: &Status) -> Failure {
    Failure::Refused(Refusal::PermissionDenied(status.message.clone()))
}

fn other(status: &Status) -> Failure {
    Failure::Refused(Refusal::Other { code: status.code, message: status.message.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(code: Code, message: &str) -> Failure {
        classify(&Status { code, message: message.to_owned(), sent: true })
    }

    #[test]
    fn a_request_that_never_left_is_not_applied_whatever_the_code() {
        for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::PermissionDenied] {
            let status = Status { code, message: "connection refused".to_owned(), sent: false };
            assert_eq!(classify(&status), Failure::NotApplied);
        }
    }

    #[test]
    fn what_etcd_refuses_before_proposing_is_not_applied() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::Unavailable, "etcdserver: not capable"),
            (Code::Unknown, "raft proposal dropped"),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
        ] {
            assert_eq!(meaning(code, message), Failure::NotApplied, "{message}");
        }
    }

    #[test]
    fn a_lost_answer_leaves_it_open() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::Unavailable, "error reading a body from connection"),
            (Code::Cancelled, "Timeout expired"),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::Unknown, "transport error"),
            (Code::Internal, "h2 protocol error: error reading a body from connection"),
            (Code::ResourceExhausted, "h2 protocol error: too_many_pings"),
        ] {
            assert_eq!(meaning(code, message), Failure::Lost, "{message}");
        }
    }

    #[test]
    fn refusals_are_typed() {
        let cases = [
            (Code::NotFound, "etcdserver: requested lease not found", Refusal::LeaseNotFound),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", Refusal::Compacted),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Refusal::NoSpace),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Refusal::PermissionDenied("etcdserver: permission denied".to_owned()),
            ),
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                Refusal::Other {
                    code: Code::InvalidArgument,
                    message: "etcdserver: duplicate key given in txn request".to_owned(),
                },
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                Refusal::Other {
                    code: Code::OutOfRange,
                    message: "etcdserver: mvcc: required revision is a future revision".to_owned(),
                },
            ),
        ];
        for (code, message, refusal) in cases {
            assert_eq!(meaning(code, message), Failure::Refused(refusal), "{message}");
        }
    }
}
