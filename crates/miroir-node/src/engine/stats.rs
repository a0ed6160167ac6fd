//! Numbers about an index.

use milli_core::{FieldDistribution, Index};
use serde::Serialize;
use time::OffsetDateTime;

use crate::queue::task::timestamp;

/// What `GET /indexes/{uid}/stats` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub struct IndexStats {
    pub number_of_documents: u64,
    pub raw_document_db_size: u64,
    pub avg_document_size: u64,
    pub is_indexing: bool,
    pub number_of_embeddings: u64,
    pub number_of_embedded_documents: u64,
    pub field_distribution: FieldDistribution,
}

/// Stats of one index; `is_indexing` is known to the queue.
pub fn index_stats(index: &Index, is_indexing: bool) -> milli_core::Result<IndexStats> {
    let rtxn = index.read_txn()?;
    let documents = index.documents_stats(&rtxn)?.unwrap_or_default();
    let vectors = index.arroy_stats(&rtxn)?;
    Ok(IndexStats {
        number_of_documents: index.number_of_documents(&rtxn)?,
        raw_document_db_size: documents.total_size(),
        avg_document_size: documents.average_value_size(),
        is_indexing,
        number_of_embeddings: vectors.number_of_embeddings,
        number_of_embedded_documents: vectors.documents.len(),
        field_distribution: index.field_distribution(&rtxn)?,
    })
}

/// What `GET /indexes/{uid}` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub struct IndexView {
    pub uid: String,
    pub created_at: String,
    pub updated_at: String,
    pub primary_key: Option<String>,
}

/// The index object of one index.
pub fn index_view(uid: String, index: &Index) -> milli_core::Result<IndexView> {
    let rtxn = index.read_txn()?;
    Ok(IndexView {
        uid,
        created_at: timestamp(index.created_at(&rtxn)?),
        updated_at: timestamp(index.updated_at(&rtxn)?),
        primary_key: index.primary_key(&rtxn)?.map(str::to_owned),
    })
}

/// When the index changed last, for the node's `lastUpdate`, and its sizes on disk: all pages,
/// and pages in use, bytes.
pub fn index_footprint(index: &Index) -> milli_core::Result<(OffsetDateTime, u64, u64)> {
    let rtxn = index.read_txn()?;
    Ok((
        index.updated_at(&rtxn)?,
        index.on_disk_size()?,
        index.used_size()?,
    ))
}
