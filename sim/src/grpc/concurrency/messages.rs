//! The requests of etcd's `v3lock.proto` and `v3election.proto`, which `etcd-client` keeps to itself.

use etcd_client::proto::PbLeaderKey;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(super) lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CampaignRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(super) lease: i64,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LeaderRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResignRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) leader: Option<PbLeaderKey>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ProclaimRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) leader: Option<PbLeaderKey>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}
