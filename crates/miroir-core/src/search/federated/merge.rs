//! One answer from the answers of all nodes of all indexes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::facets::{IndexFacets, together};
use super::plan::Federated;
use super::weigh::Weight;
use crate::api_error::ApiError;
use crate::id::IndexUid;
use crate::raw_json;
use crate::search::answer::{Answer, Hit, MergeError, View};
use crate::search::distinct::{Seen, values_of};
use crate::search::merge::{interleave, push_member, push_optional, to_json};
use crate::search::pins::{Pinned, id_of, place, surviving};
use crate::search::query::Pagination;
use crate::search::settings::SearchSettings;

/// What the nodes of one index answered.
pub struct IndexAnswers<'a> {
    /// The index.
    pub index: IndexUid,
    /// Its settings.
    pub settings: SearchSettings,
    /// The bodies, in a fixed order: of equal hits that of the earlier node goes first.
    pub bodies: Vec<&'a [u8]>,
}

/// The answers of one index, read.
struct Read<'a> {
    index: &'a IndexUid,
    settings: &'a SearchSettings,
    /// The client's position of each query that the nodes know by a smaller one.
    positions: Vec<usize>,
    answers: Vec<Answer<'a>>,
    /// What each node says of each of its hits' federation.
    told: Vec<Vec<Option<&'a RawValue>>>,
}

/// A hit in the merge.
struct Found<'n, 'a> {
    hit: &'n Hit<'a>,
    /// Which of the indexes.
    at: usize,
    /// The client's position of the query that found it.
    position: usize,
    /// The node's own text of the score.
    score: &'a str,
    weight: Weight,
}

/// The hits of the wanted window, and how many of those fetched were not distinct.
struct Merged<'m, 'n, 'a> {
    window: Vec<&'m Found<'n, 'a>>,
    rejected: u64,
    /// How many were found by meaning.
    semantic: usize,
}

impl Federated {
    /// The answer to the client.
    ///
    /// # Errors
    /// When an answer is not a search result, or what the client asks for cannot be put together.
    pub fn merge(
        &self,
        indexes: &[IndexAnswers<'_>],
    ) -> Result<Result<String, ApiError>, MergeError> {
        let positions = self.indexes();
        let mut read = Vec::new();
        for index in indexes {
            let answers = index.bodies.iter().enumerate();
            let mut answers: Vec<Answer<'_>> = answers
                .map(|(at, body)| Answer::read(body, at))
                .collect::<Result<_, _>>()?;
            read.push(Read {
                index: &index.index,
                settings: &index.settings,
                positions: positions.get(&index.index).cloned().unwrap_or_default(),
                told: answers.iter_mut().map(take_federation).collect(),
                answers,
            });
        }
        let lists = self.lists(&read)?;
        let merged = self.merge_hits(&read, &lists);
        Ok(self.write(&read, &merged))
    }

    /// One list for each answer.
    fn lists<'n, 'a>(&self, read: &'n [Read<'a>]) -> Result<Vec<Vec<Found<'n, 'a>>>, MergeError> {
        let mut lists = Vec::new();
        for (at, index) in read.iter().enumerate() {
            for (node, answer) in index.answers.iter().enumerate() {
                let found = |(hit, told): (&'n Hit<'a>, &Option<&'a RawValue>)| {
                    let found = told.and_then(|told| self.found(hit, told, at, index));
                    found.ok_or(MergeError::Unreadable {
                        position: node,
                        detail: "a hit has no `_federation`".to_owned(),
                    })
                };
                let hits = answer.hits.iter().zip(&index.told[node]);
                lists.push(hits.map(found).collect::<Result<_, _>>()?);
            }
        }
        Ok(lists)
    }

    fn found<'n, 'a>(
        &self,
        hit: &'n Hit<'a>,
        told: &'a RawValue,
        at: usize,
        index: &Read<'a>,
    ) -> Option<Found<'n, 'a>> {
        let told = raw_json::members(told.get()).ok()?;
        let member = |name: &str| {
            let member = told.iter().find(|(known, _)| known == name);
            member.map(|(_, value)| value.get())
        };
        let local: usize = member("queriesPosition")?.parse().ok()?;
        let position = *index.positions.get(local)?;
        let score = member("weightedRankingScore")?;
        let mut members = hit.members.iter();
        let (_, details) = members.find(|(name, _)| name == "_rankingScoreDetails")?;
        let details: Map<String, Value> = serde_json::from_str(details.get()).ok()?;
        let weight = self.queries.get(position)?.weight;
        Some(Found {
            hit,
            at,
            position,
            weight: Weight::new(&details, weight, score.parse().ok()?),
            score,
        })
    }

    /// `Greater` when `a` goes first, `Equal` when the earlier list does.
    fn compare(&self, a: &Found<'_, '_>, b: &Found<'_, '_>) -> Ordering {
        if a.position == b.position {
            let ratio = self.queries[a.position].query.semantic_ratio();
            return a.hit.rank.compare(&b.hit.rank, ratio.unwrap_or(0.5));
        }
        let weighed = a.weight.compare(&b.weight);
        weighed.then_with(|| b.position.cmp(&a.position))
    }

