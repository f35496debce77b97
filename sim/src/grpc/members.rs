//! The Maintenance and Cluster services.

use std::pin::Pin;

use etcd_client::proto::{
    PbAlarmMember, PbAlarmRequest, PbAlarmResponse, PbClusterService, PbDefragmentRequest,
    PbDefragmentResponse, PbDowngradeRequest, PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse,
    PbHashRequest, PbHashResponse, PbMaintenanceService, PbMember, PbMemberAddRequest, PbMemberAddResponse,
    PbMemberListRequest, PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse,
    PbMemberRemoveRequest, PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
    PbMoveLeaderRequest, PbMoveLeaderResponse, PbResponseHeader, PbSnapshotRequest, PbSnapshotResponse,
    PbStatusRequest, PbStatusResponse,
};
use futures_util::Stream;
use tenure::kv::{Header, Range, Request, Response};

use super::operations::Member;
use super::{Service, convert, unimplemented};

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

/// The NOSPACE alarm (`AlarmType` in etcd's `rpc.proto`).
const NO_SPACE: i32 = 1;

impl Service {
    async fn member_status(&self) -> Result<(Header, String, u64), tonic::Status> {
        let answer = self.ask(Request::Status, |response| match response {
            Response::Status { header, version, leader } => Some((header, version, leader)),
            _ => None,
        });
        answer.await
    }

    /// The header of an answer of this member.
    async fn own_header(&self) -> Result<Option<PbResponseHeader>, tonic::Status> {
        let (header, ..) = self.member_status().await?;
        Ok(convert::header(header))
    }

    fn listed(&self) -> Vec<PbMember> {
        self.operations.members().into_iter().map(listed).collect()
    }
}

