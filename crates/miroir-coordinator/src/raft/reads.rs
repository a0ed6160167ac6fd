//! Linearizable reads.
//!
//! Each confirmation costs a round of heartbeats to all voters, so readers share it: one is
//! in flight, and whoever arrives meanwhile joins the *next* one. Joining the present one
//! would be wrong: it may have been confirmed before a write that the reader already saw.

use std::time::Duration;

use openraft::error::{CheckIsLeaderError, RaftError};
use openraft::{LogIdOptionExt, Raft};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::{LeaderHint, ReadError};
use super::leadership::leader_hint;
use super::types::{CoordinatorId, Member, TypeConfig};

/// Readers that may wait.
pub(super) const MAILBOX: usize = 4_096;

/// Somebody who waits for a confirmation.
pub(super) type Reader = oneshot::Sender<Result<Option<u64>, ReadError>>;

/// Confirms reads until `stop`.
pub(super) async fn run(
    raft: Raft<TypeConfig>,
    mut mailbox: mpsc::Receiver<Reader>,
    timeout: Duration,
    stop: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            received = mailbox.recv() => match received {
                Some(reader) => reader,
                None => return,
            },
            () = stop.cancelled() => return,
        };
        let mut readers = vec![first];
        while let Ok(reader) = mailbox.try_recv() {
            readers.push(reader);
        }
        let result = tokio::select! {
            result = confirm(&raft, timeout) => result,
            () = stop.cancelled() => Err(ReadError::Stopped { reason: "shutdown".into() }),
        };
        for reader in readers {
            // A reader may have given up; nothing hangs on its answer.
            let _ = reader.send(result.clone());
        }
    }
}

/// Returns once this coordinator has applied everything that was committed before the call.
async fn confirm(raft: &Raft<TypeConfig>, timeout: Duration) -> Result<Option<u64>, ReadError> {
    match tokio::time::timeout(timeout, raft.ensure_linearizable()).await {
        Ok(Ok(read_at)) => Ok(read_at.index()),
        Ok(Err(error)) => Err(read_error(raft, error)),
        Err(_) => Err(ReadError::NoQuorum {
            reason: format!("no answer within {} ms", timeout.as_millis()),
        }),
    }
}

type Refusal = RaftError<CoordinatorId, CheckIsLeaderError<CoordinatorId, Member>>;

fn read_error(raft: &Raft<TypeConfig>, error: Refusal) -> ReadError {
    match error {
        RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)) => {
            let named = to
                .leader_id
                .zip(to.leader_node)
                .map(|(id, member)| LeaderHint {
                    id,
                    api_url: member.api_url,
                });
            ReadError::NotLeader {
                leader: named.or_else(|| leader_hint(&raft.metrics().borrow())),
            }
        }
        RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(e)) => ReadError::NoQuorum {
            reason: e.to_string(),
        },
        RaftError::Fatal(e) => ReadError::Stopped {
            reason: e.to_string(),
        },
    }
}
