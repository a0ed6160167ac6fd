//! Which indexes this proxy created, and as whom: of those nobody else can have requests to nodes under way.

use std::collections::BTreeSet;

use miroir_core::id::{Incarnation, ProxyId};
use tokio::sync::watch;

/// One life of an index, which no other index has, under one writer.
pub(super) type Tenure = (Incarnation, ProxyId);

/// The indexes whose first writer this proxy is.
#[derive(Debug, Clone)]
pub(super) struct Created {
    all: watch::Sender<BTreeSet<Tenure>>,
}

impl Created {
    pub(super) fn new() -> Self {
        Self {
            all: watch::Sender::new(BTreeSet::new()),
        }
    }

    /// Notes an index that was created for this proxy.
    pub(super) fn note(&self, tenure: Tenure) {
        self.all.send_modify(|all| {
            all.insert(tenure);
        });
    }

    /// Completes once the index is known to be this proxy's from its beginning; never for one that it took over.
    pub(super) async fn is_noted(&self, tenure: &Tenure) {
        // The sender is in `self`, so waiting cannot fail.
        let _ = self
            .all
            .subscribe()
            .wait_for(|all| all.contains(tenure))
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_index_is_noted_under_the_identity_that_created_it() {
        let created = Created::new();
        let tenure = |proxy| (Incarnation(1), ProxyId(proxy));
        let (mine, later) = (tenure(1), tenure(2));
        let (mine, later) = (created.is_noted(&mine), created.is_noted(&later));
        tokio::pin!(mine, later);
        assert!(futures::poll!(&mut mine).is_pending());
        created.note(tenure(1));
        assert!(futures::poll!(&mut mine).is_ready());
        assert!(futures::poll!(&mut later).is_pending());
    }
}
