//! Finding documents that are similar to one, over several nodes.
//!
//! The node that holds the document answers for itself; the others search by the document's vector.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Hit, MergeError, View};
use super::merge::{interleave, push_member, push_optional, to_json};
use super::settings::SearchSettings;
use crate::api_error::{ApiError, Code};
use crate::body;
use crate::hidden_field::{and_filter, check_attributes, check_filter};
use crate::registry::narrowed;
use crate::request::unknown_parameter;

const DEFAULT_LIMIT: u64 = 20;
const MEMBERS: [&str; 11] = [
    "id",
    "offset",
    "limit",
    "filter",
    "embedder",
    "attributesToRetrieve",
    "retrieveVectors",
    "showRankingScore",
    "showRankingScoreDetails",
    "showPerformanceDetails",
    "rankingScoreThreshold",
];
const PARAMETERS: [&str; 11] = [
    "id",
    "embedder",
    "offset",
    "limit",
    "attributesToRetrieve",
    "retrieveVectors",
    "filter",
    "showRankingScore",
    "showRankingScoreDetails",
    "showPerformanceDetails",
    "rankingScoreThreshold",
];
const FLAGS: [(&str, Code); 4] = [
    ("retrieveVectors", Code::InvalidSimilarRetrieveVectors),
    ("showRankingScore", Code::InvalidSimilarShowRankingScore),
    (
        "showRankingScoreDetails",
        Code::InvalidSimilarShowRankingScoreDetails,
    ),
    (
        "showPerformanceDetails",
        Code::InvalidSimilarShowPerformanceDetails,
    ),
];
const THRESHOLD: &str =
    "the value of `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`.";

/// A search for similar documents, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarQuery {
    id: String,
    embedder: String,
    offset: u64,
    limit: u64,
    /// The client's members that mean something, nulls left out.
    members: Map<String, Value>,
}

