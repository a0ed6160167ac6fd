//! The query parameters of a search by GET.

use deserr::Deserr;
use serde_json::Value;

use crate::engine::locale::Locale;
use crate::engine::search_query::{
    DEFAULT_LIMIT, Hybrid, MatchingStrategy, ScoreThreshold, SearchQuery, SemanticRatio,
};
use crate::error::{ApiError, Code, marker};
use crate::validate::{CommaList, InvalidQuery, Param};

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
pub(super) struct SearchParams {
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchQ>)]
    q: Option<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchVector>)]
    vector: Option<CommaList<f32>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(DEFAULT_LIMIT), error = InvalidQuery<marker::InvalidSearchLimit>)]
    limit: Param<usize>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchPage>)]
    page: Option<Param<usize>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchHitsPerPage>)]
    hits_per_page: Option<Param<usize>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchAttributesToRetrieve>)]
    attributes_to_retrieve: Option<CommaList<String>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchRetrieveVectors>)]
    retrieve_vectors: Param<bool>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchAttributesToCrop>)]
    attributes_to_crop: Option<CommaList<String>>,
    #[deserr(default = Param(10), error = InvalidQuery<marker::InvalidSearchCropLength>)]
    crop_length: Param<usize>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchAttributesToHighlight>)]
    attributes_to_highlight: Option<CommaList<String>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchFilter>)]
    filter: Option<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchSort>)]
    sort: Option<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchDistinct>)]
    distinct: Option<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchShowMatchesPosition>)]
    show_matches_position: Param<bool>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchShowRankingScore>)]
    show_ranking_score: Param<bool>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchShowRankingScoreDetails>)]
    show_ranking_score_details: Param<bool>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchFacets>)]
    facets: Option<CommaList<String>>,
    #[deserr(default = "<em>".to_owned(), error = InvalidQuery<marker::InvalidSearchHighlightPreTag>)]
    highlight_pre_tag: String,
    #[deserr(default = "</em>".to_owned(), error = InvalidQuery<marker::InvalidSearchHighlightPostTag>)]
    highlight_post_tag: String,
    #[deserr(default = "…".to_owned(), error = InvalidQuery<marker::InvalidSearchCropMarker>)]
    crop_marker: String,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchMatchingStrategy>)]
    matching_strategy: MatchingStrategy,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchAttributesToSearchOn>)]
    attributes_to_search_on: Option<CommaList<String>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchEmbedder>)]
    hybrid_embedder: Option<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchSemanticRatio>)]
    hybrid_semantic_ratio: Option<Param<SemanticRatio>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchRankingScoreThreshold>)]
    ranking_score_threshold: Option<Param<ScoreThreshold>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidSearchLocales>)]
    locales: Option<CommaList<Locale>>,
}

impl SearchParams {
    /// The search these parameters ask for.
    pub(super) fn into_query(self) -> Result<SearchQuery, ApiError> {
        let hybrid = self.hybrid()?;
        let filter = self
            .filter
            .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        Ok(SearchQuery {
            q: self.q,
            vector: self.vector.map(|vector| vector.0),
            hybrid,
            offset: self.offset.0,
            limit: self.limit.0,
            page: self.page.map(|page| page.0),
            hits_per_page: self.hits_per_page.map(|hits| hits.0),
            attributes_to_retrieve: self
                .attributes_to_retrieve
                .map(|a| a.0.into_iter().collect()),
            retrieve_vectors: self.retrieve_vectors.0,
            attributes_to_crop: self.attributes_to_crop.map(|a| a.0),
            crop_length: self.crop_length.0,
            attributes_to_highlight: self
                .attributes_to_highlight
                .map(|a| a.0.into_iter().collect()),
            show_matches_position: self.show_matches_position.0,
            show_ranking_score: self.show_ranking_score.0,
            show_ranking_score_details: self.show_ranking_score_details.0,
            show_performance_details: false,
            filter,
            sort: self.sort.map(|sort| split_sorts(&sort)),
            distinct: self.distinct,
            facets: self.facets.map(|facets| facets.0),
            highlight_pre_tag: self.highlight_pre_tag,
            highlight_post_tag: self.highlight_post_tag,
            crop_marker: self.crop_marker,
            matching_strategy: self.matching_strategy,
            attributes_to_search_on: self.attributes_to_search_on.map(|a| a.0),
            ranking_score_threshold: self.ranking_score_threshold.map(|t| t.0),
            locales: self.locales.map(|locales| locales.0),
        })
    }

    fn hybrid(&self) -> Result<Option<Hybrid>, ApiError> {
        let missing = |code, given: &str| {
            let message = format!("`hybridEmbedder` is mandatory when `{given}` is present");
            Err(ApiError::new(code, message))
        };
        match (&self.hybrid_embedder, self.hybrid_semantic_ratio) {
            (Some(embedder), ratio) => Ok(Some(Hybrid {
                semantic_ratio: ratio.map_or_else(SemanticRatio::default, |ratio| ratio.0),
                embedder: embedder.clone(),
            })),
            (None, Some(_)) => missing(Code::InvalidSearchHybridQuery, "hybridSemanticRatio"),
            (None, None) if self.vector.is_some() => missing(Code::MissingSearchHybrid, "vector"),
            (None, None) => Ok(None),
        }
    }
}

/// Splits `price:asc,_geoPoint(1,2):desc` at commas outside parentheses.
fn split_sorts(text: &str) -> Vec<String> {
    let mut sorts = vec![String::new()];
    let mut depth = 0_u32;
    for c in text.trim_matches('"').chars() {
        match c {
            ',' if depth == 0 => sorts.push(String::new()),
            _ => {
                match c {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => (),
                }
                if let Some(last) = sorts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    sorts
        .into_iter()
        .map(|sort| sort.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_are_split_outside_parentheses() {
        for (text, expected) in [
            ("price:asc", vec!["price:asc"]),
            (
                "_geoPoint(12, 13):asc, a:desc",
                vec!["_geoPoint(12, 13):asc", "a:desc"],
            ),
            (
                "a:asc,_geoPoint(-1,2.5):desc",
                vec!["a:asc", "_geoPoint(-1,2.5):desc"],
            ),
        ] {
            assert_eq!(split_sorts(text), expected, "{text}");
        }
    }
}
