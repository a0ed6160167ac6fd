//! Statistics of indexes and of the whole cluster.
//!
//! Documents are counted on one copy of every shard, so their number is exact whatever is moving.
//! A node tells the distribution of fields and sizes only for all it holds. Where it also holds
//! shards that are counted elsewhere, all nodes of a group that holds every shard equally often are
//! asked, and their sum is divided. While something is moving there may be no such group: then each
//! node's figures are scaled by its share of the documents. A field that every document has is still
//! counted exactly, and others are estimates.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use futures::stream::{self, StreamExt};
use miroir_core::hidden_field;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::routing::IndexRoute;
use miroir_core::search::Window;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::cover::{Piece, Scope};
use super::documents::total_of;
use super::fault::Fault;
use super::size::SizeFormat;
use super::{Ask, Caller, DocumentsQuery, Reads, choice};
use crate::error::HttpError;

/// How many indexes are counted at the same time for the statistics of the cluster.
const INDEXES_AT_ONCE: usize = 8;

/// One node's statistics of one index.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeShare {
    number_of_documents: u64,
    raw_document_db_size: u64,
    avg_document_size: u64,
    is_indexing: bool,
    internal_database_sizes: BTreeMap<String, u64>,
    number_of_embeddings: u64,
    number_of_embedded_documents: u64,
    field_distribution: BTreeMap<String, u64>,
}

impl NodeShare {
    /// Adds what another node holds.
    fn join(&mut self, other: Self) {
        let documents = self.number_of_documents + other.number_of_documents;
        let sizes = self
            .avg_document_size
            .saturating_mul(self.number_of_documents);
        let others = other
            .avg_document_size
            .saturating_mul(other.number_of_documents);
        let average = sizes.saturating_add(others).checked_div(documents);
        self.avg_document_size = average.unwrap_or(0);
        self.number_of_documents = documents;
        self.raw_document_db_size += other.raw_document_db_size;
        self.is_indexing |= other.is_indexing;
        for (name, size) in other.internal_database_sizes {
            *self.internal_database_sizes.entry(name).or_default() += size;
        }
        self.number_of_embeddings += other.number_of_embeddings;
        self.number_of_embedded_documents += other.number_of_embedded_documents;
        for (field, count) in other.field_distribution {
            *self.field_distribution.entry(field).or_default() += count;
        }
    }
}

/// Which statistics a client wants, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatsQuery {
    /// Whether to tell the sizes of each index's databases.
    pub internal_sizes: bool,
    /// How to tell sizes.
    pub format: SizeFormat,
}

/// The statistics of an index.
#[derive(Debug, Clone, Default, PartialEq)]
struct IndexSums {
    documents: u64,
    raw_size: u64,
    /// The nodes' averages times the documents that count.
    documents_size: u64,
    is_indexing: bool,
    internal: BTreeMap<String, u64>,
    embeddings: u64,
    embedded: u64,
    fields: BTreeMap<String, u64>,
}

impl IndexSums {
    /// Adds what a node holds, of which `served` documents count.
    fn add(&mut self, share: &NodeShare, served: u64) {
        let held = share.number_of_documents;
        let scale = |count: u64| match held {
            // A node that is indexing may tell its fields and its documents a moment apart.
            0 => 0,
            _ => {
                let scaled = u128::from(count) * u128::from(served) + u128::from(held) / 2;
                u64::try_from(scaled / u128::from(held)).unwrap_or(u64::MAX)
            }
        };
        self.documents += served;
        self.raw_size += scale(share.raw_document_db_size);
        self.documents_size += share.avg_document_size.saturating_mul(served);
        for (name, size) in &share.internal_database_sizes {
            *self.internal.entry(name.clone()).or_default() += scale(*size);
        }
        self.embeddings += scale(share.number_of_embeddings);
        self.embedded += scale(share.number_of_embedded_documents);
        self.is_indexing |= share.is_indexing;
        for (field, count) in &share.field_distribution {
            if !hidden_field::is_reserved(field) {
                *self.fields.entry(field.clone()).or_default() += scale(*count);
            }
        }
    }

