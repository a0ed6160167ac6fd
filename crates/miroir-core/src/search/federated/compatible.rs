//! Whether the hits of several queries can be compared: their ranking rules must be of the same kinds in
//! the same order.
//!
//! Nodes check the queries of one index. Those of different indexes are checked here.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Federated;
use crate::api_error::{ApiError, Code};
use crate::id::IndexUid;
use crate::search::query::SearchQuery;

/// Rules of relevance in a row count as one; sorts count one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Relevancy,
    Sort { ascending: bool },
    GeoSort { ascending: bool },
}

/// One step of the comparison, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    kind: Kind,
    /// Like `queries[0].sort[1]`, without the number of the query.
    source: String,
    /// What the step goes by.
    rules: String,
}

/// What a query looks for, as far as it decides which rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Everything,
    Words,
    Meaning,
}

impl Federated {
    /// Checks that hits of queries of different indexes can be compared. `ranking_rules` are those of
    /// every index that is searched.
    ///
    /// # Errors
    /// `invalid_multi_search_query_ranking_rules`, with the position of the query.
    pub fn check_compatible(
        &self,
        ranking_rules: &BTreeMap<IndexUid, Vec<String>>,
    ) -> Result<(), ApiError> {
        let mut longest: Option<(usize, &IndexUid, Vec<Step>)> = None;
        for (index, positions) in &self.indexes() {
            let Some((index, rules)) = ranking_rules.get_key_value(index) else {
                continue;
            };
            for position in positions {
                let steps = steps(&self.queries[*position].query, rules);
                if let Some((other, other_index, others)) = &longest {
                    let differs = |(a, b): &(&Step, &Step)| a.kind != b.kind;
                    let mut pairs = others.iter().zip(&steps);
                    if let Some((a, b)) = pairs.find(differs) {
                        let known = (*other, *other_index, a);
                        return Err(incompatible(known, (*position, index, b)));
                    }
                    if others.len() > steps.len() {
                        continue;
                    }
                }
                longest = Some((*position, index, steps));
            }
        }
        Ok(())
    }
}

fn steps(query: &SearchQuery, ranking_rules: &[String]) -> Vec<Step> {
    let search = Search::of(query);
    let mut steps: Vec<Step> = Vec::new();
    let mut sorted: BTreeSet<String> = BTreeSet::new();
    let (mut sorts, mut relevant) = (0, false);
    for (at, rule) in ranking_rules.iter().enumerate() {
        let source = format!("rankingRules[{at}]");
        if rule == "sort" {
            sorts += 1;
            if sorts == 1 {
                steps.extend(sort_steps(query, &source, &mut sorted));
            }
        } else if let Some(kind) = sort_kind(rule) {
            let field = field_of(rule);
            if sorted.insert(field.to_owned()) {
                let rules = rule.clone();
                steps.push(Step {
                    kind,
                    source,
                    rules,
                });
            }
        } else {
            match search {
                Search::Everything => continue,
                Search::Meaning if relevant && sorted.is_empty() => continue,
                Search::Meaning if relevant => break,
                Search::Words if rule == "words" && matches_all(query) => continue,
                Search::Meaning | Search::Words => {}
            }
            relevant = true;
            push_relevancy(&mut steps, at, rule);
        }
    }
    steps
}

/// Adds a rule of relevance, to the last step if that is one too.
fn push_relevancy(steps: &mut Vec<Step>, at: usize, rule: &str) {
    match steps.last_mut() {
        Some(last) if last.kind == Kind::Relevancy => {
            let first = last.source.trim_end_matches(']');
            let first = first.split_once("..").map_or(first, |(first, _)| first);
            last.source = format!("{first}..={at}]");
            last.rules = format!("{}, {rule}", last.rules);
        }
        Some(_) | None => steps.push(Step {
            kind: Kind::Relevancy,
            source: format!("rankingRules[{at}]"),
            rules: rule.to_owned(),
        }),
    }
}

