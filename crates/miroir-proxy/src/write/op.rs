//! One operation at its writer: what went where, who answered, and what that amounts to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use miroir_core::cluster::{NewTask, TaskPart};
use miroir_core::id::{IndexUid, NodeId, ShardId, TaskUid};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::active::Active;
use super::finish::now_ms;
use super::group::NodeRequest;
use super::outcome::{Refusal, Settled};
use super::prepare::Work;
use super::repeat::Flight;
use super::{Accepted, WriteError};
use crate::control::WriteGuard;

/// A write handed to its sequencer.
pub(super) struct Submission {
    /// The uid by which the client named the index.
    pub(super) uid: IndexUid,
    pub(super) work: Work,
    pub(super) task: NewTask,
    pub(super) arrived: Instant,
    pub(super) answer: oneshot::Sender<Result<Accepted, WriteError>>,
    /// Its share of the byte budget.
    pub(super) room: Option<OwnedSemaphorePermit>,
    pub(super) active: Active,
    /// Of a write with a client's key.
    pub(super) flight: Option<Flight>,
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
    /// The uid by which the client named the index.
    pub(super) uid: IndexUid,
    pub(super) work: Work,
    pub(super) task: NewTask,
    pub(super) arrived: Instant,
    /// Which round of its sequencer it came in.
    pub(super) round: u64,
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
    _flight: Option<Flight>,
}

impl Op {
    pub(super) fn new(submission: Submission, round: u64) -> Self {
        Self {
            uid: submission.uid,
            work: submission.work,
            task: submission.task,
            arrived: submission.arrived,
            round,
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
            _flight: submission.flight,
        }
    }

