//! Searching the values of a facet.

use std::time::Instant;

use milli_core::{Index, SearchForFacetValues};
use serde_json::{Value, json};

use super::filter;
use super::search_query::SearchQuery;
use crate::error::{ApiError, Code};

/// What to look for among the values of a facet.
pub struct FacetQuery {
    /// The facet.
    pub name: String,
    /// What the values begin with, about; `None` for all.
    pub text: Option<String>,
    /// Which documents' values count.
    pub documents: SearchQuery,
}

/// Searches on one snapshot of the index and answers the response's body. Only keywords and the filter
/// choose documents.
pub fn run(uid: &str, index: &Index, query: &FacetQuery) -> Result<Value, ApiError> {
    let started = Instant::now();
    let rtxn = index.read_txn()?;
    let in_index = |error: milli_core::Error| ApiError::in_index(uid, error);
    if !index.facet_search(&rtxn)? {
        let message = "The facet search is disabled for this index";
        return Err(ApiError::new(Code::FacetSearchDisabled, message));
    }
    let mut search = index.search(&rtxn);
    if let Some(q) = &query.documents.q {
        search.query(q);
    }
    if let Some(given) = &query.documents.filter
        && let Some(filter) = filter::parse(given, Code::InvalidSearchFilter)?
    {
        search.filter(filter);
    }
    let mut values = SearchForFacetValues::new(query.name.clone(), search, false);
    if let Some(text) = &query.text {
        values.query(text);
    }
    if let Some(max) = index.max_values_per_facet(&rtxn)? {
        values.max_values(max as usize);
    }
    let hits = values.execute().map_err(in_index)?;
    Ok(json!({
        "facetHits": hits,
        "facetQuery": query.text,
        "processingTimeMs": started.elapsed().as_millis() as u64,
    }))
}
