//! Comparing every copy of a shard that is read, at any time, while clients write.
//!
//! All copies get the same writes in the same order, so what differs only because one is ahead becomes equal. A
//! document counts as different when it stays so, unchanged on every copy, through several looks; one that is written
//! without pause is never caught standing still, and is only counted.

use std::collections::BTreeSet;
use std::time::Duration;

use miroir_core::cluster::{ClusterState, Command, Outcome};
use miroir_core::id::{Incarnation, IndexUid, NodeId, ShardId};
use miroir_core::verdict::{Verdict, judge};

use super::digest::Digests;
use super::looks::{Found, Looks, differing};
use super::node::{Copy, Shape};
use super::{MoveError, Nodes};
use crate::cluster::Cluster;

/// Pauses before the looks at what differs. Through the last of them a document must not have changed anywhere.
const LOOKS_MS: [u64; 8] = [50, 100, 200, 400, 800, 800, 800, 800];

/// The last looks, through which what differs must stand still.
const STILL: usize = 4;

/// Ids that a report names.
const IDS_MAX: usize = 100;

/// How fast copies are read.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Documents read with one request.
    pub chunk_docs: usize,
    /// Pause after each such request.
    pub pause: Duration,
}

/// What a comparison of the copies of one shard showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardReport {
    /// The index.
    pub uid: IndexUid,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// The shard.
    pub shard: ShardId,
    /// The nodes whose copies were compared, in order of placement.
    pub copies: Vec<NodeId>,
    /// Documents that any of them has.
    pub documents: u64,
    /// Documents that differ.
    pub differing: u64,
    /// Ids of some of them.
    pub ids: Vec<String>,
    /// Documents of which nothing can be said, because they are written without pause.
    pub restless: u64,
    /// Nodes whose copies are wrong.
    pub odd: Vec<NodeId>,
    /// Whether copies differ and none is right in everything.
    pub undecided: bool,
}

/// Why a shard could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no such index or shard, or not any more.
    #[error("there is no shard {shard} of index `{uid}`")]
    Unknown {
        /// The index.
        uid: IndexUid,
        /// The shard.
        shard: ShardId,
    },
    /// Copies came or went meanwhile.
    #[error("the copies of shard {shard} of `{uid}` changed while they were compared")]
    Changed {
        /// The index.
        uid: IndexUid,
        /// The shard.
        shard: ShardId,
    },
    /// A node did not tell what it holds.
    #[error(transparent)]
    Node(#[from] MoveError),
    /// A copy could not be taken out of use.
    #[error("the copy on node {node} stays in use: {reason}")]
    Kept {
        /// The node.
        node: NodeId,
        /// What was answered.
        reason: String,
    },
}

impl VerifyError {
    /// Whether the same may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unknown { .. } => false,
            Self::Changed { .. } | Self::Kept { .. } => true,
            Self::Node(error) => error.retryable(),
        }
    }
}

/// Compares copies that are read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Verifier<C, N> {
    cluster: C,
    nodes: N,
    options: VerifyOptions,
}

/// The copies that are read of a shard, and which life of the index they belong to.
type Copies = (Incarnation, Vec<NodeId>);

impl<C: Cluster, N: Nodes> Verifier<C, N> {
    /// A verifier of this cluster.
    pub fn new(cluster: C, nodes: N, options: VerifyOptions) -> Self {
        Self {
            cluster,
            nodes,
            options,
        }
    }

    /// The shards of an index; none when there is no such index.
    #[must_use]
    pub fn shards(&self, uid: &IndexUid) -> Vec<ShardId> {
        self.cluster.read(|state| {
            let index = state.indexes.get(uid);
            let shards = index.into_iter().flat_map(|index| index.shards());
            shards.map(|(id, _)| id).collect()
        })
    }

