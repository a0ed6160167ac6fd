//! One index's writes, in one order: the task that decides what goes when.
//!
//! ```text
//! submissions --> queue (order per shard, fences) --> lanes (one a node) --> registrar --> answers
//! ```
//!
//! It lives as long as this proxy is the index's writer. Everything it decides is decided between two events, so
//! nothing of an index is decided twice at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_core::api_error::ApiError;
use miroir_core::id::{Incarnation, IndexUid, NodeId, ProxyId, ShardId, TaskUid};
use miroir_core::routing::{IndexRoute, RoutingTable};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::group::{Body, NodeRequest};
use super::lane::{self, LaneContext, Report};
use super::op::{Op, Submission};
use super::outcome::NodeLink;
use super::plan;
use super::prepare::Work;
use super::provision::{self, Provisioning, Told};
use super::queue::{Queue, Ready, Ticket};
use super::registrar::Unregistered;
use super::{Shared, WriteError, dirty};
use crate::catalog::{CatalogError, ChangedSettings, RegisteredTask};
use crate::control::WriteGuard;

/// What a sequencer is told.
pub(super) enum Message {
    /// A client's write.
    Submit(Box<Submission>),
    /// A lane's report.
    Lane(Report),
    /// The registrar's.
    Registered {
        ticket: Ticket,
        result: Result<TaskUid, Unregistered>,
    },
    /// Settings were committed, or refused.
    Committed {
        ticket: Ticket,
        desired: Value,
        result: Result<ChangedSettings, CatalogError>,
    },
    /// The index was deleted, or not.
    Deleted {
        ticket: Ticket,
        result: Result<RegisteredTask, CatalogError>,
    },
}

/// The task of one index.
pub(super) struct Sequencer {
    pub(super) shared: Arc<Shared>,
    /// Its name on nodes. What clients call it may change while this lives.
    pub(super) index: IndexUid,
    pub(super) incarnation: Incarnation,
    pub(super) proxy: ProxyId,
    pub(super) queue: Queue,
    pub(super) ops: BTreeMap<Ticket, Op>,
    pub(super) provisioning: Provisioning,
    pub(super) mailbox: mpsc::UnboundedSender<Message>,
    /// Set when the index is gone: nothing more is taken.
    pub(super) ended: bool,
    lanes: BTreeMap<NodeId, mpsc::UnboundedSender<NodeRequest>>,
    told: mpsc::UnboundedSender<Told>,
    stop: CancellationToken,
    last_ticket: Ticket,
    round: u64,
    /// Lanes stop when the sequencer is gone, however it ends.
    _stop_guard: DropGuard,
}

/// Begins the sequencer of an index that `proxy`, this one, is the writer of.
pub(super) fn spawn(
    shared: Arc<Shared>,
    route: &IndexRoute,
    proxy: ProxyId,
) -> mpsc::UnboundedSender<Message> {
    let (mailbox, inbox) = mpsc::unbounded_channel();
    let (told, reports) = mpsc::unbounded_channel();
    let whose = (route.name.clone(), route.incarnation, proxy);
    tokio::spawn(provision::report(shared.catalog.clone(), whose, reports));
    let stop = CancellationToken::new();
    let sequencer = Sequencer {
        shared,
        index: route.name.clone(),
        incarnation: route.incarnation,
        proxy,
        queue: Queue::new(route.shard_count()),
        ops: BTreeMap::new(),
        provisioning: Provisioning::new(route),
        mailbox: mailbox.clone(),
        ended: false,
        lanes: BTreeMap::new(),
        told,
        _stop_guard: stop.clone().drop_guard(),
        stop,
        last_ticket: 0,
        round: 0,
    };
    tokio::spawn(sequencer.run(inbox));
    mailbox
}

