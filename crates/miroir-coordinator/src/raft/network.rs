//! openraft's network: appends, votes and snapshots to other coordinators over gRPC.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use miroir_proto::v1 as pb;
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError,
    Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Status};

use super::channels::{Channels, Client, Pool};
use super::encoding::{
    DecodeError, entry_to_pb, log_id_from_pb, log_id_to_pb, require_vote, snapshot_meta_to_pb,
    vote_from_pb, vote_to_pb,
};
use super::timings::RaftTimings;
use super::types::{CoordinatorId, Member, Snapshot, TypeConfig, Vote};
use crate::grpc::auth::AttachToken;
use crate::storage::Marker;

/// Bytes of one snapshot part.
const PART_BYTES: usize = 256 * 1024;

/// Pause before an unreachable coordinator is tried again. Less than an election timeout, or
/// one lost message could cost a follower its leader.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Pause between log lines about the same refusing coordinator.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// Makes clients for openraft. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    me: Marker,
    timings: RaftTimings,
    pool: Pool,
    complained: Mutex<HashMap<CoordinatorId, Instant>>,
    /// Nothing is appended to other coordinators while this is set.
    silent: AtomicBool,
}

impl Shared {
    /// Whether to log a refusal by `target`: it is repeated with every retry.
    fn may_complain(&self, target: CoordinatorId) -> bool {
        let now = Instant::now();
        let mut complained = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let due = complained
            .get(&target)
            .is_none_or(|last| now.duration_since(*last) >= COMPLAINT_PAUSE);
        if due {
            complained.insert(target, now);
        }
        due
    }
}

impl Network {
    /// The network of the coordinator whose storage has the marker `me`. It shows `token` to the others.
    pub fn new(me: Marker, timings: RaftTimings, token: AttachToken) -> Self {
        Self {
            shared: Arc::new(Shared {
                me,
                timings,
                pool: Pool::new(token),
                complained: Mutex::default(),
                silent: AtomicBool::new(false),
            }),
        }
    }

    /// Appends nothing from now on; false when that was so already.
    pub(super) fn fall_silent(&self) -> bool {
        !self.shared.silent.swap(true, Ordering::Relaxed)
    }

    /// Appends again.
    pub(super) fn end_silence(&self) {
        self.shared.silent.store(false, Ordering::Relaxed);
    }

    /// Whether nothing is appended.
    pub(super) fn is_silent(&self) -> bool {
        self.shared.silent.load(Ordering::Relaxed)
    }

    /// Asks who answers at `raft_url`. The error says why nobody suitable does.
    pub async fn identify(&self, raft_url: &str) -> Result<pb::RaftIdentifyResponse, String> {
        let patience = Duration::from_millis(self.shared.timings.election_min_ms * 2);
        let mut client = self.channels(raft_url)?.raft();
        let request = pb::RaftIdentifyRequest {
            cluster_id: self.shared.me.identity.cluster_id.clone(),
        };
        match tokio::time::timeout(patience, client.identify(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(describe(&status)),
            Err(_) => Err(format!("no answer within {} ms", patience.as_millis())),
        }
    }

    fn channels(&self, url: &str) -> Result<Channels, String> {
        let timeout = Duration::from_millis(self.shared.timings.election_min_ms);
        self.shared.pool.get(url, timeout)
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: CoordinatorId, node: &Member) -> Peer {
        // openraft waits for this inside its core, so nothing here may block.
        Peer {
            channels: self.channels(&node.raft_url),
            shared: Arc::clone(&self.shared),
            target,
            storage_id: node.storage_id.clone(),
        }
    }
}

/// One other coordinator.
#[derive(Debug)]
pub struct Peer {
    shared: Arc<Shared>,
    target: CoordinatorId,
    storage_id: String,
    channels: Result<Channels, String>,
}

type RpcError = RPCError<CoordinatorId, Member, RaftError<CoordinatorId>>;
type SnapshotError = StreamingError<TypeConfig, Fatal<CoordinatorId>>;

impl Peer {
    fn envelope(&self) -> pb::RaftEnvelope {
        let me = &self.shared.me;
        pb::RaftEnvelope {
            cluster_id: me.identity.cluster_id.clone(),
            from: me.identity.coordinator_id,
            to: self.target,
            from_storage_id: me.storage_id.clone(),
            to_storage_id: self.storage_id.clone(),
        }
    }

