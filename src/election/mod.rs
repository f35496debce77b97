//! Leader election: contenders in a waiting line, the first of which leads and says its value.

mod leadership;
mod observe;

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::kv::{KeyValue, Range, SortOrder, SortTarget};
use crate::line::{Intent, Joined, Line, Place};
use crate::name::{Name, contender_key, is_lease_hex};
use crate::tenure::{Held, with_limit};
use crate::{Backend, CallError, Error, Session, metrics};

pub use leadership::Leadership;
pub(crate) use leadership::{Leaderships, Shared};
pub use observe::{Observation, Observer};

/// A leader election on etcd: one leader at a time, in order of candidature.
///
/// Its keys and transactions are those of etcd's own recipe (`client/v3/concurrency/election.go`), so that Go's
/// `concurrency.Election`, `etcdctl elect` and the server's Election service take part under the same name.
#[derive(Clone)]
pub struct Election {
    session: Session,
    line: Arc<Line>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Election")
            .field("key", &crate::kv::Shown(&self.key).to_string())
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// Who leads, as etcd tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The leader's key.
    pub key: Vec<u8>,
    /// What it proclaimed last.
    pub value: Vec<u8>,
    /// The revision at which it stood for election: its `rev`, and its fencing token.
    pub rev: i64,
    /// The revision at which it proclaimed its value.
    pub mod_revision: i64,
    /// The lease that its leadership lasts as long as.
    pub lease: i64,
}

impl Leader {
    /// The oldest contender leads; a key that is no contender's has no business there.
    fn from_first(prefix: &[u8], first: &KeyValue) -> Result<Self, Error> {
        if !first.key.strip_prefix(prefix).is_some_and(is_lease_hex) {
            return Err(Error::foreign_key(&first.key));
        }
        Ok(Self {
            key: first.key.clone(),
            value: first.value.clone(),
            rev: first.create_revision,
            mod_revision: first.mod_revision,
            lease: first.lease,
        })
    }
}

impl Election {
    /// Names an election of a session. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::InvalidName`]: empty, ends with a slash, or holds a NUL byte.
    pub fn new(session: &Session, name: impl AsRef<str>) -> Result<Self, Error> {
        let name = Name::new(name.as_ref())?;
        let key = contender_key(&name.prefix(), session.lease());
        Ok(Self { session: session.clone(), line: Arc::new(Line::plain(name)), key })
    }

    /// The election's name.
    pub fn name(&self) -> &str {
        self.line.name.as_str()
    }

    /// Stands for election with `value` and waits until elected: one round trip if nobody else stands.
    ///
    /// If this session leads already, it proclaims `value` and gives the same leadership, which then lasts until both are
    /// dropped or one resigns.
    ///
    /// # Errors
    /// [`Error::SessionLost`], [`Error::NotHeld`] if the candidate's key is deleted while it waits, [`Error::InUse`] if this
    /// session stands already and waits, [`Error::ForeignKey`], [`Error::Refused`]. After an error nothing is left in line
    /// (what could not be deleted at once is deleted in the background, at the latest with the lease).
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the candidature in the background.
    pub async fn campaign(&self, value: impl AsRef<[u8]>) -> Result<Leadership, Error> {
        let value = value.as_ref();
        let campaign = async {
            if let Some(leadership) = self.again(value).await? {
                return Ok(leadership);
            }
            let Standing { place, modified, joined } = self.stand(value, Intent::Wait).await?;
            if !joined.is_first {
                place.wait_turn(joined.head_start).await?;
            }
            self.elected(place, modified)
        };
        self.told(|_| true, campaign).instrument(self.span("campaign")).await
    }

    /// Becomes the leader if there is none: `None` if another leads or stands.
    ///
    /// # Errors
    /// As [`Election::campaign`].
    ///
    /// # Cancel safety
    /// As [`Election::campaign`].
    pub async fn try_campaign(&self, value: impl AsRef<[u8]>) -> Result<Option<Leadership>, Error> {
        let value = value.as_ref();
        let campaign = async {
            if let Some(leadership) = self.again(value).await? {
                return Ok(Some(leadership));
            }
            let Standing { place, modified, joined } = self.stand(value, Intent::Try).await?;
            if joined.is_first {
                return self.elected(place, modified).map(Some);
            }
            place.withdraw().await?;
            Ok(None)
        };
        self.told(Option::is_some, campaign).instrument(self.span("try_campaign")).await
    }

