//! Tasks and writes.

use miroir_core::cluster::{
    Digest, Idempotency, NewTask, Task, TaskKind, TaskPart, TaskQuery, TaskStatus, Write,
};
use miroir_core::id::{Incarnation, IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::registry::IndexPattern;

use super::ConvertError;
use crate::v1;

impl From<&NewTask> for v1::NewTask {
    fn from(task: &NewTask) -> Self {
        Self {
            kind: task.kind.as_str().to_owned(),
            details: task.details.to_string(),
            custom_metadata: task.custom_metadata.clone(),
            failure: task.failure.as_ref().map(ToString::to_string),
            idempotency: task.idempotency.map(Into::into),
        }
    }
}

impl From<Idempotency> for v1::Idempotency {
    fn from(write: Idempotency) -> Self {
        Self {
            key: write.key.0.to_vec(),
            request: write.request.0.to_vec(),
        }
    }
}

impl TryFrom<v1::Idempotency> for Idempotency {
    type Error = ConvertError;

    fn try_from(write: v1::Idempotency) -> Result<Self, ConvertError> {
        let digest = |bytes: Vec<u8>, field| {
            let bytes = bytes.try_into();
            bytes
                .map(Digest)
                .map_err(|_| ConvertError::new("Idempotency", field))
        };
        Ok(Self {
            key: digest(write.key, "key")?,
            request: digest(write.request, "request")?,
        })
    }
}

impl TryFrom<v1::NewTask> for NewTask {
    type Error = ConvertError;

    fn try_from(task: v1::NewTask) -> Result<Self, ConvertError> {
        let wrong = |field| ConvertError::new("NewTask", field);
        Ok(Self {
            kind: TaskKind::parse(&task.kind).ok_or_else(|| wrong("kind"))?,
            details: serde_json::from_str(&task.details).map_err(|_| wrong("details"))?,
            custom_metadata: task.custom_metadata,
            failure: task
                .failure
                .map(|f| serde_json::from_str(&f))
                .transpose()
                .map_err(|_| wrong("failure"))?,
            idempotency: task.idempotency.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&TaskPart> for v1::TaskPart {
    fn from(part: &TaskPart) -> Self {
        Self {
            node: part.node.0,
            node_task: part.node_task,
            counts: part.counts,
        }
    }
}

impl From<v1::TaskPart> for TaskPart {
    fn from(part: v1::TaskPart) -> Self {
        Self {
            node: NodeId(part.node),
            node_task: part.node_task,
            counts: part.counts,
        }
    }
}

impl From<&Write> for v1::Write {
    fn from(write: &Write) -> Self {
        Self {
            index: Some(v1::IndexRef {
                uid: write.uid.to_string(),
                incarnation: write.incarnation.0,
            }),
            task: Some((&write.task).into()),
            parts: write.parts.iter().map(Into::into).collect(),
            missed: write
                .missed
                .iter()
                .map(|(shard, node)| v1::Missed {
                    shard: shard.0.into(),
                    node: node.0,
                })
                .collect(),
        }
    }
}

impl TryFrom<v1::Write> for Write {
    type Error = ConvertError;

    fn try_from(write: v1::Write) -> Result<Self, ConvertError> {
        let wrong = |field| ConvertError::new("Write", field);
        let (uid, incarnation) = write.index.ok_or_else(|| wrong("index"))?.try_into()?;
        let missed = write.missed.into_iter().map(|missed| {
            let shard = u16::try_from(missed.shard).map_err(|_| wrong("missed"))?;
            Ok((ShardId(shard), NodeId(missed.node)))
        });
        Ok(Self {
            uid,
            incarnation,
            task: write.task.ok_or_else(|| wrong("task"))?.try_into()?,
            parts: write.parts.into_iter().map(Into::into).collect(),
            missed: missed.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<v1::IndexRef> for (IndexUid, Incarnation) {
    type Error = ConvertError;

    fn try_from(index: v1::IndexRef) -> Result<Self, ConvertError> {
        let uid = IndexUid::parse(&index.uid).map_err(|_| ConvertError::new("IndexRef", "uid"))?;
        Ok((uid, Incarnation(index.incarnation)))
    }
}

impl From<&TaskQuery> for v1::ListTasksRequest {
    fn from(query: &TaskQuery) -> Self {
        let statuses = query.statuses.iter().map(|status| status.as_str());
        let kinds = query.kinds.iter().map(|kind| kind.as_str());
        Self {
            uids: query.uids.iter().map(|uid| uid.0).collect(),
            index_uids: query.index_uids.iter().map(ToString::to_string).collect(),
            index_patterns: query
                .index_patterns
                .iter()
                .map(ToString::to_string)
                .collect(),
            statuses: statuses.map(str::to_owned).collect(),
            kinds: kinds.map(str::to_owned).collect(),
            from: None,
            limit: None,
            reverse: false,
            after_enqueued_at_ms: query.after_enqueued_at_ms,
            before_enqueued_at_ms: query.before_enqueued_at_ms,
            after_started_at_ms: query.after_started_at_ms,
            before_started_at_ms: query.before_started_at_ms,
            after_finished_at_ms: query.after_finished_at_ms,
            before_finished_at_ms: query.before_finished_at_ms,
            begun: query.begun,
            nothing: query.nothing,
        }
    }
}

impl TryFrom<&v1::ListTasksRequest> for TaskQuery {
    type Error = ConvertError;

    fn try_from(request: &v1::ListTasksRequest) -> Result<Self, ConvertError> {
        let wrong = |field| ConvertError::new("ListTasksRequest", field);
        let index = |uid: &String| IndexUid::parse(uid).map_err(|_| wrong("index_uids"));
        let pattern =
            |text: &String| IndexPattern::parse(text).map_err(|_| wrong("index_patterns"));
        let status = |name: &String| TaskStatus::parse(name).ok_or_else(|| wrong("statuses"));
        let kind = |name: &String| TaskKind::parse(name).ok_or_else(|| wrong("kinds"));
        Ok(Self {
            nothing: request.nothing,
            begun: request.begun,
            uids: request.uids.iter().copied().map(TaskUid).collect(),
            index_uids: request
                .index_uids
                .iter()
                .map(index)
                .collect::<Result<_, _>>()?,
            index_patterns: request
                .index_patterns
                .iter()
                .map(pattern)
                .collect::<Result<_, _>>()?,
            statuses: request
                .statuses
                .iter()
                .map(status)
                .collect::<Result<_, _>>()?,
            kinds: request.kinds.iter().map(kind).collect::<Result<_, _>>()?,
            after_enqueued_at_ms: request.after_enqueued_at_ms,
            before_enqueued_at_ms: request.before_enqueued_at_ms,
            after_started_at_ms: request.after_started_at_ms,
            before_started_at_ms: request.before_started_at_ms,
            after_finished_at_ms: request.after_finished_at_ms,
            before_finished_at_ms: request.before_finished_at_ms,
        })
    }
}

impl From<&Task> for v1::Task {
    fn from(task: &Task) -> Self {
        Self {
            uid: task.uid.0,
            index_uid: task.index.as_ref().map(ToString::to_string),
            kind: task.kind.as_str().to_owned(),
            status: task.status.as_str().to_owned(),
            details: task.details.to_string(),
            error: task.error.as_ref().map(ToString::to_string),
            custom_metadata: task.custom_metadata.clone(),
            parts: task.parts.iter().map(Into::into).collect(),
            enqueued_at_ms: task.enqueued_at_ms,
            started_at_ms: task.started_at_ms,
            finished_at_ms: task.finished_at_ms,
        }
    }
}

impl TryFrom<v1::Task> for Task {
    type Error = ConvertError;

    fn try_from(task: v1::Task) -> Result<Self, ConvertError> {
        let wrong = |field| ConvertError::new("Task", field);
        Ok(Self {
            uid: TaskUid(task.uid),
            index: task
                .index_uid
                .map(|uid| IndexUid::parse(&uid))
                .transpose()
                .map_err(|_| wrong("index_uid"))?,
            kind: TaskKind::parse(&task.kind).ok_or_else(|| wrong("kind"))?,
            status: TaskStatus::parse(&task.status).ok_or_else(|| wrong("status"))?,
            details: serde_json::from_str(&task.details).map_err(|_| wrong("details"))?,
            error: task
                .error
                .map(|e| serde_json::from_str(&e))
                .transpose()
                .map_err(|_| wrong("error"))?,
            custom_metadata: task.custom_metadata,
            parts: task.parts.into_iter().map(Into::into).collect(),
            enqueued_at_ms: task.enqueued_at_ms,
            started_at_ms: task.started_at_ms,
            finished_at_ms: task.finished_at_ms,
        })
    }
}
