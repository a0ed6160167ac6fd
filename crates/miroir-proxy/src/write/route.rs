//! Who is to carry a write out, and seeing to it that somebody does within the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_core::cluster::Rejection;
use miroir_core::id::{Epoch, ProxyId};
use miroir_core::routing::{IndexRoute, RoutingTable};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout_at;
use uuid::Uuid;

use super::active::Active;
use super::finish::uncommitted;
use super::forward::{self, Forwarded};
use super::op::Submission;
use super::prepare::{self, Prepared};
use super::unrouted::Unrouted;
use super::{Accepted, Operation, Shared, WriteError, WriteRequest, WritesConfig};

/// A forwarded request comes by the forwarder's table, which may be a moment newer than this proxy's.
const TABLE_GRACE: Duration = Duration::from_secs(1);

/// How long a client waits at most: as long as its write may be held, as long again for a node that does not
/// answer, and some time for looking up lost answers and for the registration.
pub(super) fn answer_within(config: &WritesConfig) -> Duration {
    config.hold * 2 + Duration::from_secs(10)
}

/// Where a write belongs.
enum Place {
    /// No table or no registration yet, or an index without a writer.
    Nowhere,
    /// The table has no such index.
    Unknown,
    /// This proxy orders the index's writes.
    Here(Arc<IndexRoute>, ProxyId),
    /// The proxy at this address does.
    Elsewhere(String),
}

/// How one try ended.
enum Try {
    Done(Result<Accepted, WriteError>),
    /// It was certainly not carried out: it is to be tried anew by a newer table.
    Again,
}

impl Shared {
    /// Carries `request` out, unless it was before.
    pub(super) async fn carry_out_once(
        self: Arc<Self>,
        request: WriteRequest,
    ) -> Result<Accepted, WriteError> {
        let answer = self.carry_out(&request).await;
        match answer {
            Err(WriteError::Repeated { task, at_ms }) => Ok(request.accepted_before(task, at_ms)),
            answer => answer,
        }
    }

    /// Carries `request` out, wherever it belongs.
    async fn carry_out(self: &Arc<Self>, request: &WriteRequest) -> Result<Accepted, WriteError> {
        let active = self.active.begin();
        let deadline = Instant::now() + self.config.hold;
        match &request.operation {
            Operation::CreateIndex { primary_key } => {
                return self
                    .create_by_name(request, primary_key.as_deref(), deadline)
                    .await;
            }
            Operation::UpdateIndex { primary_key } => {
                return self
                    .update_by_name(request, primary_key.as_deref(), deadline)
                    .await;
            }
            Operation::AddDocuments(_)
            | Operation::DeleteOne { .. }
            | Operation::DeleteBatch { .. }
            | Operation::DeleteByFilter { .. }
            | Operation::DeleteAll
            | Operation::Settings { .. }
            | Operation::ResetSettings
            | Operation::DeleteIndex => {}
        }
        let mut room = Some(
            self.budget
                .take(request.raw.body.len().saturating_mul(2), deadline)
                .await?,
        );
        let mut active = Some(active);
        let mut grace = Some(deadline.min(Instant::now() + TABLE_GRACE));
        loop {
            let table = self.control.table();
            let tried = match place(&table, request, self.control.proxy_id()) {
                Place::Here(route, proxy) => {
                    self.here(request, (&route, proxy), (&mut room, &mut active), deadline)
                        .await
                }
                Place::Elsewhere(_) | Place::Nowhere | Place::Unknown if request.forwarded => {
                    match grace.take() {
                        Some(grace) => {
                            let mine = |table: &RoutingTable| {
                                matches!(
                                    place(table, request, self.control.proxy_id()),
                                    Place::Here(..)
                                )
                            };
                            self.control.wait_table(grace, mine).await;
                            continue;
                        }
                        None => Try::Done(Err(WriteError::Moved)),
                    }
                }
                Place::Elsewhere(url) => self.elsewhere(request, &url, table.epoch, deadline).await,
                Place::Unknown => match self.on_unknown_index(request, deadline).await {
                    Unrouted::Done(answer) => Try::Done(answer),
                    Unrouted::Again => continue,
                },
                Place::Nowhere => Try::Again,
            };
            match tried {
                Try::Done(answer) => return answer,
                Try::Again if request.forwarded => return Err(WriteError::Moved),
                Try::Again => self.wait_for_news(table.epoch, deadline).await?,
            }
            if room.is_none() {
                room = Some(
                    self.budget
                        .take(request.raw.body.len().saturating_mul(2), deadline)
                        .await?,
                );
            }
        }
    }

    /// Waits for a newer table, a little while: the writer at an unchanged address may have come back.
    async fn wait_for_news(&self, epoch: Epoch, deadline: Instant) -> Result<(), WriteError> {
        let Some(pause) = forward::pause(deadline) else {
            let reason = "the index has no writer that can be reached, or no coordinator leads";
            return Err(WriteError::held(reason));
        };
        self.control
            .wait_table(Instant::now() + pause, |table| table.epoch > epoch)
            .await;
        Ok(())
    }

