//! Which of two hits of different queries ranks higher.
//!
//! Hits of one query are compared rule by rule, by what nodes count (see
//! [`Rank`]). The counts of different queries mean different things, so these are compared as
//! Meilisearch does: rules of relevance that follow each other are one score, multiplied by the
//! query's weight; sorts are compared by their values between them.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::search::rank::Rank;

/// What a hit weighs against hits of other queries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weight {
    groups: Vec<Group>,
    /// `_rankingScore` times the weight of the query: decides where groups cannot be compared.
    score: f64,
}

/// One step of the comparison.
#[derive(Debug, Clone, PartialEq)]
enum Group {
    /// Weighted: rules of relevance in a row, or a similarity.
    Score(f64),
    /// A sort, or a sort by distance, in one direction.
    Sort { kind: SortKind, rank: Rank },
}

/// Sorts of different kinds cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SortKind {
    by_distance: bool,
    ascending: bool,
}

/// A rule of relevance: its score, and how many steps it has where that is known.
#[derive(Clone, Copy)]
struct Relevance {
    score: f64,
    steps: f64,
}

impl Weight {
    /// Reads the details of a hit. `weighted` is its whole score times `weight`.
    pub(super) fn new(details: &Map<String, Value>, weight: f64, weighted: f64) -> Self {
        let mut rules: Vec<(&String, &Value)> = details.iter().collect();
        let order = |rule: &Value| rule.get("order").and_then(Value::as_u64);
        rules.sort_by_key(|(_, rule)| order(rule).unwrap_or(u64::MAX));
        let words = details
            .get("words")
            .and_then(|rule| rule.get("matchingWords"));
        let words = words.and_then(Value::as_f64).unwrap_or(1.0).max(1.0);
        let mut groups = Vec::new();
        let mut open: Vec<Relevance> = Vec::new();
        let mut scores = 0;
        for (name, rule) in rules {
            if let Some(relevance) = Relevance::read(name, rule, words) {
                open.push(relevance);
                continue;
            }
            if !open.is_empty() {
                groups.push(Group::Score(fuse(&open) * weight));
                scores += 1;
                open.clear();
            }
            groups.extend(Group::read(name, rule, weight));
        }
        if !open.is_empty() {
            groups.push(Group::Score(fuse(&open) * weight));
            scores += 1;
        }
        // Told exactly when it is the only one, and worked out from its parts otherwise.
        let has_similarity = details.contains_key("vectorSort");
        if scores == 1 && !has_similarity {
            for group in &mut groups {
                if let Group::Score(score) = group {
                    *score = weighted;
                }
            }
        }
        Self {
            groups,
            score: weighted,
        }
    }

    /// `Greater` when `self` ranks higher, `Equal` when nothing tells.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let (mine, theirs) = (&self.groups, &other.groups);
        for (at, (a, b)) in mine.iter().zip(theirs).enumerate() {
            match a.compare(b) {
                Some(Ordering::Equal) => {}
                Some(order) => return order,
                None => {
                    let left = |groups: &Vec<Group>| groups.len() - at;
                    let scores = || self.score.total_cmp(&other.score);
                    return left(mine).cmp(&left(theirs)).then_with(scores);
                }
            }
        }
        mine.len().cmp(&theirs.len())
    }
}

impl Group {
    fn read(name: &str, rule: &Value, weight: f64) -> Option<Self> {
        if name == "vectorSort" {
            let similarity = rule.get("similarity").and_then(Value::as_f64);
            return Some(Self::Score(similarity.unwrap_or(0.0) * weight));
        }
        let (field, direction) = name.rsplit_once(':')?;
        let kind = SortKind {
            by_distance: field.starts_with("_geoPoint("),
            ascending: direction == "asc",
        };
        let alone = [(name.to_owned(), rule.clone())].into_iter().collect();
        Some(Self::Sort {
            kind,
            rank: Rank::new(&alone, 0.0),
        })
    }

    /// `None` when the two cannot be compared.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Score(a), Self::Score(b)) if (a - b).abs() <= f64::EPSILON => {
                Some(Ordering::Equal)
            }
            (Self::Score(a), Self::Score(b)) => Some(a.total_cmp(b)),
            (Self::Sort { kind: a, rank: x }, Self::Sort { kind: b, rank: y }) if a == b => {
                Some(x.compare(y, 0.5))
            }
            (Self::Score(_), Self::Sort { .. })
            | (Self::Sort { .. }, Self::Score(_) | Self::Sort { .. }) => None,
        }
    }
}

impl Relevance {
    /// `None` for a rule that is not about relevance.
    fn read(name: &str, rule: &Value, words: f64) -> Option<Self> {
        let number = |field: &str| rule.get(field).and_then(Value::as_f64);
        let score = || number("score").unwrap_or(0.0);
        let steps = match name {
            "words" => number("maxMatchingWords").unwrap_or(1.0),
            "typo" => number("maxTypoCount").unwrap_or(0.0) + 1.0,
            "proximity" => 1.0 + 7.0 * (words - 1.0),
            "attribute" | "attributeRank" | "wordPosition" => 1.0 + 10.0 * words,
            "exactness" => 3.0 * (words + 1.0),
            "skipped" => {
                return Some(Self {
                    score: 0.0,
                    steps: 1.0,
                });
            }
            _ => return None,
        };
        Some(Self {
            score: score(),
            steps: steps.max(1.0),
        })
    }
}

/// The score of rules in a row: each rule divides one step of the rule before it.
fn fuse(rules: &[Relevance]) -> f64 {
    rules
        .iter()
        .rev()
        .fold(1.0, |inner, rule| rule.score - (1.0 - inner) / rule.steps)
}