fn listed(member: Member) -> PbMember {
    PbMember {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.is_learner,
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl PbMaintenanceService for Service {
    async fn status(&self, _: tonic::Request<PbStatusRequest>) -> Answer<PbStatusResponse> {
        let (header, version, leader) = self.member_status().await?;
        let standing = self.operations.standing();
        let mut errors = Vec::new();
        if leader == 0 {
            errors.push("etcdserver: no leader".to_owned());
        }
        if standing.no_space {
            errors.push(format!("memberID:{} alarm:NOSPACE ", header.member_id));
        }
        Ok(tonic::Response::new(PbStatusResponse {
            header: convert::header(header),
            version,
            leader,
            raft_term: header.raft_term,
            db_size: signed(standing.db_size),
            db_size_in_use: signed(standing.db_size_in_use),
            raft_index: standing.raft_index,
            raft_applied_index: standing.raft_applied_index,
            is_learner: standing.is_learner,
            errors,
            ..PbStatusResponse::default()
        }))
    }

    async fn alarm(&self, request: tonic::Request<PbAlarmRequest>) -> Answer<PbAlarmResponse> {
        const ANY: i32 = 0;
        let PbAlarmRequest { action, alarm, .. } = request.into_inner();
        let mut on = self.operations.standing().no_space;
        let concerned = alarm == ANY || alarm == NO_SPACE;
        match action {
            0 => {}
            1 if alarm == NO_SPACE => {
                self.operations.set_space_alarm(true).await.map_err(convert::status)?;
                on = true;
            }
            // What is cleared is told.
            2 if concerned && on => self.operations.set_space_alarm(false).await.map_err(convert::status)?,
            2 => {}
            _ => return Err(unimplemented("raising any alarm but NOSPACE")),
        }
        let (header, ..) = self.member_status().await?;
        let alarms = if on && concerned {
            vec![PbAlarmMember { member_id: header.member_id, alarm: NO_SPACE }]
        } else {
            Vec::new()
        };
        Ok(tonic::Response::new(PbAlarmResponse { header: convert::header(header), alarms }))
    }

    async fn defragment(&self, _: tonic::Request<PbDefragmentRequest>) -> Answer<PbDefragmentResponse> {
        self.operations.defragment().await.map_err(convert::status)?;
        // etcd's answer has no header.
        Ok(tonic::Response::new(PbDefragmentResponse { header: None }))
    }

    async fn hash(&self, _: tonic::Request<PbHashRequest>) -> Answer<PbHashResponse> {
        let hash = self.operations.hash_kv(0).await.map_err(convert::status)?.hash;
        Ok(tonic::Response::new(PbHashResponse { header: self.own_header().await?, hash }))
    }

    async fn hash_kv(&self, request: tonic::Request<PbHashKvRequest>) -> Answer<PbHashKvResponse> {
        let revision = request.into_inner().revision;
        let held = self.operations.hash_kv(revision).await.map_err(convert::status)?;
        Ok(tonic::Response::new(PbHashKvResponse {
            header: self.own_header().await?,
            hash: held.hash,
            compact_revision: held.compact_revision,
            hash_revision: held.revision,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<PbSnapshotResponse, tonic::Status>> + Send>>;

    async fn snapshot(&self, _: tonic::Request<PbSnapshotRequest>) -> Answer<Self::SnapshotStream> {
        Err(unimplemented("Snapshot"))
    }

    async fn move_leader(
        &self,
        request: tonic::Request<PbMoveLeaderRequest>,
    ) -> Answer<PbMoveLeaderResponse> {
        self.operations.move_leader(request.into_inner().target_id).await.map_err(convert::status)?;
        Ok(tonic::Response::new(PbMoveLeaderResponse { header: self.own_header().await? }))
    }

    async fn downgrade(&self, _: tonic::Request<PbDowngradeRequest>) -> Answer<PbDowngradeResponse> {
        Err(unimplemented("Downgrade"))
    }
}

#[tonic::async_trait]
impl PbClusterService for Service {
    async fn member_add(&self, request: tonic::Request<PbMemberAddRequest>) -> Answer<PbMemberAddResponse> {
        let PbMemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let added = self.operations.add_member(peer_ur_ls, is_learner).await.map_err(convert::status)?;
        Ok(tonic::Response::new(PbMemberAddResponse {
            header: self.own_header().await?,
            member: Some(listed(added)),
            members: self.listed(),
        }))
    }

    async fn member_remove(
        &self,
        request: tonic::Request<PbMemberRemoveRequest>,
    ) -> Answer<PbMemberRemoveResponse> {
        self.operations.remove_member(request.into_inner().id).await.map_err(convert::status)?;
        let members = self.listed();
        Ok(tonic::Response::new(PbMemberRemoveResponse { header: self.own_header().await?, members }))
    }

    async fn member_update(
        &self,
        request: tonic::Request<PbMemberUpdateRequest>,
    ) -> Answer<PbMemberUpdateResponse> {
        let PbMemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        self.operations.update_member(id, peer_ur_ls).await.map_err(convert::status)?;
        let members = self.listed();
        Ok(tonic::Response::new(PbMemberUpdateResponse { header: self.own_header().await?, members }))
    }

    async fn member_list(
        &self,
        request: tonic::Request<PbMemberListRequest>,
    ) -> Answer<PbMemberListResponse> {
        if request.into_inner().linearizable {
            // As etcd does since 3.5, by a read index; a key that cannot be does for one.
            let any = Range { count_only: true, ..Range::key([0]) };
            self.wire.call(Request::Range(any)).await.map_err(convert::status)?;
        }
        let members = self.listed();
        Ok(tonic::Response::new(PbMemberListResponse { header: self.own_header().await?, members }))
    }

    async fn member_promote(
        &self,
        request: tonic::Request<PbMemberPromoteRequest>,
    ) -> Answer<PbMemberPromoteResponse> {
        self.operations.promote_member(request.into_inner().id).await.map_err(convert::status)?;
        let members = self.listed();
        Ok(tonic::Response::new(PbMemberPromoteResponse { header: self.own_header().await?, members }))
    }
}
