//! The body of a search.

use std::collections::{BTreeSet, HashSet};

use deserr::{Deserr, take_cf_content};
use serde_json::Value;

use super::locale::Locale;
use crate::error::marker;
use crate::validate::{InvalidJson, Problem};

/// Hits on a page when the client does not say.
pub const DEFAULT_LIMIT: usize = 20;

/// The body of a search.
#[derive(Debug, Clone, Deserr)]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields)]
#[expect(missing_docs, reason = "named and documented as in Meilisearch's API")]
pub struct SearchQuery {
    #[deserr(default, error = InvalidJson<marker::InvalidSearchQ>)]
    pub q: Option<String>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchVector>)]
    pub vector: Option<Vec<f32>>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchHybridQuery>)]
    pub hybrid: Option<Hybrid>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchOffset>)]
    pub offset: usize,
    #[deserr(default = DEFAULT_LIMIT, error = InvalidJson<marker::InvalidSearchLimit>)]
    pub limit: usize,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchPage>)]
    pub page: Option<usize>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchHitsPerPage>)]
    pub hits_per_page: Option<usize>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchAttributesToRetrieve>)]
    pub attributes_to_retrieve: Option<BTreeSet<String>>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchRetrieveVectors>)]
    pub retrieve_vectors: bool,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchAttributesToCrop>)]
    pub attributes_to_crop: Option<Vec<String>>,
    #[deserr(default = 10, error = InvalidJson<marker::InvalidSearchCropLength>)]
    pub crop_length: usize,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchAttributesToHighlight>)]
    pub attributes_to_highlight: Option<HashSet<String>>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchShowMatchesPosition>)]
    pub show_matches_position: bool,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchShowRankingScore>)]
    pub show_ranking_score: bool,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchShowRankingScoreDetails>)]
    pub show_ranking_score_details: bool,
    /// Accepted as by later versions; this one tells nothing.
    #[deserr(default)]
    pub show_performance_details: bool,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchFilter>)]
    pub filter: Option<Value>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchSort>)]
    pub sort: Option<Vec<String>>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchDistinct>)]
    pub distinct: Option<String>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchFacets>)]
    pub facets: Option<Vec<String>>,
    #[deserr(default = "<em>".to_owned(), error = InvalidJson<marker::InvalidSearchHighlightPreTag>)]
    pub highlight_pre_tag: String,
    #[deserr(default = "</em>".to_owned(), error = InvalidJson<marker::InvalidSearchHighlightPostTag>)]
    pub highlight_post_tag: String,
    #[deserr(default = "…".to_owned(), error = InvalidJson<marker::InvalidSearchCropMarker>)]
    pub crop_marker: String,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchMatchingStrategy>)]
    pub matching_strategy: MatchingStrategy,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchAttributesToSearchOn>)]
    pub attributes_to_search_on: Option<Vec<String>>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchRankingScoreThreshold>)]
    pub ranking_score_threshold: Option<ScoreThreshold>,
    #[deserr(default, error = InvalidJson<marker::InvalidSearchLocales>)]
    pub locales: Option<Vec<Locale>>,
}

/// Which words of a query a document must have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserr)]
#[deserr(rename_all = camelCase)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub enum MatchingStrategy {
    #[default]
    Last,
    All,
    Frequency,
}

/// How a keyword search and a vector search are mixed.
#[derive(Debug, Clone, PartialEq, Deserr)]
#[deserr(error = InvalidJson<marker::InvalidSearchHybridQuery>, rename_all = camelCase, deny_unknown_fields)]
pub struct Hybrid {
    /// Weight of the vector search, 0 to 1.
    #[deserr(default, error = InvalidJson<marker::InvalidSearchSemanticRatio>)]
    pub semantic_ratio: SemanticRatio,
    /// The embedder to use.
    #[deserr(error = InvalidJson<marker::InvalidSearchEmbedder>)]
    pub embedder: String,
}

macro_rules! unit_interval {
    ($(#[$doc:meta])* $name:ident($number:ty), $message:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name(pub $number);

        impl TryFrom<$number> for $name {
            type Error = Problem;

            fn try_from(value: $number) -> Result<Self, Problem> {
                if (0.0..=1.0).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(Problem($message.to_owned()))
                }
            }
        }

        impl crate::validate::FromParam for $name {
            fn from_param(text: &str) -> Result<Self, Problem> {
                let value: $number = text.parse().map_err(|_| Problem($message.to_owned()))?;
                Self::try_from(value)
            }
        }

        impl<E> Deserr<E> for $name
        where
            E: deserr::DeserializeError + deserr::MergeWithError<Problem>,
        {
            fn deserialize_from_value<V: deserr::IntoValue>(
                value: deserr::Value<V>,
                location: deserr::ValuePointerRef<'_>,
            ) -> Result<Self, E> {
                let number = <$number>::deserialize_from_value(value, location)?;
                Self::try_from(number)
                    .map_err(|problem| take_cf_content(E::merge(None, problem, location)))
            }
        }
    };
}

unit_interval!(
    /// Weight of the vector search.
    SemanticRatio(f32),
    "the value of `semanticRatio` is invalid, expected a float between `0.0` and `1.0`."
);
unit_interval!(
    /// Hits that score less are left out.
    ScoreThreshold(f64),
    "the value of `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`."
);

impl Default for SemanticRatio {
    fn default() -> Self {
        Self(0.5)
    }
}

impl SearchQuery {
    /// Whether the client pages with `page`/`hitsPerPage`, which asks for exact totals.
    pub fn is_paged(&self) -> bool {
        self.page.is_some() || self.hits_per_page.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Code;
    use crate::validate::json;

    #[test]
    fn bodies_are_validated_with_the_code_of_the_field() {
        for (body, code, message) in [
            (
                json!({ "limit": "x" }),
                Code::InvalidSearchLimit,
                "Invalid value type at `.limit`: expected a positive integer, but found a string: `\"x\"`",
            ),
            (
                json!({ "rankingScoreThreshold": 2 }),
                Code::InvalidSearchRankingScoreThreshold,
                "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`.",
            ),
        ] {
            let error = json::<SearchQuery>(body).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
        let unknown = json::<SearchQuery>(json!({ "marin": "hello" })).unwrap_err();
        assert_eq!(unknown.code, Code::BadRequest);
        assert!(
            unknown
                .message
                .starts_with("Unknown field `marin`: expected one of `q`, `vector`")
        );
    }
}
