//! One answer from the answers of several nodes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::slice;

use serde_json::{Map, Value};

use super::answer::{Answer, Hit, MergeError, View};
use super::distinct::Seen;
use super::facet_value::normalise;
use super::facets::{merge_distributions, merge_stats};
use super::pins::{Pinned, id_of, place, surviving};
use super::plan::Plan;
use super::query::Pagination;
use super::unseen::covers;
use crate::api_error::ApiError;
use crate::hidden_field::strip_facets;
use crate::raw_json;

/// The least weighed score of every hit with which Meilisearch does without a search by meaning.
const GOOD_ENOUGH: f64 = 0.45;

/// What one node said to a search.
#[derive(Debug, Clone, Copy)]
pub struct NodeAnswer<'a> {
    /// Its answer to the search.
    pub body: &'a [u8],
    /// Its answer to [`Plan::values_request`], if that asked for something.
    pub values: Option<&'a [u8]>,
}

/// The hits of the wanted window, and how many of those fetched were not distinct.
struct Merged<'a, 'n> {
    /// Those up to the end of the window.
    first: Vec<&'n Hit<'a>>,
    /// How many of them come before the window.
    skipped: usize,
    rejected: u64,
    /// Where some are pinned: how many of the others were found by meaning.
    pinned: Option<usize>,
}

