//! What became of one request to one node. Nothing is guessed: after a lost answer the node is asked.

use std::time::{Duration, Instant};

use bytes::Bytes;
use miroir_core::id::NodeId;
use miroir_meili::{
    AddParams, ContentType, EnqueuedTask, HeaderMap, HeaderValue, MeiliError, Method, NodeClient, NodeError,
    NodeTaskUid, TaskQuery, WriteMode,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::lane::LaneContext;
use super::request::Mode;
use crate::backoff::Backoff;

/// The longest wait for a page of tasks when an outcome is looked up.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// A lost answer is looked up for at least this long, however long the request itself took.
const LOOK_UP_MIN: Duration = Duration::from_secs(2);
const LOOK_UP_PAGE: u32 = 200;
const LOOK_UP_PAGES_MAX: usize = 20;

/// How a request ended.
#[derive(Debug, Clone)]
pub(super) enum Settled {
    /// The node has it in its queue, under this number.
    Enqueued(u32),
    /// The node refused it for what it says.
    Refused(Refusal),
    /// The node does not have it, or cannot be asked whether it has.
    Missed {
        /// Why, for people.
        why: String,
        /// Whether it may have it all the same.
        maybe_applied: bool,
    },
}

/// A node's refusal.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    /// What Meilisearch said.
    pub(super) error: NodeError,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// Documents as NDJSON.
    Documents { mode: Mode, primary_key: String, skip_creation: bool, body: Bytes },
    /// A JSON array of ids to delete.
    Ids(Bytes),
    /// A filter to delete by.
    Filter(Value),
    /// A body of settings.
    Settings(Value),
}

/// The way to one node, and what is known of it.
pub(super) struct NodeLink {
    pub(super) context: LaneContext,
    pub(super) node: NodeId,
    /// Whether the node takes `customMetadata`, as far as is known.
    takes_marks: bool,
    /// The newest task the node gave this lane: a lost one is newer.
    newest_task: Option<u32>,
}

/// What the node's queue says about a lost request.
enum Trace {
    Found(u32),
    Absent,
    Unclear(String),
}

impl NodeLink {
    pub(super) fn new(context: LaneContext, node: NodeId) -> Self {
        Self { context, node, takes_marks: true, newest_task: None }
    }