    /// Carries a write out as the index's writer.
    async fn here(
        self: &Arc<Self>,
        request: &WriteRequest,
        (route, proxy): (&Arc<IndexRoute>, ProxyId),
        (room, active): (&mut Option<OwnedSemaphorePermit>, &mut Option<Active>),
        deadline: Instant,
    ) -> Try {
        let flight = match request.idempotency {
            None => None,
            Some(write) => match self.begin_once(write, deadline).await {
                Ok(flight) => Some(flight),
                Err(error) => return Try::Done(Err(error)),
            },
        };
        let mut prepared = match self.prepare(&request.operation, route, deadline).await {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Try::Again,
            Err(error) => return Try::Done(Err(error)),
        };
        if request.custom_metadata.is_some() {
            prepared
                .task
                .custom_metadata
                .clone_from(&request.custom_metadata);
        }
        prepared.task.idempotency = request.idempotency;
        let (answer, answered) = oneshot::channel();
        let submission = Submission {
            uid: request.index.clone(),
            work: prepared.work,
            task: prepared.task,
            arrived: Instant::now(),
            answer,
            room: room.take(),
            active: active.take().unwrap_or_default(),
            flight,
        };
        if let Err(back) = self
            .registry
            .submit(self, route, proxy, Box::new(submission))
        {
            (*room, *active) = (back.room, Some(back.active));
            return Try::Again;
        }
        let by = Instant::now() + answer_within(&self.config);
        match timeout_at(by.into(), answered).await {
            Ok(Ok(Err(WriteError::Moved))) => Try::Again,
            Ok(Ok(answer)) => Try::Done(answer),
            Ok(Err(_)) => Try::Done(Err(WriteError::unknown(
                "this proxy stopped being the index's writer",
            ))),
            Err(_) => Try::Done(Err(WriteError::unknown(
                "the nodes or the coordinators take too long",
            ))),
        }
    }

    /// Reads a write and commits the primary key that it brings. `None` when the index has changed meanwhile.
    async fn prepare(
        &self,
        operation: &Operation,
        route: &IndexRoute,
        deadline: Instant,
    ) -> Result<Option<Prepared>, WriteError> {
        let mut prepared = prepare::prepare(operation, route).await?;
        let Some(key) = prepared.new_key.take() else {
            return Ok(Some(prepared));
        };
        let whose = (&route.name, route.incarnation);
        let catalog = self.catalog_until(deadline);
        let error = match catalog
            .set_primary_key(Uuid::now_v7(), whose, &key, None)
            .await
        {
            Ok(_) => return Ok(Some(prepared)),
            Err(error) => error,
        };
        // Another write was first: this one is read again by its key.
        if let Some(Rejection::PrimaryKeyExists { primary_key, .. }) = error.rejection() {
            let route = IndexRoute {
                primary_key: Some(primary_key.clone()),
                ..route.clone()
            };
            return Ok(Some(prepare::prepare(operation, &route).await?));
        }
        match uncommitted(&error) {
            WriteError::Moved => Ok(None),
            // The key may be committed by now, which does no harm: nothing was sent.
            WriteError::Unavailable { reason, .. } => Err(WriteError::held(reason)),
            other @ (WriteError::Refused(_)
            | WriteError::Answer { .. }
            | WriteError::Repeated { .. }) => Err(other),
        }
    }

    /// Forwards a write to the index's writer.
    async fn elsewhere(
        &self,
        request: &WriteRequest,
        url: &str,
        epoch: Epoch,
        deadline: Instant,
    ) -> Try {
        let mut lost = None;
        loop {
            match self.forwarder.send(url, epoch, request).await {
                Forwarded::Answered(answer) => return Try::Done(answer),
                Forwarded::NotTaken => {
                    return match lost {
                        // It is not there now, but the lost try may have been carried out.
                        Some(why) => Try::Done(Err(WriteError::unknown(format!(
                            "the index's writer: {why}"
                        )))),
                        None => Try::Again,
                    };
                }
                Forwarded::Lost(why) => match forward::pause(deadline) {
                    // The writer knows the request by its id, and answers it as it did the first time.
                    Some(pause) => {
                        tokio::time::sleep(pause).await;
                        lost = Some(why);
                    }
                    None => {
                        return Try::Done(Err(WriteError::unknown(format!(
                            "the index's writer: {why}"
                        ))));
                    }
                },
            }
        }
    }
}

fn place(table: &RoutingTable, request: &WriteRequest, this: Option<ProxyId>) -> Place {
    let Some(this) = this.filter(|_| table.epoch != Epoch(0)) else {
        return Place::Nowhere;
    };
    let Some(route) = table.indexes.get(&request.index) else {
        return Place::Unknown;
    };
    match route.writer {
        Some(writer) if writer == this => Place::Here(Arc::clone(route), this),
        Some(writer) => match table.proxies.get(&writer) {
            Some(proxy) => Place::Elsewhere(proxy.url.clone()),
            None => Place::Nowhere,
        },
        None => Place::Nowhere,
    }
}
