//! The Election service (`api/v3election/election.go`, `concurrency/election.go`).

use etcd_client::proto::{
    PbCampaignResponse, PbLeaderKey, PbLeaderResponse, PbProclaimResponse, PbResignResponse,
};
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tenure::kv::{
    Compare, CompareOp, DeleteRange, EventKind, Header, KeyValue, Op, Put, Range, SortOrder, SortTarget, Txn,
    WatchRequest,
};
use tenure::wire::WireWatch;

use super::super::convert;
use super::messages::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest};
use super::recipes::{Recipes, Result, next, prefix_of, unknown};

const NOT_LEADER: &str = "election: not leader";
const NO_LEADER: &str = "election: no leader";

/// `ErrMissingLeaderKey`
fn no_key() -> tonic::Status {
    unknown("\"leader\" field must be provided")
}

impl Recipes {
    pub(super) async fn campaign(self, request: CampaignRequest) -> Result<PbCampaignResponse> {
        let lease = self.session(request.lease).await?;
        let place = self.join(&request.name, lease, &request.value).await?;
        let leader =
            PbLeaderKey { name: request.name.clone(), key: place.key.clone(), rev: place.revision, lease };
        let withdrawal = self.withdrawing(place.key);
        if place.found.is_some_and(|found| found != request.value) {
            self.put_if_leader(&leader, request.value).await?;
        }
        // Its own key may be gone by then: Go's recipe does not look.
        self.wait_for_older(&request.name, place.revision).await?;
        withdrawal.call_off();
        Ok(PbCampaignResponse { header: convert::header(place.header), leader: Some(leader) })
    }

    async fn put_if_leader(&self, leader: &PbLeaderKey, value: Vec<u8>) -> Result<Header> {
        let put = Put::new(leader.key.clone(), value).lease(leader.lease);
        let holds = Compare::create_revision(leader.key.clone(), CompareOp::Equal, leader.rev);
        let answer = self.txn(Txn::new().when([holds]).and_then([Op::Put(put)])).await?;
        if answer.succeeded { Ok(answer.header) } else { Err(unknown(NOT_LEADER)) }
    }

    pub(super) async fn proclaim(self, request: ProclaimRequest) -> Result<PbProclaimResponse> {
        let leader = request.leader.ok_or_else(no_key)?;
        self.session(leader.lease).await?;
        let header = self.put_if_leader(&leader, request.value).await?;
        Ok(PbProclaimResponse { header: convert::header(header) })
    }

    pub(super) async fn resign(self, request: ResignRequest) -> Result<PbResignResponse> {
        let leader = request.leader.ok_or_else(no_key)?;
        self.session(leader.lease).await?;
        let holds = Compare::create_revision(leader.key.clone(), CompareOp::Equal, leader.rev);
        let delete = Op::Delete(DeleteRange::key(leader.key));
        let answer = self.txn(Txn::new().when([holds]).and_then([delete])).await?;
        Ok(PbResignResponse { header: convert::header(answer.header) })
    }

    async fn first(&self, name: &[u8]) -> Result<(Header, Option<KeyValue>)> {
        let first = Range::prefix(prefix_of(name)).sorted(SortTarget::Create, SortOrder::Ascend).limit(1);
        let (header, kvs) = self.range(first).await?;
        Ok((header, kvs.into_iter().next()))
    }

    pub(super) async fn leader(self, request: LeaderRequest) -> Result<PbLeaderResponse> {
        match self.first(&request.name).await? {
            (header, Some(kv)) => Ok(convert::leader_response(header, kv)),
            (_, None) => Err(unknown(NO_LEADER)),
        }
    }

    /// The leader, and then each change of it; Go's `observe` ends when its watch does.
    pub(super) fn observe(
        self,
        request: LeaderRequest,
    ) -> impl Stream<Item = Result<PbLeaderResponse>> + Send {
        let observing = Observing { recipes: self, name: request.name, at: At::Between };
        try_unfold(observing, |mut observing| async move {
            let told = observing.next().await?;
            Ok(Some((told, observing)))
        })
    }
}

/// How far an observer is.
struct Observing {
    recipes: Recipes,
    name: Vec<u8>,
    at: At,
}

enum At {
    /// The next leader is to be looked for.
    Between,
    /// This leader's key is watched.
    Led(Box<dyn WireWatch>),
}

impl Observing {
    async fn next(&mut self) -> Result<PbLeaderResponse> {
        loop {
            match &mut self.at {
                At::Between => {
                    let (header, kv) = match self.recipes.first(&self.name).await? {
                        (header, Some(kv)) => (header, kv),
                        (header, None) => self.await_first(header.revision).await?,
                    };
                    self.at = At::Led(self.watch(kv.key.clone(), Vec::new(), header.revision + 1));
                    return Ok(convert::leader_response(header, kv));
                }
                At::Led(watch) => {
                    let message = next(&mut **watch).await.and_then(std::result::Result::ok);
                    let message = message.filter(|message| !message.canceled).ok_or_else(ended)?;
                    let gone = message.events.iter().any(|event| event.kind == EventKind::Delete);
                    if gone {
                        self.at = At::Between;
                    } else if let Some(event) = message.events.into_iter().next_back() {
                        return Ok(convert::leader_response(message.header, event.kv));
                    }
                }
            }
        }
    }

    fn watch(&self, key: Vec<u8>, range_end: Vec<u8>, start_revision: i64) -> Box<dyn WireWatch> {
        self.recipes.watch(WatchRequest { range_end, start_revision, ..WatchRequest::key(key) })
    }

    /// The first key that is put after a revision at which there was none.
    async fn await_first(&mut self, revision: i64) -> Result<(Header, KeyValue)> {
        let all = WatchRequest::prefix(prefix_of(&self.name));
        let mut watch = self.watch(all.key, all.range_end, revision + 1);
        loop {
            let message = next(&mut *watch).await.and_then(std::result::Result::ok);
            let message = message.filter(|message| !message.canceled).ok_or_else(ended)?;
            let header = message.header;
            let put = message.events.into_iter().find(|event| event.kind == EventKind::Put);
            if let Some(put) = put {
                let revision = put.kv.mod_revision;
                return Ok((Header { revision, ..header }, put.kv));
            }
        }
    }
}

fn ended() -> tonic::Status {
    unknown("election: observe closed early")
}