    /// What the client is told once it is registered. The task is of that index even if it is called otherwise since.
    pub(super) fn accepted(&self, task_uid: TaskUid) -> Accepted {
        Accepted {
            task_uid,
            index_uid: self.uid.clone(),
            kind: self.task.kind,
            enqueued_at_ms: now_ms(),
            custom_metadata: self.task.custom_metadata.clone(),
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

    /// Whether it is a command that the coordinators were asked for and have not answered.
    pub(super) fn is_command(&self) -> bool {
        match &self.work {
            Work::Settings(_) | Work::DeleteIndex => self.all_sent,
            Work::Documents(_) | Work::Ids(_) | Work::Filter(_) | Work::Nothing => false,
        }
    }

    /// Notes that the parts of `shards` go out in `requests` requests. Returns the number of the chunk.
    pub(super) fn sent(
        &mut self,
        guard: &Arc<WriteGuard>,
        shards: Vec<ShardId>,
        requests: usize,
    ) -> usize {
        self.chunks.push(Chunk {
            guard: Some(Arc::clone(guard)),
            shards,
            unanswered: requests,
        });
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
                self.parts.push(TaskPart {
                    node,
                    node_task,
                    counts: request.counts,
                });
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

    /// What the answers amount to. `in_use` tells the copies that readers may use, now or soon; the others are compared with
    /// one of these before they are read.
    pub(super) fn verdict(&self, in_use: impl Fn(ShardId, NodeId) -> bool) -> Verdict {
        if self.missed.is_empty() {
            return Verdict::Register;
        }
        let why = || {
            self.why
                .clone()
                .unwrap_or_else(|| "a node refused it".to_owned())
        };
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
            eject: self
                .missed
                .iter()
                .filter(|(shard, _)| has_taker(*shard))
                .copied()
                .collect(),
            doubtful: self.maybe.iter().any(|(shard, node)| {
                !has_taker(*shard)
                    && in_use(*shard, *node)
                    && self.another_missed(*shard, *node, &in_use)
            }),
        }
    }

    /// Whether copies that are `in_use` would differ if those that missed it stayed so.
    pub(super) fn copies_differ(&self, in_use: impl Fn(ShardId, NodeId) -> bool) -> bool {
        let mut some = self.took.union(&self.maybe);
        some.any(|(shard, node)| {
            in_use(*shard, *node) && self.another_missed(*shard, *node, &in_use)
        })
    }

    /// Whether a copy of the shard that is `in_use` has missed it, other than the one at `node`.
    fn another_missed(
        &self,
        shard: ShardId,
        node: NodeId,
        in_use: impl Fn(ShardId, NodeId) -> bool,
    ) -> bool {
        let mut others = self
            .missed
            .iter()
            .filter(|(s, n)| (*s, *n) != (shard, node));
        others.any(|(s, n)| *s == shard && in_use(*s, *n))
    }

    /// Whether certainly no copy has it.
    pub(super) fn is_nowhere(&self) -> bool {
        self.parts.is_empty() && self.maybe.is_empty()
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

    /// A copy that is being made, and is not read.
    const TARGET: NodeId = NodeId(9);

    fn op() -> (Op, oneshot::Receiver<Result<Accepted, WriteError>>) {
        let (answer, receiver) = oneshot::channel();
        let task = super::super::tasks::deletion_of_all();
        let active = Active::default();
        let arrived = Instant::now();
        let submission = Submission {
            uid: IndexUid::parse("books").expect("valid"),
            work: Work::Filter(None),
            task,
            arrived,
            answer,
            room: None,
            active,
            flight: None,
        };
        (Op::new(submission, 0), receiver)
    }

    fn request(shards: &[u16]) -> NodeRequest {
        let settings = SettingsVersion {
            version: 1,
            full: Value::Null,
            patch: None,
            embedders: false,
        };
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
        Settled::Missed {
            why: "down".to_owned(),
            maybe_applied,
        }
    }

    fn refused() -> Settled {
        let text = |text: &str| text.to_owned();
        let error = NodeError {
            message: text("no"),
            code: text("bad"),
            kind: text("x"),
            link: text(""),
        };
        Settled::Refused(Refusal { status: 400, error })
    }

    fn verdict(answers: Vec<(u64, &[u16], Settled)>) -> String {
        let (mut op, _receiver) = op();
        op.all_sent = true;
        for (node, shards, settled) in answers {
            op.answered(NodeId(node), &request(shards), settled);
        }
        match op.verdict(|_, node| node != TARGET) {
            Verdict::Register => format!(
                "register, missed {:?}",
                op.missed().map(|(s, n)| (s.0, n.0)).collect::<Vec<_>>()
            ),
            Verdict::Refused(refusal) => format!("refused {}", refusal.status),
            Verdict::NotApplied(_) => "not applied".to_owned(),
            Verdict::Partial {
                eject, doubtful, ..
            } => {
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
            (
                vec![(1, s01, took()), (2, s01, took())],
                "register, missed []",
            ),
            (
                vec![(1, s01, took()), (2, s0, missed(false)), (3, s1, took())],
                "register, missed [(0, 2)]",
            ),
            (
                vec![(1, s01, took()), (2, s01, missed(true))],
                "register, missed [(0, 2), (1, 2)]",
            ),
            (
                vec![(1, s01, took()), (2, s0, refused())],
                "register, missed [(0, 2)]",
            ),
            (
                vec![(1, s01, refused()), (2, s01, refused())],
                "refused 400",
            ),
            (
                vec![(1, s01, refused()), (2, s01, missed(false))],
                "not applied",
            ),
            (vec![(1, s01, missed(false))], "not applied"),
            (
                vec![(1, s0, missed(true))],
                "partial, eject [], doubtful false",
            ),
            (
                vec![(1, s0, missed(true)), (2, s0, missed(false))],
                "partial, eject [], doubtful true",
            ),
            (
                vec![(1, s0, missed(true)), (9, s0, missed(false))],
                "partial, eject [], doubtful false",
            ),
            (
                vec![(1, s0, missed(false)), (9, s0, missed(true))],
                "partial, eject [], doubtful false",
            ),
            (
                vec![
                    (1, s0, took()),
                    (2, s01, missed(false)),
                    (3, s1, missed(false)),
                ],
                "partial, eject [(0, 2)], doubtful false",
            ),
        ];
        for (answers, expected) in table {
            let shown = format!("{answers:?}");
            assert_eq!(verdict(answers), expected, "{shown}");
        }
    }

    #[test]
    fn only_copies_in_use_can_differ() {
        let table = [
            (vec![(1, took()), (2, missed(false))], true),
            (vec![(1, missed(true)), (2, missed(false))], true),
            (vec![(1, missed(true)), (2, missed(true))], true),
            (vec![(1, missed(true))], false),
            (vec![(1, missed(false)), (9, took())], false),
            (vec![(1, took()), (9, missed(false))], false),
            (vec![(1, missed(true)), (9, missed(true))], false),
        ];
        for (answers, expected) in table {
            let (mut op, _receiver) = op();
            let shown = format!("{answers:?}");
            for (node, settled) in answers {
                op.answered(NodeId(node), &request(&[0]), settled);
            }
            assert_eq!(
                op.copies_differ(|_, node| node != TARGET),
                expected,
                "{shown}"
            );
        }
    }
}
