//! Writing documents into an index, several tasks in one transaction.

use std::sync::atomic::{AtomicBool, Ordering};

use bumpalo::Bump;
use memmap2::Mmap;
use milli_core::documents::PrimaryKey;
use milli_core::heed::RwTxn;
use milli_core::progress::Progress;
use milli_core::update::ClearDocuments;
use milli_core::update::new::indexer::{self, DocumentDeletion, DocumentOperation};
use milli_core::{Index, InternalError, UserError};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::filter;
use super::registry::Engine;
use crate::error::{ApiError, Code};
use crate::queue::task::Method;

/// One task's documents: JSON objects one after the other, and what to do with them.
pub struct Addition<'a> {
    /// Replace or merge.
    pub method: Method,
    /// The documents.
    pub payload: &'a Mmap,
}

/// What became of one task of a batch.
#[derive(Debug)]
pub struct OpResult {
    /// Documents indexed; distinct ids, so one document sent twice counts once.
    pub count: u64,
    /// Why the task failed, if it did. It then changed nothing.
    pub error: Option<ApiError>,
}

/// Where a batch of operations is applied.
pub struct Target<'a> {
    /// The node's engine.
    pub engine: &'a Engine,
    /// The index written to.
    pub index: &'a Index,
    /// Its uid, for error messages.
    pub uid: &'a str,
    /// Looked at between steps; when set the work is given up with an error.
    pub stop: &'a AtomicBool,
}

impl<'a> Target<'a> {
    fn error(&self, error: impl Into<milli_core::Error>) -> ApiError {
        ApiError::in_index(self.uid, error.into())
    }

    /// Applies additions, in order. A task with an invalid document fails alone; an error that is
    /// found only while indexing fails the whole call.
    pub fn add(
        &self,
        wtxn: &mut RwTxn<'_>,
        primary_key: Option<&str>,
        additions: &[Addition<'_>],
    ) -> Result<Vec<OpResult>, ApiError> {
        let arena = Bump::new();
        let rtxn = self.index.read_txn()?;
        let db_names = self.index.fields_ids_map(&rtxn)?;
        let mut new_names = db_names.clone();
        let mut builder = DocumentOperation::new();
        for Addition { method, payload } in additions {
            match method {
                Method::Replace => builder.replace_documents(payload),
                Method::Update => builder.update_documents(payload),
            }
            .map_err(|error| self.error(error))?;
        }
        let (changes, stats, primary_key) = builder
            .into_changes(
                &arena,
                self.index,
                &rtxn,
                primary_key,
                &mut new_names,
                &|| self.stop.load(Ordering::Relaxed),
                Progress::default(),
            )
            .map_err(|error| self.error(error))?;
        let results: Vec<OpResult> = stats
            .into_iter()
            .map(|stats| OpResult {
                count: stats.document_count,
                // Meilisearch reports a payload's own error without naming the index.
                error: stats
                    .error
                    .map(|error| milli_core::Error::UserError(error).into()),
            })
            .collect();
        if results.iter().all(|result| result.error.is_some()) {
            return Ok(results);
        }
        self.index_changes(wtxn, &db_names, new_names, primary_key, &changes)?;
        Ok(results)
    }

    /// Deletes documents by external id, for several tasks in order; answers how many each one
    /// deleted. Unknown ids are no error.
    pub fn delete_by_ids(
        &self,
        wtxn: &mut RwTxn<'_>,
        tasks: &[&[String]],
    ) -> Result<Vec<u64>, ApiError> {
        let external = self.index.external_documents_ids();
        let mut found = RoaringBitmap::new();
        let mut counts = Vec::with_capacity(tasks.len());
        for ids in tasks {
            let before = found.len();
            for id in *ids {
                found.extend(external.get(wtxn, id)?);
            }
            counts.push(found.len() - before);
        }
        self.delete_internal(wtxn, found)?;
        Ok(counts)
    }

    /// Deletes what a filter matches; answers how many documents that were.
    pub fn delete_by_filter(&self, wtxn: &mut RwTxn<'_>, filter: &Value) -> Result<u64, ApiError> {
        let Some(filter) = filter::parse(filter, Code::InvalidDocumentFilter)? else {
            return Ok(0);
        };
        let found = filter.evaluate(wtxn, self.index).map_err(|error| {
            self.error(error)
                .recoded(Code::InvalidSearchFilter, Code::InvalidDocumentFilter)
        })?;
        self.delete_internal(wtxn, found)
    }

    /// Deletes every document; answers how many there were.
    pub fn clear(&self, wtxn: &mut RwTxn<'a>) -> Result<u64, ApiError> {
        ClearDocuments::new(wtxn, self.index)
            .execute()
            .map_err(|error| self.error(error))
    }

    fn delete_internal(
        &self,
        wtxn: &mut RwTxn<'_>,
        docids: RoaringBitmap,
    ) -> Result<u64, ApiError> {
        let count = docids.len();
        if count == 0 {
            return Ok(0);
        }
        let arena = Bump::new();
        let rtxn = self.index.read_txn()?;
        let db_names = self.index.fields_ids_map(&rtxn)?;
        let mut new_names = db_names.clone();
        let primary_key = self.index.primary_key(&rtxn)?.ok_or_else(|| {
            self.error(InternalError::DatabaseMissingEntry {
                db_name: "main",
                key: Some("primary-key"),
            })
        })?;
        let primary_key = PrimaryKey::new_or_insert(primary_key, &mut new_names)
            .map_err(|error: UserError| self.error(error))?;
        let mut deletion = DocumentDeletion::new();
        deletion.delete_documents_by_docids(docids);
        let changes = deletion.into_changes(&arena, primary_key);
        self.index_changes(wtxn, &db_names, new_names, None, &changes)?;
        Ok(count)
    }

    fn index_changes<'pl>(
        &self,
        wtxn: &mut RwTxn<'_>,
        db_names: &milli_core::FieldsIdsMap,
        new_names: milli_core::FieldsIdsMap,
        primary_key: Option<PrimaryKey<'pl>>,
        changes: &impl indexer::document_changes::DocumentChanges<'pl>,
    ) -> Result<(), ApiError> {
        let configs = self
            .index
            .embedding_configs(wtxn)
            .map_err(|error| self.error(error))?;
        let embedders = self
            .engine
            .embedders
            .resolve(configs)
            .map_err(|error| self.error(error))?;
        indexer::index(
            wtxn,
            self.index,
            self.engine.pool(),
            self.engine.indexer.grenad_parameters(),
            db_names,
            new_names,
            primary_key,
            changes,
            embedders,
            &|| self.stop.load(Ordering::Relaxed),
            &Progress::default(),
        )
        .map_err(|error| self.error(error))?;
        Ok(())
    }
}
