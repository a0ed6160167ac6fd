//! Whether an answer of the cluster is the one node's, as far as that one is determined.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::server::{Answer, Server};

/// Members of an answer that are never equal, and whose presence is compared instead.
const CHANGING: [&str; 3] = ["processingTimeMs", "requestUid", "performanceDetails"];
/// Members of a hit that its matches on one node decide, which may be others than on all nodes.
const SCORES: [&str; 2] = ["_rankingScore", "_rankingScoreDetails"];
/// More than any index of the test has documents.
const ALL: u64 = 10_000;

/// In what an answer differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The status or the error.
    Refusal,
    /// A member other than the hits.
    Member(String),
    /// Facets, but only in the case of their values.
    Spelling,
    /// How many hits there are.
    Length,
    /// A hit in a place where none of its rank belongs.
    Order,
    /// A hit found by words in the place of one found by meaning, or the other way round.
    Halves,
    /// A document twice.
    Twice,
    /// A member of a hit.
    Hit(String),
}

/// One difference.
#[derive(Debug, Clone)]
pub struct Difference {
    pub what: What,
    /// What the cluster says, and what one node says.
    pub detail: String,
    /// By how much of the right number a number is wrong.
    pub off: Option<f64>,
}

fn difference(what: What, got: &Value, expected: &Value) -> Difference {
    let short = |value: &Value| value.to_string().chars().take(700).collect::<String>();
    let detail = format!("cluster {}\n      one node {}", short(got), short(expected));
    let off = got
        .as_f64()
        .zip(expected.as_f64())
        .map(|(got, expected)| (got - expected).abs() / expected.max(1.0));
    Difference { what, detail, off }
}

/// The one node, with what it takes to tell ties from order.
pub struct Oracle<'a> {
    pub node: &'a Server,
    /// The index.
    pub uid: &'a str,
    /// The index in the cluster.
    pub clustered: &'a str,
    /// The same documents, all shown, all within reach, none left out as not distinct.
    pub open: &'a str,
    /// The attribute of the ids.
    pub id: &'a str,
    /// Whether the index leaves hits out that are not distinct.
    pub is_distinct: bool,
    /// Whether the values of a facet come in the order of their counts.
    pub by_count: &'a dyn Fn(&str) -> bool,
}

impl Oracle<'_> {
    /// Everything in which the cluster's answer differs from the node's.
    pub async fn differences(
        &self,
        query: &Value,
        got: &Answer,
    ) -> anyhow::Result<Vec<Difference>> {
        let expected = self.node.search(self.uid, query).await?;
        if expected.status != got.status || expected.status != 200 {
            let kept = |answer: &Answer| {
                let body = &answer.body;
                let message = body["message"].as_str().unwrap_or_default();
                let message =
                    message.replace(&format!("`{}", self.clustered), &format!("`{}", self.uid));
                json!([answer.status, body["code"], body["type"], message])
            };
            let (got, expected) = (kept(got), kept(&expected));
            let equal = got == expected;
            return Ok(Vec::from_iter(
                (!equal).then(|| difference(What::Refusal, &got, &expected)),
            ));
        }
        let mut found = members(&got.body, &expected.body, self.by_count);
        if got.body["hits"] != expected.body["hits"] {
            found.extend(self.hits(query, &got.body, &expected.body).await?);
        }
        Ok(found)
    }

    async fn hits(
        &self,
        query: &Value,
        got: &Value,
        expected: &Value,
    ) -> anyhow::Result<Vec<Difference>> {
        let (hits, wanted) = (list(got), list(expected));
        let mut found = Vec::new();
        if hits.len() != wanted.len() {
            found.push(difference(
                What::Length,
                &json!(hits.len()),
                &json!(wanted.len()),
            ));
        }
        let identified = |hits: &[Value]| hits.iter().all(|hit| hit.get(self.id).is_some());
        if !identified(hits) || !identified(wanted) {
            // Of equal hits another one may stand for a value of the distinct attribute.
            if query.get("distinct").is_none() && !self.is_distinct {
                found.extend(self.anonymous(query, hits, wanted).await?);
            }
            return Ok(found);
        }
        let mut seen = BTreeSet::new();
        for hit in hits
            .iter()
            .filter(|hit| !seen.insert(hit[self.id].to_string()))
        {
            found.push(difference(What::Twice, hit, &Value::Null));
        }
        let ranks = self.ranks(query).await?;
        let full = self.node.search(self.uid, &widened(query)).await?.body;
        let whole = by_id(list(&full).iter().chain(wanted), self.id);
        for (hit, wanted) in hits.iter().zip(wanted) {
            let rank = |hit: &Value| ranks.get(&hit[self.id].to_string());
            if hit[self.id] != wanted[self.id] && rank(hit) != rank(wanted) {
                let told = |hit: &Value| json!([hit[self.id], rank(hit)]);
                let by_meaning =
                    |hit: &Value| rank(hit).map(|rank| rank.get("vectorSort").is_some());
                let what = match by_meaning(hit) == by_meaning(wanted) {
                    true => What::Order,
                    false => What::Halves,
                };
                found.push(difference(what, &told(hit), &told(wanted)));
                break;
            }
        }
        for hit in hits {
            if let Some(expected) = whole.get(&hit[self.id].to_string()) {
                found.extend(hit_members(hit, expected));
            }
        }
        Ok(found)
    }

    /// Hits that do not say which documents they are: asked again by those that do.
    async fn anonymous(
        &self,
        query: &Value,
        hits: &[Value],
        wanted: &[Value],
    ) -> anyhow::Result<Vec<Difference>> {
        let texts = |hits: &[Value]| -> BTreeMap<String, usize> {
            let mut counts = BTreeMap::new();
            for hit in hits {
                *counts
                    .entry(in_order(&without_scores(hit)).to_string())
                    .or_default() += 1;
            }
            counts
        };
        let full = self.node.search(self.uid, &widened(query)).await?.body;
        let (got, known) = (texts(hits), texts(list(&full)));
        let excess = got
            .iter()
            .find(|(text, count)| known.get(*text).copied().unwrap_or(0) < **count);
        Ok(excess
            .map(|(text, _)| {
                difference(
                    What::Hit("all".into()),
                    &json!(text),
                    &json!(wanted.first()),
                )
            })
            .into_iter()
            .collect())
    }

    /// What each document is ranked by on the node.
    async fn ranks(&self, query: &Value) -> anyhow::Result<BTreeMap<String, Value>> {
        let mut query = widened(query);
        let members = query.as_object_mut().expect("a query is an object");
        for name in [
            "distinct",
            "facets",
            "rankingScoreThreshold",
            "attributesToRetrieve",
        ] {
            members.remove(name);
        }
        members.insert("showRankingScoreDetails".into(), json!(true));
        let answer = self.node.search(self.open, &query).await?.body;
        let rank = |hit: &Value| {
            (
                hit[self.id].to_string(),
                hit["_rankingScoreDetails"].clone(),
            )
        };
        Ok(list(&answer).iter().map(rank).collect())
    }
}

