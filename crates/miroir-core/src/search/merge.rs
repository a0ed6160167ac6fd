//! One answer from the answers of several nodes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::slice;

use serde_json::{Map, Value};

use super::answer::{Answer, Hit, MergeError, View};
use super::distinct::{Seen, values_of};
use super::facets::{merge_distributions, merge_stats};
use super::plan::Plan;
use super::query::Pagination;
use crate::api_error::ApiError;
use crate::hidden_field::strip_facets;
use crate::raw_json;

/// The hits of the wanted window, and how many of those fetched were not distinct.
struct Merged<'a, 'n> {
    window: Vec<&'n Hit<'a>>,
    rejected: u64,
}

impl Plan {
    /// The answer to the client. `answers` are the bodies of the nodes, in a fixed order:
    /// where the ranking rules do not tell, the earlier node goes first and each node's own
    /// order is kept. `failures` are the shards or nodes left out, for `remoteErrors`.
    ///
    /// # Errors
    /// When an answer is not a search result.
    pub fn merge(
        &self,
        answers: &[&[u8]],
        failures: &BTreeMap<String, ApiError>,
    ) -> Result<String, MergeError> {
        let answers: Vec<Answer<'_>> = answers
            .iter()
            .enumerate()
            .map(|(position, body)| Answer::read(body, position))
            .collect::<Result<_, _>>()?;
        let mut out = String::from("{");
        match answers.as_slice() {
            [answer] if self.direct => self.write_direct(&mut out, answer),
            several => self.write_merged(&mut out, several),
        }
        if !failures.is_empty() {
            push_member(&mut out, "remoteErrors", &to_json(failures));
        }
        out.push('}');
        Ok(out)
    }

    /// The node's answer without what is Miroir's.
    fn write_direct(&self, out: &mut String, answer: &Answer<'_>) {
        for (name, value) in answer.members() {
            match name.as_ref() {
                "hits" => self.push_hits(out, answer.hits.iter()),
                // Nodes are told to give more values than clients asked for: cut them here too.
                "facetDistribution" => {
                    let found = answer.count("estimatedTotalHits") + answer.count("totalHits");
                    let (distributions, stats) = facets_of(slice::from_ref(answer));
                    let cut = merge_distributions(&distributions, &stats, &self.settings, found);
                    push_member(out, name, &to_json(&cut));
                }
                "facetStats" => push_member(out, name, &strip_facets(value.get())),
                _ => push_member(out, name, value.get()),
            }
        }
    }

    fn write_merged(&self, out: &mut String, answers: &[Answer<'_>]) {
        let merged = self.merge_hits(answers);
        self.push_hits(out, merged.window.iter().copied());
        push_member(out, "query", &to_json(&self.query.q().unwrap_or_default()));
        let first = |name: &str| answers.iter().find_map(|answer| answer.raw(name));
        push_optional(out, "queryVector", first("queryVector"));
        let slowest = answers
            .iter()
            .map(|answer| answer.count("processingTimeMs"))
            .max();
        push_member(out, "processingTimeMs", &slowest.unwrap_or(0).to_string());
        let found = self.push_totals(out, answers, merged.rejected);
        self.push_facets(out, answers, found);
        // The one that the client waited for.
        let slowest = answers.iter().max_by_key(|a| a.count("processingTimeMs"));
        let performance = slowest.and_then(|answer| answer.raw("performanceDetails"));
        push_optional(out, "performanceDetails", performance);
        push_optional(out, "requestUid", first("requestUid"));
        push_optional(out, "metadata", first("metadata"));
        if first("semanticHitCount").is_some() {
            let semantic = merged
                .window
                .iter()
                .filter(|hit| hit.rank.is_semantic())
                .count();
            push_member(out, "semanticHitCount", &semantic.to_string());
        }
    }

    fn merge_hits<'a, 'n>(&self, answers: &'n [Answer<'a>]) -> Merged<'a, 'n> {
        let (offset, limit) = self.query.pagination().window(self.settings.max_total_hits);
        let ratio = self.query.semantic_ratio().unwrap_or(0.5);
        let lists: Vec<&[Hit<'a>]> = answers
            .iter()
            .map(|answer| answer.hits.as_slice())
            .collect();
        let mut seen = Seen::default();
        let mut merged = Merged {
            window: Vec::new(),
            rejected: 0,
        };
        let mut taken = 0;
        for hit in interleave(&lists, |a, b| a.rank.compare(&b.rank, ratio)) {
            if let Some(path) = self.distinct()
                && !seen.admit(values_of(&hit.members, path))
            {
                merged.rejected += 1;
                continue;
            }
            if taken >= offset && taken - offset < limit {
                merged.window.push(hit);
            }
            taken += 1;
        }
        merged
    }

    fn push_hits<'a: 'n, 'n>(&self, out: &mut String, hits: impl Iterator<Item = &'n Hit<'a>>) {
        let view = View {
            score: self.query.shows_score(),
            details: self.query.shows_details(),
            without: self.added.as_deref(),
        };
        let hits: Vec<String> = hits.map(|hit| hit.write(&view)).collect();
        push_member(out, "hits", &format!("[{}]", hits.join(",")));
    }