impl<'a, 'n> Merged<'a, 'n> {
    fn window(&self) -> &[&'n Hit<'a>] {
        self.first.get(self.skipped..).unwrap_or_default()
    }
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
        let answers: Vec<NodeAnswer<'_>> = answers
            .iter()
            .map(|body| NodeAnswer { body, values: None })
            .collect();
        self.merge_answers(&answers, failures)
    }

    /// As [`merge`](Self::merge), with what was read of documents beside the hits.
    ///
    /// # Errors
    /// When an answer is not a search result, or not one of documents.
    pub fn merge_answers(
        &self,
        answers: &[NodeAnswer<'_>],
        failures: &BTreeMap<String, ApiError>,
    ) -> Result<String, MergeError> {
        let answers = self.read(answers)?;
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

    /// The answer to the search that this is the [first half](Self::first_half) of, if that needs no
    /// other half: the words alone find as many hits as are wanted, all of them good.
    ///
    /// # Errors
    /// As [`merge_answers`](Self::merge_answers).
    pub fn merge_half(&self, answers: &[NodeAnswer<'_>]) -> Result<Option<String>, MergeError> {
        let read = self.read(answers)?;
        let weight = 1.0 - self.half_of.unwrap_or_default();
        let end = self.end();
        let first = self.merge_hits(&read).first;
        let good = |hit: &&Hit<'_>| hit.rank.score() * weight >= GOOD_ENOUGH;
        if (first.len() as u64) < end || !first.iter().all(good) {
            return Ok(None);
        }
        let mut out = String::from("{");
        self.write_merged(&mut out, &read);
        push_member(&mut out, "semanticHitCount", "0");
        out.push('}');
        Ok(Some(out))
    }

    fn read<'a>(&self, answers: &[NodeAnswer<'a>]) -> Result<Vec<Answer<'a>>, MergeError> {
        let read = |(position, answer): (usize, &NodeAnswer<'a>)| match answer
            .values
            .zip(self.unseen.as_ref())
        {
            None => Answer::read(answer.body, position),
            values => Answer::read_with(answer.body, values, position),
        };
        answers.iter().enumerate().map(read).collect()
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
                "metadata" => push_member(out, name, &self.metadata(value.get())),
                _ => push_member(out, name, value.get()),
            }
        }
    }

    /// What a node says of the search, with the uid that the client knows.
    fn metadata<'t>(&self, told: &'t str) -> Cow<'t, str> {
        let Some(alias) = &self.settings.alias else {
            return Cow::Borrowed(told);
        };
        // What is no JSON could not be told of either; it was read as such before.
        let mut metadata: Value = serde_json::from_str(told).unwrap_or_default();
        alias.tell(&mut metadata);
        Cow::Owned(metadata.to_string())
    }

    fn write_merged(&self, out: &mut String, answers: &[Answer<'_>]) {
        let merged = self.merge_hits(answers);
        self.push_hits(out, merged.window().iter().copied());
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
        let metadata = first("metadata").map(|told| self.metadata(told));
        push_optional(out, "metadata", metadata.as_deref());
        if first("semanticHitCount").is_some() {
            let semantic = self.count_semantic(&merged);
            push_member(out, "semanticHitCount", &semantic.to_string());
        }
    }

    fn merge_hits<'a, 'n>(&self, answers: &'n [Answer<'a>]) -> Merged<'a, 'n> {
        let (offset, limit) = self.query.pagination().window(self.settings.max_total_hits);
        let ratio = self.query.semantic_ratio().unwrap_or(0.5);
        let ranked = |answer: &'n Answer<'a>| -> Vec<&'n Hit<'a>> {
            let hits = answer.hits.iter();
            hits.filter(|hit| hit.rank.pin().is_none()).collect()
        };
        let lists: Vec<Vec<&Hit<'a>>> = answers.iter().map(ranked).collect();
        let lists: Vec<&[&Hit<'a>]> = lists.iter().map(Vec::as_slice).collect();
        let mut seen = Seen::default();
        let mut first = Vec::new();
        let mut rejected = 0;
        for hit in interleave(&lists, |a, b| a.rank.compare(&b.rank, ratio)) {
            if let Some(path) = self.distinct()
                && !seen.admit(hit.values(path))
            {
                rejected += 1;
                continue;
            }
            if (first.len() as u64) < offset + limit {
                first.push(*hit);
            }
        }
        let end = usize::try_from(offset + limit).unwrap_or(usize::MAX);
        let pinned = self.pinned(answers, first.len(), end);
        let semantic = first.iter().filter(|hit| hit.rank.is_semantic()).count();
        let has_pins = !pinned.is_empty();
        if has_pins {
            first = place(pinned, first, end);
        }
        Merged {
            first,
            skipped: usize::try_from(offset).unwrap_or(usize::MAX),
            rejected,
            pinned: has_pins.then_some(semantic),
        }
    }

    /// How many hits were found by meaning, as Meilisearch counts. Where hits are pinned, a search by meaning alone counts
    /// these too, and one by words and meaning counts also those that they have pushed off the page.
    fn count_semantic(&self, merged: &Merged<'_, '_>) -> usize {
        let window = merged.window();
        match merged.pinned {
            Some(_) if self.query.hybrid_ratio().is_none() => window.len(),
            Some(before) => before,
            None => window.iter().filter(|hit| hit.rank.is_semantic()).count(),
        }
    }

    /// The hits that are pinned into the first `end` ones, beside so many `others`, by their places.
    fn pinned<'a, 'n>(
        &self,
        answers: &'n [Answer<'a>],
        others: usize,
        end: usize,
    ) -> Vec<(u64, &'n Hit<'a>)> {
        let primary_key = self.settings.primary_key.as_deref();
        let hits = answers.iter().flat_map(|answer| &answer.hits);
        let pinned = hits.filter_map(|hit| {
            let position = hit.rank.pin()?;
            let id = id_of(&hit.members, primary_key);
            let turn = self.settings.pins.turn(id.as_deref(), position);
            Some(Pinned {
                position,
                turn,
                hit,
            })
        });
        let mut pinned = surviving(pinned.collect(), others, end);
        pinned.sort_by_key(|pin| (pin.position, pin.turn));
        let placed = pinned.into_iter();
        placed.map(|pin| (pin.position, pin.hit)).collect()
    }

    fn push_hits<'a: 'n, 'n>(&self, out: &mut String, hits: impl Iterator<Item = &'n Hit<'a>>) {
        let view = View {
            score: self.query.shows_score(),
            details: self.query.shows_details(),
            without: Vec::new(),
        };
        let added: Vec<&str> = self.added.iter().map(String::as_str).collect();
        let formatted = self.query.formatted();
        let is_formatted = |path: &&str| {
            let mut names = formatted.iter();
            names.any(|name| *name == "*" || covers(name, path))
        };
        let unformatted: Vec<&str> = added.iter().copied().filter(|p| !is_formatted(p)).collect();
        let write = |hit: &Hit<'_>| match added.as_slice() {
            [] => hit.write(&view),
            added => hit.write_without(&view, (added, &unformatted)),
        };
        let hits: Vec<String> = hits.map(write).collect();
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
                let reach = if self.settings.caps_totals {
                    self.settings.max_total_hits
                } else {
                    u64::MAX
                };
                let offset = offset.min(reach);
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
                let total = match self.count_distinct(answers) {
                    Some(distinct) => distinct,
                    None => shown(found),
                };
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

    /// How many hits are left when each value of the distinct attribute has one: nodes leave one for
    /// each of theirs. `None` when nodes do not tell the values, not all of them, or several of one
    /// hit.
    fn count_distinct(&self, answers: &[Answer<'_>]) -> Option<u64> {
        let path = self.counted_by()?;
        let most = usize::try_from(self.settings.node_max_values()).unwrap_or(usize::MAX);
        let mut values = BTreeSet::new();
        let mut without = 0;
        for answer in answers {
            let facets = answer.object("facetDistribution")?;
            let counts = facets.get(path)?.as_object()?;
            if counts.len() >= most || counts.values().any(|count| count.as_u64() != Some(1)) {
                return None;
            }
            without += answer.count("totalHits").checked_sub(counts.len() as u64)?;
            values.extend(counts.keys().map(|value| normalise(value)));
        }
        let found = values.len() as u64 + without;
        Some(if self.settings.caps_totals {
            found.min(self.settings.max_total_hits)
        } else {
            found
        })
    }

    fn push_facets(&self, out: &mut String, answers: &[Answer<'_>], found: u64) {
        let (distributions, mut stats) = facets_of(answers);
        if distributions.is_empty() {
            return;
        }
        let mut merged = merge_distributions(&distributions, &stats, &self.settings, found);
        if let Some(path) = self.counted_by().filter(|_| !self.counts_for_client()) {
            merged.remove(path);
            stats.remove(path);
            if self.query.facets().next().is_none() {
                return;
            }
        }
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
mod pin_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unseen_tests;
