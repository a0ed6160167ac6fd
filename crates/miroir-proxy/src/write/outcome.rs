//! What became of one request to one node. Nothing is guessed: after a lost answer the node is asked.

use std::time::{Duration, Instant};

use bytes::Bytes;
use miroir_core::id::NodeId;
use miroir_meili::{
    AddParams, ContentType, EnqueuedTask, HeaderMap, HeaderValue, Interruption, MeiliError, Method,
    NodeClient, NodeError, NodeTaskUid, TaskQuery, WriteMode,
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
    Documents {
        mode: Mode,
        primary_key: String,
        skip_creation: bool,
        body: Bytes,
    },
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
    /// Whether no request of an earlier writer can reach the node any more.
    alone: bool,
}

/// What the node's queue says about a lost request.
enum Trace {
    Found(u32),
    Absent,
    Unclear(String),
}

impl NodeLink {
    pub(super) fn new(context: LaneContext, node: NodeId) -> Self {
        Self {
            context,
            node,
            takes_marks: true,
            newest_task: None,
            alone: false,
        }
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
                return Settled::Missed {
                    why: "the node is not in the table".to_owned(),
                    maybe_applied: false,
                };
            };
            if !self.alone {
                let waited = tokio::select! {
                    () = self.context.is_first_writer() => Ok(()),
                    waited = self.let_arrive(&client, until) => waited,
                };
                if let Err(error) = waited {
                    return Settled::Missed {
                        why: error.to_string(),
                        maybe_applied: false,
                    };
                }
                self.alone = true;
                until = until.max(Instant::now() + patience.min(LOOK_UP_MIN));
                continue;
            }
            let marked = call.takes_mark() && self.takes_marks;
            let mark_sent = marked.then_some(mark.as_str());
            let sent = call.send(&client, self.context.index.as_str(), mark_sent);
            let error = match self.within_lease(&client, sent).await {
                Ok(task) => return self.enqueued(task.task_uid.0),
                Err(error) => error,
            };
            if marked && refuses_marks(&error) {
                self.takes_marks = false;
                continue;
            }
            let why = if error.outcome_unknown() {
                match self.trace(&client, call, mark_sent, until, &error).await {
                    Trace::Found(task) => return self.enqueued(task),
                    Trace::Unclear(why) => {
                        return Settled::Missed {
                            why,
                            maybe_applied: true,
                        };
                    }
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
                return Settled::Missed {
                    why,
                    maybe_applied: false,
                };
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

    /// Sends a request, and breaks off when the lease ends: another proxy may write after that.
    async fn within_lease(
        &self,
        client: &NodeClient,
        sent: impl Future<Output = Result<EnqueuedTask, MeiliError>>,
    ) -> Result<EnqueuedTask, MeiliError> {
        tokio::select! {
            answer = sent => answer,
            () = self.context.lease_over() => Err(MeiliError::UnknownOutcome {
                call: client.base_url().to_owned(),
                how: Interruption::Timeout,
                detail: "the proxy's lease ended".to_owned(),
            }),
        }
    }

    /// Waits until the node answers, and then until requests that were under way to it have arrived. A node that
    /// hung takes what it was sent meanwhile only once it goes on.
    async fn let_arrive(&self, client: &NodeClient, until: Instant) -> Result<(), MeiliError> {
        let client = client.with_timeout(LOOK_UP_TIMEOUT);
        let any = TaskQuery {
            limit: Some(1),
            ..TaskQuery::default()
        };
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            let Err(error) = client.tasks(&any).await else {
                sleep(self.context.late_request).await;
                return Ok(());
            };
            let delay = backoff.next_delay();
            if Instant::now() + delay >= until {
                return Err(error);
            }
            sleep(delay).await;
        }
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
        let late = self.context.late_request;
        let until = until.max(Instant::now() + late + LOOK_UP_MIN);
        let unclear = |lost: MeiliError| {
            Trace::Unclear(format!("{error}; its outcome cannot be looked up: {lost}"))
        };
        if matches!(call, Call::Settings(_)) {
            // The same settings twice are the same settings. But the lost request must not come after another.
            return match self.let_arrive(client, until).await {
                Ok(()) => Trace::Absent,
                Err(lost) => unclear(lost),
            };
        }
        let Some(mark) = mark else {
            return Trace::Unclear(format!(
                "{error}; the node cannot tell whether it has the request"
            ));
        };
        let client = client.with_timeout(LOOK_UP_TIMEOUT);
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        let mut arrived_by = None;
        loop {
            let asked = Instant::now();
            match self.find(&client, mark).await {
                Ok(Some(task)) => return Trace::Found(task.0),
                // Counted from the node's first answer: one that hung has yet to take what it was sent.
                Ok(None) => {
                    let by: Instant = *arrived_by.get_or_insert_with(|| Instant::now() + late);
                    if asked >= by {
                        return Trace::Absent;
                    }
                    tokio::time::sleep_until(by.into()).await;
                }
                Err(lost) if Instant::now() >= until => return unclear(lost),
                Err(_) => {
                    arrived_by = None;
                    sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// The task that carries `mark`, newest first.
    async fn find(
        &self,
        client: &NodeClient,
        mark: &str,
    ) -> Result<Option<NodeTaskUid>, MeiliError> {
        let mut from = None;
        for _ in 0..LOOK_UP_PAGES_MAX {
            let query = TaskQuery {
                index_uids: vec![self.context.index.to_string()],
                limit: Some(LOOK_UP_PAGE),
                from,
                ..TaskQuery::default()
            };
            let page = client.tasks(&query).await?;
            if let Some(task) = page
                .results
                .iter()
                .find(|task| task.custom_metadata.as_deref() == Some(mark))
            {
                return Ok(Some(task.uid));
            }
            let older = page
                .next
                .filter(|next| self.newest_task.is_none_or(|newest| next.0 > newest));
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

    async fn send(
        &self,
        client: &NodeClient,
        index: &str,
        mark: Option<&str>,
    ) -> Result<EnqueuedTask, MeiliError> {
        match self {
            Self::Documents {
                mode,
                primary_key,
                skip_creation,
                body,
            } => {
                let mode = match mode {
                    Mode::Replace => WriteMode::Replace,
                    Mode::Update => WriteMode::Update,
                };
                let params = AddParams {
                    primary_key: Some(primary_key),
                    custom_metadata: mark,
                    skip_creation: *skip_creation,
                };
                client
                    .add_documents(index, mode, params, ContentType::NdJson, body.clone())
                    .await
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
    let query = mark
        .map(|mark| format!("?customMetadata={mark}"))
        .unwrap_or_default();
    let path = format!("/indexes/{index}/documents/delete{query}");
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = Bytes::from(json!({ "filter": filter }).to_string());
    let answer = client
        .raw(Method::POST, &path, headers, body)
        .await?
        .into_success()?;
    serde_json::from_slice(&answer.body).map_err(|error| MeiliError::Protocol {
        call: format!("POST {}{path}", client.base_url().trim_end_matches('/')),
        status: answer.status.as_u16(),
        detail: error.to_string(),
    })
}

/// Whether the node is too old for `customMetadata` and refused the request for it.
fn refuses_marks(error: &MeiliError) -> bool {
    match error {
        MeiliError::Api {
            status: 400, error, ..
        } => error.code == "bad_request" && error.message.contains("customMetadata"),
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
                "no_space_left_on_device"
                    | "too_many_open_files"
                    | "io_error"
                    | "database_size_limit_reached"
            );
            (!for_now && *status < 500).then(|| Refusal {
                status: *status,
                error: (**error).clone(),
            })
        }
        MeiliError::Invalid { what } => {
            let kind = "internal".to_owned();
            let error = NodeError {
                message: what.clone(),
                code: kind.clone(),
                kind,
                link: String::new(),
            };
            Some(Refusal { status: 500, error })
        }
        MeiliError::Connect { .. }
        | MeiliError::UnknownOutcome { .. }
        | MeiliError::Busy { .. }
        | MeiliError::Protocol { .. } => None,
    }
}
