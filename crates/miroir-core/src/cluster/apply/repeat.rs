//! Writes that a client repeats under a key of its own.

use super::At;
use crate::cluster::{
    ClusterState, Command, Idempotency, Keeping, KnownWrite, NewIndex, NewTask, Rejection,
};
use crate::id::TaskUid;

impl Command {
    /// The client's key of a command whose whole effect is its task's. [`RegisterWrites`](Self::RegisterWrites) has
    /// several, which are looked at one by one.
    fn idempotency(&self) -> Option<Idempotency> {
        if let Self::SwapIndexes { idempotency, .. } = self {
            return *idempotency;
        }
        if let Self::RenameIndex(rename) = self {
            return rename.idempotency;
        }
        let task = if let Self::ChangeSettings { task, .. }
        | Self::DeleteIndex { task, .. }
        | Self::RegisterTask { task, .. }
        | Self::Broadcast { task, .. } = self
        {
            Some(task)
        } else if let Self::CreateIndex(NewIndex { task, .. }) | Self::SetPrimaryKey { task, .. } =
            self
        {
            task.as_ref()
        } else {
            None
        };
        task?.idempotency
    }
}

impl ClusterState {
    /// The write that was registered under a client's key, if that is not too long ago at `now_ms`.
    ///
    /// # Errors
    /// [`Rejection::Repeated`] for the same request; [`Rejection::KeyReused`] for another.
    pub fn check_repeated(&self, write: Idempotency, now_ms: u64) -> Result<(), Rejection> {
        let known = self.known_writes.find(&write.key, now_ms, self.keeping());
        known.map_or(Ok(()), |known| Err(refusal(known, write)))
    }

    /// Refuses a command that was carried out before.
    pub(super) fn refuse_repeated(&self, at: At, command: &Command) -> Result<(), Rejection> {
        command
            .idempotency()
            .map_or(Ok(()), |write| self.check_repeated(write, at.ms))
    }

    /// Remembers a registered task by its client's key. The first that was registered under it stays.
    pub(super) fn note_write(&mut self, at: At, task: &NewTask, uid: TaskUid) {
        if let Some(write) = task.idempotency {
            let keeping = self.keeping();
            self.known_writes.note(write, uid, at.ms, keeping);
        }
    }

    fn keeping(&self) -> Keeping {
        Keeping {
            max: self.policy.idempotency_keys_max,
            ttl_ms: self.policy.idempotency_ttl_ms,
        }
    }
}

fn refusal(known: &KnownWrite, write: Idempotency) -> Rejection {
    if known.request == write.request {
        Rejection::Repeated {
            task: known.task,
            at_ms: known.at_ms,
        }
    } else {
        Rejection::KeyReused
    }
}
