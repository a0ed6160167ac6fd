//! Reads that show what their client wrote (docs/adr/0017).
//!
//! The coordinators know which tasks have not ended, and of each the nodes' own. A read with a session goes to copies whose
//! node has carried out all of them that the session is to see; when there are too few such copies it waits.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use futures::future::join_all;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::id::{IndexUid, NodeId, TaskUid};
use miroir_core::routing::{IndexRoute, RoutingTable};
use miroir_core::session::SessionToken;
use miroir_meili::NodeTaskUid;
use tokio::time::Instant;

use super::{Begun, Caller, Reads};
use crate::backoff::Backoff;
use crate::catalog::{Catalog, PendingTasks};
use crate::error::HttpError;
use crate::upstream::Standing;

/// The header of a session: on the answers to writes, and on the requests that are to see them.
pub const SESSION_HEADER: HeaderName = HeaderName::from_static("miroir-session");

/// How long a node may take to tell whether it has carried tasks out.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const LACKS_WRITES: &str = "it has not carried out what the session wrote";

/// What reads with a session need.
pub struct Sessions {
    catalog: Catalog,
    wait: Duration,
    /// Of each index, by name, the newest task of which it is known that it and all before it have ended.
    ended: Mutex<BTreeMap<IndexUid, TaskUid>>,
}

impl Sessions {
    /// Reads that ask `catalog` for tasks and wait for them as long as `wait`.
    #[must_use]
    pub fn new(catalog: Catalog, wait: Duration) -> Self {
        Self {
            catalog,
            wait,
            ended: Mutex::default(),
        }
    }

    /// What ended stays so, and copies that lack it were out of use in the table by which this was noted.
    fn has_ended(&self, index: &IndexUid, task: TaskUid) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(index).is_some_and(|newest| *newest >= task)
    }

    fn note_ended(&self, index: &IndexUid, task: TaskUid) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = ended.entry(index.clone()).or_insert(task);
        *newest = task.max(*newest);
    }
}

/// The session that a request brings, or a new one.
///
/// # Errors
/// `invalid_session` for one that is damaged or of another cluster than `cluster_id`.
pub fn session_of(headers: &HeaderMap, cluster_id: &str) -> Result<SessionToken, ApiError> {
    let Some(value) = headers.get(SESSION_HEADER) else {
        return Ok(SessionToken::new(cluster_id));
    };
    read(value, cluster_id)
}

fn read(value: &HeaderValue, cluster_id: &str) -> Result<SessionToken, ApiError> {
    let text = value.to_str().unwrap_or_default();
    SessionToken::decode(text, cluster_id).map_err(|why| invalid(&why.to_string()))
}

fn invalid(why: &str) -> ApiError {
    let message = format!("The `Miroir-Session` header cannot be used: {why}.");
    ApiError::new(Code::InvalidSession, message)
}

fn too_late(index: &str, why: &str) -> HttpError {
    let message = format!(
        "What this session wrote to index `{index}` cannot be read yet: {why}. Nothing is answered rather than something older. Try again."
    );
    HttpError::unavailable("session_not_applied", message)
}

impl Reads {
    /// Begins a read of the index `uid`, on copies that have what the caller's session wrote.
    pub(super) async fn begin(&self, uid: &str, caller: &Caller) -> Result<Begun, HttpError> {
        let Some(session) = &caller.session else {
            return self.begin_now(uid);
        };
        let table = self.guard()?.table.clone();
        let session = read(session, &table.cluster_id)?;
        let Ok(uid) = IndexUid::parse(uid) else {
            return self.begin_now(uid);
        };
        let name = name_of(&table, &uid);
        // Where it was not known by its name, it is by its uid.
        let by_name = session.newest(name.as_str());
        match by_name.max(session.newest(uid.as_str())) {
            Some(task) if !self.inner.sessions.has_ended(&name, task) => {
                Box::pin(self.begin_after(&uid, task)).await
            }
            Some(_) | None => self.begin_now(uid.as_str()),
        }
    }

    /// Begins a read of an index on copies that have everything up to `task`.
    async fn begin_after(&self, uid: &IndexUid, task: TaskUid) -> Result<Begun, HttpError> {
        let sessions = &self.inner.sessions;
        let deadline = Instant::now() + sessions.wait;
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(250));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let catalog = sessions
                .catalog
                .within(left.max(Duration::from_millis(100)));
            let control = &self.inner.control;
            let name = name_of(&control.table(), uid);
            let asked = catalog.pending_tasks(&name, task).await;
            let pending = asked.map_err(|error| too_late(uid.as_str(), &error.to_string()))?;
            if pending.newest < Some(task) {
                return Err(invalid("it names a task that there is not").into());
            }
            // Copies that lack a task which has ended were taken out of use before: by this table nobody reads them.
            let in_time = control.wait_epoch(pending.epoch, deadline.into_std()).await;
            // Another index may be called so by now.
            if in_time && name_of(&control.table(), uid) == name {
                if pending.is_empty() {
                    let begun = self.begin_now(uid.as_str())?;
                    // Only of an index that there is: whatever a client names would be kept.
                    sessions.note_ended(&name, task);
                    return Ok(begun);
                }
                let lacking = self.lacking(&name, &pending).await;
                let mut begun = self.begin_now(uid.as_str())?;
                let is_same = begun.scope.route.name == name;
                if is_same && !pending.open && is_served_without(&begun.scope.route, &lacking) {
                    let why = |node| (node, LACKS_WRITES.to_owned());
                    begun.scope.failed = lacking.into_iter().map(why).collect();
                    return Ok(begun);
                }
            }
            let pause = backoff.next_delay();
            if Instant::now() + pause >= deadline {
                let why = "too few copies have carried it out in time";
                return Err(too_late(uid.as_str(), why));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The nodes that have not carried out all of `pending`, as far as they say so.
    ///
    /// Where a task failed on a node it may have succeeded on another. The coordinators find out and take the odd copy
    /// out of use; until then the node does not count as having it.
    async fn lacking(&self, name: &IndexUid, pending: &PendingTasks) -> Vec<NodeId> {
        let nodes = self.inner.control.nodes();
        let asked = pending.nodes.iter().map(|(node, (first, last))| {
            let is_down = self.upstream().standing(*node) == Standing::Down;
            let client = nodes.get(*node).filter(|_| !is_down).cloned();
            async move {
                let Some(client) = client else {
                    return Some(*node);
                };
                let client = client.with_timeout(ASK_TIMEOUT);
                let (after, last) = (first.checked_sub(1).map(NodeTaskUid), NodeTaskUid(*last));
                let uid = name.as_str();
                let drained = client.index_drained_up_to(uid, last).await;
                let has_all = matches!(drained, Ok(true))
                    && client
                        .failures(uid, after, last)
                        .await
                        .is_ok_and(|failures| failures.is_empty());
                (!has_all).then_some(*node)
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

/// What the coordinators and the nodes call an index.
fn name_of(table: &RoutingTable, uid: &IndexUid) -> IndexUid {
    let route = table.indexes.get(uid);
    route.map_or_else(|| uid.clone(), |route| route.name.clone())
}

/// Whether every shard has a readable copy on another node than these.
pub(super) fn is_served_without(route: &IndexRoute, lacking: &[NodeId]) -> bool {
    let mut shards = route.shards_by_id();
    shards.all(|(_, shard)| {
        let mut copies = shard.replicas.iter();
        copies.any(|copy| copy.state.is_readable() && !lacking.contains(&copy.node))
    })
}
