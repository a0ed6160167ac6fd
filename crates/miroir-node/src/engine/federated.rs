//! Several searches whose hits are merged into one list.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use milli_core::Index;
use milli_core::score_details::{ScoreDetails, WeightedScoreValue};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use super::hits::{self, Found};
use super::registry::Engine;
use super::search::{Window, find, max_total_hits};
use super::search_query::{DEFAULT_LIMIT, SearchQuery};
use super::{facets, select};
use crate::error::ApiError;

/// One of the searches.
pub struct Query {
    /// The index.
    pub uid: String,
    /// The search.
    pub search: SearchQuery,
    /// By which its scores are multiplied.
    pub weight: f64,
}

/// How they are merged.
#[derive(Debug, Clone, Default)]
pub struct Federation {
    /// Hits to skip, without `page` and `hits_per_page`.
    pub offset: usize,
    /// Hits to return, without `page` and `hits_per_page`.
    pub limit: Option<usize>,
    /// The page, from 1.
    pub page: Option<usize>,
    /// Hits on a page.
    pub hits_per_page: Option<usize>,
    /// Facets to count, by index.
    pub facets_by_index: BTreeMap<String, Vec<String>>,
    /// The attribute by which hits must differ.
    pub distinct: Option<String>,
}

struct Hit {
    uid: String,
    docid: u32,
    position: usize,
    scores: Vec<WeightedScoreValue>,
    score: f64,
    shown: Value,
}

/// The hits of one search, best first, and what it found in all.
struct Answer {
    hits: Vec<Hit>,
    candidates: RoaringBitmap,
    is_semantic: bool,
}

impl Federation {
    fn is_paged(&self) -> bool {
        self.page.is_some() || self.hits_per_page.is_some()
    }

    fn window(&self) -> (usize, usize) {
        if !self.is_paged() {
            return (self.offset, self.limit.unwrap_or(DEFAULT_LIMIT));
        }
        let limit = self.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        match self.page.unwrap_or(1).checked_sub(1) {
            Some(before) => (limit.saturating_mul(before), limit),
            None => (0, 0),
        }
    }
}

/// Runs the searches and answers the response's body. An error comes with the position of its query.
pub fn run(
    engine: &Engine,
    queries: &[Query],
    federation: &Federation,
) -> Result<Value, (usize, ApiError)> {
    let started = Instant::now();
    let (offset, limit) = federation.window();
    let mut lists = Vec::new();
    let mut candidates: BTreeMap<&str, RoaringBitmap> = BTreeMap::new();
    let mut is_semantic = false;
    for (position, query) in queries.iter().enumerate() {
        let answer = search(engine, (position, query), federation, offset + limit);
        let answer = answer.map_err(|error| (position, error))?;
        *candidates.entry(&query.uid).or_default() |= &answer.candidates;
        is_semantic |= answer.is_semantic;
        lists.push(answer.hits.into_iter().peekable());
    }
    let mut seen = HashSet::new();
    let mut values = HashSet::new();
    let mut rejected = 0;
    let mut merged = Vec::new();
    while let Some(best) = best_head(&mut lists) {
        let Some(hit) = lists[best].next() else { break };
        if !seen.insert((hit.uid.clone(), hit.docid)) {
            continue;
        }
        if let Some(path) = &federation.distinct
            && !differs(&hit.shown, path, &mut values)
        {
            rejected += 1;
            continue;
        }
        merged.push(hit);
    }
    let total: u64 = candidates.values().map(RoaringBitmap::len).sum();
    let total = (total as usize).saturating_sub(rejected);
    let page: Vec<Hit> = merged.into_iter().skip(offset).take(limit).collect();
    let mut body = Map::new();
    let semantic = page
        .iter()
        .filter(|hit| hit.shown["_rankingScoreDetails"]["vectorSort"].is_object())
        .count();
    let hits: Vec<Value> = page.into_iter().map(|hit| hit.shown).collect();
    body.insert("hits".to_owned(), json!(hits));
    body.insert(
        "processingTimeMs".to_owned(),
        json!(started.elapsed().as_millis() as u64),
    );
    insert_totals(&mut body, federation, total);
    let facets = count_facets(engine, federation, candidates).map_err(|error| (0, error))?;
    if !facets.is_empty() {
        body.insert("facetsByIndex".to_owned(), Value::Object(facets));
    }
    if is_semantic {
        body.insert("semanticHitCount".to_owned(), json!(semantic));
    }
    let uid = uuid::Uuid::now_v7().to_string();
    body.insert("requestUid".to_owned(), json!(uid));
    Ok(Value::Object(body))
}

