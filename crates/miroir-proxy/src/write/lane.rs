//! The ordered way of one index's writes to one node: one request at a time, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use miroir_core::id::{Incarnation, IndexUid, NodeId, ProxyId};
use miroir_core::{hidden_field, settings};
use miroir_meili::NodeError;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::created::Created;
use super::group::{self, Body, NodeRequest, SettingsVersion};
use super::outcome::{Call, NodeLink, Settled};
use super::pace::Pace;
use super::stats::Histogram;
use crate::control::Control;

/// What all lanes of one index share.
#[derive(Clone)]
pub(super) struct LaneContext {
    pub(super) control: Control,
    /// Its name on nodes.
    pub(super) index: IndexUid,
    pub(super) incarnation: Incarnation,
    /// As whom this proxy writes. Once it is somebody else, the lanes are stopped.
    pub(super) proxy: ProxyId,
    /// Whether this proxy is the index's first writer.
    pub(super) created: Created,
    /// Begins the marks by which a lost request is found again.
    pub(super) mark_prefix: Arc<str>,
    pub(super) sequence: Arc<AtomicU64>,
    /// How long a node that does not answer is tried.
    pub(super) hold: Duration,
    /// The longest a request can arrive after its connection is closed and the node answers.
    pub(super) late_request: Duration,
    pub(super) holds: Arc<Histogram>,
    pub(super) paced: Arc<Histogram>,
}