    /// As [`Election::campaign`], waiting for `limit` at most.
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`Election::campaign`].
    ///
    /// # Cancel safety
    /// As [`Election::campaign`].
    pub async fn campaign_timeout(
        &self,
        value: impl AsRef<[u8]>,
        limit: Duration,
    ) -> Result<Leadership, Error> {
        with_limit(&**self.session.backend(), limit, self.campaign(value)).await
    }

    /// Takes up a leadership again that an earlier process of the same lease held (see
    /// [`SessionBuilder::lease`](crate::SessionBuilder::lease)): its key and its `rev`.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if that key is gone, was created anew, or does not lead. [`Error::InvalidArgument`] if it is not a
    /// key of this session. And those of [`Election::campaign`].
    ///
    /// # Cancel safety
    /// Dropping the future may resign.
    pub async fn resume(&self, key: &[u8], rev: i64) -> Result<Leadership, Error> {
        if key != self.key {
            return Err(Error::InvalidArgument {
                what: "key",
                allowed: "the key of this election and session",
            });
        }
        let mut place = self.place().await?;
        let resumed = place.resume(rev).await?;
        if !resumed.is_first {
            place.disown();
            return Err(Error::NotHeld);
        }
        let modified = resumed.adopted.map_or(rev, |kv| kv.mod_revision);
        self.elected(place, modified)
    }

    /// Who leads now; `None` if nobody does.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if etcd does not answer within the session's TTL, [`Error::ForeignKey`], [`Error::Refused`].
    ///
    /// Cancel safe.
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        let backend = self.session.backend();
        let prefix = &self.line.before;
        let first = Range::prefix(&**prefix).sorted(SortTarget::Create, SortOrder::Ascend).limit(1);
        match backend.range(first, backend.now() + self.session.ttl()).await {
            Ok(response) => response.kvs.first().map(|kv| Leader::from_first(prefix, kv)).transpose(),
            Err(CallError::Refused(refusal)) => Err(refusal.into()),
            Err(failure) => Err(Error::Unavailable(failure.to_string())),
        }
    }

    /// Observes who leads; see [`Observer`].
    pub fn observe(&self) -> Observer {
        Observer::over(Arc::clone(self.session.backend()), &self.line.name)
    }

    /// Observes an election without taking part, and so without a session.
    ///
    /// # Errors
    /// [`Error::InvalidName`]
    pub fn observer<B: Backend + Clone>(backend: &B, name: impl AsRef<str>) -> Result<Observer, Error> {
        Ok(Observer::over(Arc::new(backend.clone()), &Name::new(name.as_ref())?))
    }

    /// Campaigning while leading is proclaiming.
    async fn again(&self, value: &[u8]) -> Result<Option<Leadership>, Error> {
        let Some(leadership) = self.session.leaderships().find(&self.key) else { return Ok(None) };
        let proclaimed =
            if leadership.is_held() { leadership.proclaim(value).await } else { Err(Error::NotHeld) };
        match proclaimed {
            Ok(()) => Ok(Some(leadership)),
            Err(Error::NotHeld) => {
                // It has ended; its handle must not keep a new candidature out.
                let ended = leadership.resign().await;
                tracing::debug!(?ended, "a leadership that had ended was given up");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Gets in line.
    async fn stand(&self, value: &[u8], intent: Intent) -> Result<Standing, Error> {
        let mut place = self.place().await?;
        let joined = place.join(value, intent).await?;
        let revision = place.revision();
        let modified = match &joined.adopted {
            Some(old) if old.value != value => {
                leadership::proclaim(place.session(), &self.key, revision, old.mod_revision, value).await?
            }
            Some(old) => old.mod_revision,
            None => revision,
        };
        Ok(Standing { place, modified, joined })
    }

    fn told<T>(
        &self,
        is_granted: impl Fn(&T) -> bool,
        campaign: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        metrics::acquisition("election", &**self.session.backend(), is_granted, campaign)
    }

    async fn place(&self) -> Result<Place, Error> {
        Place::take(&self.session, Arc::clone(&self.line), self.key.clone()).await
    }

    fn elected(&self, place: Place, modified: i64) -> Result<Leadership, Error> {
        let held = Held::grant(place, self.name(), Some(self.line.scope.clone()))?;
        Ok(self.session.leaderships().add(Shared::new(&self.session, held, modified)))
    }

    /// As [`Session::hash_state`], of what the lock itself remembers.
    #[doc(hidden)]
    pub fn hash_state(&self, into: &mut dyn std::hash::Hasher) {
        let Self { session: _, line, key: _ } = self;
        line.hash_state(into);
    }

    fn span(&self, how: &'static str) -> tracing::Span {
        tracing::debug_span!("election", how, name = self.name(), lease = self.session.lease())
    }
}

/// A candidature.
struct Standing {
    place: Place,
    /// The revision of its value.
    modified: i64,
    joined: Joined,
}
