//! Which of two hits ranks higher, rule by rule, from their `_rankingScoreDetails`.
//!
//! A node's float score cannot be compared with another's: its denominators depend on the
//! paths that matched on that node. The counts inside the details can.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::distinct::DistinctValue;
use super::facet_value::normalise;
use super::unseen::{SortKey, is_hidden_rule, is_sort_rule, sort_value};
use crate::raw_json::Members;

/// What a hit is ranked by.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rank {
    rules: Vec<Rule>,
    /// What each rule adds to a score.
    parts: Vec<Part>,
    /// `_rankingScore`, compared only between the two halves of a hybrid search.
    score: f64,
    /// The place that a dynamic search rule pins the hit to, which then is not ranked.
    pin: Option<u64>,
}

/// What a rule adds to a score.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    /// A step between two of the rules before.
    Step {
        /// From 0 to 1.
        score: f64,
        /// How many steps the rule has.
        of: f64,
    },
    /// Nothing: it sorts.
    None,
}

impl Part {
    /// `matching` is how many words the hit matches.
    fn read(name: &str, detail: &Value, matching: f64) -> Self {
        let number = |field: &str| detail.get(field).and_then(Value::as_f64);
        let Some(score) = number("score") else {
            return Self::None;
        };
        let of = match name {
            "words" => number("maxMatchingWords").unwrap_or(1.0),
            "typo" => number("maxTypoCount").unwrap_or(0.0) + 1.0,
            // Seven distances between any two neighbours. Nodes do not tell it.
            "proximity" => 1.0 + 7.0 * (matching - 1.0).max(0.0),
            // Told by no node either, and last before a sort by default.
            _ => 1.0,
        };
        Self::Step { score, of }
    }
}

/// One ranking rule's result. In every comparison `Greater` means ranks higher.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Words {
        matching: f64,
    },
    Typo {
        count: f64,
    },
    /// Proximity, attribute rank, word position: only the score is told.
    Score(f64),
    /// The older rule that joins attribute rank and word position.
    Attribute {
        attribute: f64,
        distance: f64,
    },
    Exactness {
        match_type: u8,
        matching: f64,
    },
    Sort {
        ascending: bool,
        value: SortValue,
    },
    Geo {
        ascending: bool,
        distance: Option<f64>,
    },
    Vector(f64),
    /// The node ran out of time before this rule.
    Skipped,
    /// A rule whose value the node does not tell and that was not read otherwise, or one that
    /// is not known here. Says nothing about the order.
    Opaque,
}

#[derive(Debug, Clone, PartialEq)]
enum SortValue {
    Missing,
    Text(String),
    Number(f64),
}

impl Rank {
    /// Reads the details and the score of a hit.
    pub(super) fn new(details: &Map<String, Value>, score: f64) -> Self {
        let matching = details
            .get("words")
            .and_then(|words| words.get("matchingWords"));
        let matching = matching.and_then(Value::as_f64).unwrap_or(1.0);
        let parts = in_order(details).map(|(name, detail)| Part::read(name, detail, matching));
        let rules = in_order(details);
        Self {
            parts: parts.collect(),
            rules: rules
                .map(|(name, detail)| Rule::read(name, detail))
                .collect(),
            score,
            pin: details
                .get("pin")
                .and_then(|pin| pin.get("position")?.as_u64()),
        }
    }

    /// Fills in what the node did not tell, from what was read of the document. `keys` are what
    /// hits are sorted by, in the rules' order.
    pub(super) fn reveal(
        &mut self,
        details: &Map<String, Value>,
        keys: &[SortKey],
        document: Option<&Members<'_>>,
    ) {
        let rules = self.rules.iter_mut().zip(in_order(details));
        let sorts = rules.filter(|(_, (name, _))| is_sort_rule(name));
        for ((rule, (name, _)), key) in sorts.zip(keys) {
            if is_hidden_rule(name) {
                let value = document.and_then(|document| sort_value(document, key));
                *rule = Rule::Sort {
                    ascending: key.ascending,
                    value: match value {
                        Some(DistinctValue::Number(bits)) => {
                            SortValue::Number(f64::from_bits(bits))
                        }
                        Some(DistinctValue::Text(text)) => SortValue::Text(text),
                        None => SortValue::Missing,
                    },
                };
            }
        }
    }

    /// The place that the hit is pinned to.
    pub(super) const fn pin(&self) -> Option<u64> {
        self.pin
    }

    /// The node's own score.
    pub(super) const fn score(&self) -> f64 {
        self.score
    }

