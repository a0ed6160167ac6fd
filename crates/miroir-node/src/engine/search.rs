//! Searching an index.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use milli_core::heed::RoTxn;
use milli_core::score_details::ScoringStrategy;
use milli_core::vector::Embedder;
use milli_core::{
    AscDesc, Index, Search, SearchResult, SortError, TermsMatchingStrategy, TimeBudget, UserError,
};
use serde_json::{Map, Value, json};

use super::hits::{self, Found};
use super::registry::Engine;
use super::search_query::{DEFAULT_LIMIT, Hybrid, MatchingStrategy, SearchQuery};
use super::settings::DEFAULT_MAX_TOTAL_HITS;
use super::{facets, filter};
use crate::error::{ApiError, Code};

/// How a query is searched.
enum Mode {
    Keyword,
    Semantic {
        embedder: NamedEmbedder,
        vector: Vec<f32>,
    },
    Hybrid {
        embedder: NamedEmbedder,
        ratio: f32,
    },
}

struct NamedEmbedder {
    name: String,
    embedder: Arc<Embedder>,
    quantized: bool,
}

/// Runs a search on one snapshot of the index and answers the response's body.
pub fn run(
    engine: &Engine,
    uid: &str,
    index: &Index,
    query: &SearchQuery,
) -> Result<Value, ApiError> {
    let started = Instant::now();
    let rtxn = index.read_txn()?;
    let max_total_hits = max_total_hits(index, &rtxn)?;
    let window = Window::of(query, max_total_hits);
    let (result, semantic_hits) = find(engine, uid, (index, &rtxn), query, window)?;
    let total = (result.candidates.len() as usize).min(max_total_hits);
    let SearchResult {
        matching_words,
        candidates,
        documents_ids,
        document_scores,
        ..
    } = result;
    let found = Found {
        documents_ids: &documents_ids,
        scores: &document_scores,
        matching_words,
    };
    let hits = hits::build(index, &rtxn, query, found)?;
    let mut body = Map::new();
    body.insert("hits".to_owned(), Value::Array(hits));
    body.insert(
        "query".to_owned(),
        json!(query.q.clone().unwrap_or_default()),
    );
    let facets = match &query.facets {
        Some(names) => Some(facets::compute(index, &rtxn, names, candidates)?),
        None => None,
    };
    body.insert(
        "processingTimeMs".to_owned(),
        json!(started.elapsed().as_millis() as u64),
    );
    insert_totals(&mut body, query, window, total);
    if let Some(facets) = facets {
        body.insert("facetDistribution".to_owned(), facets.distribution);
        body.insert("facetStats".to_owned(), facets.stats);
    }
    if let Some(count) = semantic_hits {
        body.insert("semanticHitCount".to_owned(), json!(count));
    }
    body.insert(
        "requestUid".to_owned(),
        json!(uuid::Uuid::now_v7().to_string()),
    );
    Ok(Value::Object(body))
}

/// How many hits the index lets a search reach.
pub(super) fn max_total_hits(index: &Index, rtxn: &RoTxn<'_>) -> Result<usize, ApiError> {
    let configured = index.pagination_max_total_hits(rtxn)?;
    Ok(configured.map_or(DEFAULT_MAX_TOTAL_HITS, |n| n as usize))
}