impl LaneContext {
    /// A mark that no other request of any proxy has.
    pub(super) fn next_mark(&self) -> String {
        format!(
            "{}:{}",
            self.mark_prefix,
            self.sequence.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// Completes once the index is known to have had no other writer; never if it had one.
    pub(super) async fn is_first_writer(&self) {
        let tenure = (self.incarnation, self.proxy);
        self.created.is_noted(&tenure).await;
    }

    /// Completes once nodes must not be sent writes any more.
    pub(super) async fn lease_over(&self) {
        let mut lease = self.control.lease();
        while self.control.may_write(self.proxy) {
            tokio::select! {
                () = tokio::time::sleep(self.control.lease_left()) => {}
                changed = lease.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits until nodes may be sent writes, and tells how long that took.
    pub(super) async fn wait_for_lease(&self) -> Duration {
        if self.control.may_write(self.proxy) {
            return Duration::ZERO;
        }
        let began = Instant::now();
        let mut lease = self.control.lease();
        while !self.control.may_write(self.proxy) {
            if lease.changed().await.is_err() {
                // The session is gone for good; the lane is about to be stopped.
                std::future::pending::<()>().await;
            }
        }
        let took = began.elapsed();
        self.holds.record(took);
        took
    }
}

/// What a lane tells its sequencer.
#[derive(Debug)]
pub(super) enum Report {
    /// A request has ended.
    Answered {
        /// The node.
        node: NodeId,
        /// The request.
        request: Box<NodeRequest>,
        /// How.
        settled: Settled,
    },
    /// The node has enqueued settings.
    Settings {
        /// The node.
        node: NodeId,
        /// Their version.
        version: u64,
        /// The node's task.
        node_task: u32,
    },
    /// The node refuses settings as they are: it will not take them later either.
    SettingsRefused {
        /// The node.
        node: NodeId,
        /// Their version.
        version: u64,
        /// Meilisearch's error object.
        error: Value,
    },
    /// The node does not take the newest settings at the moment.
    SettingsMissed {
        /// The node.
        node: NodeId,
    },
}

struct Lane<R> {
    link: NodeLink,
    report: R,
    /// The settings that the node has enqueued, and its task for them if this lane sent them.
    settings: (u64, Option<u32>),
    /// Whether the last request was missed: the next ones are not tried for long.
    doubtful: bool,
    pace: Pace,
}

/// Runs a lane until its inbox is closed and empty, or it is stopped. `settings` is the version that the node
/// is known to have.
pub(super) async fn run(
    link: NodeLink,
    settings: u64,
    mut inbox: mpsc::UnboundedReceiver<NodeRequest>,
    report: impl Fn(Report),
    stop: CancellationToken,
) {
    let mut lane = Lane {
        link,
        report,
        settings: (settings, None),
        doubtful: false,
        pace: Pace::default(),
    };
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                next = inbox.recv() => match next {
                    Some(request) => waiting.push_back(request),
                    None => return,
                },
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = lane.pace.wait(&lane.link) => {}
        }
        while let Ok(request) = inbox.try_recv() {
            waiting.push_back(request);
        }
        let group = group::take(&mut waiting);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = lane.carry_out(group) => {}
        }
    }
}

impl<R: Fn(Report)> Lane<R> {
    async fn carry_out(&mut self, group: Vec<NodeRequest>) {
        let Some(first) = group.first() else { return };
        let settled = match self.bring_settings(&first.settings).await {
            Err(why) => Settled::Missed {
                why,
                maybe_applied: false,
            },
            Ok(()) => match call(&group) {
                Some(call) => self.settle(&call).await,
                None => return,
            },
        };
        if let Settled::Missed { why, .. } = &settled {
            let (index, node) = (&self.link.context.index, self.link.node);
            tracing::warn!(%index, %node, why, requests = group.len(), "the node missed a write");
        }
        for request in group {
            if matches!(request.body, Body::Settings) {
                continue;
            }
            let request = Box::new(request);
            (self.report)(Report::Answered {
                node: self.link.node,
                request,
                settled: settled.clone(),
            });
        }
    }

    async fn settle(&mut self, call: &Call) -> Settled {
        // Behind a request that the node did not take, each of the others would wait as long again.
        let patience = if self.doubtful {
            Duration::ZERO
        } else {
            self.link.context.hold
        };
        let settled = self.link.settle(call, patience).await;
        self.doubtful = matches!(settled, Settled::Missed { .. });
        if let Settled::Enqueued(task) = settled {
            self.pace.note(task);
        }
        settled
    }

    /// Makes sure that the node has enqueued `wanted`, or newer settings, before anything that comes after.
    async fn bring_settings(&mut self, wanted: &Arc<SettingsVersion>) -> Result<(), String> {
        let node = self.link.node;
        let (has, task) = self.settings;
        if has >= wanted.version {
            if let (true, Some(node_task)) = (has == wanted.version, task) {
                (self.report)(Report::Settings {
                    node,
                    version: has,
                    node_task,
                });
            }
            return Ok(());
        }
        let body = match &wanted.patch {
            Some(patch) if has > 0 && has + 1 == wanted.version => patch,
            Some(_) | None => &wanted.full,
        };
        match self.settle(&Call::Settings(body.clone())).await {
            Settled::Enqueued(node_task) => {
                self.settings = (wanted.version, Some(node_task));
                (self.report)(Report::Settings {
                    node,
                    version: wanted.version,
                    node_task,
                });
                Ok(())
            }
            Settled::Refused(refusal) => {
                let (index, error) = (&self.link.context.index, &refusal.error);
                tracing::error!(%index, %node, version = wanted.version, %error, "the node refuses the settings");
                (self.report)(match refusal.status {
                    400 => Report::SettingsRefused {
                        node,
                        version: wanted.version,
                        error: error_object(error),
                    },
                    // A wrong key, or a body that is too large for this node, says nothing about the settings.
                    _ => Report::SettingsMissed { node },
                });
                self.without_settings(wanted.version).await
            }
            Settled::Missed { why, .. } => {
                (self.report)(Report::SettingsMissed { node });
                Err(why)
            }
        }
    }

    /// Goes on without settings that the node refuses: they must not keep documents out for ever. But an index
    /// that does not exist yet must be made with the rule for the hidden field.
    async fn without_settings(&mut self, refused: u64) -> Result<(), String> {
        if self.settings.0 == 0 {
            let bare = Call::Settings(settings::to_node(&json!({})));
            if !matches!(self.settle(&bare).await, Settled::Enqueued(_)) {
                return Err("the node refuses the index's settings".to_owned());
            }
        }
        self.settings = (refused, None);
        Ok(())
    }
}

/// The node's error as clients see it.
fn error_object(error: &NodeError) -> Value {
    json!({
        "message": hidden_field::scrub_message(&error.message),
        "code": error.code,
        "type": error.kind,
        "link": error.link,
    })
}

/// The one request that a group makes; `None` for settings alone.
fn call(group: &[NodeRequest]) -> Option<Call> {
    match &group.first()?.body {
        Body::Settings => None,
        Body::Ids(ids) => Some(Call::Ids(ids.clone())),
        Body::Filter(filter) => Some(Call::Filter(filter.clone())),
        Body::Documents(first) => Some(Call::Documents {
            mode: first.mode,
            primary_key: first.primary_key.clone(),
            skip_creation: first.skip_creation,
            body: documents(group),
        }),
    }
}

fn documents(group: &[NodeRequest]) -> Bytes {
    let mut bodies = group.iter().filter_map(|request| match &request.body {
        Body::Documents(documents) => Some(documents.ndjson(&request.shards)),
        Body::Ids(_) | Body::Filter(_) | Body::Settings => None,
    });
    if group.len() == 1 {
        return bodies.next().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(group.iter().map(|request| request.bytes).sum());
    bodies.for_each(|body| all.extend_from_slice(&body));
    all.freeze()
}
