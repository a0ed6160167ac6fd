//! Comparing two copies of a shard, both ways, by id and content.

use std::collections::BTreeSet;
use std::time::Duration;

use miroir_core::migration::Record;

use super::digest::{Difference, Digests, difference};
use super::node::Copy;
use super::{MoveError, Nodes};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

/// Looks at documents that differ, while clients write to both copies, before they are called different. Both
/// copies get the same writes in the same order, so what differs only because one is ahead becomes equal.
const LOOKS: u32 = 60;

/// Between two looks.
const BETWEEN: Duration = Duration::from_millis(50);

impl<C: Cluster, N: Nodes> Actor<C, N> {
    /// The digests of some documents of a copy; all of the shard's when `ids` is `None`.
    async fn digests(
        &self,
        record: &Record,
        copy: &Copy,
        ids: Option<&[String]>,
    ) -> Result<Digests, MoveError> {
        let all;
        let ids = match ids {
            Some(ids) => ids,
            None => {
                all = self.unless_moved_on(record, copy.ids()).await?;
                &all
            }
        };
        let mut digests = Digests::new();
        for chunk in ids.chunks(self.mover.options.chunk_docs) {
            for (id, document) in self.unless_moved_on(record, copy.documents(chunk)).await? {
                digests.insert(id, copy.digest(&document)?);
            }
        }
        Ok(digests)
    }

    /// How many documents A has, and what C has to be given to equal A, when both have processed what was enqueued before.
    pub(super) async fn whole_difference(
        &self,
        record: &Record,
        a: &Copy,
        c: &Copy,
    ) -> Result<(usize, Difference), MoveError> {
        self.unless_moved_on(record, c.drain()).await?;
        self.unless_moved_on(record, a.drain()).await?;
        let of_a = self.digests(record, a, None).await?;
        let of_c = self.digests(record, c, None).await?;
        Ok((of_a.len(), difference(&of_a, &of_c)))
    }

    /// Whether A and C are equal while clients write to both. Answers how many documents A
    /// has, and what stays different.
    pub(super) async fn verify(
        &self,
        record: &Record,
        a: &Copy,
        c: &Copy,
    ) -> Result<(usize, Difference), MoveError> {
        let (documents, mut found) = self.whole_difference(record, a, c).await?;
        let mut looks = 0;
        while !found.is_empty() && looks < LOOKS {
            looks += 1;
            tokio::time::sleep(BETWEEN).await;
            let suspects: BTreeSet<String> = found.copy.into_iter().chain(found.delete).collect();
            let suspects: Vec<String> = suspects.into_iter().collect();
            self.unless_moved_on(record, a.drain()).await?;
            self.unless_moved_on(record, c.drain()).await?;
            let of_a = self.digests(record, a, Some(&suspects)).await?;
            let of_c = self.digests(record, c, Some(&suspects)).await?;
            found = difference(&of_a, &of_c);
        }
        Ok((documents, found))
    }
}