    /// Writes the pagination fields. Returns how many documents the nodes found.
    fn push_totals(&self, out: &mut String, answers: &[Answer<'_>], rejected: u64) -> u64 {
        let sum = |name: &str| answers.iter().map(|answer| answer.count(name)).sum::<u64>();
        let shown = |found: u64| {
            let distinct = found.saturating_sub(rejected);
            if self.settings.caps_totals {
                distinct.min(self.settings.max_total_hits)
            } else {
                distinct
            }
        };
        match self.query.pagination() {
            Pagination::Offset { offset, limit } => {
                let found = sum("estimatedTotalHits");
                push_member(out, "limit", &limit.to_string());
                push_member(out, "offset", &offset.to_string());
                push_member(out, "estimatedTotalHits", &shown(found).to_string());
                found
            }
            Pagination::Page {
                page,
                hits_per_page,
            } => {
                let found = sum("totalHits");
                let total = shown(found);
                let pages = if hits_per_page == 0 {
                    0
                } else {
                    total.div_ceil(hits_per_page)
                };
                push_member(out, "hitsPerPage", &hits_per_page.to_string());
                push_member(out, "page", &page.to_string());
                push_member(out, "totalPages", &pages.to_string());
                push_member(out, "totalHits", &total.to_string());
                found
            }
        }
    }

    fn push_facets(&self, out: &mut String, answers: &[Answer<'_>], found: u64) {
        let (distributions, stats) = facets_of(answers);
        if distributions.is_empty() {
            return;
        }
        let merged = merge_distributions(&distributions, &stats, &self.settings, found);
        push_member(out, "facetDistribution", &to_json(&merged));
        push_member(out, "facetStats", &to_json(&stats));
    }
}

/// What the nodes count of each facet's values, and the merged statistics of numbers.
fn facets_of(answers: &[Answer<'_>]) -> (Vec<Map<String, Value>>, BTreeMap<String, Value>) {
    let objects = |name: &str| -> Vec<_> {
        answers
            .iter()
            .filter_map(|answer| answer.object(name))
            .collect()
    };
    (
        objects("facetDistribution"),
        merge_stats(&objects("facetStats")),
    )
}

/// Merges lists, always taking the best head; of equal heads, that of the earliest list.
///
/// No list is assumed to be sorted by `compare`, and none is reordered: a node's ties and the
/// places where its order is finer than what it tells stay as they are.
pub(super) fn interleave<'l, T>(
    lists: &[&'l [T]],
    compare: impl Fn(&T, &T) -> Ordering,
) -> impl Iterator<Item = &'l T> {
    let mut lists = lists.to_vec();
    std::iter::from_fn(move || {
        let mut best: Option<(usize, &'l T)> = None;
        for (index, list) in lists.iter().enumerate() {
            if let Some(head) = list.first()
                && best.is_none_or(|(_, known)| compare(head, known) == Ordering::Greater)
            {
                best = Some((index, head));
            }
        }
        let (index, head) = best?;
        lists[index] = &lists[index][1..];
        Some(head)
    })
}

pub(super) fn push_member(out: &mut String, name: &str, value: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    raw_json::push_string(out, name);
    let _ = write!(out, ":{value}");
}

pub(super) fn push_optional(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        push_member(out, name, value);
    }
}

pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps with text keys always serialise")
}

#[cfg(test)]
mod tests;
