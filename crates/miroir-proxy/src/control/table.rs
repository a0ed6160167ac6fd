//! Following the stream of tables: whole ones, changes, and what must not be routed by.

use std::sync::Arc;

use miroir_core::id::Epoch;
use miroir_core::routing::{DeltaError, RoutingTable};
use miroir_proto::{ConvertError, v1};

/// A table message that cannot be used; the session must begin again and get the whole table.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    /// A change to a table that this proxy does not have.
    #[error(transparent)]
    Gap(#[from] DeltaError),
    /// A change before any table.
    #[error("a change came before the first whole table")]
    NoTable,
    /// A message that makes no sense.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// The leader's table as one session has followed it.
///
/// It is kept apart from the table that requests are routed by: a leader that is still catching up may begin
/// with an older table, and its changes apply to that one.
#[derive(Debug, Default)]
pub(super) struct Follower {
    table: Option<Arc<RoutingTable>>,
}

impl Follower {
    /// Takes a whole table.
    pub(super) fn whole(&mut self, table: v1::Table) -> Result<Arc<RoutingTable>, TableError> {
        let table = Arc::new(RoutingTable::try_from(table)?);
        self.table = Some(Arc::clone(&table));
        Ok(table)
    }

    /// Takes a change.
    pub(super) fn change(
        &mut self,
        delta: v1::TableDelta,
    ) -> Result<Arc<RoutingTable>, TableError> {
        let table = self.table.as_ref().ok_or(TableError::NoTable)?;
        let next = Arc::new(table.with(&delta.try_into()?)?);
        self.table = Some(Arc::clone(&next));
        Ok(next)
    }

    /// The epoch it has followed to.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.table.as_ref().map(|table| table.epoch)
    }
}

/// Whether requests may go over from `present` to `next`. Routes never go backwards within a cluster.
pub(super) fn supersedes(next: &RoutingTable, present: &RoutingTable) -> bool {
    next.cluster_id != present.cluster_id || next.epoch > present.epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(cluster: &str, epoch: u64) -> RoutingTable {
        RoutingTable {
            cluster_id: cluster.to_owned(),
            epoch: Epoch(epoch),
            ..RoutingTable::default()
        }
    }

    #[test]
    fn routes_never_go_backwards() {
        let cases = [
            (("a", 5), ("", 0), true),
            (("a", 5), ("a", 4), true),
            (("a", 5), ("a", 5), false),
            (("a", 4), ("a", 5), false),
            (("b", 1), ("a", 5), true),
        ];
        for (next, present, expected) in cases {
            assert_eq!(
                supersedes(&table(next.0, next.1), &table(present.0, present.1)),
                expected,
                "{next:?}"
            );
        }
    }

    #[test]
    fn a_change_applies_to_the_table_it_was_made_from() {
        let (one, two, three) = (table("a", 1), table("a", 2), table("a", 3));
        let mut follower = Follower::default();
        assert!(matches!(
            follower.change((&two.delta_from(&one)).into()),
            Err(TableError::NoTable)
        ));
        follower.whole((&one).into()).expect("a table");
        let gap = follower.change((&three.delta_from(&two)).into());
        assert!(matches!(gap, Err(TableError::Gap(_))), "{gap:?}");
        let next = follower
            .change((&two.delta_from(&one)).into())
            .expect("fits");
        assert_eq!((*next).clone(), two);
        assert_eq!(follower.epoch(), Some(Epoch(2)));
    }
}
