//! The library's primitives as programs see them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tenure::kv::{Op, TxnResponse};
use tenure::{
    Election, Error, Leadership, Locker, LockerOf, Mutex, MutexGuard, Permit, Policy, ReadGuard, RwLock,
    Semaphore, Tenure, WriteGuard,
};

use super::primitive::{Ask, Belief, Held, Primitive, Through, Wait};
use super::program::{PERMITS, PrimitiveKind};
use crate::history::GuardSays;

type Taken = Result<Option<Box<dyn Held>>, Error>;

/// One of the library's primitives.
pub(super) struct Library(pub(super) PrimitiveKind);

impl Primitive for Library {
    fn take(&self, through: Through, ask: &Ask) -> BoxFuture<'static, Taken> {
        let ask = ask.clone();
        match self.0 {
            PrimitiveKind::Mutex => mutex(through, ask).boxed(),
            PrimitiveKind::Election => election(through, ask).boxed(),
            PrimitiveKind::Read => read(through, ask, Policy::WritersFirst).boxed(),
            PrimitiveKind::Write => write(through, ask, Policy::WritersFirst).boxed(),
            PrimitiveKind::ReadInTurn => read(through, ask, Policy::Fifo).boxed(),
            PrimitiveKind::WriteInTurn => write(through, ask, Policy::Fifo).boxed(),
            PrimitiveKind::Semaphore => semaphore(through, ask).boxed(),
        }
    }
}

fn held<H: Held + 'static>(guard: Option<H>) -> Taken {
    Ok(guard.map(|guard| Box::new(guard) as Box<dyn Held>))
}

async fn mutex(through: Through, ask: Ask) -> Taken {
    let mutex = Mutex::new(&through.session, &*ask.name)?;
    drop(through);
    if ask.locker && ask.wait == Wait::Forever {
        return locked(mutex.locker()).await;
    }
    held(match ask.wait {
        Wait::Forever => Some(mutex.lock().await?),
        Wait::Try => mutex.try_lock().await?,
        Wait::Limit(limit) => Some(mutex.lock_timeout(limit).await?),
    })
}

async fn election(through: Through, ask: Ask) -> Taken {
    let election = Election::new(&through.session, &*ask.name)?;
    if let Some(rev) = ask.resumes {
        let key = format!("{}/{:x}", ask.name, through.session.lease());
        drop(through);
        return held(Some(election.resume(key.as_bytes(), rev).await?));
    }
    drop(through);
    held(match ask.wait {
        Wait::Forever => Some(election.campaign(&ask.value).await?),
        Wait::Try => election.try_campaign(&ask.value).await?,
        Wait::Limit(limit) => Some(election.campaign_timeout(&ask.value, limit).await?),
    })
}

async fn read(through: Through, ask: Ask, policy: Policy) -> Taken {
    let lock = RwLock::with_policy(&through.session, &*ask.name, policy)?;
    drop(through);
    if ask.locker && ask.wait == Wait::Forever {
        return locked(lock.read_locker()).await;
    }
    held(match ask.wait {
        Wait::Forever => Some(lock.read().await?),
        Wait::Try => lock.try_read().await?,
        Wait::Limit(limit) => Some(lock.read_timeout(limit).await?),
    })
}

async fn write(through: Through, ask: Ask, policy: Policy) -> Taken {
    let lock = RwLock::with_policy(&through.session, &*ask.name, policy)?;
    drop(through);
    if ask.locker && ask.wait == Wait::Forever {
        return locked(lock.write_locker()).await;
    }
    held(match ask.wait {
        Wait::Forever => Some(lock.write().await?),
        Wait::Try => lock.try_write().await?,
        Wait::Limit(limit) => Some(lock.write_timeout(limit).await?),
    })
}

async fn semaphore(through: Through, ask: Ask) -> Taken {
    let semaphore = Semaphore::new(&through.session, &*ask.name, PERMITS)?;
    drop(through);
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
    ($guard:ident, $rev:expr, $release:expr $(, $more:item)?) => {
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

            $($more)?
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
    }
);

/// As [`Wait::Limit`] of so many milliseconds.
pub(super) fn limit_ms(ms: u64) -> Wait {
    Wait::Limit(Duration::from_millis(ms))
}