    fn channels(&self) -> Result<&Channels, Unreachable> {
        self.channels
            .as_ref()
            .map_err(|why| Unreachable::from(AnyError::error(why)))
    }

    /// The connections, for what only a leader sends.
    fn audible(&self) -> Result<&Channels, Unreachable> {
        if self.shared.silent.load(Ordering::Relaxed) {
            return Err(Unreachable::from(AnyError::error("silent on request")));
        }
        self.channels()
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> Timeout<CoordinatorId> {
        Timeout {
            action,
            id: self.shared.me.identity.coordinator_id,
            target: self.target,
            timeout,
        }
    }

    /// Runs a unary call within the time openraft grants it.
    async fn call<T>(
        &self,
        action: RPCTypes,
        ttl: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(ttl, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.rpc_error(action, ttl, &status)),
            Err(_) => Err(self.timeout(action, ttl).into()),
        }
    }

    fn rpc_error(&self, action: RPCTypes, ttl: Duration, status: &Status) -> RpcError {
        // FailedPrecondition is the answer of a coordinator that is not who we mean.
        if status.code() == Code::FailedPrecondition && self.shared.may_complain(self.target) {
            tracing::error!(
                target_id = self.target,
                reason = status.message(),
                "a coordinator refuses our consensus messages"
            );
        }
        if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) {
            return self.timeout(action, ttl).into();
        }
        Unreachable::from(AnyError::error(describe(status))).into()
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<CoordinatorId>, RpcError> {
        let mut client = self.audible()?.raft();
        let entries = rpc.entries.len() as u64;
        let message = pb::RaftAppendEntriesRequest {
            envelope: Some(self.envelope()),
            vote: Some(vote_to_pb(&rpc.vote)),
            prev_log_id: rpc.prev_log_id.as_ref().map(log_id_to_pb),
            entries: rpc.entries.iter().map(entry_to_pb).collect(),
            leader_commit: rpc.leader_commit.as_ref().map(log_id_to_pb),
        };
        let ttl = option.hard_ttl();
        let mut request = Request::new(message);
        request.set_timeout(ttl);
        let call = async {
            let answer = client.append_entries(request).await;
            match answer {
                // Fewer entries fit; openraft then sends half of them.
                Err(status) if is_too_large(&status) && entries > 1 => Ok(None),
                other => other.map(|response| Some(response.into_inner())),
            }
            .map(tonic::Response::new)
        };
        match self.call(RPCTypes::AppendEntries, ttl, call).await? {
            Some(answer) => append_answer(answer).map_err(|e| malformed(&e)),
            None => Err(PayloadTooLarge::new_entries_hint(entries / 2).into()),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<CoordinatorId>,
        option: RPCOption,
    ) -> Result<VoteResponse<CoordinatorId>, RpcError> {
        let mut client = self.channels()?.raft();
        let ttl = option.hard_ttl();
        let mut request = Request::new(pb::RaftVoteRequest {
            envelope: Some(self.envelope()),
            vote: Some(vote_to_pb(&rpc.vote)),
            last_log_id: rpc.last_log_id.as_ref().map(log_id_to_pb),
        });
        request.set_timeout(ttl);
        let answer = self.call(RPCTypes::Vote, ttl, client.vote(request)).await?;
        Ok(VoteResponse {
            vote: require_vote(answer.vote).map_err(|e| malformed(&e))?,
            vote_granted: answer.vote_granted,
            last_log_id: answer.last_log_id.map(log_id_from_pb),
        })
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<CoordinatorId>, SnapshotError> {
        let client = self.audible()?.snapshot();
        let header = pb::RaftSnapshotHeader {
            envelope: Some(self.envelope()),
            vote: Some(vote_to_pb(&vote)),
            meta: Some(snapshot_meta_to_pb(&snapshot.meta)),
            length: snapshot.snapshot.len() as u64,
        };
        let install = Duration::from_millis(self.shared.timings.snapshot_install_ms);
        let stall = option.hard_ttl();
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = send_snapshot(client, header, *snapshot.snapshot, stall, install) => match sent {
                Ok(answer) => {
                    let vote = require_vote(answer.vote)
                        .map_err(|e| NetworkError::new(&e))?;
                    Ok(SnapshotResponse::new(vote))
                }
                Err(Some(status)) => {
                    Err(Unreachable::from(AnyError::error(describe(&status))).into())
                }
                Err(None) => Err(self.timeout(RPCTypes::InstallSnapshot, stall).into()),
            },
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_PAUSE))
    }
}

/// Streams a snapshot. The time limits are for making progress and for installing, not for
/// the whole, which depends on the size. `Err(None)` is a limit that was passed.
async fn send_snapshot(
    mut client: Client,
    header: pb::RaftSnapshotHeader,
    data: Bytes,
    stall: Duration,
    install: Duration,
) -> Result<pb::RaftSnapshotResponse, Option<Status>> {
    let (parts, stream) = mpsc::channel(4);
    // The call answers only when all is received, so the parts come from a task of their own.
    let feeder = AbortOnDropHandle::new(tokio::spawn(feed(parts, header, data, stall)));
    let too_slow = async {
        // A receiver that hung up early has answered, or will: wait for that answer.
        if feeder.await.is_ok_and(|fed| fed == Fed::Stalled) {
            return;
        }
        tokio::time::sleep(install).await;
    };
    tokio::select! {
        answer = client.install_snapshot(ReceiverStream::new(stream)) => {
            answer.map(tonic::Response::into_inner).map_err(Some)
        }
        () = too_slow => Err(None),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fed {
    Everything,
    HungUp,
    Stalled,
}

async fn feed(
    parts: mpsc::Sender<pb::RaftSnapshotPart>,
    header: pb::RaftSnapshotHeader,
    data: Bytes,
    stall: Duration,
) -> Fed {
    use pb::raft_snapshot_part::Part;
    let end = Part::EndCrc32(crc32fast::hash(&data));
    let chunks = data.chunks(PART_BYTES).map(|c| Part::Data(c.to_vec()));
    for part in std::iter::once(Part::Header(header))
        .chain(chunks)
        .chain(std::iter::once(end))
    {
        let part = pb::RaftSnapshotPart { part: Some(part) };
        match tokio::time::timeout(stall, parts.send(part)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Fed::HungUp,
            Err(_) => return Fed::Stalled,
        }
    }
    Fed::Everything
}

fn append_answer(
    answer: pb::RaftAppendEntriesResponse,
) -> Result<AppendEntriesResponse<CoordinatorId>, DecodeError> {
    use pb::raft_append_entries_response::Result as Answer;
    Ok(match answer.result {
        Some(Answer::Success(_)) => AppendEntriesResponse::Success,
        Some(Answer::PartialSuccess(partial)) => {
            AppendEntriesResponse::PartialSuccess(partial.matching.map(log_id_from_pb))
        }
        Some(Answer::Conflict(_)) => AppendEntriesResponse::Conflict,
        Some(Answer::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote_from_pb(vote)),
        None => return Err(DecodeError::new("append answer", "it is empty")),
    })
}

fn is_too_large(status: &Status) -> bool {
    matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange)
}

fn malformed(error: &DecodeError) -> RpcError {
    Unreachable::new(error).into()
}

fn describe(status: &Status) -> String {
    format!("{}: {}", status.code(), status.message())
}