impl SimilarQuery {
    /// Reads the body of a POST.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_json(content: &[u8]) -> Result<Self, ApiError> {
        let members = body::parse_object(content)?;
        body::only(&members, "", &MEMBERS, Code::BadRequest)?;
        Self::checked(members, "field")
    }

    /// Reads the decoded parameters of a GET.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_parameters<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ApiError> {
        let mut members = Map::new();
        for (name, text) in parameters {
            members.insert(name.to_owned(), parameter(name, text)?);
        }
        Self::checked(members, "parameter")
    }

    fn checked(mut members: Map<String, Value>, noun: &str) -> Result<Self, ApiError> {
        let needed = |name: &str| {
            members
                .get(name)
                .cloned()
                .ok_or_else(|| ApiError::new(Code::BadRequest, format!("Missing {noun} `{name}`")))
        };
        let (id, embedder) = (needed("id")?, needed("embedder")?);
        let embedder = body::text(&embedder, ".embedder", Code::InvalidSimilarEmbedder)?;
        let count = |name: &str, code, default: u64| match members.get(name) {
            Some(value) => body::count(value, &format!(".{name}"), code),
            None => Ok(default),
        };
        let offset = count("offset", Code::InvalidSimilarOffset, 0)?;
        let limit = count("limit", Code::InvalidSimilarLimit, DEFAULT_LIMIT)?;
        for (name, code) in FLAGS {
            if let Some(value) = members.get(name) {
                body::flag(value, &format!(".{name}"), code)?;
            }
        }
        members.retain(|_, value| !value.is_null());
        check_threshold(members.get("rankingScoreThreshold"))?;
        if let Some(value) = members.get("attributesToRetrieve") {
            let code = Code::InvalidSimilarAttributesToRetrieve;
            let names = body::texts(value, ".attributesToRetrieve", code)?;
            let names = names.iter().map(String::as_str);
            check_attributes("attributesToRetrieve", names, code)?;
        }
        if let Some(filter) = members.get("filter") {
            let code = Code::InvalidSimilarFilter;
            and_filter(Some(filter), "").map_err(|error| ApiError { code, ..error })?;
            check_filter(filter, code)?;
        }
        Ok(Self {
            id: checked_id(&id)?,
            embedder,
            offset,
            limit,
            members,
        })
    }

    /// Narrows what may be found by the filter of a tenant token.
    ///
    /// # Errors
    /// `invalid_similar_filter` for a rule that names the hidden field.
    pub fn narrow(&mut self, rule: &Value) -> Result<(), ApiError> {
        check_filter(rule, Code::InvalidSimilarFilter)?;
        let filter = narrowed(self.members.shift_remove("filter"), rule);
        self.members.insert("filter".to_owned(), filter);
        Ok(())
    }

    /// The document's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The embedder whose vectors are compared.
    #[must_use]
    pub fn embedder(&self) -> &str {
        &self.embedder
    }

    /// Whether no hits are skipped.
    #[must_use]
    pub fn is_first_page(&self) -> bool {
        self.offset == 0
    }

    /// The client's own query, for a node that answers for everything.
    #[must_use]
    pub fn own_body(&self) -> Value {
        let mut body = self.members.clone();
        body.insert("id".to_owned(), json!(self.id));
        Value::Object(body)
    }

    /// The JSON body for the node that holds the document. `hidden_filter` as in [`super::Plan::body`].
    ///
    /// # Errors
    /// `invalid_similar_filter` when the client's filter has the wrong type.
    pub fn owner_body(&self, hidden_filter: Option<&str>) -> Result<Value, ApiError> {
        let mut body = self.members.clone();
        self.widen(&mut body, hidden_filter)?;
        body.insert("id".to_owned(), json!(self.id));
        Ok(Value::Object(body))
    }

    /// The JSON body for a search by `vector` on another node.
    ///
    /// # Errors
    /// As [`SimilarQuery::owner_body`].
    pub fn search_body(
        &self,
        vector: &Value,
        hidden_filter: Option<&str>,
    ) -> Result<Value, ApiError> {
        let mut body = self.members.clone();
        for name in ["id", "embedder", "showPerformanceDetails"] {
            body.remove(name);
        }
        self.widen(&mut body, hidden_filter)?;
        let hybrid = json!({"embedder": self.embedder, "semanticRatio": 1.0});
        body.insert("hybrid".to_owned(), hybrid);
        body.insert("vector".to_owned(), vector.clone());
        Ok(Value::Object(body))
    }

    fn widen(
        &self,
        body: &mut Map<String, Value>,
        hidden_filter: Option<&str>,
    ) -> Result<(), ApiError> {
        if let Some(hidden) = hidden_filter {
            let code = Code::InvalidSimilarFilter;
            let filter = and_filter(self.members.get("filter"), hidden);
            let filter = filter.map_err(|error| ApiError { code, ..error })?;
            body.insert("filter".to_owned(), filter);
        }
        let end = self.offset.saturating_add(self.limit);
        body.insert("offset".to_owned(), json!(0));
        body.insert("limit".to_owned(), json!(end));
        body.insert("showRankingScore".to_owned(), json!(true));
        Ok(())
    }

    /// The answer to the client, from those of the owner and of the other nodes.
    ///
    /// # Errors
    /// When an answer is not a list of hits.
    pub fn merge(
        &self,
        answers: &[&[u8]],
        settings: &SearchSettings,
    ) -> Result<String, MergeError> {
        let answers: Vec<Answer<'_>> = answers
            .iter()
            .enumerate()
            .map(|(position, body)| Answer::read(body, position))
            .collect::<Result<_, _>>()?;
        let shown = |name: &str| self.members.get(name).and_then(Value::as_bool) == Some(true);
        let view = View {
            score: shown("showRankingScore"),
            details: shown("showRankingScoreDetails"),
            without: Vec::new(),
        };
        let lists: Vec<&[Hit<'_>]> = answers.iter().map(|a| a.hits.as_slice()).collect();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let hits: Vec<String> = interleave(&lists, compare)
            .skip(count(self.offset))
            .take(count(self.limit))
            .map(|hit| hit.write(&view))
            .collect();
        let total: u64 = answers.iter().map(|a| a.count("estimatedTotalHits")).sum();
        let slowest = answers.iter().map(|a| a.count("processingTimeMs")).max();
        let performance = answers.iter().find_map(|a| a.raw("performanceDetails"));
        let mut out = String::from("{");
        push_member(&mut out, "hits", &format!("[{}]", hits.join(",")));
        push_member(&mut out, "id", &to_json(&self.id));
        push_member(
            &mut out,
            "processingTimeMs",
            &slowest.unwrap_or(0).to_string(),
        );
        push_member(&mut out, "limit", &self.limit.to_string());
        push_member(&mut out, "offset", &self.offset.to_string());
        let total = total.min(settings.max_total_hits);
        push_member(&mut out, "estimatedTotalHits", &total.to_string());
        push_optional(&mut out, "performanceDetails", performance);
        out.push('}');
        Ok(out)
    }
}

