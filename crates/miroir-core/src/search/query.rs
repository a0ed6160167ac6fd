//! A client's search, checked.

use serde_json::{Map, Value};

use super::params::{body_of_parameters, check_body};
use crate::api_error::{ApiError, Code};
use crate::hidden_field::{check_attributes, check_filter, check_sort};
use crate::registry::narrowed;
use crate::request;

const DEFAULT_LIMIT: u64 = 20;

/// Which part of the hits a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pagination {
    /// By `offset` and `limit`, with an estimated total.
    Offset {
        /// Hits to skip.
        offset: u64,
        /// Hits to return at most.
        limit: u64,
    },
    /// By `page` or `hitsPerPage`, with an exact total.
    Page {
        /// The page, from 1. Page 0 is empty.
        page: u64,
        /// Hits on a page.
        hits_per_page: u64,
    },
}

impl Pagination {
    /// Hits to skip and hits to return, in an index that shows `max_total_hits` at most.
    #[must_use]
    pub fn window(self, max_total_hits: u64) -> (u64, u64) {
        let (offset, limit) = match self {
            Self::Offset { offset, limit } => (offset, limit),
            Self::Page { page: 0, .. } => (0, 0),
            Self::Page {
                page,
                hits_per_page,
            } => ((page - 1).saturating_mul(hits_per_page), hits_per_page),
        };
        let offset = offset.min(max_total_hits);
        (offset, limit.min(max_total_hits - offset))
    }
}

/// A search of one index. Holds the client's parameters after Meilisearch's own checks and
/// after making sure that none of them names the hidden field.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    members: Map<String, Value>,
}