    fn merge_hits<'m, 'n, 'a>(
        &self,
        read: &[Read<'a>],
        lists: &'m [Vec<Found<'n, 'a>>],
    ) -> Merged<'m, 'n, 'a> {
        let (offset, limit) = self.federation.pagination.window(u64::MAX);
        let ranked = |list: &'m Vec<Found<'n, 'a>>| -> Vec<&'m Found<'n, 'a>> {
            let ranked = list.iter().filter(|found| found.hit.rank.pin().is_none());
            ranked.collect()
        };
        let ranked: Vec<Vec<&Found<'n, 'a>>> = lists.iter().map(ranked).collect();
        let ranked: Vec<&[&Found<'n, 'a>]> = ranked.iter().map(Vec::as_slice).collect();
        let end = usize::try_from(offset.saturating_add(limit)).unwrap_or(usize::MAX);
        let pinned = pinned(read, lists, end);
        let mut seen: BTreeMap<Option<usize>, Seen> = BTreeMap::new();
        // No index shows more hits than it lets any search reach.
        let mut left: Vec<u64> = read.iter().map(|r| r.settings.max_total_hits).collect();
        for (_, pin) in &pinned {
            left[pin.at] = left[pin.at].saturating_sub(1);
        }
        let mut first = Vec::new();
        let mut rejected = 0;
        for found in interleave(&ranked, |a, b| self.compare(a, b)) {
            let index = &read[found.at];
            // Of the whole request, or of each query.
            let of = self.federation.distinct.is_none().then_some(found.position);
            if let Some(path) = self.distinct(found.position, index.settings)
                && !seen
                    .entry(of)
                    .or_default()
                    .admit(values_of(&found.hit.members, path))
            {
                rejected += 1;
                continue;
            }
            if left[found.at] == 0 {
                continue;
            }
            left[found.at] -= 1;
            if first.len() < end {
                first.push(*found);
            }
        }
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let semantic = |found: &&&Found<'_, '_>| found.hit.rank.is_semantic();
        // Meilisearch counts before it pins.
        let counted = if pinned.is_empty() { skipped } else { 0 };
        let semantic = first.iter().skip(counted).filter(semantic).count();
        Merged {
            window: place(pinned, first, end)
                .into_iter()
                .skip(skipped)
                .collect(),
            rejected,
            semantic,
        }
    }

    fn write(&self, read: &[Read<'_>], merged: &Merged<'_, '_, '_>) -> Result<String, ApiError> {
        let answers = || read.iter().flat_map(|index| &index.answers);
        let first = |name: &str| answers().find_map(|answer| answer.raw(name));
        let mut out = String::from("{");
        let hits = merged.window.iter();
        let hits: Vec<String> = hits.map(|found| self.write_hit(found, read)).collect();
        push_member(&mut out, "hits", &format!("[{}]", hits.join(",")));
        self.push_vectors(&mut out, read);
        let slowest = answers().max_by_key(|answer| answer.count("processingTimeMs"));
        let took = slowest.map_or(0, |answer| answer.count("processingTimeMs"));
        push_member(&mut out, "processingTimeMs", &took.to_string());
        self.push_totals(&mut out, read, merged.rejected);
        self.push_facets(&mut out, read)?;
        push_optional(&mut out, "requestUid", first("requestUid"));
        self.push_metadata(&mut out, read);
        if first("semanticHitCount").is_some() {
            push_member(&mut out, "semanticHitCount", &merged.semantic.to_string());
        }
        if self.federation.shows_performance {
            let details = slowest.and_then(|answer| answer.raw("performanceDetails"));
            push_member(&mut out, "performanceDetails", details.unwrap_or("{}"));
        }
        out.push('}');
        Ok(out)
    }

    fn write_hit(&self, found: &Found<'_, '_>, read: &[Read<'_>]) -> String {
        let query = &self.queries[found.position].query;
        let index = &read[found.at];
        let mut hit = found.hit.write(&View {
            score: query.shows_score(),
            details: query.shows_details(),
            without: self.added(found.position, index.settings),
        });
        // What a node says of its own positions is said again with the client's.
        let federation = format!(
            r#"{{"indexUid":"{}","queriesPosition":{},"weightedRankingScore":{}}}"#,
            index.index, found.position, found.score
        );
        hit.pop();
        push_member(&mut hit, "_federation", &federation);
        hit.push('}');
        hit
    }

    fn push_vectors(&self, out: &mut String, read: &[Read<'_>]) {
        let mut vectors: BTreeMap<usize, Value> = BTreeMap::new();
        let mut told = false;
        for index in read {
            for answer in &index.answers {
                let Some(known) = answer.object("queryVectors") else {
                    continue;
                };
                told = true;
                for (local, vector) in known {
                    let local = local.parse().ok();
                    if let Some(position) = local.and_then(|at: usize| index.positions.get(at)) {
                        vectors.insert(*position, vector);
                    }
                }
            }
        }
        if told {
            push_member(out, "queryVectors", &to_json(&vectors));
        }
    }

    fn push_totals(&self, out: &mut String, read: &[Read<'_>], rejected: u64) {
        let total = read.iter().map(Read::found).sum::<u64>();
        let total = total.saturating_sub(rejected);
        match self.federation.pagination {
            Pagination::Offset { offset, limit } => {
                push_member(out, "limit", &limit.to_string());
                push_member(out, "offset", &offset.to_string());
                push_member(out, "estimatedTotalHits", &total.to_string());
            }
            Pagination::Page {
                page,
                hits_per_page,
            } => {
                let pages = total.checked_add(hits_per_page.saturating_sub(1));
                let pages = pages.and_then(|hits| hits.checked_div(hits_per_page));
                push_member(out, "hitsPerPage", &hits_per_page.to_string());
                push_member(out, "page", &page.to_string());
                push_member(out, "totalPages", &pages.unwrap_or(0).to_string());
                push_member(out, "totalHits", &total.to_string());
            }
        }
    }

    fn push_facets(&self, out: &mut String, read: &[Read<'_>]) -> Result<(), ApiError> {
        let mut facets = Vec::new();
        for index in read.iter().filter(|index| !index.positions.is_empty()) {
            let nodes = index.answers.iter();
            let nodes: Vec<_> = nodes
                .filter_map(|node| node.object("facetsByIndex"))
                .collect();
            facets.extend(IndexFacets::of(
                index.index,
                index.settings,
                &nodes,
                index.found(),
            ));
        }
        if facets.is_empty() {
            return Ok(());
        }
        if self.federation.merges_facets {
            let (distribution, stats) = together(&facets, self.federation.max_values_per_facet)?;
            push_member(out, "facetDistribution", &to_json(&distribution));
            push_member(out, "facetStats", &to_json(&stats));
        } else {
            let views = facets.iter().map(|f| (f.index.to_string(), f.view()));
            let views: Map<String, Value> = views.collect();
            push_member(out, "facetsByIndex", &to_json(&views));
        }
        Ok(())
    }

    /// What the first node of each index says of each query, in the client's order.
    fn push_metadata(&self, out: &mut String, read: &[Read<'_>]) {
        let mut metadata: BTreeMap<usize, Value> = BTreeMap::new();
        for index in read {
            let told = index.answers.iter().find_map(|node| node.raw("metadata"));
            let mut told: Vec<Value> = told
                .and_then(|told| serde_json::from_str(told).ok())
                .unwrap_or_default();
            if let Some(alias) = &index.settings.alias {
                told.iter_mut().for_each(|one| alias.tell(one));
            }
            metadata.extend(index.positions.iter().copied().zip(told));
        }
        if !metadata.is_empty() {
            let metadata: Vec<Value> = metadata.into_values().collect();
            push_member(out, "metadata", &json!(metadata).to_string());
        }
    }
}

/// The hits that are pinned into the first `end` ones, each with its place: by place, then by index, query and turn.
fn pinned<'m, 'n, 'a>(
    read: &[Read<'a>],
    lists: &'m [Vec<Found<'n, 'a>>],
    end: usize,
) -> Vec<(u64, &'m Found<'n, 'a>)> {
    type Query<'m, 'n, 'a> = (Vec<Pinned<&'m Found<'n, 'a>>>, usize);
    let mut queries: BTreeMap<(usize, usize), Query<'_, '_, '_>> = BTreeMap::new();
    for found in lists.iter().flatten() {
        let (pinned, others) = queries.entry((found.at, found.position)).or_default();
        let Some(position) = found.hit.rank.pin() else {
            *others += 1;
            continue;
        };
        let settings = read[found.at].settings;
        let id = id_of(&found.hit.members, settings.primary_key.as_deref());
        pinned.push(Pinned {
            position,
            turn: settings.pins.turn(id.as_deref(), position),
            hit: found,
        });
    }
    let queries = queries.into_values();
    let mut all: Vec<_> = queries
        .flat_map(|(pinned, others)| {
            let reach = pinned
                .first()
                .map_or(u64::MAX, |pin| read[pin.hit.at].settings.max_total_hits);
            let end = end.min(usize::try_from(reach).unwrap_or(usize::MAX));
            let mut pinned = surviving(pinned, others, end);
            pinned.sort_by_key(|pin| (pin.position, pin.turn));
            pinned
        })
        .map(|pin| (pin.position, pin.hit))
        .collect();
    // Stable: at one place, indexes and queries keep their order.
    all.sort_by_key(|(position, _)| *position);
    all
}

/// Takes `_federation` out of the hits: a node tells its own positions, the client sees others.
fn take_federation<'a>(answer: &mut Answer<'a>) -> Vec<Option<&'a RawValue>> {
    let take = |hit: &mut Hit<'a>| {
        let mut members = hit.members.iter();
        let at = members.position(|(name, _)| name == "_federation")?;
        Some(hit.members.remove(at).1)
    };
    answer.hits.iter_mut().map(take).collect()
}

impl Read<'_> {
    /// How many documents the nodes found.
    fn found(&self) -> u64 {
        let totals = self.answers.iter();
        totals
            .map(|answer| answer.count("estimatedTotalHits") + answer.count("totalHits"))
            .sum()
    }
}
