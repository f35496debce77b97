//! The library's primitives as programs see them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{Op, TxnResponse};
use tenure::{
    Election, Error, Leadership, Locker, LockerOf, Mutex, MutexGuard, Permit, Policy, ReadGuard, RwLock,
    Semaphore, Session, Tenure, WriteGuard,
};

use super::primitive::{Ask, Belief, Held, Primitive, Through, Wait};
use super::program::{PERMITS, PrimitiveKind};
use crate::history::GuardSays;

type Taken = Result<Option<Box<dyn Held>>, Error>;

/// One of the library's primitives. For the same name and session it is made once and used again, as programs do: what one of its
/// asks has learned of the line, the next goes by.
pub(super) enum Library {
    Mutex(Kept<Mutex>),
    Election(Kept<Election>),
    Read(Policy, Kept<RwLock>),
    Write(Policy, Kept<RwLock>),
    Semaphore(Kept<Semaphore>),
}

/// What was made, by its session's lease and its name.
pub(super) struct Kept<T>(StdMutex<BTreeMap<(i64, Arc<str>), T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(StdMutex::default())
    }
}

impl<T: Clone> Kept<T> {
    fn of(
        &self,
        through: &Through,
        ask: &Ask,
        make: impl FnOnce(&Session, &str) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.entry((through.session.lease(), Arc::clone(&ask.name))) {
            Entry::Occupied(made) => Ok(made.get().clone()),
            Entry::Vacant(place) => Ok(place.insert(make(&through.session, &ask.name)?).clone()),
        }
    }
}

impl Kept<RwLock> {
    fn with_policy(&self, through: &Through, ask: &Ask, policy: Policy) -> Result<RwLock, Error> {
        self.of(through, ask, |session, name| RwLock::with_policy(session, name, policy))
    }
}

impl From<PrimitiveKind> for Library {
    fn from(kind: PrimitiveKind) -> Self {
        match kind {
            PrimitiveKind::Mutex => Self::Mutex(Kept::default()),
            PrimitiveKind::Election => Self::Election(Kept::default()),
            PrimitiveKind::Read => Self::Read(Policy::WritersFirst, Kept::default()),
            PrimitiveKind::Write => Self::Write(Policy::WritersFirst, Kept::default()),
            PrimitiveKind::ReadInTurn => Self::Read(Policy::Fifo, Kept::default()),
            PrimitiveKind::WriteInTurn => Self::Write(Policy::Fifo, Kept::default()),
            PrimitiveKind::Semaphore => Self::Semaphore(Kept::default()),
        }
    }
}

impl Primitive for Library {
    fn take(&self, through: Through, ask: &Ask) -> BoxFuture<'static, Taken> {
        let through = &through;
        match self {
            Self::Mutex(kept) => {
                let make = |session: &Session, name: &str| Mutex::new(session, name);
                mutex(kept.of(through, ask, make), ask.clone()).boxed()
            }
            Self::Election(kept) => {
                let make = |session: &Session, name: &str| Election::new(session, name);
                election(kept.of(through, ask, make), through.session.lease(), ask.clone()).boxed()
            }
            Self::Read(policy, kept) => read(kept.with_policy(through, ask, *policy), ask.clone()).boxed(),
            Self::Write(policy, kept) => write(kept.with_policy(through, ask, *policy), ask.clone()).boxed(),
            Self::Semaphore(kept) => {
                let make = |session: &Session, name: &str| Semaphore::new(session, name, PERMITS);
                semaphore(kept.of(through, ask, make), ask.clone()).boxed()
            }
        }
    }
}

fn held<H: Held + 'static>(guard: Option<H>) -> Taken {
    Ok(guard.map(|guard| Box::new(guard) as Box<dyn Held>))
}

async fn mutex(mutex: Result<Mutex, Error>, ask: Ask) -> Taken {
    let mutex = mutex?;
    if ask.locker && ask.wait == Wait::Forever {
        return locked(mutex.locker()).await;
    }
    held(match ask.wait {
        Wait::Forever => Some(mutex.lock().await?),
        Wait::Try => mutex.try_lock().await?,
        Wait::Limit(limit) => Some(mutex.lock_timeout(limit).await?),
    })
}

async fn election(election: Result<Election, Error>, lease: i64, ask: Ask) -> Taken {
    let election = election?;
    if let Some(rev) = ask.resumes {
        let key = format!("{}/{lease:x}", ask.name);
        return held(Some(election.resume(key.as_bytes(), rev).await?));
    }
    held(match ask.wait {
        Wait::Forever => Some(election.campaign(&ask.value).await?),
        Wait::Try => election.try_campaign(&ask.value).await?,
        Wait::Limit(limit) => Some(election.campaign_timeout(&ask.value, limit).await?),
    })
}

