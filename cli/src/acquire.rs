//! Getting what is to be held: a lock, a side of a read-write lock, a permit of a semaphore, or the lead of an election.

use std::time::Duration;

use tenure::{
    Election, Error, Leadership, Mutex, MutexGuard, Permit, ReadGuard, RwLock, Semaphore, Session, Tenure,
    WriteGuard,
};

/// What is to be held.
#[derive(Clone, Debug)]
pub enum Kind {
    Lock,
    Read,
    Write,
    /// One of so many permits.
    Sem(u32),
    /// The lead, with this value.
    Elect(Vec<u8>),
}

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    ForEver,
    AtMost(Duration),
    Not,
}

/// What is held.
pub enum Held {
    Lock(MutexGuard),
    Read(ReadGuard),
    Write(WriteGuard),
    Sem(Permit),
    Lead(Leadership),
}

impl Kind {
    /// Waits until it is held; `None` if it is not to be waited for, or not as long.
    ///
    /// Cancel safe: dropping the future withdraws from the line in the background.
    pub async fn acquire(&self, session: &Session, name: &str, wait: Wait) -> Result<Option<Held>, Error> {
        let acquired = match self {
            Self::Lock => {
                let lock = Mutex::new(session, name)?;
                let held = match wait {
                    Wait::ForEver => lock.lock().await.map(Some),
                    Wait::AtMost(limit) => lock.lock_timeout(limit).await.map(Some),
                    Wait::Not => lock.try_lock().await,
                };
                held.map(|held| held.map(Held::Lock))
            }
            Self::Read => {
                let lock = RwLock::new(session, name)?;
                let held = match wait {
                    Wait::ForEver => lock.read().await.map(Some),
                    Wait::AtMost(limit) => lock.read_timeout(limit).await.map(Some),
                    Wait::Not => lock.try_read().await,
                };
                held.map(|held| held.map(Held::Read))
            }
            Self::Write => {
                let lock = RwLock::new(session, name)?;
                let held = match wait {
                    Wait::ForEver => lock.write().await.map(Some),
                    Wait::AtMost(limit) => lock.write_timeout(limit).await.map(Some),
                    Wait::Not => lock.try_write().await,
                };
                held.map(|held| held.map(Held::Write))
            }
            Self::Sem(permits) => {
                let semaphore = Semaphore::new(session, name, *permits)?;
                let held = match wait {
                    Wait::ForEver => semaphore.acquire().await.map(Some),
                    Wait::AtMost(limit) => semaphore.acquire_timeout(limit).await.map(Some),
                    Wait::Not => semaphore.try_acquire().await,
                };
                held.map(|held| held.map(Held::Sem))
            }
            Self::Elect(value) => {
                let election = Election::new(session, name)?;
                let held = match wait {
                    Wait::ForEver => election.campaign(value).await.map(Some),
                    Wait::AtMost(limit) => election.campaign_timeout(value, limit).await.map(Some),
                    Wait::Not => election.try_campaign(value).await,
                };
                held.map(|held| held.map(Held::Lead))
            }
        };
        match acquired {
            Err(Error::Timeout) => Ok(None),
            other => other,
        }
    }
}

impl Held {
    /// What is watched while it lasts.
    pub fn tenure(&self) -> Tenure {
        match self {
            Self::Lock(guard) => guard.tenure(),
            Self::Read(guard) => guard.tenure(),
            Self::Write(guard) => guard.tenure(),
            Self::Sem(permit) => permit.tenure(),
            Self::Lead(leadership) => leadership.tenure(),
        }
    }

    /// Gives it back and waits for etcd's word.
    pub async fn release(self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.release().await,
            Self::Read(guard) => guard.release().await,
            Self::Write(guard) => guard.release().await,
            Self::Sem(permit) => permit.release().await,
            Self::Lead(leadership) => leadership.resign().await,
        }
    }
}
