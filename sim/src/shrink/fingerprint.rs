//! When two failures are the same: the same invariant, broken in the same way, whoever did it, wherever and when.

use serde::{Deserialize, Serialize};

use crate::check::shape;
use crate::run::Verdict;

/// What a failure is, without the names and numbers in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Fingerprint {
    /// An invariant broke.
    Broken {
        /// Which.
        invariant: String,
        /// The words of what is wrong, with numbers, names, keys and nodes taken out.
        shape: String,
    },
    /// Something panicked.
    Panic {
        /// The panic's words, likewise.
        shape: String,
    },
    /// The run would never have ended.
    RanAway,
}

impl Fingerprint {
    /// The invariant that broke, if one did.
    pub fn invariant(&self) -> Option<&str> {
        match self {
            Self::Broken { invariant, .. } => Some(invariant),
            Self::Panic { .. } | Self::RanAway => None,
        }
    }

    /// Every failure that a verdict tells of, the first one first.
    pub fn all(verdict: &Verdict) -> Vec<Self> {
        match verdict {
            Verdict::Green => Vec::new(),
            Verdict::Panic { message } => vec![Self::Panic { shape: shape(message) }],
            Verdict::RanAway { .. } => vec![Self::RanAway],
            Verdict::Broken { violations } => {
                let of = |violation: &crate::check::Violation| Self::Broken {
                    invariant: violation.invariant.clone(),
                    shape: violation.shape(),
                };
                violations.iter().map(of).collect()
            }
        }
    }
}

/// What a verdict is about: the breach of this invariant, if it is among those, or the first; and after how many steps.
pub fn subject(verdict: &Verdict, wanted: Option<&str>) -> Option<(Fingerprint, usize)> {
    let all = Fingerprint::all(verdict);
    let place = all.iter().position(|one| wanted.is_some() && one.invariant() == wanted).unwrap_or(0);
    let step = match verdict {
        Verdict::Broken { violations } => violations.get(place)?.step,
        Verdict::Green | Verdict::Panic { .. } | Verdict::RanAway { .. } => 0,
    };
    Some((all.into_iter().nth(place)?, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Violation;

    fn broken(invariant: &str, detail: &str) -> Verdict {
        let violation = Violation { invariant: invariant.to_owned(), step: 7, detail: detail.to_owned() };
        Verdict::Broken { violations: vec![violation] }
    }

    #[test]
    fn names_numbers_and_clients_do_not_matter_and_everything_else_does() {
        let of = |detail: &str| subject(&broken("fifo", detail), None).expect("broken").0;
        let one = of(
            r#"c4 was granted the mutex "jobs/b" (token 8), but the key jobs/b/2d-f (revision 6) is before it"#,
        );
        let same = of(
            r#"c0 was granted the mutex "jobs/a" (token 123), but the key jobs/a/3f (revision 97) is before it"#,
        );
        let leader = of(
            r#"c0 was granted the leadership "jobs/a" (token 123), but the key jobs/a/3f (revision 97) is before it"#,
        );
        let gone =
            of(r#"c4 was granted the mutex "jobs/b" (token 8), but its own key is gone since revision 6"#);
        assert_eq!(one, same);
        assert_ne!(one, leader);
        assert_ne!(one, gone);
        assert_ne!(subject(&broken("fencing", "x"), None), subject(&broken("fifo", "x"), None));
    }

    #[test]
    fn a_panic_is_no_invariants_breach() {
        let panic = Verdict::Panic { message: "index 3 out of range".into() };
        assert_eq!(subject(&panic, Some("fifo")).expect("fails").0.invariant(), None);
        assert_eq!(subject(&Verdict::Green, None), None);
    }
}
