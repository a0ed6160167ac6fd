//! Comparing two copies of a shard, both ways, by id and content.

use std::collections::BTreeMap;
use std::time::Duration;

use miroir_core::migration::Record;

use super::digest::{Difference, Digests, difference};
use super::looks::{Found, Looks, differing};
use super::node::Copy;
use super::{MoveError, Nodes};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

/// Looks at documents that differ, while clients write to both copies, before they are called different. Both
/// copies get the same writes in the same order, so what differs only because one is ahead becomes equal.
const LOOKS: u32 = 30;

/// The last of them, through which a document that differs must not change to be called different.
const STILL: usize = 10;

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

    /// Compares A and C while clients write to both. Answers how many documents A has, and what stays different.
    ///
    /// A document that is written without pause never agrees. Where it was equal behind the fence, at equal positions
    /// of both copies, that is known already; and since then both got the same writes in the same order.
    pub(super) async fn verify(
        &self,
        record: &Record,
        a: &Copy,
        c: &Copy,
    ) -> Result<(usize, Found), MoveError> {
        let (documents, found) = self.whole_difference(record, a, c).await?;
        let ids = found.copy.into_iter().chain(found.delete);
        let mut suspects: Vec<String> = ids.collect();
        let mut looks = Looks::new(STILL);
        let mut last = BTreeMap::new();
        for _ in 0..LOOKS {
            if suspects.is_empty() {
                break;
            }
            tokio::time::sleep(BETWEEN).await;
            self.unless_moved_on(record, a.drain()).await?;
            self.unless_moved_on(record, c.drain()).await?;
            let of_a = self.digests(record, a, Some(&suspects)).await?;
            let of_c = self.digests(record, c, Some(&suspects)).await?;
            last = differing(&[of_a, of_c]);
            looks.note(&last);
            suspects = last.keys().cloned().collect();
        }
        let mut found = looks.conclude(last);
        found.restless.retain(|id| !self.proven.contains(id));
        Ok((documents, found))
    }

    /// Compares, while client writes are held, the documents that never agreed while they were not. `false` when
    /// some differ even then.
    pub(super) async fn prove_restless(
        &mut self,
        record: &Record,
        (a, c): (&Copy, &Copy),
    ) -> Result<bool, MoveError> {
        let ids: Vec<String> = self.restless.iter().cloned().collect();
        self.unless_moved_on(record, c.drain()).await?;
        let of_a = self.digests(record, a, Some(&ids)).await?;
        let of_c = self.digests(record, c, Some(&ids)).await?;
        if of_a != of_c {
            return Ok(false);
        }
        self.proven = std::mem::take(&mut self.restless);
        Ok(true)
    }
}