    /// Whether the hit was found by meaning rather than by words.
    pub(super) fn is_semantic(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| matches!(rule, Rule::Vector(_)))
    }

    /// `Greater` when `self` ranks higher, `Equal` when the rules do not tell.
    ///
    /// `semantic_ratio` weighs a hit found by meaning against one found by words.
    pub(super) fn compare(&self, other: &Self, semantic_ratio: f64) -> Ordering {
        for (at, (mine, theirs)) in self.rules.iter().zip(&other.rules).enumerate() {
            let order = match (mine, theirs) {
                (Rule::Vector(a), Rule::Vector(b)) => a.total_cmp(b),
                (Rule::Vector(similarity), _) => {
                    other.compare_with_meaning(at, *similarity, semantic_ratio)
                }
                (_, Rule::Vector(similarity)) => self
                    .compare_with_meaning(at, *similarity, semantic_ratio)
                    .reverse(),
                _ => mine.compare(theirs),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        self.rules.len().cmp(&other.rules.len())
    }

    /// A hit found by meaning against this one, found by words; that one wins a tie.
    fn compare_with_meaning(&self, at: usize, similarity: f64, semantic_ratio: f64) -> Ordering {
        let mine = self.score_from(at) * (1.0 - semantic_ratio);
        if similarity * semantic_ratio >= mine {
            Ordering::Greater
        } else {
            Ordering::Less
        }
    }

    /// The score of the rules from here to the next sort, of which a score makes one number.
    fn score_from(&self, at: usize) -> f64 {
        let parts = self.parts.get(at..).unwrap_or_default();
        let end = parts.iter().position(|part| *part == Part::None);
        if at == 0 && end.is_none() || end == Some(0) {
            return self.score;
        }
        let mut score = 1.0;
        let mut steps = 1.0;
        for part in &parts[..end.unwrap_or(parts.len())] {
            if let Part::Step { score: own, of } = part {
                score -= (1.0 - own) / steps;
                steps *= of;
            }
        }
        score
    }
}

/// The details in the order of their rules.
fn in_order(details: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let order = |detail: &Value| {
        let order = detail.get("order").and_then(Value::as_u64);
        order.unwrap_or(u64::MAX)
    };
    let mut rules: Vec<(&str, &Value)> = details
        .iter()
        .map(|(name, detail)| (name.as_str(), detail))
        .collect();
    rules.sort_by_key(|(_, detail)| order(detail));
    rules.into_iter()
}

impl Rule {
    fn read(name: &str, detail: &Value) -> Self {
        let number = |field: &str| detail.get(field).and_then(Value::as_f64).unwrap_or(0.0);
        match name {
            "words" => Self::Words {
                matching: number("matchingWords"),
            },
            "typo" => Self::Typo {
                count: number("typoCount"),
            },
            "proximity" | "attributeRank" | "wordPosition" => Self::Score(number("score")),
            "attribute" => Self::Attribute {
                attribute: number("attributeRankingOrderScore"),
                distance: number("queryWordDistanceScore"),
            },
            "exactness" => Self::Exactness {
                match_type: match detail.get("matchType").and_then(Value::as_str) {
                    Some("exactMatch") => 2,
                    Some("matchesStart") => 1,
                    _ => 0,
                },
                matching: number("matchingWords"),
            },
            "vectorSort" => Self::Vector(number("similarity")),
            "skipped" => Self::Skipped,
            _ => Self::read_sort(name, detail),
        }
    }

    /// `field:asc`, `_geoPoint(lat, lng):desc`, or something else.
    fn read_sort(name: &str, detail: &Value) -> Self {
        let Some((field, direction)) = name.rsplit_once(':') else {
            return Self::Opaque;
        };
        let ascending = match direction {
            "asc" => true,
            "desc" => false,
            _ => return Self::Opaque,
        };
        if field.starts_with("_geoPoint(") && field.ends_with(')') {
            let distance = detail.get("distance").and_then(Value::as_f64);
            return Self::Geo {
                ascending,
                distance,
            };
        }
        let value = match detail.get("value") {
            Some(Value::Number(number)) => SortValue::Number(number.as_f64().unwrap_or(0.0)),
            Some(Value::String(text)) => SortValue::Text(normalise(text)),
            Some(Value::Bool(flag)) => SortValue::Text(flag.to_string()),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => SortValue::Missing,
        };
        Self::Sort { ascending, value }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Words { matching: a }, Self::Words { matching: b })
            | (Self::Score(a), Self::Score(b))
            | (Self::Vector(a), Self::Vector(b)) => a.total_cmp(b),
            (Self::Typo { count: a }, Self::Typo { count: b }) => b.total_cmp(a),
            (
                Self::Attribute {
                    attribute: a,
                    distance: c,
                },
                Self::Attribute {
                    attribute: b,
                    distance: d,
                },
            ) => a.total_cmp(b).then(c.total_cmp(d)),
            (
                Self::Exactness {
                    match_type: a,
                    matching: c,
                },
                Self::Exactness {
                    match_type: b,
                    matching: d,
                },
            ) => a.cmp(b).then(c.total_cmp(d)),
            (
                Self::Sort {
                    ascending,
                    value: a,
                },
                Self::Sort { value: b, .. },
            ) => compare_sort(a, b, *ascending),
            (
                Self::Geo {
                    ascending,
                    distance: a,
                },
                Self::Geo { distance: b, .. },
            ) => compare_distance(*a, *b, *ascending),
            (Self::Skipped, Self::Skipped) => Ordering::Equal,
            (Self::Skipped, _) => Ordering::Less,
            (_, Self::Skipped) => Ordering::Greater,
            _ => Ordering::Equal,
        }
    }
}

/// Documents without the value come last and numbers before text, in both directions.
fn compare_sort(a: &SortValue, b: &SortValue, ascending: bool) -> Ordering {
    let directed = |order: Ordering| if ascending { order.reverse() } else { order };
    match (a, b) {
        (SortValue::Number(a), SortValue::Number(b)) => directed(a.total_cmp(b)),
        (SortValue::Text(a), SortValue::Text(b)) => directed(a.cmp(b)),
        _ => sort_class(a).cmp(&sort_class(b)),
    }
}

fn sort_class(value: &SortValue) -> u8 {
    match value {
        SortValue::Missing => 0,
        SortValue::Text(_) => 1,
        SortValue::Number(_) => 2,
    }
}

fn compare_distance(a: Option<f64>, b: Option<f64>, ascending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if ascending => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.is_some().cmp(&b.is_some()),
    }
}

#[cfg(test)]
mod tests;
