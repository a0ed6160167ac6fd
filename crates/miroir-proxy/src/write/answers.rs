//! Answers to forwarded requests, kept so that a request that is sent again is not carried out again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::{Accepted, WriteError};

const KEPT: usize = 4096;

type Answer = Result<Accepted, WriteError>;

/// The newest forwarded requests, under way and answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    by_id: HashMap<Uuid, watch::Receiver<Option<Answer>>>,
    order: VecDeque<Uuid>,
}

impl Answers {
    /// Carries out `work` unless the request is known already, and returns its answer. The work goes on when
    /// the caller is dropped: the proxy that forwarded it may ask again.
    pub(super) async fn once<F>(&self, id: Uuid, work: impl FnOnce() -> F) -> Answer
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let mut answer = self.begin(id, work);
        let lost = || WriteError::unknown("the write was given up");
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(lost())),
            Err(_) => Err(lost()),
        }
    }

    fn begin<F>(&self, id: Uuid, work: impl FnOnce() -> F) -> watch::Receiver<Option<Answer>>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.by_id.get(&id) {
            return known.clone();
        }
        let (sender, receiver) = watch::channel(None);
        state.by_id.insert(id, receiver.clone());
        state.order.push_back(id);
        if state.order.len() > KEPT
            && let Some(oldest) = state.order.pop_front()
        {
            state.by_id.remove(&oldest);
        }
        let working = work();
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            let answer = working.await;
            // What was certainly not applied may be tried again under the same id.
            if answer
                .as_ref()
                .is_err_and(|error| error.retryable() && !error.outcome_unknown())
            {
                state
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .by_id
                    .remove(&id);
            }
            sender.send_replace(Some(answer));
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::cluster::TaskKind;
    use miroir_core::id::{IndexUid, TaskUid};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn accepted(task: u32) -> Accepted {
        Accepted {
            task_uid: TaskUid(task),
            index_uid: IndexUid::parse("x").expect("a uid"),
            kind: TaskKind::DocumentDeletion,
            enqueued_at_ms: 0,
            custom_metadata: None,
        }
    }

    #[tokio::test]
    async fn a_repeated_request_is_carried_out_once() {
        let answers = Answers::default();
        let runs = Arc::new(AtomicU32::new(0));
        let id = Uuid::new_v4();
        let work = || {
            let runs = Arc::clone(&runs);
            move || async move {
                tokio::task::yield_now().await;
                Ok(accepted(runs.fetch_add(1, Ordering::Relaxed)))
            }
        };
        let both = futures::future::join(answers.once(id, work()), answers.once(id, work())).await;
        let later = answers.once(id, work()).await;
        for answer in [both.0, both.1, later] {
            assert_eq!(answer.expect("accepted").task_uid, TaskUid(0));
        }
        assert_eq!(
            answers
                .once(Uuid::new_v4(), work())
                .await
                .expect("accepted")
                .task_uid,
            TaskUid(1)
        );
    }

    #[tokio::test]
    async fn what_was_not_applied_may_be_tried_again() {
        let answers = Answers::default();
        let id = Uuid::new_v4();
        let error = answers
            .once(id, || async { Err(WriteError::Moved) })
            .await
            .expect_err("moved");
        assert_eq!(error.status(), 421);
        let error = answers
            .once(id, || async { Err(WriteError::unknown("x")) })
            .await
            .expect_err("unknown");
        assert!(error.outcome_unknown());
        let again = answers.once(id, || async { Ok(accepted(1)) }).await;
        assert!(
            again.is_err_and(|error| error.outcome_unknown()),
            "an unknown outcome stays the answer"
        );
    }
}
