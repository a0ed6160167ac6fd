//! The node's task queue: what is enqueued, what became of it, what is still ahead.

use crate::client::NodeClient;
use crate::error::{MeiliError, NodeError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// How many uids one request asks for: the URL then stays below 16 KiB, where no HTTP
/// server in use refuses it.
const UIDS_PER_REQUEST: usize = 1000;

/// The number a node gives a task. Dense and increasing on one node; it says nothing
/// about another node.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct NodeTaskUid(pub u32);

impl fmt::Display for NodeTaskUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskStatus {
    /// In the queue.
    Enqueued,
    /// Being carried out; its effect is not visible yet.
    Processing,
    /// Done, and visible.
    Succeeded,
    /// Refused by the engine; nothing of it was applied.
    Failed,
    /// Taken out of the queue; nothing of it was applied.
    Canceled,
}

impl TaskStatus {
    /// Whether the task can change no more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Canceled => true,
            Self::Enqueued | Self::Processing => false,
        }
    }

    /// The name in Meilisearch's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// The answer to a request that was enqueued.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnqueuedTask {
    /// The task to follow.
    pub task_uid: NodeTaskUid,
    /// The index it works on; `None` for a task of the whole node.
    pub index_uid: Option<String>,
    /// What it does: `documentAdditionOrUpdate`.
    #[serde(rename = "type")]
    pub kind: String,
    /// RFC 3339.
    pub enqueued_at: String,
}

/// A task in full.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTask {
    /// Its number.
    pub uid: NodeTaskUid,
    /// The batch that carried it out, once there is one.
    #[serde(default)]
    pub batch_uid: Option<u32>,
    /// The index it works on; `None` for a task of the whole node.
    pub index_uid: Option<String>,
    /// Where it is.
    pub status: TaskStatus,
    /// What it does: `documentAdditionOrUpdate`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The task that canceled it.
    #[serde(default)]
    pub canceled_by: Option<NodeTaskUid>,
    /// Counts and parameters, by type of task.
    #[serde(default)]
    pub details: Option<Value>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<NodeError>,
    /// The text given when it was enqueued.
    #[serde(default)]
    pub custom_metadata: Option<String>,
    /// ISO 8601 duration, once it is final.
    #[serde(default)]
    pub duration: Option<String>,
    /// RFC 3339.
    pub enqueued_at: String,
    /// RFC 3339.
    #[serde(default)]
    pub started_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub finished_at: Option<String>,
}

/// Which tasks to list. An empty list does not filter.
#[derive(Debug, Clone, Default)]
pub struct TaskQuery {
    /// Only these tasks.
    pub uids: Vec<NodeTaskUid>,
    /// Only tasks of these indexes.
    pub index_uids: Vec<String>,
    /// Only tasks in one of these states.
    pub statuses: Vec<TaskStatus>,
    /// Only tasks of these types: `documentDeletion`.
    pub types: Vec<String>,
    /// The most tasks to return; Meilisearch returns 20 when it is not told.
    pub limit: Option<u32>,
    /// The first task to return: going down from it, or up if `reverse`.
    pub from: Option<NodeTaskUid>,
    /// Oldest first.
    pub reverse: bool,
}

impl TaskQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let mut list = |name, values: Vec<String>| {
            if !values.is_empty() {
                pairs.push((name, values.join(",")));
            }
        };
        list("uids", self.uids.iter().map(ToString::to_string).collect());
        list("indexUids", self.index_uids.clone());
        let statuses = self.statuses.iter().map(|s| s.as_str().to_owned());
        list("statuses", statuses.collect());
        list("types", self.types.clone());
        list("limit", self.limit.iter().map(u32::to_string).collect());
        list("from", self.from.iter().map(ToString::to_string).collect());
        if self.reverse {
            pairs.push(("reverse", "true".to_owned()));
        }
        pairs
    }
}

/// One page of the task list, newest first unless asked otherwise.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TaskPage {
    /// The tasks.
    pub results: Vec<NodeTask>,
    /// How many match in all.
    pub total: u64,
    /// The most this page could hold.
    pub limit: u32,
    /// The first task of this page.
    pub from: Option<NodeTaskUid>,
    /// The first task of the next page; `None` on the last.
    pub next: Option<NodeTaskUid>,
}