/// The query for everything that it may find.
fn widened(query: &Value) -> Value {
    let mut query = query.clone();
    let members = query.as_object_mut().expect("a query is an object");
    for name in ["offset", "page", "hitsPerPage"] {
        members.remove(name);
    }
    members.insert("limit".into(), json!(ALL));
    query
}

fn list(answer: &Value) -> &[Value] {
    answer["hits"].as_array().map_or(&[], Vec::as_slice)
}

fn by_id<'v>(hits: impl Iterator<Item = &'v Value>, id: &str) -> BTreeMap<String, &'v Value> {
    hits.map(|hit| (hit[id].to_string(), hit)).collect()
}

/// Members of the answer other than the hits; facets as text, whose order counts.
fn members(got: &Value, expected: &Value, by_count: &dyn Fn(&str) -> bool) -> Vec<Difference> {
    let names = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .map_or_else(Vec::new, |members| members.keys().cloned().collect())
    };
    let all: BTreeSet<String> = names(got).into_iter().chain(names(expected)).collect();
    all.into_iter()
        .filter(|name| name != "hits")
        .filter_map(|name| {
            let (got, expected) = (got.get(&name), expected.get(&name));
            let equal = match (got, expected) {
                (Some(_), Some(_)) if CHANGING.contains(&name.as_str()) => true,
                (Some(a), Some(b)) if name == "facetDistribution" => facets_equal(a, b, by_count),
                (Some(a), Some(b)) => same_text(a, b),
                _ => false,
            };
            let told = |value: Option<&Value>| value.cloned().unwrap_or(json!("absent"));
            let what = if name == "facetDistribution" && spelled_otherwise(got, expected, by_count)
            {
                What::Spelling
            } else {
                What::Member(name)
            };
            (!equal).then(|| difference(what, &told(got), &told(expected)))
        })
        .collect()
}

fn spelled_otherwise(
    got: Option<&Value>,
    expected: Option<&Value>,
    by_count: &dyn Fn(&str) -> bool,
) -> bool {
    let lower = |value: Option<&Value>| {
        let text = value.unwrap_or(&Value::Null).to_string().to_lowercase();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    };
    let by_count = |facet: &str| by_count(facet);
    facets_equal(&lower(got), &lower(expected), &by_count)
}

/// Whether two distributions are equal. By count, values of one count may change places, and others of the last count
/// may be cut off: on one node that follows from how it keeps its values.
fn facets_equal(got: &Value, expected: &Value, by_count: &dyn Fn(&str) -> bool) -> bool {
    let (Some(got), Some(expected)) = (got.as_object(), expected.as_object()) else {
        return false;
    };
    got.keys().eq(expected.keys())
        && got
            .iter()
            .zip(expected.values())
            .all(|((name, a), b)| by_count(name) && counts_equal(a, b) || same_text(a, b))
}

/// Whether two values are equal, the order of members included.
fn same_text(a: &Value, b: &Value) -> bool {
    let (a, b) = (a.to_string(), b.to_string());
    a == b
}

fn counts_equal(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return false;
    };
    let last = a.values().next_back();
    let equal = |(value, count): (&String, &Value)| match b.get(value) {
        Some(other) => other == count,
        None => Some(count) == last,
    };
    a.values().eq(b.values()) && a.iter().all(equal)
}

fn hit_members(got: &Value, expected: &Value) -> Vec<Difference> {
    let empty = Map::new();
    let object = |value: &'_ Value| value.as_object().cloned().unwrap_or_else(|| empty.clone());
    let (a, b) = (object(got), object(expected));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| {
            let told = |members: &Map<String, Value>| {
                members.get(name).cloned().unwrap_or(json!("absent"))
            };
            difference(What::Hit(name.clone()), &told(&a), &told(&b))
        })
        .collect()
}

/// The value with the members of its objects in order: a node shows them in the order in which it first saw them.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            sorted
                .into_iter()
                .map(|(name, member)| (name.clone(), in_order(member)))
                .collect()
        }
        Value::Array(items) => items.iter().map(in_order).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn without_scores(hit: &Value) -> Value {
    let mut hit = hit.clone();
    if let Some(members) = hit.as_object_mut() {
        for name in SCORES {
            members.remove(name);
        }
    }
    hit
}
