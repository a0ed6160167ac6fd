//! One operation at its writer: what went where, who answered, and what that amounts to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use miroir_core::cluster::{NewTask, TaskPart};
use miroir_core::id::{NodeId, ShardId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::active::Active;
use super::group::NodeRequest;
use super::outcome::{Refusal, Settled};
use super::prepare::Work;
use super::{Accepted, WriteError};
use crate::control::WriteGuard;

/// A write handed to its sequencer.
pub(super) struct Submission {
    pub(super) work: Work,
    pub(super) task: NewTask,
    pub(super) arrived: Instant,
    pub(super) answer: oneshot::Sender<Result<Accepted, WriteError>>,
    /// Its share of the byte budget.
    pub(super) room: Option<OwnedSemaphorePermit>,
    pub(super) active: Active,
}

/// What an operation's answers amount to, once all have come.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Every shard has it: register it, with the copies that missed it.
    Register,
    /// Every node refused it, so it is nowhere: the client is told what they said.
    Refused(Refusal),
    /// No node took it, or can have taken it.
    NotApplied(String),
    /// Some shard has no copy that took it. `eject` are the copies that differ from one that did.
    Partial {
        why: String,
        eject: BTreeSet<(ShardId, NodeId)>,
        /// Whether copies may differ that cannot be told apart.
        doubtful: bool,
    },
}

/// The parts of an operation that were sent together.
struct Chunk {
    /// Held until the operation is registered, or until every copy has its part and the rest is still held.
    guard: Option<Arc<WriteGuard>>,
    shards: Vec<ShardId>,
    unanswered: usize,
}

/// An operation under way.
pub(super) struct Op {
    pub(super) work: Work,
    pub(super) task: NewTask,
    pub(super) arrived: Instant,
    /// Whether a fence or the lease kept it waiting.
    pub(super) held: bool,
    /// Whether nothing of it waits in the queue any more.
    pub(super) all_sent: bool,
    answer: Option<oneshot::Sender<Result<Accepted, WriteError>>>,
    chunks: Vec<Chunk>,
    parts: Vec<TaskPart>,
    took: BTreeSet<(ShardId, NodeId)>,
    missed: BTreeSet<(ShardId, NodeId)>,
    maybe: BTreeSet<(ShardId, NodeId)>,
    refusals: Vec<Refusal>,
    why: Option<String>,
    _room: Option<OwnedSemaphorePermit>,
    _active: Active,
}

impl Op {
    pub(super) fn new(submission: Submission) -> Self {
        Self {
            work: submission.work,
            task: submission.task,
            arrived: submission.arrived,
            held: false,
            all_sent: false,
            answer: Some(submission.answer),
            chunks: Vec::new(),
            parts: Vec::new(),
            took: BTreeSet::new(),
            missed: BTreeSet::new(),
            maybe: BTreeSet::new(),
            refusals: Vec::new(),
            why: None,
            _room: submission.room,
            _active: submission.active,
        }
    }

    /// Tells the client. Only the first time counts.
    pub(super) fn answer(&mut self, answer: Result<Accepted, WriteError>) {
        if let Some(sender) = self.answer.take() {
            // A client that went away does not hear it; the write is what it is.
            let _ = sender.send(answer);
        }
    }

    /// Whether anything of it was handed to a lane, or its command to the catalog.
    pub(super) fn is_sent(&self) -> bool {
        !self.chunks.is_empty() || self.all_sent
    }

    /// Notes that the parts of `shards` go out in `requests` requests. Returns the number of the chunk.
    pub(super) fn sent(&mut self, guard: &Arc<WriteGuard>, shards: Vec<ShardId>, requests: usize) -> usize {
        self.chunks.push(Chunk { guard: Some(Arc::clone(guard)), shards, unanswered: requests });
        self.chunks.len() - 1
    }

    /// Takes one answer. Returns the chunk's guard and shards when it was the last of its chunk.
    pub(super) fn answered(
        &mut self,
        node: NodeId,
        request: &NodeRequest,
        settled: Settled,
    ) -> Option<(Arc<WriteGuard>, Vec<ShardId>)> {
        let copies = request.shards.iter().map(|shard| (*shard, node));
        match settled {
            Settled::Enqueued(node_task) => {
                self.took.extend(copies);
                self.parts.push(TaskPart { node, node_task, counts: request.counts });
            }
            Settled::Refused(refusal) => {
                self.missed.extend(copies);
                self.refusals.push(refusal);
            }
            Settled::Missed { why, maybe_applied } => {
                if maybe_applied {
                    self.maybe.extend(copies.clone());
                }
                self.missed.extend(copies);
                self.why.get_or_insert(why);
            }
        }
        let chunk = self.chunks.get_mut(request.chunk)?;
        chunk.unanswered = chunk.unanswered.saturating_sub(1);
        if chunk.unanswered > 0 {
            return None;
        }
        let guard = chunk.guard.clone()?;
        let shards = chunk.shards.clone();
        // Parts that are still held must not keep back the barrier that opens their fence. Copies that missed
        // it must: they are ejected by the registration.
        let equal = self.missed.iter().all(|(shard, _)| !shards.contains(shard));
        if equal && !self.all_sent {
            chunk.guard = None;
        }
        Some((guard, shards))
    }

    /// Whether every part was sent and answered.
    pub(super) fn is_complete(&self) -> bool {
        self.all_sent && self.chunks.iter().all(|chunk| chunk.unanswered == 0)
    }

