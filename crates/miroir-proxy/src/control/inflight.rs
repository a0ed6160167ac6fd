//! Which requests are under way, by the epoch of the table that routed them.
//!
//! Taking the table and being counted is one step under one lock: otherwise an acknowledgement could slip in
//! between and deny a request that is about to begin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use miroir_core::id::Epoch;
use miroir_core::routing::RoutingTable;
use tokio::sync::Notify;

/// What a request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A search or another read.
    Read,
    /// A write.
    Write,
}

/// Every request routed by an older table than these has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    pub(super) writes: Epoch,
    pub(super) reads: Epoch,
}

/// The present table and the requests that use it or an older one.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    table: Arc<RoutingTable>,
    reads: BTreeMap<Epoch, usize>,
    writes: BTreeMap<Epoch, usize>,
}

impl State {
    fn requests(&mut self, kind: Kind) -> &mut BTreeMap<Epoch, usize> {
        match kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        }
    }
}

/// One request under way. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct Slot {
    in_flight: Arc<InFlight>,
    kind: Kind,
    epoch: Epoch,
}

impl InFlight {
    /// From now on requests begin by `table`.
    pub(super) fn publish(&self, table: Arc<RoutingTable>) {
        self.state().table = table;
        self.moved.notify_one();
    }

    /// Begins a request by the present table.
    pub(super) fn begin(self: &Arc<Self>, kind: Kind) -> (Arc<RoutingTable>, Slot) {
        let mut state = self.state();
        let table = Arc::clone(&state.table);
        *state.requests(kind).entry(table.epoch).or_default() += 1;
        let slot = Slot {
            in_flight: Arc::clone(self),
            kind,
            epoch: table.epoch,
        };
        (table, slot)
    }

    /// How far requests have drained.
    pub(super) fn drained(&self) -> Drained {
        let state = self.state();
        let oldest = |requests: &BTreeMap<Epoch, usize>| {
            requests
                .keys()
                .next()
                .copied()
                .unwrap_or(state.table.epoch)
                .min(state.table.epoch)
        };
        Drained {
            writes: oldest(&state.writes),
            reads: oldest(&state.reads),
        }
    }

    /// Whether no write is under way.
    pub(super) fn no_writes(&self) -> bool {
        self.state().writes.is_empty()
    }

    /// Completes when [`drained`](Self::drained) may have moved since the last call. For one waiter.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    fn end(&self, kind: Kind, epoch: Epoch) {
        let mut state = self.state();
        let requests = state.requests(kind);
        if let Some(count) = requests.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                requests.remove(&epoch);
                self.moved.notify_one();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.in_flight.end(self.kind, self.epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(epoch: u64) -> Arc<RoutingTable> {
        Arc::new(RoutingTable {
            epoch: Epoch(epoch),
            ..RoutingTable::default()
        })
    }

    #[test]
    fn an_epoch_has_drained_when_no_older_request_is_left() {
        let in_flight = Arc::new(InFlight::default());
        let drained = || {
            let drained = in_flight.drained();
            (drained.writes.0, drained.reads.0)
        };
        in_flight.publish(table(5));
        assert_eq!(drained(), (5, 5));
        let (by, write) = in_flight.begin(Kind::Write);
        let (_, another) = in_flight.begin(Kind::Write);
        let (_, read) = in_flight.begin(Kind::Read);
        assert_eq!(by.epoch, Epoch(5));
        in_flight.publish(table(7));
        let (_, newer) = in_flight.begin(Kind::Write);
        assert_eq!(drained(), (5, 5));
        drop(write);
        assert_eq!(
            drained(),
            (5, 5),
            "another write of that epoch is under way"
        );
        drop(another);
        assert_eq!(drained(), (7, 5));
        drop(newer);
        drop(read);
        assert_eq!(drained(), (7, 7));
        assert!(in_flight.no_writes());
    }

    #[tokio::test]
    async fn the_end_of_the_last_request_of_an_epoch_wakes_the_waiter() {
        let in_flight = Arc::new(InFlight::default());
        in_flight.publish(table(1));
        in_flight.moved().await;
        let (_, slot) = in_flight.begin(Kind::Read);
        let waiter = tokio::spawn({
            let in_flight = Arc::clone(&in_flight);
            async move { in_flight.moved().await }
        });
        drop(slot);
        waiter.await.expect("woken");
    }
}
