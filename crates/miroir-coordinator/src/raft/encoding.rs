//! Conversions between openraft's types and our messages, for the wire and the disk.
//!
//! openraft's own serde encodings may change between its versions; these do not.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use miroir_proto::v1 as pb;
use openraft::{CommittedLeaderId, EntryPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::types::{
    Entry, LogCommand, LogId, Member, Membership, Proposal, RequestId, SnapshotMeta,
    StoredMembership, Vote,
};

/// Version byte in front of an encoded command.
const COMMAND_VERSION: u8 = 1;

/// A message that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot decode {what}: {why}")]
pub struct DecodeError {
    /// The value that was expected.
    pub what: &'static str,
    /// What is wrong.
    pub why: String,
}

impl DecodeError {
    /// An error about `what`.
    pub fn new(what: &'static str, why: impl ToString) -> Self {
        Self {
            what,
            why: why.to_string(),
        }
    }

    fn missing(what: &'static str) -> Self {
        Self::new(what, "it is missing")
    }
}

/// Encodes a command for the log.
pub fn encode_command<C: Serialize>(command: &C) -> Result<Bytes, DecodeError> {
    let mut bytes = vec![COMMAND_VERSION];
    serde_json::to_writer(&mut bytes, command).map_err(|e| DecodeError::new("command", e))?;
    Ok(bytes.into())
}

/// Decodes a command from the log.
pub fn decode_command<C: DeserializeOwned>(bytes: &[u8]) -> Result<C, DecodeError> {
    match bytes {
        [COMMAND_VERSION, json @ ..] => {
            serde_json::from_slice(json).map_err(|e| DecodeError::new("command", e))
        }
        [other, ..] => Err(DecodeError::new(
            "command",
            format!("its version is {other}, this program knows up to {COMMAND_VERSION}"),
        )),
        [] => Err(DecodeError::new("command", "it is empty")),
    }
}

/// To the message.
pub fn vote_to_pb(vote: &Vote) -> pb::RaftVote {
    pb::RaftVote {
        term: vote.leader_id.term,
        coordinator_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

/// From the message.
pub fn vote_from_pb(vote: pb::RaftVote) -> Vote {
    if vote.committed {
        Vote::new_committed(vote.term, vote.coordinator_id)
    } else {
        Vote::new(vote.term, vote.coordinator_id)
    }
}

/// From a message field that must be there.
pub fn require_vote(vote: Option<pb::RaftVote>) -> Result<Vote, DecodeError> {
    vote.map(vote_from_pb)
        .ok_or_else(|| DecodeError::missing("vote"))
}

/// To the message.
pub fn log_id_to_pb(id: &LogId) -> pb::RaftLogId {
    pb::RaftLogId {
        term: id.leader_id.term,
        coordinator_id: id.leader_id.node_id,
        index: id.index,
    }
}

/// From the message.
pub fn log_id_from_pb(id: pb::RaftLogId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term, id.coordinator_id), id.index)
}

/// To the message.
pub fn membership_to_pb(membership: &Membership) -> pb::RaftMembership {
    let configs = membership
        .get_joint_config()
        .iter()
        .map(|voters| pb::RaftVoterSet {
            coordinator_ids: voters.iter().copied().collect(),
        })
        .collect();
    let members = membership
        .nodes()
        .map(|(id, member)| pb::RaftMember {
            coordinator_id: *id,
            raft_url: member.raft_url.clone(),
            api_url: member.api_url.clone(),
            storage_id: member.storage_id.clone(),
        })
        .collect();
    pb::RaftMembership { configs, members }
}

/// From the message. Every voter must be among the members.
pub fn membership_from_pb(membership: pb::RaftMembership) -> Result<Membership, DecodeError> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .into_iter()
        .map(|set| set.coordinator_ids.into_iter().collect())
        .collect();
    let members: BTreeMap<u64, Member> = membership
        .members
        .into_iter()
        .map(|m| {
            let member = Member {
                raft_url: m.raft_url,
                api_url: m.api_url,
                storage_id: m.storage_id,
            };
            (m.coordinator_id, member)
        })
        .collect();
    if let Some(id) = configs
        .iter()
        .flatten()
        .find(|id| !members.contains_key(id))
    {
        let why = format!("voter {id} is not among the members");
        return Err(DecodeError::new("membership", why));
    }
    Ok(Membership::new(configs, members))
}

