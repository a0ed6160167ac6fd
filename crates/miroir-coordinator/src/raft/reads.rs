//! Linearizable reads.
//!
//! Each confirmation costs a round of heartbeats to all voters, so readers share it: one is
//! in flight, and whoever arrives meanwhile joins the *next* one. Joining the present one
//! would be wrong: it may have been confirmed before a write that the reader already saw.

use std::future::Future;
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

/// Confirms reads until `stop`. `confirm` returns once this coordinator has applied
/// everything that was committed before it was called.
pub(super) async fn run<F>(
    confirm: impl Fn() -> F,
    mut mailbox: mpsc::Receiver<Reader>,
    stop: CancellationToken,
) where
    F: Future<Output = Result<Option<u64>, ReadError>>,
{
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
            result = confirm() => result,
            () = stop.cancelled() => Err(ReadError::Stopped { reason: "shutdown".into() }),
        };
        for reader in readers {
            // A reader may have given up; nothing hangs on its answer.
            let _ = reader.send(result.clone());
        }
    }
}

/// One confirmation by a majority.
pub(super) async fn confirm(
    raft: &Raft<TypeConfig>,
    timeout: Duration,
) -> Result<Option<u64>, ReadError> {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Answer = oneshot::Receiver<Result<Option<u64>, ReadError>>;

    async fn ask(mailbox: &mpsc::Sender<Reader>) -> Answer {
        let (reply, answer) = oneshot::channel();
        mailbox.send(reply).await.expect("it runs");
        answer
    }

    #[tokio::test]
    async fn who_comes_during_a_confirmation_shares_the_next_one() {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let (finish, finishes) = mpsc::unbounded_channel();
        let finishes = tokio::sync::Mutex::new(finishes);
        let count = Mutex::new(0_u64);
        let confirm = || async {
            let number = {
                let mut count = count.lock().expect("not poisoned");
                *count += 1;
                *count
            };
            begun.send(number).expect("the test listens");
            finishes
                .lock()
                .await
                .recv()
                .await
                .expect("the test decides");
            Ok(Some(number))
        };
        let (mailbox, queue) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let test = async {
            let first = ask(&mailbox).await;
            assert_eq!(begins.recv().await, Some(1));
            let late = ask(&mailbox).await;
            let later = ask(&mailbox).await;
            finish.send(()).expect("it runs");
            assert_eq!(first.await.expect("answered"), Ok(Some(1)));
            assert_eq!(begins.recv().await, Some(2));
            finish.send(()).expect("it runs");
            assert_eq!(late.await.expect("answered"), Ok(Some(2)));
            assert_eq!(later.await.expect("answered"), Ok(Some(2)));
            stop.cancel();
        };
        tokio::join!(run(confirm, queue, stop.clone()), test);
    }
}