/// Searches on one snapshot of the index. The count is that of hits found by meaning, for a search
/// that looks for it.
pub(super) fn find(
    engine: &Engine,
    uid: &str,
    (index, rtxn): (&Index, &RoTxn<'_>),
    query: &SearchQuery,
    window: Window,
) -> Result<(SearchResult, Option<u32>), ApiError> {
    let mode = mode_of(engine, uid, index, query)?;
    let mut search = index.search(rtxn);
    search.time_budget(match index.search_cutoff(rtxn)? {
        Some(cutoff_ms) => TimeBudget::new(Duration::from_millis(cutoff_ms)),
        None => TimeBudget::default(),
    });
    configure(&mut search, query)?;
    search.offset(window.offset).limit(window.limit);
    search.exhaustive_number_hits(query.is_paged());
    execute(search, mode, query).map_err(|error| ApiError::in_index(uid, error))
}

/// The part of the results that is answered, within what the index lets a search reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Window {
    fn of(query: &SearchQuery, max_total_hits: usize) -> Self {
        let (offset, limit) = if query.is_paged() {
            let limit = query.hits_per_page.unwrap_or(DEFAULT_LIMIT);
            // Page 0 is an empty page.
            let page = query.page.unwrap_or(1);
            page.checked_sub(1)
                .map_or((0, 0), |before| (limit.saturating_mul(before), limit))
        } else {
            (query.offset, query.limit)
        };
        let offset = offset.min(max_total_hits);
        Self {
            offset,
            limit: limit.min(max_total_hits - offset),
        }
    }
}

fn insert_totals(body: &mut Map<String, Value>, query: &SearchQuery, window: Window, total: usize) {
    if query.is_paged() {
        let hits_per_page = query.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        let pages = if hits_per_page == 0 {
            0
        } else {
            total.div_ceil(hits_per_page)
        };
        body.insert("hitsPerPage".to_owned(), json!(hits_per_page));
        body.insert("page".to_owned(), json!(query.page.unwrap_or(1)));
        body.insert("totalPages".to_owned(), json!(pages));
        body.insert("totalHits".to_owned(), json!(total));
    } else {
        body.insert("limit".to_owned(), json!(query.limit));
        body.insert("offset".to_owned(), json!(window.offset));
        body.insert("estimatedTotalHits".to_owned(), json!(total));
    }
}

fn configure<'a>(search: &mut Search<'a>, query: &'a SearchQuery) -> Result<(), ApiError> {
    if let Some(threshold) = query.ranking_score_threshold {
        search.ranking_score_threshold(threshold.0);
    }
    if let Some(distinct) = &query.distinct {
        search.distinct(distinct.clone());
    }
    if let Some(attributes) = &query.attributes_to_search_on {
        search.searchable_attributes(attributes);
    }
    search.terms_matching_strategy(match query.matching_strategy {
        MatchingStrategy::Last => TermsMatchingStrategy::Last,
        MatchingStrategy::All => TermsMatchingStrategy::All,
        MatchingStrategy::Frequency => TermsMatchingStrategy::Frequency,
    });
    let needs_scores = query.show_ranking_score
        || query.show_ranking_score_details
        || query.ranking_score_threshold.is_some();
    search.scoring_strategy(if needs_scores {
        ScoringStrategy::Detailed
    } else {
        ScoringStrategy::Skip
    });
    if let Some(filter) = &query.filter
        && let Some(filter) = filter::parse(filter, Code::InvalidSearchFilter)?
    {
        search.filter(filter);
    }
    if let Some(sort) = &query.sort {
        let criteria: Result<Vec<_>, _> = sort.iter().map(|text| AscDesc::from_str(text)).collect();
        let criteria = criteria.map_err(|e| milli_core::Error::from(SortError::from(e)))?;
        search.sort_criteria(criteria);
    }
    if let Some(locales) = &query.locales {
        search.locales(locales.iter().map(|locale| locale.0).collect());
    }
    Ok(())
}

fn execute(
    mut search: Search<'_>,
    mode: Mode,
    query: &SearchQuery,
) -> milli_core::Result<(SearchResult, Option<u32>)> {
    match mode {
        Mode::Keyword => {
            if let Some(q) = &query.q {
                search.query(q);
            }
            Ok((search.execute()?, None))
        }
        Mode::Semantic {
            embedder:
                NamedEmbedder {
                    name,
                    embedder,
                    quantized,
                },
            vector,
        } => {
            search.semantic(name, embedder, quantized, Some(vector));
            let result = search.execute()?;
            let count = result.document_scores.len() as u32;
            Ok((result, Some(count)))
        }
        Mode::Hybrid {
            embedder:
                NamedEmbedder {
                    name,
                    embedder,
                    quantized,
                },
            ratio,
        } => {
            if let Some(q) = &query.q {
                search.query(q);
            }
            search.semantic(name, embedder, quantized, query.vector.clone());
            search.execute_hybrid(ratio)
        }
    }
}

