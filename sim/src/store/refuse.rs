//! etcd's refusals: each gRPC code with etcd's exact words (`api/v3rpc/rpctypes/error.go`).

use tenure::Code;
use tenure::wire::Status;

fn status(code: Code, message: impl Into<String>) -> Status {
    Status { code, message: message.into(), sent: true }
}

/// `ErrGRPCEmptyKey`
pub fn empty_key() -> Status {
    status(Code::InvalidArgument, "etcdserver: key is not provided")
}

/// `ErrGRPCKeyNotFound`: what `ignore_value` and `ignore_lease` need is not there.
pub fn key_not_found() -> Status {
    status(Code::InvalidArgument, "etcdserver: key not found")
}

/// `ErrGRPCValueProvided`
pub fn value_provided() -> Status {
    status(Code::InvalidArgument, "etcdserver: value is provided")
}

/// `ErrGRPCLeaseProvided`
pub fn lease_provided() -> Status {
    status(Code::InvalidArgument, "etcdserver: lease is provided")
}

/// `ErrGRPCTooManyOps`
pub fn too_many_ops() -> Status {
    status(Code::InvalidArgument, "etcdserver: too many operations in txn request")
}

/// `ErrGRPCDuplicateKey`
pub fn duplicate_key() -> Status {
    status(Code::InvalidArgument, "etcdserver: duplicate key given in txn request")
}

/// `ErrGRPCRequestTooLarge`
pub fn request_too_large() -> Status {
    status(Code::InvalidArgument, "etcdserver: request is too large")
}

/// What gRPC itself says to a message above its limit (`MaxRequestBytes` and 512 KiB more).
pub fn message_too_large(size: usize, limit: usize) -> Status {
    status(Code::ResourceExhausted, format!("grpc: received message larger than max ({size} vs. {limit})"))
}

/// `ErrGRPCCompacted`
pub fn compacted() -> Status {
    status(Code::OutOfRange, COMPACTED)
}

/// The words of [`compacted`]; a watch is cancelled with them too.
pub const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// `ErrGRPCFutureRev`
pub fn future_revision() -> Status {
    status(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
}

/// `ErrGRPCNoSpace`
pub fn no_space() -> Status {
    status(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")
}

/// `ErrGRPCLeaseNotFound`
pub fn lease_not_found() -> Status {
    status(Code::NotFound, "etcdserver: requested lease not found")
}

/// `ErrGRPCLeaseExist`
pub fn lease_exists() -> Status {
    status(Code::FailedPrecondition, "etcdserver: lease already exists")
}

/// `ErrGRPCLeaseTTLTooLarge`
pub fn lease_ttl_too_large() -> Status {
    status(Code::OutOfRange, "etcdserver: too large lease TTL")
}

/// A request that the store alone does not answer: it needs a lessor or a member.
pub fn not_the_stores() -> Status {
    status(Code::Unimplemented, "this request is answered by a member, not by its store")
}