impl Sequencer {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut tables = self.shared.control.subscribe();
        let mut lease = self.shared.control.lease();
        while self.pump() && !self.ended {
            let wake = self.next_wake();
            let far = Instant::now() + Duration::from_secs(3600);
            let waits = self.queue.waiting().next().is_some();
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.on_message(message),
                    // Never: it holds a sender itself.
                    None => break,
                },
                changed = tables.changed() => if changed.is_err() { break },
                changed = lease.changed(), if waits => if changed.is_err() { break },
                () = sleep_until(wake.unwrap_or(far).into()), if wake.is_some() => self.expire(Instant::now()),
            }
            while let Ok(message) = inbox.try_recv() {
                self.on_message(message);
            }
        }
        self.await_commands(&mut inbox).await;
        self.abandon(inbox);
    }

    /// The table that shows what a command did may come before the command's own answer, which is what its client
    /// is to be told.
    async fn await_commands(&mut self, inbox: &mut mpsc::UnboundedReceiver<Message>) {
        self.stop.cancel();
        let by = Instant::now() + self.shared.config.hold;
        while self.ops.values().any(Op::is_command) {
            match timeout_at(by.into(), inbox.recv()).await {
                Ok(Some(Message::Submit(submission))) => {
                    let _ = submission.answer.send(Err(WriteError::Moved));
                }
                Ok(Some(Message::Lane(_))) => {}
                Ok(Some(message)) => self.on_message(message),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Submit(submission) => self.submit(*submission),
            Message::Lane(report) => self.on_report(report),
            Message::Registered { ticket, result } => self.on_registered(ticket, result),
            Message::Committed {
                ticket,
                desired,
                result,
            } => self.on_committed(ticket, desired, result),
            Message::Deleted { ticket, result } => self.on_deleted(ticket, result),
        }
    }

    fn submit(&mut self, submission: Submission) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let mut op = Op::new(submission, self.round);
        match op.work.scope() {
            Some(scope) => {
                self.queue.push(ticket, scope);
                self.ops.insert(ticket, op);
            }
            None => {
                op.all_sent = true;
                self.ops.insert(ticket, op);
                self.complete(ticket);
            }
        }
    }

    /// Sends what may go. False when the index is not this proxy's to write any more.
    fn pump(&mut self) -> bool {
        self.round += 1;
        let control = self.shared.control.clone();
        if control.proxy_id() != Some(self.proxy) {
            return false;
        }
        let Ok(guard) = control.begin_write() else {
            // The lease is over. It may be renewed, or this proxy may find that it was given up.
            return self.own_route(&control.table()).is_some();
        };
        let Some(route) = self.own_route(&guard.table) else {
            return false;
        };
        self.provision(&route);
        let table = Arc::clone(&guard.table);
        // While a dump of the whole cluster is cut nothing goes, deletions of the index included.
        let free = !table.writes_held;
        let quiet = || free && self.ops.values().all(|op| !op.is_sent());
        let open = |shard| free && plan::is_open(&route, shard, table.min_in_sync);
        let ready = self.queue.take(open, quiet);
        let guard = Arc::new(guard);
        for one in ready {
            self.send(one, &route, &guard);
        }
        true
    }

    /// The index's route, if this proxy is to write it by `table`.
    pub(super) fn own_route(&self, table: &RoutingTable) -> Option<Arc<IndexRoute>> {
        let route = table.named(&self.index)?;
        (route.incarnation == self.incarnation && route.writer == Some(self.proxy))
            .then(|| Arc::clone(route))
    }

    /// Asks nodes that lack the newest settings to take them. It is how an index comes to be on a node.
    fn provision(&mut self, route: &IndexRoute) {
        for node in self.provisioning.wiped(route) {
            // Another lane begins from nothing. What waits in this one was routed by an older table; nothing is
            // copied to the node before it has ended.
            self.lanes.remove(&node);
        }
        for node in self.provisioning.behind(route, Instant::now()) {
            self.ask_settings(node, route);
        }
    }

    /// Asks every node of the index to take the newest settings, in the order of its other writes.
    pub(super) fn ask_all(&mut self, route: &IndexRoute) {
        for node in route.holders() {
            self.provisioning.ask(node);
            self.ask_settings(node, route);
        }
    }

    fn ask_settings(&mut self, node: NodeId, route: &IndexRoute) {
        let request = NodeRequest {
            ticket: 0,
            chunk: 0,
            shards: std::collections::BTreeSet::new(),
            counts: false,
            body: Body::Settings,
            bytes: 0,
            settings: Arc::clone(self.provisioning.current()),
        };
        self.push(node, route, request);
    }

    fn send(&mut self, ready: Ready, route: &Arc<IndexRoute>, guard: &Arc<WriteGuard>) {
        let Some(op) = self.ops.get_mut(&ready.ticket) else {
            return;
        };
        op.all_sent = ready.last;
        // What the round after its arrival did not send was held: by a fence, the lease, or others behind them.
        if op.all_sent && op.round + 1 < self.round {
            self.shared.holds.record(op.arrived.elapsed());
        }
        match &op.work {
            Work::Settings(_) => self.commit_settings(ready.ticket),
            Work::DeleteIndex => self.delete_index(ready.ticket),
            Work::Documents(_) | Work::Ids(_) | Work::Filter(_) => {
                self.send_parts(ready, route, guard)
            }
            Work::Nothing => {}
        }
    }

    fn send_parts(&mut self, ready: Ready, route: &Arc<IndexRoute>, guard: &Arc<WriteGuard>) {
        let Some(op) = self.ops.get_mut(&ready.ticket) else {
            return;
        };
        let by_count = !matches!(op.work, Work::Documents(_));
        let shares = plan::shares(route, &ready.shards, by_count);
        let chunk = op.sent(guard, ready.shards, shares.len());
        let mut requests = Vec::with_capacity(shares.len());
        for share in shares {
            let (body, bytes) = plan::body(&op.work, &share);
            let request = NodeRequest {
                ticket: ready.ticket,
                chunk,
                shards: share.shards,
                counts: share.counts,
                body,
                bytes,
                settings: Arc::clone(self.provisioning.current()),
            };
            requests.push((share.node, request));
        }
        for (node, request) in requests {
            self.push(node, route, request);
        }
    }

    /// Puts a request into its node's lane, which is begun by its first.
    fn push(&mut self, node: NodeId, route: &IndexRoute, request: NodeRequest) {
        let lane = self.lanes.entry(node).or_insert_with(|| {
            let (lane, requests) = mpsc::unbounded_channel();
            let context = LaneContext {
                control: self.shared.control.clone(),
                index: self.index.clone(),
                incarnation: self.incarnation,
                proxy: self.proxy,
                created: self.shared.created.clone(),
                mark_prefix: Arc::clone(&self.shared.mark_prefix),
                sequence: Arc::clone(&self.shared.sequence),
                hold: self.shared.config.hold,
                late_request: self.shared.config.late_request,
                holds: Arc::clone(&self.shared.holds),
                paced: Arc::clone(&self.shared.paced),
            };
            let mailbox = self.mailbox.clone();
            let report = move |report| {
                // A sequencer that ended wants no reports.
                let _ = mailbox.send(Message::Lane(report));
            };
            let known = route.node_settings.get(&node).copied().unwrap_or(0);
            tokio::spawn(lane::run(
                NodeLink::new(context, node),
                known,
                requests,
                report,
                self.stop.clone(),
            ));
            lane
        });
        // A lane ends only after this sequencer.
        let _ = lane.send(request);
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Answered {
                node,
                request,
                settled,
            } => {
                let Some(op) = self.ops.get_mut(&request.ticket) else {
                    return;
                };
                let Some((guard, shards)) = op.answered(node, &request, settled) else {
                    return;
                };
                if let Some(sent) = guard.table.named(&self.index) {
                    dirty::report(&self.shared.control, &op.work, &shards, sent);
                }
                drop(guard);
                if op.is_complete() {
                    self.complete(request.ticket);
                }
            }
            Report::Settings {
                node,
                version,
                node_task,
            } => {
                let applied = miroir_core::cluster::AppliedSettings {
                    node,
                    version,
                    node_task,
                };
                // The reporter ends only when the index is somebody else's, which the table will say too.
                let task = self.provisioning.task_of(version);
                let _ = self.told.send(Told::Enqueued(applied, task));
            }
            Report::SettingsRefused {
                node,
                version,
                error,
            } => {
                self.provisioning.missed(node, Instant::now());
                let _ = self.told.send(Told::Refused(version, error));
            }
            Report::SettingsMissed { node } => self.provisioning.missed(node, Instant::now()),
        }
    }

    /// Gives up what has been held for too long and was sent nowhere. What was sent in part goes on: dropping the
    /// rest would leave half an operation for ever.
    fn expire(&mut self, now: Instant) {
        let hold = self.shared.config.hold;
        let over = |op: &Op| !op.is_sent() && now >= op.arrived + hold;
        let of = |ticket: &Ticket| self.ops.get(ticket).is_some_and(over);
        let expired: Vec<Ticket> = self.queue.waiting().filter(of).collect();
        for ticket in expired {
            self.queue.cancel(ticket);
            if let Some(mut op) = self.ops.remove(&ticket) {
                self.shared.holds.record(op.arrived.elapsed());
                op.answer(Err(self.held_error(&op.work)));
            }
        }
    }

    fn held_error(&self, work: &Work) -> WriteError {
        let control = &self.shared.control;
        let table = control.table();
        let reason = match self.own_route(&table) {
            _ if control.lease_left().is_zero() => {
                "no coordinator leads, or none can be reached".to_owned()
            }
            _ if table.writes_held => "a dump of the cluster is being taken".to_owned(),
            Some(route) => {
                let closed = |shard: ShardId| !plan::is_open(&route, shard, table.min_in_sync);
                let of_work = |shard: ShardId| match work.scope() {
                    Some(super::queue::Scope::Shards(shards)) => shards.contains(&shard),
                    Some(_) | None => true,
                };
                let fenced = |shard: ShardId| route.shard(shard).is_some_and(|s| s.is_fenced());
                match (0..route.shard_count())
                    .map(ShardId)
                    .find(|shard| of_work(*shard) && closed(*shard))
                {
                    Some(shard) if fenced(shard) => {
                        format!("shard {shard} of `{}` is being moved", route.uid)
                    }
                    Some(shard) => format!(
                        "shard {shard} of `{}` has too few copies in sync",
                        route.uid
                    ),
                    None => "earlier writes took too long".to_owned(),
                }
            }
            None => "the index has no writer at the moment".to_owned(),
        };
        WriteError::held(reason)
    }

    fn next_wake(&self) -> Option<Instant> {
        let mut waiting = self
            .queue
            .waiting()
            .filter_map(|ticket| self.ops.get(&ticket));
        let oldest = waiting.find(|op| !op.is_sent());
        let hold = oldest.map(|op| op.arrived + self.shared.config.hold);
        hold.into_iter().chain(self.provisioning.next_try()).min()
    }

    /// The index is not this proxy's to write any more: lanes stop at once, and every client is told what may
    /// have become of its write.
    fn abandon(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        self.stop.cancel();
        inbox.close();
        while let Ok(message) = inbox.try_recv() {
            match message {
                Message::Submit(submission) => {
                    let _ = submission.answer.send(Err(WriteError::Moved));
                }
                Message::Registered { ticket, result } => self.on_registered(ticket, result),
                Message::Lane(_) | Message::Committed { .. } | Message::Deleted { .. } => {}
            }
        }
        for (_, mut op) in std::mem::take(&mut self.ops) {
            let error = if op.is_sent() {
                WriteError::unknown("this proxy stopped being the index's writer")
            } else {
                WriteError::Moved
            };
            op.answer(Err(error));
        }
        tracing::debug!(index = %self.index, "not the writer any more");
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, error: ApiError) {
        if let Some(mut op) = self.ops.remove(&ticket) {
            op.answer(Err(error.into()));
        }
    }
}