fn mode_of(
    engine: &Engine,
    uid: &str,
    index: &Index,
    query: &SearchQuery,
) -> Result<Mode, ApiError> {
    let text = query.q.as_deref();
    if query.vector.is_none() && text.is_none_or(|text| text.trim().is_empty()) {
        // A placeholder search has nothing to embed.
        return Ok(Mode::Keyword);
    }
    let Some(hybrid) = &query.hybrid else {
        if query.vector.is_none() {
            return Ok(Mode::Keyword);
        }
        return Err(ApiError::new(
            Code::MissingSearchHybrid,
            "Invalid request: missing `hybrid` parameter when `vector` is present.",
        ));
    };
    let ratio = hybrid.semantic_ratio.0;
    if ratio == 0.0 {
        return Ok(Mode::Keyword);
    }
    let embedder = find_embedder(engine, uid, index, hybrid, query.vector.as_ref())?;
    match (text, &query.vector) {
        (Some(text), _) if ratio < 1.0 && !text.trim().is_empty() => {
            Ok(Mode::Hybrid { embedder, ratio })
        }
        (_, Some(vector)) => Ok(Mode::Semantic {
            embedder,
            vector: vector.clone(),
        }),
        (text, None) => {
            let vector = embed(&embedder, text.unwrap_or_default())?;
            Ok(Mode::Semantic { embedder, vector })
        }
    }
}

fn embed(embedder: &NamedEmbedder, text: &str) -> Result<Vec<f32>, ApiError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let vector = embedder
        .embedder
        .embed_search(text, Some(deadline))
        .map_err(milli_core::vector::Error::from)
        .map_err(milli_core::Error::from)?;
    Ok(vector)
}

fn find_embedder(
    engine: &Engine,
    uid: &str,
    index: &Index,
    hybrid: &Hybrid,
    vector: Option<&Vec<f32>>,
) -> Result<NamedEmbedder, ApiError> {
    let rtxn = index.read_txn()?;
    let in_index = |error: milli_core::Error| ApiError::in_index(uid, error);
    let configs = index.embedding_configs(&rtxn).map_err(in_index)?;
    let embedders = engine.embedders.resolve(configs).map_err(in_index)?;
    let (embedder, _, quantized) = embedders.get(&hybrid.embedder).ok_or_else(|| {
        in_index(UserError::InvalidSearchEmbedder(hybrid.embedder.clone()).into())
    })?;
    if let Some(vector) = vector
        && vector.len() != embedder.dimensions()
    {
        let expected = embedder.dimensions();
        let error = UserError::InvalidVectorDimensions {
            expected,
            found: vector.len(),
        };
        return Err(in_index(error.into()));
    }
    Ok(NamedEmbedder {
        name: hybrid.embedder.clone(),
        embedder,
        quantized,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::json;

    fn query(body: Value) -> SearchQuery {
        json(body).unwrap()
    }

    #[test]
    fn windows_stay_within_what_the_index_allows() {
        for (body, offset, limit) in [
            (json!({}), 0, 20),
            (json!({ "offset": 95, "limit": 10 }), 95, 5),
            (json!({ "offset": 500 }), 100, 0),
            (json!({ "page": 0 }), 0, 0),
            (json!({ "page": 3, "hitsPerPage": 10 }), 20, 10),
            (json!({ "hitsPerPage": 7 }), 0, 7),
        ] {
            assert_eq!(
                Window::of(&query(body.clone()), 100),
                Window { offset, limit },
                "{body}"
            );
        }
    }
}