    /// Compares all copies of a shard that are read. It takes seconds where they differ.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing was changed.
    pub async fn verify(&self, uid: &IndexUid, shard: ShardId) -> Result<ShardReport, VerifyError> {
        let unknown = || VerifyError::Unknown {
            uid: uid.clone(),
            shard,
        };
        let before = self.cluster.read(|state| copies_of(state, uid, shard));
        let (incarnation, nodes) = before.clone().ok_or_else(unknown)?;
        let shape = self.cluster.read(|state| Shape::of(state, uid));
        let copies: Vec<Copy> = nodes
            .iter()
            .map(|node| {
                let client = self.nodes.client(*node).ok_or(MoveError::NoNode(*node))?;
                Ok(Copy::new(*node, client, &shape, shard))
            })
            .collect::<Result<_, MoveError>>()?;
        let (documents, found) = self.compare(&copies).await?;
        if self.cluster.read(|state| copies_of(state, uid, shard)) != before {
            return Err(VerifyError::Changed {
                uid: uid.clone(),
                shard,
            });
        }
        let verdict = judge(nodes.len(), found.still.values());
        let odd = match &verdict {
            Verdict::Odd(odd) => odd
                .iter()
                .filter_map(|at| nodes.get(*at).copied())
                .collect(),
            Verdict::Equal | Verdict::Undecided => Vec::new(),
        };
        Ok(ShardReport {
            uid: uid.clone(),
            incarnation,
            shard,
            copies: nodes,
            documents: u64::try_from(documents).unwrap_or(u64::MAX),
            differing: u64::try_from(found.still.len()).unwrap_or(u64::MAX),
            ids: found.still.into_keys().take(IDS_MAX).collect(),
            restless: u64::try_from(found.restless.len()).unwrap_or(u64::MAX),
            odd,
            undecided: verdict == Verdict::Undecided,
        })
    }

    /// Takes the odd copies of a report out of use; the planner has them rebuilt. Nothing is done when the copies
    /// are others by now.
    ///
    /// # Errors
    /// [`VerifyError::Kept`] when a copy stays in use, such as because too few would be left.
    pub async fn eject(&self, report: &ShardReport) -> Result<(), VerifyError> {
        let now = self
            .cluster
            .read(|state| copies_of(state, &report.uid, report.shard));
        if now != Some((report.incarnation, report.copies.clone())) {
            return Err(VerifyError::Changed {
                uid: report.uid.clone(),
                shard: report.shard,
            });
        }
        for node in &report.odd {
            let kept = |reason: String| VerifyError::Kept {
                node: *node,
                reason,
            };
            let command = Command::EjectReplica {
                uid: report.uid.clone(),
                incarnation: report.incarnation,
                shard: report.shard,
                node: *node,
            };
            tracing::error!(index = %report.uid, shard = %report.shard, %node, differing = report.differing,
                ids = ?report.ids.iter().take(10).collect::<Vec<_>>(),
                "a copy differs from the others and is taken out of use");
            match self.cluster.propose(command).await {
                Ok(Outcome::Rejected(rejection)) => return Err(kept(rejection.to_string())),
                Ok(_) => {}
                Err(error) => return Err(kept(error.to_string())),
            }
        }
        Ok(())
    }

    /// How many documents there are, and which differ.
    async fn compare(&self, copies: &[Copy]) -> Result<(usize, Found), MoveError> {
        let all = self.look(copies, None).await?;
        let ids: BTreeSet<&String> = all.iter().flat_map(Digests::keys).collect();
        let documents = ids.len();
        let mut suspects = differing(&all);
        let mut looks = Looks::new(STILL);
        for pause in LOOKS_MS {
            if suspects.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let ids: Vec<String> = suspects.into_keys().collect();
            let seen = self.look(copies, Some(&ids)).await?;
            suspects = differing(&seen);
            looks.note(&suspects);
        }
        Ok((documents, looks.conclude(suspects)))
    }

    /// What every copy holds of some documents, or of all, when it has processed what was enqueued before.
    async fn look(
        &self,
        copies: &[Copy],
        ids: Option<&[String]>,
    ) -> Result<Vec<Digests>, MoveError> {
        for copy in copies {
            copy.drain().await?;
        }
        let mut all = Vec::with_capacity(copies.len());
        for copy in copies {
            let own;
            let ids = match ids {
                Some(ids) => ids,
                None => {
                    own = copy.ids().await?;
                    &own
                }
            };
            let mut digests = Digests::new();
            for chunk in ids.chunks(self.options.chunk_docs.max(1)) {
                for (id, document) in copy.documents(chunk).await? {
                    digests.insert(id, copy.digest(&document)?);
                }
                tokio::time::sleep(self.options.pause).await;
            }
            all.push(digests);
        }
        Ok(all)
    }
}

/// The copies of a shard that are read, in order of placement.
fn copies_of(state: &ClusterState, uid: &IndexUid, shard: ShardId) -> Option<Copies> {
    let index = state.indexes.get(uid)?;
    let copies = index.shard(shard)?.readable().map(|replica| replica.node);
    Some((index.incarnation, copies.collect()))
}