/// To the message.
pub fn entry_to_pb(entry: &Entry) -> pb::RaftEntry {
    use pb::raft_entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(pb::RaftBlank {}),
        EntryPayload::Normal(command) => Payload::Batch(batch_to_pb(command)),
        EntryPayload::Membership(membership) => Payload::Membership(membership_to_pb(membership)),
    };
    pb::RaftEntry {
        log_id: Some(log_id_to_pb(&entry.log_id)),
        payload: Some(payload),
    }
}

/// From the message.
pub fn entry_from_pb(entry: pb::RaftEntry) -> Result<Entry, DecodeError> {
    use pb::raft_entry::Payload;
    let log_id = entry
        .log_id
        .map(log_id_from_pb)
        .ok_or_else(|| DecodeError::missing("log id of an entry"))?;
    let payload = match entry
        .payload
        .ok_or_else(|| DecodeError::missing("payload of an entry"))?
    {
        Payload::Blank(_) => EntryPayload::Blank,
        Payload::Batch(batch) => EntryPayload::Normal(batch_from_pb(batch)?),
        Payload::Membership(membership) => {
            EntryPayload::Membership(membership_from_pb(membership)?)
        }
    };
    Ok(Entry { log_id, payload })
}

fn batch_to_pb(command: &LogCommand) -> pb::RaftBatch {
    let proposals = command
        .proposals
        .iter()
        .map(|p| pb::RaftProposal {
            request_id: request_id_to_pb(p.request_id),
            command: p.command.to_vec(),
        })
        .collect();
    pb::RaftBatch {
        at_ms: command.at_ms,
        proposals,
    }
}

fn batch_from_pb(batch: pb::RaftBatch) -> Result<LogCommand, DecodeError> {
    let proposals = batch
        .proposals
        .into_iter()
        .map(|p| {
            Ok(Proposal {
                request_id: request_id_from_pb(&p.request_id)?,
                command: p.command.into(),
            })
        })
        .collect::<Result<_, DecodeError>>()?;
    Ok(LogCommand {
        at_ms: batch.at_ms,
        proposals,
    })
}

/// To the message field.
pub fn request_id_to_pb(id: RequestId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// From the message field.
pub fn request_id_from_pb(bytes: &[u8]) -> Result<RequestId, DecodeError> {
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| DecodeError::new("request id", format!("{} bytes, not 16", bytes.len())))?;
    Ok(RequestId(u128::from_be_bytes(bytes)))
}

/// To the message.
pub fn snapshot_meta_to_pb(meta: &SnapshotMeta) -> pb::RaftSnapshotMeta {
    pb::RaftSnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_to_pb),
        membership_log_id: meta.last_membership.log_id().as_ref().map(log_id_to_pb),
        membership: Some(membership_to_pb(meta.last_membership.membership())),
        snapshot_id: meta.snapshot_id.clone(),
    }
}

/// From the message.
pub fn snapshot_meta_from_pb(meta: pb::RaftSnapshotMeta) -> Result<SnapshotMeta, DecodeError> {
    let membership = meta
        .membership
        .ok_or_else(|| DecodeError::missing("membership of a snapshot"))?;
    Ok(SnapshotMeta {
        last_log_id: meta.last_log_id.map(log_id_from_pb),
        last_membership: StoredMembership::new(
            meta.membership_log_id.map(log_id_from_pb),
            membership_from_pb(membership)?,
        ),
        snapshot_id: meta.snapshot_id,
    })
}