    fn view(&self, format: SizeFormat) -> Value {
        let average = self.documents_size.checked_div(self.documents).unwrap_or(0);
        let mut view = json!({
            "numberOfDocuments": self.documents,
            "rawDocumentDbSize": format.view(self.raw_size),
            "avgDocumentSize": format.view(average),
            "isIndexing": self.is_indexing,
        });
        if !self.internal.is_empty() {
            let mut sizes: Vec<(&String, u64)> =
                self.internal.iter().map(|(n, size)| (n, *size)).collect();
            sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
            let sizes = sizes
                .into_iter()
                .map(|(n, size)| (n.clone(), format.view(size)));
            view["internalDatabaseSizes"] = Value::Object(sizes.collect());
        }
        view["numberOfEmbeddings"] = json!(self.embeddings);
        view["numberOfEmbeddedDocuments"] = json!(self.embedded);
        let fields = self.fields.iter().filter(|(_, count)| **count > 0);
        let fields = fields.map(|(field, count)| (field.clone(), json!(count)));
        view["fieldDistribution"] = Value::Object(fields.collect());
        view
    }
}

impl Reads {
    /// The statistics of the index `uid`.
    ///
    /// # Errors
    /// `index_not_found`; `unavailable_shards`.
    pub async fn index_stats(
        &self,
        uid: &str,
        query: StatsQuery,
        caller: &Caller,
    ) -> Result<Value, HttpError> {
        let sums = self.index_sums(uid, query.internal_sizes, caller).await?;
        Ok(sums.view(query.format))
    }

    async fn index_sums(
        &self,
        uid: &str,
        internal_sizes: bool,
        caller: &Caller,
    ) -> Result<IndexSums, HttpError> {
        let mut begun = self.begin(uid, caller).await?;
        let key = choice::key(&[uid.as_bytes(), b"stats"]);
        begun.scope.is_of(key, false);
        let parameters = match internal_sizes {
            true => "?showInternalDatabaseSizes=true",
            false => "",
        };
        let name = &begun.scope.route.name;
        let statistics = format!("/indexes/{name}/stats{parameters}");
        let documents = format!("/indexes/{name}/documents/fetch");
        let ask = |piece: Piece| {
            let (statistics, documents) = (&statistics, &documents);
            async move {
                let nothing = Window {
                    offset: 0,
                    limit: 0,
                };
                let body = DocumentsQuery::all()
                    .body(&piece, nothing)
                    .map_err(Fault::Refused)?;
                let counted = self.post(&piece, documents, &body, caller).await?;
                let served = total_of(&counted).map_err(Fault::Refused)?;
                let share = self.get(&piece, statistics, caller).await?;
                Ok((read_share(&share)?, served))
            }
        };
        let gathered = begun.scope.gather(self.upstream(), ask).await?;
        let mut sums = IndexSums::default();
        let answers = gathered.answers.iter();
        let mut whole = answers.clone().map(|(piece, _)| piece.holds_nothing_else);
        if !whole.all(|is_whole| is_whole) {
            let known = answers
                .clone()
                .map(|(piece, (share, _))| (piece.node, share));
            let known: BTreeMap<NodeId, &NodeShare> = known.collect();
            if let Some(all) = self.even_shares(&begun.scope, &known, &statistics).await {
                let served = answers.map(|(_, (_, served))| served).sum();
                sums.add(&all, served);
                return Ok(sums);
            }
        }
        for (_, (share, served)) in answers {
            sums.add(share, *served);
        }
        Ok(sums)
    }

    /// What nodes that hold every shard equally often hold together. `None` when there are no such nodes, or
    /// one of them does not answer. `known` are those that have answered already.
    async fn even_shares(
        &self,
        scope: &Scope,
        known: &BTreeMap<NodeId, &NodeShare>,
        path: &str,
    ) -> Option<NodeShare> {
        for nodes in scope.route.even_holders() {
            // A node may be left out for what it has not carried out yet.
            if nodes.iter().any(|node| scope.failed.contains_key(node)) {
                continue;
            }
            let caller = Caller::nobody();
            let shares = nodes.into_iter().map(async |node| {
                if let Some(share) = known.get(&node) {
                    return Ok(NodeShare::clone(share));
                }
                let ask = Ask {
                    method: Method::GET,
                    path,
                    body: Bytes::new(),
                };
                let share = self.send(node, scope.deadline, ask, &caller).await?;
                read_share(&share)
            });
            let shares: Result<Vec<NodeShare>, Fault> = try_join_all(shares).await;
            if let Ok(shares) = shares {
                let mut all = NodeShare::default();
                shares.into_iter().for_each(|share| all.join(share));
                return Some(all);
            }
        }
        None
    }