    /// Sends `call` until the node has it, refuses it, or has not taken it for `patience`. Waits for the lease
    /// before every attempt; that time is not counted.
    pub(super) async fn settle(&mut self, call: &Call, patience: Duration) -> Settled {
        let mark = self.context.next_mark();
        let mut until = Instant::now() + patience;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            until += self.context.wait_for_lease().await;
            let Some(client) = self.context.control.nodes().get(self.node).cloned() else {
                return Settled::Missed { why: "the node is not in the table".to_owned(), maybe_applied: false };
            };
            let marked = call.takes_mark() && self.takes_marks;
            let error = match call.send(&client, self.context.index.as_str(), marked.then_some(mark.as_str())).await {
                Ok(task) => return self.enqueued(task.task_uid.0),
                Err(error) => error,
            };
            if marked && refuses_marks(&error) {
                self.takes_marks = false;
                continue;
            }
            let why = if error.outcome_unknown() {
                match self.trace(&client, call, marked.then_some(mark.as_str()), until, &error).await {
                    Trace::Found(task) => return self.enqueued(task),
                    Trace::Unclear(why) => return Settled::Missed { why, maybe_applied: true },
                    Trace::Absent => error.to_string(),
                }
            } else {
                match refusal(&error) {
                    Some(refusal) => return Settled::Refused(refusal),
                    None => error.to_string(),
                }
            };
            let delay = backoff.next_delay();
            if Instant::now() + delay >= until {
                return Settled::Missed { why, maybe_applied: false };
            }
            // Another process may answer there next time.
            self.takes_marks = true;
            sleep(delay).await;
        }
    }

    fn enqueued(&mut self, task: u32) -> Settled {
        self.newest_task = Some(task);
        Settled::Enqueued(task)
    }

    /// Finds out what became of a request whose answer was lost just now.
    async fn trace(
        &self,
        client: &NodeClient,
        call: &Call,
        mark: Option<&str>,
        until: Instant,
        error: &MeiliError,
    ) -> Trace {
        let closed = Instant::now();
        let arrived_by = closed + self.context.late_request;
        if matches!(call, Call::Settings(_)) {
            // The same settings twice are the same settings. But the lost request must not come after another.
            tokio::time::sleep_until(arrived_by.into()).await;
            return Trace::Absent;
        }
        let Some(mark) = mark else {
            return Trace::Unclear(format!("{error}; the node cannot tell whether it has the request"));
        };
        let until = until.max(arrived_by + LOOK_UP_MIN);
        let client = client.with_timeout(LOOK_UP_TIMEOUT);
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            let asked = Instant::now();
            match self.find(&client, mark).await {
                Ok(Some(task)) => return Trace::Found(task.0),
                Ok(None) if asked >= arrived_by => return Trace::Absent,
                Ok(None) => tokio::time::sleep_until(arrived_by.into()).await,
                Err(lost) if Instant::now() >= until => {
                    return Trace::Unclear(format!("{error}; its outcome cannot be looked up: {lost}"));
                }
                Err(_) => sleep(backoff.next_delay()).await,
            }
        }
    }

    /// The task that carries `mark`, newest first.
    async fn find(&self, client: &NodeClient, mark: &str) -> Result<Option<NodeTaskUid>, MeiliError> {
        let mut from = None;
        for _ in 0..LOOK_UP_PAGES_MAX {
            let query = TaskQuery {
                index_uids: vec![self.context.index.to_string()],
                limit: Some(LOOK_UP_PAGE),
                from,
                ..TaskQuery::default()
            };
            let page = client.tasks(&query).await?;
            if let Some(task) = page.results.iter().find(|task| task.custom_metadata.as_deref() == Some(mark)) {
                return Ok(Some(task.uid));
            }
            let older = page.next.filter(|next| self.newest_task.is_none_or(|newest| next.0 > newest));
            match older {
                Some(next) => from = Some(next),
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

impl Call {
    fn takes_mark(&self) -> bool {
        match self {
            Self::Documents { .. } | Self::Ids(_) | Self::Filter(_) => true,
            Self::Settings(_) => false,
        }
    }

    async fn send(&self, client: &NodeClient, index: &str, mark: Option<&str>) -> Result<EnqueuedTask, MeiliError> {
        match self {
            Self::Documents { mode, primary_key, skip_creation, body } => {
                let mode = match mode {
                    Mode::Replace => WriteMode::Replace,
                    Mode::Update => WriteMode::Update,
                };
                let params = AddParams {
                    primary_key: Some(primary_key),
                    custom_metadata: mark,
                    skip_creation: *skip_creation,
                };
                client.add_documents(index, mode, params, ContentType::NdJson, body.clone()).await
            }
            Self::Ids(ids) => client.delete_batch(index, ids.clone(), mark).await,
            Self::Filter(filter) => delete_by_filter(client, index, filter, mark).await,
            Self::Settings(settings) => client.patch_settings(index, settings).await,
        }
    }
}

/// The client's filter may be an array, which keeps ours apart from it.
async fn delete_by_filter(
    client: &NodeClient,
    index: &str,
    filter: &Value,
    mark: Option<&str>,
) -> Result<EnqueuedTask, MeiliError> {
    // A mark is letters, digits, `:` and `-`, an index uid letters, digits, `-` and `_`: neither needs escaping.
    let query = mark.map(|mark| format!("?customMetadata={mark}")).unwrap_or_default();
    let path = format!("/indexes/{index}/documents/delete{query}");
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = Bytes::from(json!({ "filter": filter }).to_string());
    let answer = client.raw(Method::POST, &path, headers, body).await?.into_success()?;
    serde_json::from_slice(&answer.body).map_err(|error| MeiliError::Protocol {
        call: format!("POST {}{path}", client.base_url().trim_end_matches('/')),
        status: answer.status.as_u16(),
        detail: error.to_string(),
    })
}

/// Whether the node is too old for `customMetadata` and refused the request for it.
fn refuses_marks(error: &MeiliError) -> bool {
    match error {
        MeiliError::Api { status: 400, error, .. } => {
            error.code == "bad_request" && error.message.contains("customMetadata")
        }
        MeiliError::Api { .. }
        | MeiliError::Invalid { .. }
        | MeiliError::Connect { .. }
        | MeiliError::UnknownOutcome { .. }
        | MeiliError::Busy { .. }
        | MeiliError::Protocol { .. } => false,
    }
}

/// The refusal that `error` is, unless the same request may be taken later.
fn refusal(error: &MeiliError) -> Option<Refusal> {
    match error {
        MeiliError::Api { status, error, .. } => {
            // A full disk or queue is no fault of the request.
            let for_now = matches!(
                error.code.as_str(),
                "no_space_left_on_device" | "too_many_open_files" | "io_error" | "database_size_limit_reached"
            );
            (!for_now && *status < 500).then(|| Refusal { status: *status, error: (**error).clone() })
        }
        MeiliError::Invalid { what } => {
            let kind = "internal".to_owned();
            let error = NodeError { message: what.clone(), code: kind.clone(), kind, link: String::new() };
            Some(Refusal { status: 500, error })
        }
        MeiliError::Connect { .. }
        | MeiliError::UnknownOutcome { .. }
        | MeiliError::Busy { .. }
        | MeiliError::Protocol { .. } => None,
    }
}
