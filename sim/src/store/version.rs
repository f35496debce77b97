//! The release of etcd that a simulated store behaves as, and what differs between releases.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A release of etcd, such as `3.5.13`; ordered as releases are. Written as that text, or read from a line alone (`3.5`),
/// which stands for its newest release here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EtcdVersion {
    /// Line 3.4, with the patch number.
    V3_4(u16),
    /// Line 3.5, with the patch number.
    V3_5(u16),
    /// Line 3.6, with the patch number.
    V3_6(u16),
    /// Line 3.7, with the patch number.
    V3_7(u16),
}

impl EtcdVersion {
    /// The releases that real servers are at hand for, one a line.
    pub const VENDORED: [Self; 4] = [Self::V3_4(45), Self::V3_5(34), Self::V3_6(15), Self::V3_7(2)];

    /// The line, such as `3.5`.
    pub fn line(self) -> &'static str {
        match self {
            Self::V3_4(_) => "3.4",
            Self::V3_5(_) => "3.5",
            Self::V3_6(_) => "3.6",
            Self::V3_7(_) => "3.7",
        }
    }

    /// The patch number.
    pub fn patch(self) -> u16 {
        match self {
            Self::V3_4(patch) | Self::V3_5(patch) | Self::V3_6(patch) | Self::V3_7(patch) => patch,
        }
    }

    /// When a member that takes itself for the leader makes sure of it before it renews or revokes a lease
    /// (`ensureLeadership` in etcd's `server.go`).
    pub fn leadership_check(self) -> LeadershipCheck {
        let (first_check, first_shortcut) = match self {
            Self::V3_4(_) => (Self::V3_4(31), Self::V3_4(34)),
            Self::V3_5(_) => (Self::V3_5(13), Self::V3_5(16)),
            Self::V3_6(_) | Self::V3_7(_) => return LeadershipCheck::WhenStalled,
        };
        if self < first_check {
            LeadershipCheck::Never
        } else if self < first_shortcut {
            LeadershipCheck::Always
        } else {
            LeadershipCheck::WhenStalled
        }
    }

    /// Whether a member asks for votes without a new term first, so that one that comes back leaves a healthy leader
    /// alone (`--pre-vote`, on by default since 3.5).
    pub fn pre_vote_default(self) -> bool {
        self >= Self::V3_5(0)
    }

    /// Whether a transaction looks for what is wrong with its puts before it looks at its reads; since 3.6 it takes
    /// the operations in order (`checkRequests` in 3.5's `apply.go`, `checkTxn` in 3.6's `txn.go`).
    pub fn checks_puts_first(self) -> bool {
        self < Self::V3_6(0)
    }

    /// Whether a put in a transaction that lacks both its lease and the key that it is to keep the value of is refused
    /// for its lease; before 3.7 it is for its key.
    pub fn checks_lease_before_key(self) -> bool {
        self >= Self::V3_7(0)
    }

    /// Whether a put in a nested transaction counts as one while the store is full (etcd 22134; seen in 3.5.34, 3.6.15
    /// and 3.7.2, which are taken for the first releases with it, and not in 3.4.45).
    pub fn nested_puts_need_space(self) -> bool {
        match self {
            Self::V3_4(_) => false,
            Self::V3_5(patch) => patch >= 34,
            Self::V3_6(patch) => patch >= 15,
            Self::V3_7(patch) => patch >= 2,
        }
    }

    /// Whether a read of keys only says which lease a key lives by. 3.7.2 does not say
    /// it unless the read is sorted by value, as if the index answered, which does not know it.
    pub fn keys_only_tells_lease(self) -> bool {
        self < Self::V3_7(0)
    }

    /// Whether a compaction keeps the deletions of the very revision it compacts to, so that a watch from there is told
    /// of them (etcd 18089; since 3.4.34 and 3.5.16).
    pub fn keeps_deletions_at_compaction(self) -> bool {
        match self {
            Self::V3_4(patch) => patch >= 34,
            Self::V3_5(patch) => patch >= 16,
            Self::V3_6(_) | Self::V3_7(_) => true,
        }
    }
}

/// See [`EtcdVersion::leadership_check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadershipCheck {
    /// Never: the revocations of an old leader that was stalled are forwarded to the new one (etcd 12528, 15247).
    Never,
    /// Always, by asking a majority (etcd 16822, in 3.4.31 and 3.5.13).
    Always,
    /// Only when its own ticks have stood still for a while (etcd 18428, in 3.4.34, 3.5.16 and 3.6.0): one that is cut off
    /// goes on renewing until it steps down, and one that was stalled may revoke again if a tick comes before the new
    /// leader's word. Seen in 3.7.2.
    WhenStalled,
}

impl Default for EtcdVersion {
    fn default() -> Self {
        Self::V3_7(2)
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.line(), self.patch())
    }
}

/// Not a release of etcd that is known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown etcd version {0:?}: expected 3.4, 3.5, 3.6 or 3.7, with or without a patch number")]
pub struct UnknownVersion(String);

impl FromStr for EtcdVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        let unknown = || UnknownVersion(text.to_owned());
        if let Some(newest) = Self::VENDORED.into_iter().find(|version| version.line() == text) {
            return Ok(newest);
        }
        let (line, patch) = text.rsplit_once('.').ok_or_else(unknown)?;
        let patch = patch.parse().map_err(|_| unknown())?;
        match line {
            "3.4" => Ok(Self::V3_4(patch)),
            "3.5" => Ok(Self::V3_5(patch)),
            "3.6" => Ok(Self::V3_6(patch)),
            "3.7" => Ok(Self::V3_7(patch)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for EtcdVersion {
    type Error = UnknownVersion;

    fn try_from(text: String) -> Result<Self, UnknownVersion> {
        text.parse()
    }
}

impl From<EtcdVersion> for String {
    fn from(version: EtcdVersion) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for text in ["3.4.23", "3.5.13", "3.6.15", "3.7.0"] {
            let version: EtcdVersion = text.parse().expect(text);
            assert_eq!(version.to_string(), text);
        }
        assert_eq!("3.6".parse(), Ok(EtcdVersion::V3_6(15)), "a line is its newest release");
        for text in ["", "3", "3.3", "3.4.x", "2.3.8", "3.4.1.2", "4.0.0"] {
            assert!(text.parse::<EtcdVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_check_of_leadership_came_and_was_cut_short() {
        let check = |text: &str| text.parse::<EtcdVersion>().expect(text).leadership_check();
        for (versions, expected) in [
            (["3.4.30", "3.5.0", "3.5.12"], LeadershipCheck::Never),
            (["3.4.31", "3.5.13", "3.5.15"], LeadershipCheck::Always),
            (["3.4.34", "3.5.16", "3.6.0"], LeadershipCheck::WhenStalled),
        ] {
            for version in versions {
                assert_eq!(check(version), expected, "{version}");
            }
        }
    }
}
