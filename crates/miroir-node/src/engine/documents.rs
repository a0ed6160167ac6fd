//! Reading documents: one by id, or a page of those that ids and a filter select.

use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::{FieldId, FieldsIdsMap, Index, Object, obkv_to_json};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::filter;
use super::select::select;
use super::vectors::{VECTORS, insert_vectors};
use crate::error::{ApiError, Code};

/// Which documents to answer with, and which part of them.
#[derive(Debug, Default)]
pub struct Browse {
    /// Matching documents to skip.
    pub offset: usize,
    /// Most documents to return.
    pub limit: usize,
    /// Fields to keep; all when absent.
    pub fields: Option<Vec<String>>,
    /// Whether `_vectors` is shown, filled from the vector store.
    pub retrieve_vectors: bool,
    /// External ids to consider; unknown ones are skipped.
    pub ids: Option<Vec<String>>,
    /// Filter the documents must match.
    pub filter: Option<Value>,
}

/// Reads the page, from one snapshot of the index. Answers how many documents match in all and
/// the documents of the page, in internal order.
pub fn browse(index: &Index, browse: &Browse) -> Result<(u64, Vec<Object>), ApiError> {
    let rtxn = index.read_txn()?;
    let mut candidates = match &browse.ids {
        Some(ids) => known_ids(index, &rtxn, ids)?,
        None => index.documents_ids(&rtxn)?,
    };
    if let Some(filter) = &browse.filter
        && let Some(filter) = filter::parse(filter, Code::InvalidDocumentFilter)?
    {
        candidates &= filter
            .evaluate(&rtxn, index)
            .map_err(as_document_filter_error)?;
    }
    let reader = Reader::new(index, &rtxn, browse.retrieve_vectors)?;
    let documents = candidates
        .iter()
        .skip(browse.offset)
        .take(browse.limit)
        .map(|docid| reader.read(docid, browse.fields.as_deref()))
        .collect::<Result<_, _>>()?;
    Ok((candidates.len(), documents))
}

/// Reads one document by its external id.
pub fn get(
    index: &Index,
    id: &str,
    fields: Option<&[String]>,
    retrieve_vectors: bool,
) -> Result<Object, ApiError> {
    let rtxn = index.read_txn()?;
    let docid = index
        .external_documents_ids()
        .get(&rtxn, id)?
        .ok_or_else(|| {
            ApiError::new(
                Code::DocumentNotFound,
                format!("Document `{id}` not found."),
            )
        })?;
    Ok(Reader::new(index, &rtxn, retrieve_vectors)?.read(docid, fields)?)
}

fn known_ids(index: &Index, rtxn: &RoTxn<'_>, ids: &[String]) -> Result<RoaringBitmap, ApiError> {
    let external = index.external_documents_ids();
    let mut known = RoaringBitmap::new();
    for id in ids {
        if let Some(docid) = external.get(rtxn, id)? {
            known.insert(docid);
        }
    }
    Ok(known)
}

fn as_document_filter_error(error: milli_core::Error) -> ApiError {
    ApiError::from(error).recoded(Code::InvalidSearchFilter, Code::InvalidDocumentFilter)
}

struct Reader<'a> {
    index: &'a Index,
    rtxn: &'a RoTxn<'a>,
    names: FieldsIdsMap,
    all_fields: Vec<FieldId>,
    /// Present when vectors are to be shown.
    embedders: Option<Vec<IndexEmbeddingConfig>>,
}

impl<'a> Reader<'a> {
    fn new(index: &'a Index, rtxn: &'a RoTxn<'a>, vectors: bool) -> milli_core::Result<Self> {
        let names = index.fields_ids_map(rtxn)?;
        let all_fields = names.iter().map(|(id, _)| id).collect();
        let embedders = if vectors {
            Some(index.embedding_configs(rtxn)?)
        } else {
            None
        };
        Ok(Self {
            index,
            rtxn,
            names,
            all_fields,
            embedders,
        })
    }

    fn read(&self, docid: u32, fields: Option<&[String]>) -> milli_core::Result<Object> {
        let stored = self.index.document(self.rtxn, docid)?;
        let mut document = obkv_to_json(&self.all_fields, &self.names, stored)?;
        match &self.embedders {
            Some(embedders) => {
                insert_vectors(self.index, self.rtxn, embedders, docid, &mut document)?;
            }
            None => {
                document.shift_remove(VECTORS);
            }
        }
        Ok(match fields {
            Some(fields) => {
                let vectors = self.embedders.is_some().then_some(VECTORS);
                select(&document, fields.iter().map(String::as_str).chain(vectors))
            }
            None => document,
        })
    }
}
