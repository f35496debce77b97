//! From the first word to etcd to the last: open a session, acquire, run the command (or hold without one), release.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{FutureExt, select_biased};
use tenure::kv::Shown;
use tenure::{Error, Etcd, Refusal, Runtime, Session, Tenure};

use crate::acquire::{Held, Kind, Wait};
use crate::args::{Connection, Terms};
use crate::connect::{connect, failure};
use crate::exit::{Ended, Failure, code};
use crate::info::Info;
use crate::signals::Signals;
use crate::supervise::{self, Watched, key_deleted};

/// How long an end that nobody depends on may be waited for: what etcd did not confirm by then ends with the lease.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub async fn run(
    connection: &Connection,
    kind: Kind,
    name: &str,
    terms: &Terms,
    command: &[OsString],
) -> Result<Ended, Failure> {
    let ttl = Duration::from_secs(terms.ttl.into());
    let grace = terms.grace.unwrap_or(ttl / 4);
    if grace > ttl / 2 {
        let words = format!("--grace {}: at most half of --ttl {}", grace.as_secs_f64(), terms.ttl);
        return Err(Failure::new(code::USAGE, words));
    }
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(code::FAILED, format!("signals cannot be listened for: {error}")))?;
    let opened = async {
        let etcd = connect(connection).await?;
        let builder = Session::builder(&etcd).ttl(ttl).open_timeout(connection.connect_timeout);
        let session = builder.open().await.map_err(|error| failure(&error))?;
        Ok((etcd, session))
    };
    let (etcd, session) = select_biased! {
        raw = signals.ending().fuse() => return Err(Failure::signalled(raw)),
        opened = Box::pin(opened).fuse() => opened?,
    };
    let holding = Holding { etcd: &etcd, session: &session, name, terms, grace };
    let ended = holding.acquire_and_hold(&kind, command, &mut signals).await;
    // Frees whatever is left, a place in line included.
    let _ = tokio::time::timeout(LAST_WORDS, session.close()).await;
    ended
}

struct Holding<'a> {
    etcd: &'a Etcd,
    session: &'a Session,
    name: &'a str,
    terms: &'a Terms,
    grace: Duration,
}

impl Holding<'_> {
    async fn acquire_and_hold(
        &self,
        kind: &Kind,
        command: &[OsString],
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let info = Info::new(self.name, self.session.lease());
        info.announce(self.etcd);
        let acquire = Box::pin(kind.acquire(self.session, self.name, self.wait()));
        let acquired = select_biased! {
            raw = signals.ending().fuse() => return Err(Failure::signalled(raw)),
            acquired = acquire.fuse() => acquired,
        };
        let held = match acquired {
            Ok(Some(held)) => held,
            Ok(None) => {
                let words = if self.terms.verbose { self.not_acquired() } else { String::new() };
                return Err(Failure::new(self.terms.conflict_exit_code, words));
            }
            Err(Error::SessionLost) => {
                let words = "the session with etcd was lost while waiting: etcd was out of reach for its TTL";
                return Err(Failure::new(code::UNREACHABLE, words));
            }
            Err(error @ Error::Refused(Refusal::PermissionDenied(_))) => {
                let name = self.name;
                let words =
                    format!("{error}; it takes readwrite permission on the range from {name} to {name}0");
                return Err(Failure::new(code::FAILED, words));
            }
            Err(error) => return Err(failure(&error)),
        };
        let tenure = held.tenure();
        self.tell(&format!("{} is held, token {}", self.name, tenure.fencing_token()));
        info.held(self.etcd, &tenure);
        let ended = if command.is_empty() {
            self.hold(kind, &tenure, signals).await
        } else {
            self.run_command(&tenure, command, signals).await
        };
        self.release(held, ended, signals).await
    }

    fn wait(&self) -> Wait {
        match self.terms.wait {
            _ if self.terms.try_only => Wait::Not,
            Some(limit) if limit.is_zero() => Wait::Not,
            Some(limit) => Wait::AtMost(limit),
            None => Wait::ForEver,
        }
    }

    fn not_acquired(&self) -> String {
        match self.wait() {
            Wait::AtMost(limit) => format!("{} was not free within {} s", self.name, limit.as_secs_f64()),
            Wait::Not | Wait::ForEver => format!("{} is not free", self.name),
        }
    }

    /// Prints what is held, and holds it until a signal.
    async fn hold(&self, kind: &Kind, tenure: &Tenure, signals: &mut Signals) -> Result<Ended, Failure> {
        let mut words = Shown(tenure.key()).to_string();
        if let Kind::Elect(value) = kind {
            words = format!("{words}\n{}", String::from_utf8_lossy(value));
        }
        let mut out = std::io::stdout();
        // Who reads no more has been told, or does not want to be.
        let _ = writeln!(out, "{words}").and_then(|()| out.flush());
        select_biased! {
            () = tenure.lost().fuse() => Err(lost()),
            () = Box::pin(key_deleted(self.etcd, tenure)).fuse() => Err(lost()),
            _ = signals.ending().fuse() => Ok(Ended::Code(0)),
        }
    }

    async fn run_command(
        &self,
        tenure: &Tenure,
        command: &[OsString],
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let watched = Watched { etcd: self.etcd, session: self.session, tenure, grace: self.grace };
        let outcome = supervise::run(&watched, command, self.environment(tenure), signals).await?;
        if outcome.lost || !tenure.is_held() { Err(lost()) } else { Ok(outcome.ended) }
    }

    /// What the command is told, and what a command for `etcdctl lock` looks for.
    fn environment(&self, tenure: &Tenure) -> Vec<(&'static str, OsString)> {
        let left = self.session.deadline().map(|deadline| deadline.saturating_since(self.etcd.now()));
        let deadline = unix_ms().saturating_add(left.unwrap_or_default().as_millis());
        let key = OsString::from_vec(tenure.key().to_vec());
        let token = tenure.fencing_token().to_string();
        vec![
            ("TENURE_NAME", self.name.into()),
            ("TENURE_KEY", key.clone()),
            ("TENURE_TOKEN", token.clone().into()),
            ("TENURE_LEASE", format!("{:x}", tenure.lease()).into()),
            ("TENURE_TTL_MS", self.session.ttl().as_millis().to_string().into()),
            ("TENURE_DEADLINE_UNIX_MS", deadline.to_string().into()),
            ("ETCD_LOCK_KEY", key),
            ("ETCD_LOCK_REV", token.into()),
        ]
    }

    /// Gives back what is held, and has the last word on whether it was held to the end.
    /// An etcd that does not answer is waited for until the session's deadline, or a signal.
    async fn release(
        &self,
        held: Held,
        ended: Result<Ended, Failure>,
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let released = select_biased! {
            released = Box::pin(held.release()).fuse() => released,
            _ = signals.ending().fuse() => Err(Error::Unavailable("interrupted".to_owned())),
        };
        match released {
            Ok(()) => self.tell(&format!("{} is released", self.name)),
            // Deleted by somebody else, before the command ended.
            Err(Error::NotHeld) => return ended.and(Err(lost())),
            Err(_) if ended.is_err() => {}
            Err(error) => {
                let ttl_s = self.session.ttl().as_secs();
                crate::say(&format!(
                    "{} was not released ({error}): it is free in at most {ttl_s} s",
                    self.name
                ));
            }
        }
        ended
    }

    fn tell(&self, words: &str) {
        if self.terms.verbose {
            crate::say(words);
        }
    }
}

fn lost() -> Failure {
    Failure::new(code::LOST, "the lock was lost")
}

/// Milliseconds since 1970 by the wall clock.
pub fn unix_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