fn search(
    engine: &Engine,
    (position, query): (usize, &Query),
    federation: &Federation,
    end: usize,
) -> Result<Answer, ApiError> {
    let index = engine.index(&query.uid)?;
    let rtxn = index.read_txn()?;
    // Hits are merged by their details, whether they are shown or not.
    let mut detailed = query.search.clone();
    detailed.show_ranking_score_details = true;
    if federation.distinct.is_some() {
        detailed.distinct = federation.distinct.clone();
    }
    if federation.is_paged() {
        (detailed.page, detailed.hits_per_page) = (Some(1), Some(end));
    }
    let limit = end.min(max_total_hits(&index, &rtxn)?);
    let window = Window { offset: 0, limit };
    let (result, semantic) = find(engine, &query.uid, (&index, &rtxn), &detailed, window)?;
    let found = Found {
        documents_ids: &result.documents_ids,
        scores: &result.document_scores,
        matching_words: result.matching_words,
    };
    let shown = hits::build(&index, &rtxn, &query.search, found)?;
    let scored = result.documents_ids.iter().zip(&result.document_scores);
    let hits = scored.zip(shown).map(|((docid, scores), mut shown)| {
        let score = ScoreDetails::global_score(scores.iter()) * query.weight;
        shown["_federation"] = json!({
            "indexUid": query.uid, "queriesPosition": position, "weightedRankingScore": score,
        });
        Hit {
            uid: query.uid.clone(),
            docid: *docid,
            position,
            scores: ScoreDetails::weighted_score_values(scores.iter(), query.weight).collect(),
            score,
            shown,
        }
    });
    Ok(Answer {
        hits: hits.collect(),
        candidates: result.candidates,
        is_semantic: semantic.is_some(),
    })
}

/// Which list has the best next hit; of equal ones, the earliest.
fn best_head(lists: &mut [std::iter::Peekable<std::vec::IntoIter<Hit>>]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for at in 0..lists.len() {
        let (before, rest) = lists.split_at_mut(at);
        let Some(hit) = rest[0].peek() else { continue };
        let known = best.and_then(|known| before[known].peek());
        if known.is_none_or(|known| compare(hit, known) == Ordering::Greater) {
            best = Some(at);
        }
    }
    best
}

fn compare(a: &Hit, b: &Hit) -> Ordering {
    for (at, (x, y)) in a.scores.iter().zip(&b.scores).enumerate() {
        match compare_values(x, y) {
            Some(Ordering::Equal) => {}
            Some(order) => return order,
            None => {
                let left = |hit: &Hit| hit.scores.len() - at;
                return left(a).cmp(&left(b)).then(a.score.total_cmp(&b.score));
            }
        }
    }
    let longer = a.scores.len().cmp(&b.scores.len());
    longer.then(b.position.cmp(&a.position))
}

/// `None` when the two cannot be compared.
fn compare_values(a: &WeightedScoreValue, b: &WeightedScoreValue) -> Option<Ordering> {
    use WeightedScoreValue::{GeoSort, Sort, VectorSort, WeightedScore};
    match (a, b) {
        (WeightedScore(x) | VectorSort(x), WeightedScore(y) | VectorSort(y)) => {
            Some(if (x - y).abs() <= f64::EPSILON {
                Ordering::Equal
            } else {
                x.total_cmp(y)
            })
        }
        (
            Sort { asc, value: x },
            Sort {
                asc: other,
                value: y,
            },
        ) if asc == other => {
            let class = |value: &Value| match value {
                Value::Number(_) => 2,
                Value::Null => 0,
                Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => 1,
            };
            let order = match (x.as_f64(), y.as_f64()) {
                (Some(x), Some(y)) => x.total_cmp(&y),
                _ if class(x) == class(y) => x.as_str().cmp(&y.as_str()),
                _ => return Some(class(x).cmp(&class(y))),
            };
            Some(if *asc { order.reverse() } else { order })
        }
        (
            GeoSort { asc, distance: x },
            GeoSort {
                asc: other,
                distance: y,
            },
        ) if asc == other => {
            let (Some(x), Some(y)) = (x, y) else {
                return Some(x.is_some().cmp(&y.is_some()));
            };
            let order = x.total_cmp(y);
            Some(if *asc { order.reverse() } else { order })
        }
        (WeightedScore(_) | VectorSort(_) | Sort { .. } | GeoSort { .. }, _) => None,
    }
}

/// Whether a hit has none of the values seen before; then they are added.
fn differs(hit: &Value, path: &str, seen: &mut HashSet<String>) -> bool {
    let Value::Object(hit) = hit else { return true };
    let mut part = select::select(hit, [path]);
    let mut values = Vec::new();
    select::visit_leaves(&mut part, &[path], &mut |_, _, leaf| {
        if !leaf.is_null() {
            values.push(leaf.to_string().to_lowercase());
        }
    });
    if values.iter().any(|value| seen.contains(value)) {
        return false;
    }
    seen.extend(values);
    true
}

fn insert_totals(body: &mut Map<String, Value>, federation: &Federation, total: usize) {
    let mut put = |name: &str, value: usize| body.insert(name.to_owned(), json!(value));
    if federation.is_paged() {
        let hits_per_page = federation.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        put("hitsPerPage", hits_per_page);
        put("page", federation.page.unwrap_or(1));
        put("totalPages", total.div_ceil(hits_per_page.max(1)));
        put("totalHits", total);
    } else {
        put("limit", federation.limit.unwrap_or(DEFAULT_LIMIT));
        put("offset", federation.offset);
        put("estimatedTotalHits", total);
    }
}

fn count_facets(
    engine: &Engine,
    federation: &Federation,
    mut candidates: BTreeMap<&str, RoaringBitmap>,
) -> Result<Map<String, Value>, ApiError> {
    let mut counted = Map::new();
    for (uid, names) in &federation.facets_by_index {
        let index: Index = engine.index(uid)?;
        let Some(candidates) = candidates.remove(uid.as_str()) else {
            continue;
        };
        let rtxn = index.read_txn()?;
        let facets = facets::compute(&index, &rtxn, names, candidates)?;
        let facets = json!({"distribution": facets.distribution, "stats": facets.stats});
        counted.insert(uid.clone(), facets);
    }
    Ok(counted)
}
