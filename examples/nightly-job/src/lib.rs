//! Of all processes of a service one, the leader, makes a report again and again and puts it where all read it. Twice: with a
//! mistake that reviews miss, and mended.

pub mod broken;
pub mod mended;

use std::fmt;

/// Where reports go: a database outside of etcd.
pub trait Reports: Send + Sync + 'static {
    /// The number of the last report that was put. With a fencing token: refused if a higher one has been seen, and from here
    /// on nothing with a lower one is taken.
    fn last(&self, token: Option<i64>) -> impl Future<Output = Result<u64, Stale>> + Send;

    /// Puts a report; the same of its token.
    fn put(&self, number: u64, token: Option<i64>) -> impl Future<Output = Result<(), Stale>> + Send;
}

/// A later leader has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a later leader has been seen")
    }
}

impl std::error::Error for Stale {}
