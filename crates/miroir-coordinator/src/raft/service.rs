//! The gRPC service through which other coordinators reach this one.

use std::time::Duration;

use miroir_proto::v1 as pb;
use miroir_proto::v1::raft_service_server::{RaftService, RaftServiceServer};
use openraft::Raft;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use tonic::{Request, Response, Status, Streaming};

use super::channels::MESSAGE_BYTES_MAX;
use super::encoding::{
    DecodeError, entry_from_pb, log_id_from_pb, log_id_to_pb, require_vote, snapshot_meta_from_pb,
    vote_to_pb,
};
use super::types::{Snapshot, SnapshotMeta, TypeConfig, Vote};
use crate::storage::Marker;

/// The service, ready to be added to a tonic server.
pub type RaftServer = RaftServiceServer<RaftRpc>;

/// Answers consensus RPCs.
#[derive(Clone)]
pub struct RaftRpc {
    raft: Raft<TypeConfig>,
    me: Marker,
    snapshot_bytes_max: u64,
    snapshot_stall: Duration,
}

impl RaftRpc {
    pub(super) fn new(
        raft: Raft<TypeConfig>,
        me: Marker,
        snapshot_bytes_max: u64,
        snapshot_stall: Duration,
    ) -> Self {
        Self {
            raft,
            me,
            snapshot_bytes_max,
            snapshot_stall,
        }
    }

