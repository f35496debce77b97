//! What may be the name of a lock or an election, and the keys that follow from it. The layout is etcd's own
//! (`client/v3/concurrency/key.go`), so that other clients of etcd contend on the same name.

use crate::Error;

/// A checked name.
///
/// It is not empty, does not end with a slash (the line's prefix is the name and one slash, so `a` and `a/` would be
/// one line), and holds no NUL byte (which marks this library's own keys beside a line). A name should not continue
/// another after a slash: the contenders of `a/b` lie below the prefix of `a`, which reports them as
/// [`Error::ForeignKey`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        let broken = |rule| Err(Error::InvalidName { name: name.to_owned(), rule });
        if name.is_empty() {
            return broken("a name must not be empty");
        }
        if name.ends_with('/') {
            return broken("a name must not end with a slash");
        }
        if name.contains('\0') {
            return broken("a name must not contain a NUL byte");
        }
        Ok(Self(name.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The prefix of all contenders' keys: the name and a slash, so that no name is a prefix of another's (etcd 6278).
    pub(crate) fn prefix(&self) -> Vec<u8> {
        format!("{}/", self.0).into_bytes()
    }

    /// The prefix of one kind of contenders below the name, as the read-write lock has two.
    pub(crate) fn sub_prefix(&self, kind: &str) -> Vec<u8> {
        format!("{}/{kind}/", self.0).into_bytes()
    }

    /// The key whose revision fences a session's late attempts to get in line; see [`line`](crate::line).
    pub(crate) fn fence_key(&self, lease: i64) -> Vec<u8> {
        const BESIDE: &[u8] = b"\0fence/";
        let mut key = Vec::with_capacity(self.0.len() + BESIDE.len() + LONGEST_LEASE);
        key.extend_from_slice(self.0.as_bytes());
        key.extend_from_slice(BESIDE);
        push_lease(&mut key, lease);
        key
    }

    /// The prefix of this library's own keys of one kind that belong to a recipe.
    ///
    /// Before the name and not behind it, as Go's own bookkeeping key of a priority queue: to Go's queue every key that begins
    /// with the name is an item.
    pub(crate) fn bookkeeping(&self, kind: &str) -> Vec<u8> {
        format!("__{}\0{kind}/", self.0).into_bytes()
    }

    /// The prefix of a session's receipts; see [`Session::once`](crate::Session).
    pub(crate) fn receipts(&self, lease: i64) -> Vec<u8> {
        let mut prefix = self.bookkeeping("receipt");
        push_lease(&mut prefix, lease);
        prefix.push(b'.');
        prefix
    }
}

/// The key of a session's contender below `prefix`.
pub(crate) fn contender_key(prefix: &[u8], lease: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + LONGEST_LEASE);
    key.extend_from_slice(prefix);
    push_lease(&mut key, lease);
    key
}

/// The key below `prefix` of one of a session's members, which are numbered.
pub(crate) fn member_key(prefix: &[u8], lease: i64, number: u64) -> Vec<u8> {
    let mut key = contender_key(prefix, lease);
    key.extend(format!("-{number}").into_bytes());
    key
}

/// Whether the part of a key behind a line's prefix is a session's (Go's `%x` of a lease id).
pub(crate) fn is_lease_hex(rest: &[u8]) -> bool {
    let digits = rest.strip_prefix(b"-").unwrap_or(rest);
    (1..=16).contains(&digits.len()) && digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A sign and the hexadecimal digits of 64 bits.
const LONGEST_LEASE: usize = 17;

/// Adds a lease id as Go's `%x` prints it: lowercase, unpadded, with a sign. Made at each join, so by hand.
fn push_lease(key: &mut Vec<u8>, lease: i64) {
    if lease < 0 {
        key.push(b'-');
    }
    let id = lease.unsigned_abs();
    let digits = (u64::BITS - id.leading_zeros()).div_ceil(4).max(1);
    key.extend((0..digits).rev().map(|place| b"0123456789abcdef"[(id >> (4 * place) & 0xf) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_etcds_own_recipes() {
        let name = Name::new("jobs/nightly").expect("a good name");
        assert_eq!(
            contender_key(&name.prefix(), 0x694d_7f3a_cafe_0d01),
            b"jobs/nightly/694d7f3acafe0d01".to_vec()
        );
        assert_eq!(contender_key(&name.prefix(), -5), b"jobs/nightly/-5".to_vec());
        assert_eq!(contender_key(&name.prefix(), 0xf), b"jobs/nightly/f".to_vec());
    }

    #[test]
    fn a_bad_name_says_which_rule_it_breaks() {
        for bad in ["", "a/", "/", "a\0b"] {
            assert!(matches!(Name::new(bad), Err(Error::InvalidName { .. })), "{bad:?}");
        }
    }

    #[test]
    fn only_a_lease_is_a_contender() {
        for good in ["694d7f3acafe0d01", "f", "-5"] {
            assert!(is_lease_hex(good.as_bytes()), "{good}");
        }
        for foreign in ["", "-", "694D", "read/12", "0694d7f3acafe0d01", "x"] {
            assert!(!is_lease_hex(foreign.as_bytes()), "{foreign}");
        }
    }
}