impl NodeClient {
    /// One page of tasks.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, MeiliError> {
        self.get(&["tasks"], &query.pairs()).await?.parse()
    }

    /// One task, or `None` if the node has none of that number: never given, deleted,
    /// or the node was wiped.
    pub async fn task(&self, uid: NodeTaskUid) -> Result<Option<NodeTask>, MeiliError> {
        self.get(&["tasks", &uid.to_string()], &[])
            .await?
            .parse_unless(&["task_not_found"])
    }

    /// Those of `uids` that the node has, in no particular order.
    pub async fn tasks_of(&self, uids: &[NodeTaskUid]) -> Result<Vec<NodeTask>, MeiliError> {
        let mut found = Vec::with_capacity(uids.len());
        for chunk in uids.chunks(UIDS_PER_REQUEST) {
            let query = TaskQuery {
                uids: chunk.to_vec(),
                limit: Some(UIDS_PER_REQUEST as u32),
                ..TaskQuery::default()
            };
            found.extend(self.tasks(&query).await?.results);
        }
        Ok(found)
    }

    /// Whether every task of the index up to and including `last` is final. Look at
    /// [`failures`](Self::failures) to know how they ended.
    pub async fn index_drained_up_to(
        &self,
        uid: &str,
        last: NodeTaskUid,
    ) -> Result<bool, MeiliError> {
        let query = TaskQuery {
            index_uids: vec![uid.to_owned()],
            statuses: vec![TaskStatus::Enqueued, TaskStatus::Processing],
            limit: Some(1),
            reverse: true,
            ..TaskQuery::default()
        };
        let page = self.tasks(&query).await?;
        Ok(page.results.first().is_none_or(|oldest| oldest.uid > last))
    }

    /// The newest task of the index, whatever its state; `None` if it never had one
    /// that the node still remembers.
    pub async fn last_task_uid(&self, uid: &str) -> Result<Option<NodeTaskUid>, MeiliError> {
        let query = TaskQuery {
            index_uids: vec![uid.to_owned()],
            limit: Some(1),
            ..TaskQuery::default()
        };
        let page = self.tasks(&query).await?;
        Ok(page.results.first().map(|task| task.uid))
    }

    /// The newest task of the node, whatever its index and state; `None` on a node that never had one that it still
    /// remembers.
    pub async fn newest_task_uid(&self) -> Result<Option<NodeTaskUid>, MeiliError> {
        let query = TaskQuery {
            limit: Some(1),
            ..TaskQuery::default()
        };
        let page = self.tasks(&query).await?;
        Ok(page.results.first().map(|task| task.uid))
    }

    /// Whether every task of the node up to and including `last` is final, whatever its index.
    pub async fn drained_up_to(&self, last: NodeTaskUid) -> Result<bool, MeiliError> {
        let query = TaskQuery {
            statuses: vec![TaskStatus::Enqueued, TaskStatus::Processing],
            limit: Some(1),
            from: Some(last),
            ..TaskQuery::default()
        };
        Ok(self.tasks(&query).await?.results.is_empty())
    }

    /// The failed and canceled tasks of the index after `after` and up to and including
    /// `last`, newest first.
    pub async fn failures(
        &self,
        uid: &str,
        after: Option<NodeTaskUid>,
        last: NodeTaskUid,
    ) -> Result<Vec<NodeTask>, MeiliError> {
        let mut failed = Vec::new();
        let mut from = Some(last);
        while from.is_some_and(|from| Some(from) > after) {
            let query = TaskQuery {
                index_uids: vec![uid.to_owned()],
                statuses: vec![TaskStatus::Failed, TaskStatus::Canceled],
                limit: Some(UIDS_PER_REQUEST as u32),
                from,
                ..TaskQuery::default()
            };
            let page = self.tasks(&query).await?;
            // A list that does not go down would be read for ever.
            let next = page.next.filter(|next| Some(*next) < from);
            failed.extend(page.results.into_iter().filter(|t| Some(t.uid) > after));
            from = next;
        }
        Ok(failed)
    }

    /// How many tasks the node has not finished, over all its indexes.
    pub async fn queue_depth(&self) -> Result<u64, MeiliError> {
        let query = TaskQuery {
            statuses: vec![TaskStatus::Enqueued, TaskStatus::Processing],
            limit: Some(0),
            ..TaskQuery::default()
        };
        Ok(self.tasks(&query).await?.total)
    }
}
