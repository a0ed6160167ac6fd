//! Requests to commands.

use miroir_core::cluster::{
    AppliedSettings, Command, Idempotency, IndexRename, IndexSwap, NewIndex, NewTask, Rejection,
    TaskKind, TaskQuery, Write,
};
use miroir_core::id::{Incarnation, IndexUid, NodeId, ProxyId, TaskUid};
use miroir_core::registry::RulesChange;
use miroir_proto::v1;
use serde_json::Value;
use tonic::Status;

use crate::grpc::status;

type Converted = Result<Command, Status>;

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("the request has no valid `{field}`"))
}

pub(super) fn uid(text: &str) -> Result<IndexUid, Status> {
    IndexUid::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn index(index: Option<v1::IndexRef>) -> Result<(IndexUid, Incarnation), Status> {
    index
        .ok_or_else(|| missing("index"))?
        .try_into()
        .map_err(|error| status::of_convert(&error))
}

fn task(task: Option<v1::NewTask>) -> Result<NewTask, Status> {
    optional_task(task)?.ok_or_else(|| missing("task"))
}

fn optional_task(task: Option<v1::NewTask>) -> Result<Option<NewTask>, Status> {
    task.map(TryInto::try_into)
        .transpose()
        .map_err(|error| status::of_convert(&error))
}

pub(super) fn create_index(request: v1::CreateIndexRequest) -> Converted {
    let shards = request
        .shards
        .map(u16::try_from)
        .transpose()
        .map_err(|_| missing("shards"))?;
    let copies = request.replication_factor.map(u8::try_from).transpose();
    Ok(Command::CreateIndex(NewIndex {
        uid: uid(&request.uid)?,
        primary_key: request.primary_key,
        shards,
        replication_factor: copies.map_err(|_| missing("replication_factor"))?,
        writer: request.writer.map(ProxyId),
        task: optional_task(request.task)?,
    }))
}

pub(super) fn set_primary_key(request: v1::SetPrimaryKeyRequest) -> Converted {
    let (uid, incarnation) = index(request.index)?;
    if request.primary_key.is_empty() {
        return Err(missing("primary_key"));
    }
    let task = optional_task(request.task)?;
    Ok(Command::SetPrimaryKey {
        uid,
        incarnation,
        primary_key: request.primary_key,
        task,
    })
}

pub(super) fn change_settings(request: v1::ChangeSettingsRequest) -> Converted {
    let (uid, incarnation) = index(request.index)?;
    let desired: Value = serde_json::from_str(&request.desired).map_err(|_| missing("desired"))?;
    if !desired.is_object() {
        return Err(missing("desired"));
    }
    let task = task(request.task)?;
    Ok(Command::ChangeSettings {
        uid,
        incarnation,
        proxy: ProxyId(request.proxy),
        desired,
        task,
    })
}

pub(super) fn settings_enqueued(request: v1::SettingsEnqueuedRequest) -> Converted {
    let (uid, incarnation) = index(request.index)?;
    if let Some(refused) = request.refused {
        return Ok(Command::RefuseSettings {
            uid,
            incarnation,
            proxy: ProxyId(request.proxy),
            version: refused.version,
            error: serde_json::from_str(&refused.error).map_err(|_| missing("error"))?,
        });
    }
    let applied = request.applied.into_iter().map(|one| AppliedSettings {
        node: NodeId(one.node),
        version: one.version,
        node_task: one.node_task,
    });
    Ok(Command::SettingsEnqueued {
        uid,
        incarnation,
        proxy: ProxyId(request.proxy),
        applied: applied.collect(),
        task: request.task.map(TaskUid),
    })
}

pub(super) fn delete_index(request: v1::DeleteIndexRequest) -> Converted {
    let (name, incarnation) = index(request.index)?;
    Ok(Command::DeleteIndex {
        uid: name,
        incarnation,
        proxy: ProxyId(request.proxy),
        called: request.called.as_deref().map(uid).transpose()?,
        task: task(request.task)?,
    })
}

pub(super) fn swap_indexes(request: v1::SwapIndexesRequest) -> Converted {
    let swap = |swap: v1::IndexSwap| {
        Ok(IndexSwap {
            indexes: (uid(&swap.first)?, uid(&swap.second)?),
            rename: swap.rename,
        })
    };
    let swaps = request.swaps.into_iter().map(swap);
    Ok(Command::SwapIndexes {
        swaps: swaps.collect::<Result<_, Status>>()?,
        idempotency: optional_key(request.idempotency)?,
    })
}

pub(super) fn rename_index(request: v1::RenameIndexRequest) -> Converted {
    Ok(Command::RenameIndex(IndexRename {
        uid: uid(&request.uid)?,
        to: uid(&request.to)?,
        primary_key: request.primary_key,
        idempotency: optional_key(request.idempotency)?,
    }))
}

fn optional_key(key: Option<v1::Idempotency>) -> Result<Option<Idempotency>, Status> {
    let key = key.map(TryInto::try_into).transpose();
    key.map_err(|error| status::of_convert(&error))
}

pub(super) fn register_writes(request: v1::RegisterWritesRequest) -> Converted {
    let writes = request
        .writes
        .into_iter()
        .map(TryInto::try_into)
        .collect::<Result<Vec<Write>, _>>();
    Ok(Command::RegisterWrites {
        proxy: ProxyId(request.proxy),
        writes: writes.map_err(|error| status::of_convert(&error))?,
    })
}

pub(super) fn register_task(request: v1::RegisterTaskRequest) -> Converted {
    let uid = request.uid.as_deref().map(uid).transpose()?;
    let task = task(request.task)?;
    match request.rules.map(RulesChange::try_from).transpose() {
        Ok(Some(change)) => Ok(Command::ChangeRules { change, task }),
        Ok(None) => Ok(Command::RegisterTask { uid, task }),
        Err(error) => Err(status::of_convert(&error)),
    }
}

/// What is committed so that every node, or every node of an index, carries a task out by itself.
pub(super) fn broadcast(request: v1::RegisterTaskRequest) -> Converted {
    let uid = request.uid.as_deref().map(uid).transpose()?;
    let task = task(request.task)?;
    let is_of_index = match task.kind {
        TaskKind::DumpCreation | TaskKind::SnapshotCreation => false,
        TaskKind::IndexCompaction => true,
        TaskKind::DocumentAdditionOrUpdate
        | TaskKind::DocumentDeletion
        | TaskKind::SettingsUpdate
        | TaskKind::IndexCreation
        | TaskKind::IndexUpdate
        | TaskKind::IndexSwap
        | TaskKind::IndexDeletion
        | TaskKind::TaskCancelation
        | TaskKind::TaskDeletion
        | TaskKind::DsrUpdate
        | TaskKind::DsrClear => return Err(missing("task.kind")),
    };
    if is_of_index != uid.is_some() {
        return Err(missing("uid"));
    }
    Ok(Command::Broadcast { uid, task })
}

pub(super) fn idempotency(request: v1::CheckKeyRequest) -> Result<Idempotency, Status> {
    let write = request.idempotency.ok_or_else(|| missing("idempotency"))?;
    write.try_into().map_err(|error| status::of_convert(&error))
}

pub(super) fn cancel_tasks(request: v1::SelectTasksRequest) -> Converted {
    let (query, original_filter) = selection(request)?;
    Ok(Command::CancelTasks {
        query,
        original_filter,
    })
}

pub(super) fn delete_tasks(request: v1::SelectTasksRequest) -> Converted {
    let (query, original_filter) = selection(request)?;
    Ok(Command::DeleteTasks {
        query,
        original_filter,
    })
}

fn selection(request: v1::SelectTasksRequest) -> Result<(TaskQuery, String), Status> {
    let query = request.query.ok_or_else(|| missing("query"))?;
    let query = TaskQuery::try_from(&query).map_err(|error| status::of_convert(&error))?;
    Ok((query, request.original_filter))
}

pub(super) fn write_result(result: &Result<TaskUid, Rejection>) -> v1::WriteResult {
    use v1::write_result::Result as Answer;
    v1::WriteResult {
        result: Some(match result {
            Ok(task) => Answer::Task(task.0),
            Err(rejection) => Answer::Rejection(status::rejection_json(rejection)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Option<v1::IndexRef> {
        Some(v1::IndexRef {
            uid: "books".to_owned(),
            incarnation: 3,
        })
    }

    fn new_task() -> Option<v1::NewTask> {
        Some(v1::NewTask {
            kind: "settingsUpdate".to_owned(),
            details: "{}".to_owned(),
            custom_metadata: None,
            failure: None,
            idempotency: None,
        })
    }

    #[test]
    fn a_request_that_lacks_something_is_refused_by_name() {
        let settings = |index, desired: &str, task| {
            change_settings(v1::ChangeSettingsRequest {
                request_id: String::new(),
                index,
                proxy: 1,
                desired: desired.to_owned(),
                task,
            })
        };
        assert!(settings(reference(), "{}", new_task()).is_ok());
        let index = |uid: &str, shards| {
            create_index(v1::CreateIndexRequest {
                uid: uid.to_owned(),
                shards,
                ..Default::default()
            })
        };
        assert!(index("books", Some(4)).is_ok());
        let table = [
            (settings(None, "{}", new_task()), "index"),
            (settings(reference(), "[]", new_task()), "desired"),
            (settings(reference(), "{", new_task()), "desired"),
            (settings(reference(), "{}", None), "task"),
            (index("a b", None), "a b"),
            (index("books", Some(70_000)), "shards"),
        ];
        for (converted, named) in table {
            let status = converted.expect_err(named);
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(named), "{status}");
        }
    }
}