    /// The service with its message limits.
    pub fn into_server(self) -> RaftServer {
        RaftServiceServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn check_cluster(&self, cluster_id: &str) -> Result<(), Status> {
        let mine = &self.me.identity.cluster_id;
        if cluster_id != mine {
            return Err(Status::failed_precondition(format!(
                "this is a coordinator of cluster {mine:?}, not {cluster_id:?}"
            )));
        }
        Ok(())
    }

    /// Refuses a message that is not for us, or that comes from somebody who lost the
    /// storage his number was given for.
    fn check(&self, envelope: Option<&pb::RaftEnvelope>) -> Result<(), Status> {
        let envelope =
            envelope.ok_or_else(|| Status::invalid_argument("the message has no envelope"))?;
        self.check_cluster(&envelope.cluster_id)?;
        let me = self.me.identity.coordinator_id;
        if envelope.to != me {
            return Err(Status::failed_precondition(format!(
                "this is coordinator {me}, the message is for coordinator {}",
                envelope.to
            )));
        }
        let expected = &envelope.to_storage_id;
        if !expected.is_empty() && *expected != self.me.storage_id {
            return Err(Status::failed_precondition(format!(
                "coordinator {me} has lost the storage it joined with; remove it, and add it \
                 again with a new id"
            )));
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        match members.get_node(&envelope.from) {
            Some(known)
                if !known.storage_id.is_empty() && known.storage_id != envelope.from_storage_id =>
            {
                Err(Status::failed_precondition(format!(
                    "coordinator {} has lost the storage it joined with; remove it, and add it \
                     again with a new id",
                    envelope.from
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Receives the parts that follow the header. The result is complete and checked.
    async fn receive(
        &self,
        parts: &mut Streaming<pb::RaftSnapshotPart>,
        length: u64,
    ) -> Result<Vec<u8>, Status> {
        use pb::raft_snapshot_part::Part;
        if length > self.snapshot_bytes_max {
            return Err(Status::resource_exhausted(format!(
                "the snapshot has {length} bytes, at most {} are accepted",
                self.snapshot_bytes_max
            )));
        }
        let mut data = Vec::new();
        loop {
            match self.next_part(parts).await? {
                Part::Data(bytes) => data.extend_from_slice(&bytes),
                Part::EndCrc32(crc) if crc == crc32fast::hash(&data) => break,
                Part::EndCrc32(_) => {
                    return Err(Status::data_loss("the snapshot's checksum does not match"));
                }
                Part::Header(_) => {
                    return Err(Status::invalid_argument("a second header in a snapshot"));
                }
            }
            if data.len() as u64 > length {
                return Err(Status::invalid_argument(
                    "the snapshot is longer than announced",
                ));
            }
        }
        if data.len() as u64 != length {
            return Err(Status::data_loss("the snapshot is shorter than announced"));
        }
        Ok(data)
    }

    async fn next_part(
        &self,
        parts: &mut Streaming<pb::RaftSnapshotPart>,
    ) -> Result<pb::raft_snapshot_part::Part, Status> {
        // A sender that vanished must not keep what was received so far for ever.
        let message = tokio::time::timeout(self.snapshot_stall, parts.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the snapshot makes no progress"))??;
        message
            .and_then(|part| part.part)
            .ok_or_else(|| Status::data_loss("the snapshot ends early"))
    }

    async fn my_vote(&self) -> Result<Vote, Status> {
        self.raft
            .with_raft_state(|state| *state.vote_ref())
            .await
            .map_err(stopped)
    }
}

#[tonic::async_trait]
impl RaftService for RaftRpc {
    async fn identify(
        &self,
        request: Request<pb::RaftIdentifyRequest>,
    ) -> Result<Response<pb::RaftIdentifyResponse>, Status> {
        self.check_cluster(&request.get_ref().cluster_id)?;
        Ok(Response::new(pb::RaftIdentifyResponse {
            coordinator_id: self.me.identity.coordinator_id,
            storage_id: self.me.storage_id.clone(),
            initialized: self.raft.is_initialized().await.map_err(stopped)?,
        }))
    }

    async fn append_entries(
        &self,
        request: Request<pb::RaftAppendEntriesRequest>,
    ) -> Result<Response<pb::RaftAppendEntriesResponse>, Status> {
        use pb::raft_append_entries_response::{Partial, Result as Answer};
        let request = request.into_inner();
        self.check(request.envelope.as_ref())?;
        let entries: Result<Vec<_>, _> = request.entries.into_iter().map(entry_from_pb).collect();
        let rpc = AppendEntriesRequest {
            vote: require_vote(request.vote).map_err(malformed)?,
            prev_log_id: request.prev_log_id.map(log_id_from_pb),
            entries: entries.map_err(malformed)?,
            leader_commit: request.leader_commit.map(log_id_from_pb),
        };
        let answer = match self.raft.append_entries(rpc).await.map_err(stopped)? {
            AppendEntriesResponse::Success => Answer::Success(pb::RaftBlank {}),
            AppendEntriesResponse::PartialSuccess(matching) => Answer::PartialSuccess(Partial {
                matching: matching.as_ref().map(log_id_to_pb),
            }),
            AppendEntriesResponse::Conflict => Answer::Conflict(pb::RaftBlank {}),
            AppendEntriesResponse::HigherVote(vote) => Answer::HigherVote(vote_to_pb(&vote)),
        };
        Ok(Response::new(pb::RaftAppendEntriesResponse {
            result: Some(answer),
        }))
    }

    async fn vote(
        &self,
        request: Request<pb::RaftVoteRequest>,
    ) -> Result<Response<pb::RaftVoteResponse>, Status> {
        let request = request.into_inner();
        self.check(request.envelope.as_ref())?;
        let rpc = VoteRequest {
            vote: require_vote(request.vote).map_err(malformed)?,
            last_log_id: request.last_log_id.map(log_id_from_pb),
        };
        let answer = self.raft.vote(rpc).await.map_err(stopped)?;
        Ok(Response::new(pb::RaftVoteResponse {
            vote: Some(vote_to_pb(&answer.vote)),
            vote_granted: answer.vote_granted,
            last_log_id: answer.last_log_id.as_ref().map(log_id_to_pb),
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::RaftSnapshotPart>>,
    ) -> Result<Response<pb::RaftSnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let header = match self.next_part(&mut parts).await? {
            pb::raft_snapshot_part::Part::Header(header) => header,
            pb::raft_snapshot_part::Part::Data(_) | pb::raft_snapshot_part::Part::EndCrc32(_) => {
                return Err(Status::invalid_argument("a snapshot without a header"));
            }
        };
        self.check(header.envelope.as_ref())?;
        let vote = require_vote(header.vote).map_err(malformed)?;
        let mine = self.my_vote().await?;
        if vote < mine {
            // A deposed leader learns of it before it sends everything.
            return Ok(snapshot_answer(&mine));
        }
        let meta: SnapshotMeta = header
            .meta
            .ok_or_else(|| Status::invalid_argument("a snapshot without metadata"))
            .and_then(|meta| snapshot_meta_from_pb(meta).map_err(malformed))?;
        let data = self.receive(&mut parts, header.length).await?;
        let snapshot = Snapshot {
            meta,
            snapshot: Box::new(data.into()),
        };
        let answer = self
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(stopped)?;
        Ok(snapshot_answer(&answer.vote))
    }
}

fn snapshot_answer(vote: &Vote) -> Response<pb::RaftSnapshotResponse> {
    Response::new(pb::RaftSnapshotResponse {
        vote: Some(vote_to_pb(vote)),
    })
}

fn malformed(error: DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this coordinator is stopping: {error}"))
}
