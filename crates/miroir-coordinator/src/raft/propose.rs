//! The proposer: turns many commands into few log entries.
//!
//! openraft 0.9 syncs once per entry. While one entry is on its way, the commands that
//! arrive are collected, and become the next entry together.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openraft::error::ClientWriteError;
use openraft::{Raft, ServerState};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::{LeaderHint, ProposeError};
use super::leadership::leader_hint;
use super::types::{Applied, LogCommand, Proposal, RequestId, TypeConfig};

/// Largest encoded command, in bytes. An entry is one batch of the storage engine.
pub const COMMAND_BYTES_MAX: usize = 768 * 1024;

/// An entry takes no further command beyond this many bytes.
const ENTRY_BYTES_MAX: usize = 768 * 1024;

/// An entry takes at most this many commands.
const ENTRY_COMMANDS_MAX: usize = 1_024;

/// Commands that may wait for the next entry.
pub(super) const MAILBOX: usize = 4_096;

/// One command that somebody waits for.
#[derive(Debug)]
pub(super) struct Submission {
    pub request_id: RequestId,
    pub command: Bytes,
    pub reply: oneshot::Sender<Result<Bytes, ProposeError>>,
}

/// Why a whole entry has no outcome.
enum Failure {
    NotLeader(Option<LeaderHint>),
    Unknown(String),
    Stopped(String),
}

/// Proposes what arrives in `mailbox` until `stop`.
pub(super) async fn run(
    raft: Raft<TypeConfig>,
    mut mailbox: mpsc::Receiver<Submission>,
    timeout: Duration,
    stop: CancellationToken,
) {
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(submission) => submission,
            None => tokio::select! {
                received = mailbox.recv() => match received {
                    Some(submission) => submission,
                    None => return,
                },
                () = stop.cancelled() => return,
            },
        };
        let (batch, next) = collect(first, &mut mailbox);
        held = next;
        if batch.is_empty() {
            continue;
        }
        let outcome = tokio::select! {
            outcome = propose(&raft, &batch, timeout) => outcome,
            () = stop.cancelled() => Err(Failure::Unknown("this coordinator is stopping".into())),
        };
        answer(batch, outcome);
    }
}

/// Takes what is waiting, as far as it fits into one entry. Also returns the submission that
/// did not fit.
fn collect(
    first: Submission,
    mailbox: &mut mpsc::Receiver<Submission>,
) -> (Vec<Submission>, Option<Submission>) {
    let mut batch: Vec<Submission> = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(submission) = next {
        let fits = batch.is_empty() || bytes + submission.command.len() <= ENTRY_BYTES_MAX;
        if !fits || batch.len() == ENTRY_COMMANDS_MAX {
            return (batch, Some(submission));
        }
        // Nobody waits any more for what was given up in the mailbox.
        if !submission.reply.is_closed() {
            bytes += submission.command.len();
            batch.push(submission);
        }
        next = mailbox.try_recv().ok();
    }
    (batch, None)
}

async fn propose(
    raft: &Raft<TypeConfig>,
    batch: &[Submission],
    timeout: Duration,
) -> Result<Applied, Failure> {
    {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        if metrics.state != ServerState::Leader {
            return Err(Failure::NotLeader(leader_hint(&metrics)));
        }
    }
    let command = LogCommand {
        at_ms: now_ms(),
        proposals: batch
            .iter()
            .map(|s| Proposal {
                request_id: s.request_id,
                command: s.command.clone(),
            })
            .collect(),
    };
    let answer = raft
        .client_write_ff(command)
        .await
        .map_err(|e| Failure::Stopped(e.to_string()))?;
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(Ok(written))) => Ok(written.data),
        // Either it was refused at once, or it was cut off a log after a successor took over.
        // In the second case another coordinator may hold it and commit it yet.
        Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => {
            Err(Failure::Unknown("this coordinator ceased to lead".into()))
        }
        Ok(Ok(Err(ClientWriteError::ChangeMembershipError(e)))) => {
            Err(Failure::Unknown(e.to_string()))
        }
        Ok(Err(_)) => Err(Failure::Unknown("consensus has stopped".into())),
        Err(_) => Err(Failure::Unknown(format!(
            "it was not committed within {} ms",
            timeout.as_millis()
        ))),
    }
}

fn answer(batch: Vec<Submission>, outcome: Result<Applied, Failure>) {
    let mut outcomes = match &outcome {
        Ok(applied) => applied.outcomes.clone(),
        Err(_) => Vec::new(),
    }
    .into_iter();
    for submission in batch {
        let request_id = submission.request_id;
        let reply = match &outcome {
            Ok(_) => outcomes.next().ok_or_else(|| ProposeError::UnknownOutcome {
                request_id,
                reason: "the entry was applied without an outcome for it".into(),
            }),
            Err(Failure::NotLeader(leader)) => Err(ProposeError::NotLeader {
                leader: leader.clone(),
            }),
            Err(Failure::Unknown(reason)) => Err(ProposeError::UnknownOutcome {
                request_id,
                reason: reason.clone(),
            }),
            Err(Failure::Stopped(reason)) => Err(ProposeError::Stopped {
                reason: reason.clone(),
            }),
        };
        // The proposer may have given up; the request id keeps its retry harmless.
        let _ = submission.reply.send(reply);
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<Bytes, ProposeError>>;

    fn submission(bytes: usize) -> (Submission, Answer) {
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            request_id: RequestId::random(),
            command: vec![0; bytes].into(),
            reply,
        };
        (submission, answer)
    }

    #[test]
    fn an_entry_takes_what_fits_and_leaves_the_rest_in_order() {
        let (tx, mut mailbox) = mpsc::channel(8);
        let sizes = [10, ENTRY_BYTES_MAX - 10, 1, 2];
        let (first, _keep) = submission(sizes[0]);
        let answers: Vec<_> = sizes[1..]
            .iter()
            .map(|bytes| {
                let (submission, answer) = submission(*bytes);
                tx.try_send(submission).expect("room in the mailbox");
                answer
            })
            .collect();
        let (batch, held) = collect(first, &mut mailbox);
        assert_eq!(batch.len(), 2);
        let (batch, held) = collect(held.expect("the third did not fit"), &mut mailbox);
        assert_eq!(batch.len(), 2);
        assert!(held.is_none());
        drop(answers);
    }

    #[test]
    fn a_command_of_the_largest_size_travels_alone() {
        let (tx, mut mailbox) = mpsc::channel(8);
        let (first, _a) = submission(COMMAND_BYTES_MAX);
        let (second, _b) = submission(1);
        tx.try_send(second).expect("room in the mailbox");
        let (batch, held) = collect(first, &mut mailbox);
        assert_eq!(batch.len(), 1);
        assert!(held.is_some());
    }

    #[test]
    fn what_nobody_waits_for_is_not_proposed() {
        let (_tx, mut mailbox) = mpsc::channel(8);
        let (abandoned, answer) = submission(1);
        drop(answer);
        let (batch, held) = collect(abandoned, &mut mailbox);
        assert!(batch.is_empty() && held.is_none());
    }
}