async fn read(lock: Result<RwLock, Error>, ask: Ask) -> Taken {
    let lock = lock?;
    if ask.locker && ask.wait == Wait::Forever {
        return locked(lock.read_locker()).await;
    }
    held(match ask.wait {
        Wait::Forever => Some(lock.read().await?),
        Wait::Try => lock.try_read().await?,
        Wait::Limit(limit) => Some(lock.read_timeout(limit).await?),
    })
}

async fn write(lock: Result<RwLock, Error>, ask: Ask) -> Taken {
    let lock = lock?;
    if ask.locker && ask.wait == Wait::Forever {
        return locked(lock.write_locker()).await;
    }
    held(match ask.wait {
        Wait::Forever => Some(lock.write().await?),
        Wait::Try => lock.try_write().await?,
        Wait::Limit(limit) => Some(lock.write_timeout(limit).await?),
    })
}

async fn semaphore(semaphore: Result<Semaphore, Error>, ask: Ask) -> Taken {
    let semaphore = semaphore?;
    if ask.locker && ask.wait == Wait::Forever {
        return locked(semaphore.locker()).await;
    }
    held(match ask.wait {
        Wait::Forever => Some(semaphore.acquire().await?),
        Wait::Try => semaphore.try_acquire().await?,
        Wait::Limit(limit) => Some(semaphore.acquire_timeout(limit).await?),
    })
}

/// A locker that is locked. It is asked once more, which it must refuse, and which it says of itself is judged with it.
async fn locked(locker: LockerOf) -> Taken {
    locker.lock().await?;
    let tenure = locker.tenure().ok_or(Error::NotLocked)?;
    match locker.lock().await {
        Err(Error::InUse { .. }) => held(Some(Locked { locker, tenure })),
        _ => Err(Error::NotLocked),
    }
}

/// A locker while it is locked.
struct Locked {
    locker: LockerOf,
    tenure: Tenure,
}

impl Held for Locked {
    fn token(&self) -> i64 {
        self.tenure.fencing_token()
    }

    fn belief(&self) -> Belief {
        let tenure = self.tenure.clone();
        Arc::new(move || tenure.is_held())
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        self.tenure.lost().boxed()
    }

    fn txn(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<TxnResponse, Error>> {
        let tenure = self.tenure.clone();
        async move { tenure.txn(ops).await }.boxed()
    }

    fn confirm(&self) -> BoxFuture<'static, Result<bool, Error>> {
        let tenure = self.tenure.clone();
        async move { tenure.confirm().await }.boxed()
    }

    fn says(&self) -> GuardSays {
        GuardSays::of(&self.tenure)
    }

    /// And once more, which it must refuse.
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        async move {
            self.locker.unlock().await?;
            match self.locker.unlock().await {
                Err(Error::NotLocked) => Ok(()),
                _ => Err(Error::NotLocked),
            }
        }
        .boxed()
    }
}

macro_rules! held {
    ($guard:ident, $rev:expr, $release:expr $(, $more:item)*) => {
        impl Held for $guard {
            fn token(&self) -> i64 {
                self.fencing_token()
            }

            fn belief(&self) -> Belief {
                let tenure = self.tenure();
                Arc::new(move || tenure.is_held())
            }

            fn lost(&self) -> BoxFuture<'static, ()> {
                self.tenure().lost().boxed()
            }

            fn hash_state(&self, into: &mut dyn std::hash::Hasher) -> bool {
                <$guard>::hash_state(self, into);
                true
            }

            fn txn(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<TxnResponse, Error>> {
                let tenure = self.tenure();
                async move { tenure.txn(ops).await }.boxed()
            }

            fn confirm(&self) -> BoxFuture<'static, Result<bool, Error>> {
                let tenure = self.tenure();
                async move { tenure.confirm().await }.boxed()
            }

            fn says(&self) -> GuardSays {
                let rev: fn(&$guard) -> Option<i64> = $rev;
                GuardSays { rev: rev(self), ..GuardSays::of(self) }
            }

            fn release(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
                let release = $release;
                release(*self).boxed()
            }

            $($more)*
        }
    };
}

held!(MutexGuard, |_| None, MutexGuard::release);
held!(ReadGuard, |_| None, ReadGuard::release);
held!(WriteGuard, |_| None, WriteGuard::release);
held!(Permit, |_| None, Permit::release);
held!(
    Leadership,
    |leadership| Some(leadership.rev()),
    |leadership: Leadership| async move { leadership.resign().await },
    fn proclaim(&self, value: String) -> BoxFuture<'static, Result<(), Error>> {
        let leadership = self.clone();
        async move { leadership.proclaim(value).await }.boxed()
    },
    fn resigning(&self) -> Option<BoxFuture<'static, Result<(), Error>>> {
        let leadership = self.clone();
        Some(async move { leadership.resign().await }.boxed())
    }
);

/// As [`Wait::Limit`] of so many milliseconds.
pub(super) fn limit_ms(ms: u64) -> Wait {
    Wait::Limit(Duration::from_millis(ms))
}