    /// The statistics of the whole cluster, with those of its indexes that `shows` says. Sizes are
    /// those of the nodes that answer.
    ///
    /// # Errors
    /// `unavailable_shards`.
    pub async fn stats(
        &self,
        query: StatsQuery,
        caller: &Caller,
        shows: impl Fn(&str) -> bool,
    ) -> Result<Value, HttpError> {
        let guard = self.guard()?;
        let nodes = self.inner.control.nodes();
        let asked = nodes
            .iter()
            .map(|(_, client)| client.with_timeout(self.inner.config.timeout));
        let sizes = join_all(asked.map(|client| async move { client.stats().await })).await;
        let mut database_size = 0;
        let mut used_database_size = 0;
        let mut last_update = None;
        for node in sizes.into_iter().flatten() {
            database_size += node.database_size;
            used_database_size += node.used_database_size;
            // RFC 3339 in UTC sorts as text.
            last_update = last_update.max(node.last_update);
        }
        let uids = guard.table.indexes.keys().filter(|uid| shows(uid.as_str()));
        let uids: Vec<IndexUid> = uids.cloned().collect();
        let asked = uids.into_iter().map(|uid| async move {
            let stats = self.index_stats(uid.as_str(), query, caller).await;
            (uid, stats)
        });
        let mut asked = stream::iter(asked).buffered(INDEXES_AT_ONCE);
        let mut indexes = Map::new();
        while let Some((uid, stats)) = asked.next().await {
            match stats {
                Ok(stats) => {
                    indexes.insert(uid.to_string(), stats);
                }
                // No node has it yet: it is empty, and a moment later it will be here.
                Err(error) if error.code() == "index_not_found" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(json!({
            "databaseSize": query.format.view(database_size),
            "usedDatabaseSize": query.format.view(used_database_size),
            "lastUpdate": last_update,
            "indexes": indexes,
        }))
    }

    /// Every index, ordered by uid.
    ///
    /// # Errors
    /// 503 without a routing table.
    pub fn indexes(&self) -> Result<Vec<Arc<IndexRoute>>, HttpError> {
        Ok(self.guard()?.table.indexes.values().cloned().collect())
    }
}

fn read_share(body: &[u8]) -> Result<NodeShare, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::Failed(format!("its statistics are unreadable: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_scaled_and_summed() {
        let share = |documents, fields: &[(&str, u64)]| NodeShare {
            number_of_documents: documents,
            raw_document_db_size: documents * 100,
            avg_document_size: 100,
            internal_database_sizes: [("main".to_owned(), 5 * documents)].into(),
            field_distribution: fields.iter().map(|(f, c)| ((*f).to_owned(), *c)).collect(),
            ..NodeShare::default()
        };
        let mut sums = IndexSums::default();
        sums.add(
            &share(10, &[("id", 10), ("a", 5), ("_miroir_shard", 10)]),
            10,
        );
        // Half of what this node holds is counted elsewhere.
        sums.add(&share(8, &[("id", 8), ("a", 3), ("b", 1)]), 4);
        sums.add(&share(5, &[("c", 5)]), 0);
        sums.add(
            &NodeShare {
                is_indexing: true,
                ..share(0, &[])
            },
            0,
        );
        let view = sums.view(SizeFormat::Raw);
        assert_eq!(
            view,
            json!({
                "numberOfDocuments": 14, "rawDocumentDbSize": 1400, "avgDocumentSize": 100,
                "isIndexing": true, "internalDatabaseSizes": {"main": 70}, "numberOfEmbeddings": 0, "numberOfEmbeddedDocuments": 0,
                "fieldDistribution": {"a": 7, "b": 1, "id": 14},
            })
        );
    }

    #[test]
    fn what_two_nodes_hold_is_added() {
        let mut all = NodeShare {
            number_of_documents: 1,
            avg_document_size: 10,
            ..NodeShare::default()
        };
        all.join(NodeShare {
            number_of_documents: 3,
            avg_document_size: 30,
            is_indexing: true,
            field_distribution: [("a".to_owned(), 2)].into(),
            ..NodeShare::default()
        });
        let told = (all.number_of_documents, all.avg_document_size);
        assert_eq!((told, all.is_indexing), ((4, 25), true));
        assert_eq!(all.field_distribution["a"], 2);
        let mut nothing = NodeShare::default();
        nothing.join(NodeShare::default());
        assert_eq!(nothing.avg_document_size, 0);
    }

    #[test]
    fn an_empty_index_has_no_average() {
        let view = IndexSums::default().view(SizeFormat::Human);
        assert_eq!(view["avgDocumentSize"], "0 B");
    }
}