fn sort_steps(query: &SearchQuery, source: &str, sorted: &mut BTreeSet<String>) -> Vec<Step> {
    let expressions = query.members().get("sort").and_then(|sort| sort.as_array());
    let expressions = expressions.into_iter().flatten().filter_map(|e| e.as_str());
    let mut steps = Vec::new();
    for (at, expression) in expressions.enumerate() {
        let is_new = sorted.insert(field_of(expression).to_owned());
        if let Some(kind) = sort_kind(expression).filter(|_| is_new) {
            steps.push(Step {
                kind,
                source: format!("sort[{at}]`, `{source}"),
                rules: format!("on field `{}`", field_of(expression)),
            });
        }
    }
    steps
}

/// The kind of `field:asc`, `_geoPoint(1, 2):desc` and the like.
fn sort_kind(expression: &str) -> Option<Kind> {
    let (field, direction) = expression.rsplit_once(':')?;
    let ascending = match direction {
        "asc" => true,
        "desc" => false,
        _ => return None,
    };
    Some(match field_of(field) {
        "_geo" => Kind::GeoSort { ascending },
        _ => Kind::Sort { ascending },
    })
}

fn field_of(expression: &str) -> &str {
    let field = expression.rsplit_once(':').map_or(expression, |(f, _)| f);
    match field.starts_with("_geoPoint(") {
        true => "_geo",
        false => field,
    }
}

fn matches_all(query: &SearchQuery) -> bool {
    query
        .members()
        .get("matchingStrategy")
        .and_then(|s| s.as_str())
        == Some("all")
}

impl Search {
    fn of(query: &SearchQuery) -> Self {
        let has_words = query.q().is_some_and(|q| !q.trim().is_empty());
        let has_vector = query.members().contains_key("vector");
        match query.semantic_ratio() {
            Some(ratio) if ratio > 0.0 && has_words && ratio >= 1.0 => Self::Meaning,
            Some(ratio) if ratio > 0.0 && !has_words && has_vector => {
                // With empty words and a ratio below one, both halves are searched.
                match query.q().is_some() && ratio < 1.0 {
                    true => Self::Everything,
                    false => Self::Meaning,
                }
            }
            Some(_) | None if has_words => Self::Words,
            Some(_) | None => Self::Everything,
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Relevancy => "relevancy",
            Self::Sort { ascending: true } => "ascending sort",
            Self::Sort { ascending: false } => "descending sort",
            Self::GeoSort { ascending: true } => "ascending geo sort",
            Self::GeoSort { ascending: false } => "descending geo sort",
        }
    }

    fn why_not(self, other: Self) -> &'static str {
        match (self, other) {
            (Self::Sort { .. }, Self::Sort { .. }) => {
                "cannot compare two sort rules in opposite directions"
            }
            (Self::GeoSort { .. }, Self::GeoSort { .. }) => {
                "cannot compare two geosort rules in opposite directions"
            }
            (Self::Sort { .. }, Self::GeoSort { .. })
            | (Self::GeoSort { .. }, Self::Sort { .. }) => {
                "cannot compare a sort rule with a geosort rule"
            }
            (Self::Relevancy, Self::GeoSort { .. }) | (Self::GeoSort { .. }, Self::Relevancy) => {
                "cannot compare a relevancy rule with a geosort rule"
            }
            (Self::Relevancy, Self::Sort { .. } | Self::Relevancy)
            | (Self::Sort { .. }, Self::Relevancy) => {
                "cannot compare a relevancy rule with a sort rule"
            }
        }
    }
}

