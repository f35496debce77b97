//! What users of etcd's own recipes met, and what is done about each here: a planted bug that must be killed, or the reason
//! why there is none.

/// Something that users met.
#[derive(Debug)]
pub struct Met {
    /// The issues, etcd's own where no project is named.
    pub issues: &'static str,
    /// What happened.
    pub about: &'static str,
    /// What is done about it.
    pub answer: Answer,
}

/// What is done about something that users met.
#[derive(Debug)]
pub enum Answer {
    /// These bugs are planted.
    Planted(&'static [&'static str]),
    /// No bug is planted, for this reason.
    Reason(&'static str),
}

const fn planted(issues: &'static str, about: &'static str, bugs: &'static [&'static str]) -> Met {
    Met { issues, about, answer: Answer::Planted(bugs) }
}

const fn reason(issues: &'static str, about: &'static str, reason: &'static str) -> Met {
    Met { issues, about, answer: Answer::Reason(reason) }
}

/// Everything that users met, as far as it is known.
pub const MET: &[Met] = &[
    planted(
        "11456, 9921, 11051, 11007",
        "a waiter whose lease had died won the lock or the election",
        &["no-own-key-check", "campaign-after-expiry"],
    ),
    planted("19597", "a waiter is blind to its own expiry", &["blind-to-own-expiry"]),
    planted("12017", "IsOwner is true while still queued", &["is-owner-while-queued"]),
    planted("22082", "a retried unlock deletes a newer hold of the same session", &["unlock-by-name"]),
    planted("22123", "a resignation that failed forgets the key", &["resign-forgets"]),
    planted("21128, 9715", "a compaction during the wait leaves a zombie key", &["zombie-after-compaction"]),
    planted("18163", "an observer reports a stale first value", &["observe-stale-first"]),
    reason(
        "7815",
        "an observer dies at a compaction",
        "only a watch that resumes behind a compaction tells of one, which seeds do not bring about; the conformance suite does",
    ),
    planted("trillian 1387", "an observer never says that there is no leader", &["observe-never-no-leader"]),
    reason(
        "kube-vip 1725",
        "a closed channel of an observer, a nil dereference",
        "the type has no such state: Observer::next gives an observation or an error and never ends",
    ),
    planted("14641, 8980, 12534", "a wait hangs on a paused or cut-off member", &["hangs-on-silent-member"]),
    planted("14631, 6681", "opening a session hangs", &["opening-hangs"]),
    planted("6127, 10811", "the holder is not told of the loss", &["deaf-to-expiry"]),
    planted("11457", "nothing to fence writes with", &["token-is-the-lease"]),
    reason(
        "15247, 12528",
        "a stalled old leader revokes every lease",
        "etcd's own, not a library's: simulated for the releases that do it, and found in 3.4.20 by the scenario etcd",
    ),
    planted("16221", "a read-write lock is granted to a waiter whose key is gone", &["writer-without-key"]),
    reason(
        "6408",
        "a test never took the write lock and passed",
        "a fault of a test: the marks of coverage and canary does-nothing are against it",
    ),
    planted("6278", "one name is a prefix of another's", &["names-overlap"]),
    planted("14603", "a double barrier lets a late client through", &["late-client"]),
    planted("etcd-client 14", "every campaign returns after expiry", &["campaign-after-expiry"]),
];

#[cfg(test)]
mod tests {
    use super::{Answer, MET};
    use crate::planted::PLANTED;

    #[test]
    fn what_users_met_is_planted_or_has_a_reason() {
        for met in MET {
            match met.answer {
                Answer::Planted(bugs) => {
                    assert!(!bugs.is_empty(), "{}", met.issues);
                    for bug in bugs {
                        assert!(PLANTED.iter().any(|planted| planted.name == *bug), "no {bug} is planted");
                    }
                }
                Answer::Reason(reason) => assert!(!reason.is_empty(), "{}", met.issues),
            }
        }
    }
}