/// `Greater` when `a` is more similar.
fn compare(a: &Hit<'_>, b: &Hit<'_>) -> Ordering {
    let score = |hit: &Hit<'_>| {
        let mut members = hit.members.iter();
        let score = members.find(|(name, _)| name == "_rankingScore");
        score.and_then(|(_, raw)| raw.get().parse::<f64>().ok())
    };
    score(a).unwrap_or(0.0).total_cmp(&score(b).unwrap_or(0.0))
}

fn checked_id(id: &Value) -> Result<String, ApiError> {
    let text = match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    let valid = |text: &String| {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !text.is_empty() && text.len() <= 511 && text.chars().all(known)
    };
    text.filter(valid).ok_or_else(|| {
        ApiError::new(
            Code::InvalidSimilarId,
            format!(
                "Invalid value at `.id`: Document identifier `{id}` is invalid. A document identifier can be of type integer or string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more than 511 bytes."
            ),
        )
    })
}

fn check_threshold(value: Option<&Value>) -> Result<(), ApiError> {
    let (Some(value), code) = (value, Code::InvalidSimilarRankingScoreThreshold) else {
        return Ok(());
    };
    let threshold = body::number(value, ".rankingScoreThreshold", code)?;
    if (0.0..=1.0).contains(&threshold) {
        return Ok(());
    }
    let message = format!("Invalid value at `.rankingScoreThreshold`: {THRESHOLD}");
    Err(ApiError::new(code, message))
}

/// The JSON value of a parameter of a GET.
fn parameter(name: &str, text: &str) -> Result<Value, ApiError> {
    let invalid = |code, problem: &str| {
        let message = format!("Invalid value in parameter `{name}`: {problem}");
        ApiError::new(code, message)
    };
    let count = |code| {
        let problem = format!("could not parse `{text}` as a positive integer");
        let count: Result<u64, _> = text.parse();
        count.map(Value::from).map_err(|_| invalid(code, &problem))
    };
    if let Some((_, code)) = FLAGS.iter().find(|(flag, _)| *flag == name) {
        let problem =
            format!("could not parse `{text}` as a boolean, expected either `true` or `false`");
        let flag: Result<bool, _> = text.parse();
        return flag.map(Value::from).map_err(|_| invalid(*code, &problem));
    }
    match name {
        "id" | "embedder" => Ok(json!(text)),
        "offset" => count(Code::InvalidSimilarOffset),
        "limit" => count(Code::InvalidSimilarLimit),
        "attributesToRetrieve" => Ok(json!(text.split(',').collect::<Vec<_>>())),
        "filter" => Ok(serde_json::from_str(text).unwrap_or_else(|_| json!(text))),
        "rankingScoreThreshold" => {
            let threshold: Option<f64> = text.parse().ok();
            let valid = threshold.filter(|threshold| (0.0..=1.0).contains(threshold));
            let code = Code::InvalidSimilarRankingScoreThreshold;
            valid
                .map(Value::from)
                .ok_or_else(|| invalid(code, THRESHOLD))
        }
        unknown => Err(unknown_parameter(unknown, &PARAMETERS)),
    }
}

#[cfg(test)]
mod tests;
