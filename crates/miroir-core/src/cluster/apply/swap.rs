//! Swaps and renames: indexes exchange the uids that clients know them by, and stay where and what they are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::task::plain;
use super::{Applied, At};
use crate::api_error::{ApiError, Code};
use crate::cluster::{
    ClusterState, Idempotency, IndexRename, IndexSwap, NewTask, Outcome, Rejection, Task, TaskKind,
    named_twice,
};
use crate::id::IndexUid;

impl ClusterState {
    /// All swaps or none: what stands in the way of one makes the task fail. As in Meilisearch, older tasks go with
    /// their indexes.
    pub(super) fn swap_indexes(
        &mut self,
        at: At,
        swaps: &[IndexSwap],
        idempotency: Option<Idempotency>,
    ) -> Applied {
        if let Some(uid) = named_twice(swaps).first() {
            return Err(Rejection::Invalid(format!("`{uid}` is in two swaps")));
        }
        let task = NewTask {
            failure: self.check_swaps(swaps).err().map(|error| json!(error)),
            idempotency,
            ..plain(TaskKind::IndexSwap, details(swaps))
        };
        if task.failure.is_none() {
            for swap in swaps {
                self.exchange((&swap.indexes.0, &swap.indexes.1));
            }
            self.touch(at);
        }
        let uid = self.new_task(at, None, &task, Vec::new());
        self.end_well(at, uid);
        Ok(Outcome::TaskRegistered(uid))
    }

    /// As in Meilisearch, a primary key that cannot be makes the task fail and does not take the new uid back; and the
    /// task itself stays with the old uid.
    pub(super) fn rename_index(&mut self, at: At, rename: &IndexRename) -> Outcome {
        let details = json!({
            "primaryKey": rename.primary_key, "oldIndexUid": rename.uid, "newIndexUid": rename.to,
        });
        let task = NewTask {
            failure: self.rename(at, rename).err().map(|error| json!(error)),
            idempotency: rename.idempotency,
            ..plain(TaskKind::IndexUpdate, details)
        };
        let uid = self.new_task(at, Some(rename.uid.clone()), &task, Vec::new());
        self.end_well(at, uid);
        Outcome::TaskRegistered(uid)
    }

    fn rename(&mut self, at: At, rename: &IndexRename) -> Result<(), ApiError> {
        let (uid, to) = (&rename.uid, &rename.to);
        let found = self.index_called(uid).map(|index| index.name().clone());
        let name = found.ok_or_else(|| {
            ApiError::new(Code::IndexNotFound, format!("Index `{uid}` not found."))
        })?;
        if uid != to {
            if self.is_taken(to) {
                let message = format!("Index `{to}` already exists.");
                return Err(ApiError::new(Code::IndexAlreadyExists, message));
            }
            self.exchange((uid, to));
        }
        self.touch(at);
        let Some(index) = self.indexes.get_mut(&name) else {
            return Ok(());
        };
        index.updated_at_ms = at.ms;
        match (&index.primary_key, &rename.primary_key) {
            (Some(known), Some(wanted)) if known != wanted => Err(ApiError::new(
                Code::IndexPrimaryKeyAlreadyExists,
                format!("Index `{to}`: Index already has a primary key: `{known}`."),
            )),
            (None, Some(wanted)) => {
                index.primary_key = Some(wanted.clone());
                Ok(())
            }
            (Some(_), Some(_)) | (_, None) => Ok(()),
        }
    }

    /// What Meilisearch says to swaps of indexes that are not there, or of new names that are taken.
    fn check_swaps(&self, swaps: &[IndexSwap]) -> Result<(), ApiError> {
        let exists = |uid: &IndexUid| self.index_called(uid).is_some();
        let mut unknown = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for swap in swaps {
            let (first, second) = (&swap.indexes.0, &swap.indexes.1);
            if !exists(first) {
                unknown.insert(first);
            }
            let is_alias = self.registry.alias(second.as_str()).is_some();
            match (exists(second) || swap.rename && is_alias, swap.rename) {
                (true, true) => {
                    taken.insert((first, second));
                }
                (false, false) => {
                    unknown.insert(second);
                }
                (true, false) | (false, true) => {}
            }
        }
        let unknown: Vec<&IndexUid> = unknown.into_iter().collect();
        let taken: Vec<(&IndexUid, &IndexUid)> = taken.into_iter().collect();
        let (code, message) = match (unknown.as_slice(), taken.as_slice()) {
            ([], []) => return Ok(()),
            ([], [(old, new)]) => (
                Code::IndexAlreadyExists,
                format!(
                    "Cannot rename `{old}` to `{new}` as the index already exists. Hint: You can remove `{new}` first and then do your remove."
                ),
            ),
            ([], taken) => (
                Code::IndexAlreadyExists,
                format!(
                    "The following indexes are being renamed but cannot because their new name conflicts with an already existing index: {}. Renaming doesn't overwrite the other index name.",
                    quoted(taken.iter().map(|(_, new)| *new))
                ),
            ),
            ([uid], _) => (Code::IndexNotFound, format!("Index `{uid}` not found.")),
            (unknown, _) => (
                Code::IndexNotFound,
                format!("Indexes {} not found.", quoted(unknown.iter().copied())),
            ),
        };
        Err(ApiError::new(code, message))
    }

    /// Gives each of two uids to the index that had the other, if one had, and what is remembered of each to the other.
    fn exchange(&mut self, (one, other): (&IndexUid, &IndexUid)) {
        let opposite = |uid: &IndexUid| {
            if uid == one {
                other.clone()
            } else if uid == other {
                one.clone()
            } else {
                uid.clone()
            }
        };
        let called = |uid: &IndexUid| self.index_called(uid).map(|index| index.name().clone());
        let names: Vec<IndexUid> = [one, other].into_iter().filter_map(called).collect();
        for name in names {
            if let Some(index) = self.indexes.get_mut(&name) {
                let uid = opposite(&index.uid);
                index.call(uid);
            }
        }
        self.tasks.revise(|task| revise(task, opposite));
    }
}

/// What a task tells of its index, or of the indexes that it swapped, after a later swap.
fn revise(task: &mut Task, opposite: impl Fn(&IndexUid) -> IndexUid) {
    if let Some(index) = &mut task.index {
        *index = opposite(index);
    }
    if task.kind != TaskKind::IndexSwap {
        return;
    }
    fn list<'a>(of: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
        let list = of.get_mut(name).and_then(Value::as_array_mut);
        list.into_iter().flatten()
    }
    let swaps = list(&mut task.details, "swaps");
    for uid in swaps.flat_map(|swap| list(swap, "indexes")) {
        if let Some(known) = uid.as_str().and_then(|text| IndexUid::parse(text).ok()) {
            *uid = json!(opposite(&known));
        }
    }
}

/// The task's `details` as Meilisearch has them.
fn details(swaps: &[IndexSwap]) -> Value {
    let swaps: Vec<Value> = swaps
        .iter()
        .map(|swap| json!({ "indexes": swap.indexes, "rename": swap.rename }))
        .collect();
    json!({ "swaps": swaps })
}

fn quoted<'a>(uids: impl Iterator<Item = &'a IndexUid>) -> String {
    let quoted: Vec<String> = uids.map(|uid| format!("`{uid}`")).collect();
    quoted.join(", ")
}