impl SearchQuery {
    /// Reads the body of a POST search.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_json(body: &[u8]) -> Result<Self, ApiError> {
        match request::parse_json(body)? {
            Value::Object(members) => Self::checked(members),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)) => Err(request::wrong_type(
                Code::BadRequest,
                "",
                "an object",
                &other,
            )),
        }
    }

    /// Reads the decoded parameters of a GET search.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_parameters<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ApiError> {
        Self::checked(body_of_parameters(parameters)?)
    }

    pub(super) fn checked(members: Map<String, Value>) -> Result<Self, ApiError> {
        let query = Self {
            members: check_body(members)?,
        };
        if let Some(filter) = query.filter() {
            check_filter(filter, Code::InvalidSearchFilter)?;
        }
        check_sort(query.texts("sort"), Code::InvalidSearchSort)?;
        check_attributes(
            "distinct",
            query.text("distinct"),
            Code::InvalidSearchDistinct,
        )?;
        let lists = [
            ("facets", Code::InvalidSearchFacets),
            (
                "attributesToRetrieve",
                Code::InvalidSearchAttributesToRetrieve,
            ),
            (
                "attributesToHighlight",
                Code::InvalidSearchAttributesToHighlight,
            ),
            (
                "attributesToSearchOn",
                Code::InvalidSearchAttributesToSearchOn,
            ),
        ];
        for (name, code) in lists {
            check_attributes(name, query.texts(name), code)?;
        }
        let cropped = query.texts("attributesToCrop").map(uncropped);
        check_attributes(
            "attributesToCrop",
            cropped,
            Code::InvalidSearchAttributesToCrop,
        )?;
        Ok(query)
    }

    /// The search terms; `None` and empty mean all documents.
    #[must_use]
    pub fn q(&self) -> Option<&str> {
        self.text("q")
    }

    /// Which part of the hits is wanted.
    #[must_use]
    pub fn pagination(&self) -> Pagination {
        let count = |name: &str| self.members.get(name).and_then(Value::as_u64);
        match (count("page"), count("hitsPerPage")) {
            (None, None) => Pagination::Offset {
                offset: count("offset").unwrap_or(0),
                limit: count("limit").unwrap_or(DEFAULT_LIMIT),
            },
            (page, hits_per_page) => Pagination::Page {
                page: page.unwrap_or(1),
                hits_per_page: hits_per_page.unwrap_or(DEFAULT_LIMIT),
            },
        }
    }

    /// The attributes that are highlighted or cropped, and so shown formatted though not retrieved.
    pub(super) fn formatted(&self) -> Vec<&str> {
        let cropped = self.texts("attributesToCrop").map(uncropped);
        self.texts("attributesToHighlight").chain(cropped).collect()
    }

    /// What the query sorts by, in order.
    pub(super) fn sort(&self) -> impl Iterator<Item = &str> {
        self.texts("sort")
    }

    /// The client's filter, of any JSON type.
    #[must_use]
    pub fn filter(&self) -> Option<&Value> {
        self.members.get("filter")
    }

    /// Narrows the query by the filter of a tenant token, which the client's own cannot reach.
    ///
    /// # Errors
    /// `invalid_search_filter` for a rule that names the hidden field.
    pub fn narrow(&mut self, rule: Option<&Value>) -> Result<(), ApiError> {
        let Some(rule) = rule else {
            return Ok(());
        };
        check_filter(rule, Code::InvalidSearchFilter)?;
        let filter = narrowed(self.members.shift_remove("filter"), rule);
        self.members.insert("filter".to_owned(), filter);
        Ok(())
    }

    /// The attribute by which hits must differ, when the query sets one.
    #[must_use]
    pub fn distinct(&self) -> Option<&str> {
        self.text("distinct")
    }

    /// How much a hybrid search weighs meaning against words; `None` for other searches.
    #[must_use]
    pub fn semantic_ratio(&self) -> Option<f64> {
        let hybrid = self.members.get("hybrid")?;
        Some(
            hybrid
                .get("semanticRatio")
                .and_then(Value::as_f64)
                .unwrap_or(0.5),
        )
    }

    /// The ratio of a search that looks for both words and meaning.
    pub(super) fn hybrid_ratio(&self) -> Option<f64> {
        let ratio = self.semantic_ratio()?;
        let has_words = self.q().is_some_and(|q| !q.trim().is_empty());
        (has_words && ratio > 0.0 && ratio < 1.0).then_some(ratio)
    }

    /// The embedder of a search by meaning.
    pub(super) fn embedder(&self) -> Option<&str> {
        self.members.get("hybrid")?.get("embedder")?.as_str()
    }

    /// The dimensions of the vector that the client gives.
    pub(super) fn vector_length(&self) -> Option<u64> {
        let vector = self.members.get("vector")?.as_array()?;
        Some(vector.len() as u64)
    }

    /// The same search by words only.
    pub(super) fn without_meaning(&self) -> Self {
        let mut members = self.members.clone();
        members.retain(|name, _| !matches!(name.as_str(), "hybrid" | "vector"));
        Self { members }
    }

    /// The facets that the query counts.
    pub(super) fn facets(&self) -> impl Iterator<Item = &str> {
        self.texts("facets")
    }

    /// Whether hits show `_rankingScore`.
    #[must_use]
    pub fn shows_score(&self) -> bool {
        self.flag("showRankingScore")
    }

    /// Whether hits show `_rankingScoreDetails`.
    #[must_use]
    pub fn shows_details(&self) -> bool {
        self.flag("showRankingScoreDetails")
    }

    /// The attributes that hits are limited to, when the query limits them.
    #[must_use]
    pub fn attributes_to_retrieve(&self) -> Option<Vec<&str>> {
        self.members
            .contains_key("attributesToRetrieve")
            .then(|| self.texts("attributesToRetrieve").collect())
    }

    /// The checked parameters as a JSON body.
    pub(super) fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let items = self.members.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.members
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }
}

/// The attribute of a crop, which may give its length: `overview:20`.
fn uncropped(attribute: &str) -> &str {
    attribute
        .rsplit_once(':')
        .map_or(attribute, |(name, _)| name)
}

#[cfg(test)]
mod tests;
