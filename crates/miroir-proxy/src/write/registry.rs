//! The sequencers of the indexes that this proxy writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use miroir_core::id::{Incarnation, IndexUid, ProxyId};
use miroir_core::routing::{IndexRoute, RoutingTable};
use tokio::sync::mpsc;

use super::Shared;
use super::op::Submission;
use super::sequencer::{self, Message};

#[derive(Clone)]
struct Handle {
    incarnation: Incarnation,
    proxy: ProxyId,
    inbox: mpsc::UnboundedSender<Message>,
}

/// Sequencers by the index's name on nodes, which no swap changes. At most one of an index is alive.
#[derive(Default)]
pub(super) struct Registry {
    handles: Mutex<HashMap<IndexUid, Handle>>,
}

impl Registry {
    /// Hands a write to the index's sequencer, which is begun if there is none. Gives the write back when the
    /// sequencer is just ending: a newer table is on its way then.
    pub(super) fn submit(
        &self,
        shared: &Arc<Shared>,
        route: &IndexRoute,
        proxy: ProxyId,
        submission: Box<Submission>,
    ) -> Result<(), Box<Submission>> {
        let inbox = self.sequencer(shared, route, proxy);
        inbox
            .send(Message::Submit(submission))
            .map_err(|refused| match refused.0 {
                Message::Submit(submission) => submission,
                Message::Lane(_)
                | Message::Registered { .. }
                | Message::Committed { .. }
                | Message::Deleted { .. } => {
                    unreachable!("what was sent comes back")
                }
            })
    }

    fn sequencer(
        &self,
        shared: &Arc<Shared>,
        route: &IndexRoute,
        proxy: ProxyId,
    ) -> mpsc::UnboundedSender<Message> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&route.name) {
            let same = handle.incarnation == route.incarnation && handle.proxy == proxy;
            // One that ended while the table still names this proxy deleted the index; its table is on the way.
            if same {
                return handle.inbox.clone();
            }
        }
        let inbox = sequencer::spawn(Arc::clone(shared), route, proxy);
        let handle = Handle {
            incarnation: route.incarnation,
            proxy,
            inbox: inbox.clone(),
        };
        handles.insert(route.name.clone(), handle);
        inbox
    }

    /// Begins the sequencers of the indexes that are this proxy's by `table`, and forgets those that are not.
    fn follow(&self, shared: &Arc<Shared>, table: &RoutingTable, proxy: ProxyId) {
        for route in table
            .indexes
            .values()
            .filter(|route| route.writer == Some(proxy))
        {
            self.sequencer(shared, route, proxy);
        }
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|name, handle| {
            table.named(name).is_some_and(|route| {
                route.incarnation == handle.incarnation && route.writer == Some(handle.proxy)
            }) || !handle.inbox.is_closed()
        });
    }
}

/// Keeps a sequencer for every index that this proxy writes, also for those that get no writes: new nodes must get
/// their settings.
pub(super) async fn follow(shared: Arc<Shared>) {
    let (mut tables, mut lease) = (shared.control.subscribe(), shared.control.lease());
    let mut known = None;
    loop {
        let proxy = lease.borrow_and_update().map(|lease| lease.proxy());
        let table = Arc::clone(&tables.borrow_and_update());
        // A renewal is a change of the lease too, and means nothing here.
        if known != Some((table.epoch, proxy)) {
            known = Some((table.epoch, proxy));
            if let Some(proxy) = proxy {
                shared.registry.follow(&shared, &table, proxy);
            }
        }
        drop(table);
        tokio::select! {
            changed = tables.changed() => if changed.is_err() { return },
            changed = lease.changed() => if changed.is_err() { return },
        }
    }
}