    /// What the answers amount to.
    pub(super) fn verdict(&self) -> Verdict {
        if self.missed.is_empty() {
            return Verdict::Register;
        }
        let why = || self.why.clone().unwrap_or_else(|| "a node refused it".to_owned());
        if self.took.is_empty() && self.maybe.is_empty() {
            let all_refused = self.why.is_none();
            return match self.refusals.first() {
                Some(refusal) if all_refused => Verdict::Refused(refusal.clone()),
                Some(_) | None => Verdict::NotApplied(why()),
            };
        }
        let mut copies: BTreeMap<ShardId, usize> = BTreeMap::new();
        for (shard, _) in self.took.union(&self.missed) {
            *copies.entry(*shard).or_default() += 1;
        }
        let has_taker = |shard: ShardId| self.took.iter().any(|(taken, _)| *taken == shard);
        if copies.keys().all(|shard| has_taker(*shard)) {
            return Verdict::Register;
        }
        Verdict::Partial {
            why: why(),
            eject: self.missed.iter().filter(|(shard, _)| has_taker(*shard)).copied().collect(),
            doubtful: self.maybe.iter().any(|(shard, _)| !has_taker(*shard) && copies.get(shard) > Some(&1)),
        }
    }

    /// Whether copies would differ if `missed` ones stayed in use.
    pub(super) fn copies_differ(&self) -> bool {
        let on_some = !self.took.is_empty() || !self.maybe.is_empty();
        on_some && !self.missed.is_empty()
    }

    /// The nodes' shares, for the registration.
    pub(super) fn parts(&self) -> &[TaskPart] {
        &self.parts
    }

    /// The copies that missed it, for the registration.
    pub(super) fn missed(&self) -> impl Iterator<Item = (ShardId, NodeId)> {
        self.missed.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::group::{Body, SettingsVersion};
    use miroir_meili::NodeError;
    use serde_json::Value;

    fn op() -> (Op, oneshot::Receiver<Result<Accepted, WriteError>>) {
        let (answer, receiver) = oneshot::channel();
        let task = super::super::tasks::deletion_of_all();
        let active = Active::default();
        let arrived = Instant::now();
        let submission = Submission { work: Work::Filter(None), task, arrived, answer, room: None, active };
        (Op::new(submission), receiver)
    }

    fn request(shards: &[u16]) -> NodeRequest {
        let settings = SettingsVersion { version: 1, full: Value::Null, patch: None, embedders: false };
        NodeRequest {
            ticket: 1,
            chunk: 0,
            shards: shards.iter().copied().map(ShardId).collect(),
            counts: true,
            body: Body::Settings,
            bytes: 0,
            settings: Arc::new(settings),
        }
    }

    fn took() -> Settled {
        Settled::Enqueued(7)
    }

    fn missed(maybe_applied: bool) -> Settled {
        Settled::Missed { why: "down".to_owned(), maybe_applied }
    }

    fn refused() -> Settled {
        let text = |text: &str| text.to_owned();
        let error = NodeError { message: text("no"), code: text("bad"), kind: text("x"), link: text("") };
        Settled::Refused(Refusal { status: 400, error })
    }

    fn verdict(answers: Vec<(u64, &[u16], Settled)>) -> String {
        let (mut op, _receiver) = op();
        op.all_sent = true;
        for (node, shards, settled) in answers {
            op.answered(NodeId(node), &request(shards), settled);
        }
        match op.verdict() {
            Verdict::Register => format!("register, missed {:?}", op.missed().map(|(s, n)| (s.0, n.0)).collect::<Vec<_>>()),
            Verdict::Refused(refusal) => format!("refused {}", refusal.status),
            Verdict::NotApplied(_) => "not applied".to_owned(),
            Verdict::Partial { eject, doubtful, .. } => {
                let eject: Vec<_> = eject.iter().map(|(s, n)| (s.0, n.0)).collect();
                format!("partial, eject {eject:?}, doubtful {doubtful}")
            }
        }
    }

    #[test]
    fn verdicts() {
        let s01: &[u16] = &[0, 1];
        let s0: &[u16] = &[0];
        let s1: &[u16] = &[1];
        let table = [
            (vec![(1, s01, took()), (2, s01, took())], "register, missed []"),
            (vec![(1, s01, took()), (2, s0, missed(false)), (3, s1, took())], "register, missed [(0, 2)]"),
            (vec![(1, s01, took()), (2, s01, missed(true))], "register, missed [(0, 2), (1, 2)]"),
            (vec![(1, s01, took()), (2, s0, refused())], "register, missed [(0, 2)]"),
            (vec![(1, s01, refused()), (2, s01, refused())], "refused 400"),
            (vec![(1, s01, refused()), (2, s01, missed(false))], "not applied"),
            (vec![(1, s01, missed(false))], "not applied"),
            (vec![(1, s0, missed(true))], "partial, eject [], doubtful false"),
            (vec![(1, s0, missed(true)), (2, s0, missed(false))], "partial, eject [], doubtful true"),
            (
                vec![(1, s0, took()), (2, s01, missed(false)), (3, s1, missed(false))],
                "partial, eject [(0, 2)], doubtful false",
            ),
        ];
        for (answers, expected) in table {
            let shown = format!("{answers:?}");
            assert_eq!(verdict(answers), expected, "{shown}");
        }
    }
}