fn incompatible(
    (known, known_index, a): (usize, &IndexUid, &Step),
    (position, index, b): (usize, &IndexUid, &Step),
) -> ApiError {
    let step = |position: usize, index: &IndexUid, step: &Step| {
        let source = match step.source.split_once("`, `") {
            Some((sort, rule)) => format!("`queries[{position}].{sort}`, `{index}.{rule}`"),
            None => format!("`queries[{position}]`, `{index}.{}`", step.source),
        };
        format!("{source}: {} rule(s) {}", step.kind.name(), step.rules)
    };
    ApiError::new(
        Code::InvalidMultiSearchQueryRankingRules,
        format!(
            "Inside `.queries[{position}]`: The results of queries #{known} and #{position} are incompatible: \n  1. {}\n  2. {}\n  - {}\n",
            step(known, known_index, a),
            step(position, index, b),
            a.kind.why_not(b.kind)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::federated::tests::{federated, uid};
    use serde_json::{Value, json};

    const DEFAULT: &[&str] = &[
        "words",
        "typo",
        "proximity",
        "attribute",
        "sort",
        "exactness",
    ];

    fn check(first: Value, second: Value, rules: &[&str]) -> Result<(), ApiError> {
        let with_index = |mut query: Value, index: &str| {
            query["indexUid"] = json!(index);
            query
        };
        let queries = [with_index(first, "a"), with_index(second, "b")];
        let plan = federated(json!({"federation": {}, "queries": queries}));
        let owned = |rules: &[&str]| rules.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
        plan.check_compatible(&[(uid("a"), owned(DEFAULT)), (uid("b"), owned(rules))].into())
    }

    #[test]
    fn queries_of_different_indexes_must_rank_by_the_same_kinds() {
        let up = || json!({"q": "x", "sort": ["year:asc"]});
        let opposite = "cannot compare two sort rules in opposite directions";
        let table = [
            (up(), up(), DEFAULT, None),
            (up(), json!({"q": "y"}), DEFAULT, None),
            (up(), json!({"q": "y"}), &["words", "typo"], None),
            (
                up(),
                json!({"q": "x", "sort": ["other:asc"]}),
                DEFAULT,
                None,
            ),
            (
                up(),
                json!({"q": "x", "sort": ["year:desc"]}),
                DEFAULT,
                Some(opposite),
            ),
            (json!({}), json!({}), DEFAULT, None),
            (json!({}), json!({"q": "x"}), DEFAULT, None),
            (
                json!({"sort": ["a:asc"]}),
                up(),
                DEFAULT,
                Some("cannot compare a relevancy rule with a sort rule"),
            ),
            (json!({"sort": ["a:asc"]}), json!({}), &["b:asc"], None),
            (
                json!({"sort": ["a:asc"]}),
                json!({}),
                &["b:desc"],
                Some(opposite),
            ),
            (
                json!({"sort": ["_geoPoint(1, 2):asc"]}),
                json!({"sort": ["a:asc"]}),
                DEFAULT,
                Some("cannot compare a sort rule with a geosort rule"),
            ),
            (
                json!({"q": "x"}),
                json!({"q": "x", "hybrid": {"embedder": "e", "semanticRatio": 1.0}}),
                DEFAULT,
                None,
            ),
        ];
        for (first, second, rules, reason) in table {
            let what = format!("{first} {second} {rules:?}");
            let checked = check(first, second, rules);
            match (checked, reason) {
                (Ok(()), None) => {}
                (Err(error), Some(reason)) => {
                    assert_eq!(error.code, Code::InvalidMultiSearchQueryRankingRules);
                    assert!(error.message.contains(reason), "{what}: {error}");
                }
                (checked, reason) => panic!("{what}: {checked:?} instead of {reason:?}"),
            }
        }
    }

    #[test]
    fn the_refusal_names_both_rules() {
        let query = |direction: &str| json!({"q": "cat", "sort": [format!("year:{direction}")]});
        let placeholder = json!({"sort": ["year:asc"]});
        let error = check(json!({"q": "cat"}), placeholder, DEFAULT).expect_err("another kind");
        assert!(
            error.message.contains("  1. `queries[0]`, `a.rankingRules[0..=5]`: relevancy rule(s) words, typo, proximity, attribute, exactness\n"),
            "{error}"
        );
        let error = check(query("desc"), query("asc"), DEFAULT).expect_err("opposite");
        assert_eq!(
            error.message,
            "Inside `.queries[1]`: The results of queries #0 and #1 are incompatible: \n  1. `queries[0].sort[0]`, `a.rankingRules[4]`: descending sort rule(s) on field `year`\n  2. `queries[1].sort[0]`, `b.rankingRules[4]`: ascending sort rule(s) on field `year`\n  - cannot compare two sort rules in opposite directions\n"
        );
    }
}
