//! What is known to be inexact, and documented so in `docs/search.md`: nothing else may differ.

use serde_json::Value;

use super::compare::What;
use super::corpus::{Index, WORDS};

/// The name of the inexactness that a difference belongs to.
pub fn excused(index: &Index, query: &Value, what: &What) -> Option<&'static str> {
    let member = match what {
        What::Spelling => {
            return Some("spelling of a facet value that documents spell differently");
        }
        What::Member(name) => name.as_str(),
        What::Refusal | What::Length | What::Order | What::Twice | What::Hit(_) => "",
    };
    let counted = [
        "estimatedTotalHits",
        "totalHits",
        "totalPages",
        "facetDistribution",
        "facetStats",
    ];
    let distinct =
        query.get("distinct").is_some() || index.settings.get("distinctAttribute").is_some();
    let paged = query.get("page").is_some() || query.get("hitsPerPage").is_some();
    let exact = paged && !member.starts_with("facet") && query.get("hybrid").is_none();
    if query["matchingStrategy"] == "frequency" {
        return Some("matchingStrategy: frequency");
    }
    let scored = matches!(what, What::Length | What::Order);
    if scored && query.get("rankingScoreThreshold").is_some() {
        return Some("hits at the edge of rankingScoreThreshold");
    }
    if counted.contains(&member) && query.get("rankingScoreThreshold").is_some() {
        return Some("totals and facets with rankingScoreThreshold");
    }
    if counted.contains(&member) && distinct && !exact {
        return Some("estimates and facets with distinct");
    }
    let formatted = matches!(what, What::Hit(name) if ["_formatted", "_matchesPosition", "all"].contains(&name.as_str()));
    if formatted && ends_in_a_short_prefix(query) {
        return Some("highlights of a short prefix");
    }
    if hybrid_distinct_of_old(query) {
        return Some("distinct hits of a hybrid search on versions that leave doubles in it");
    }
    if written_together(query) {
        return Some("words written together");
    }
    None
}

/// The embedded node's version makes the hits of each half distinct, but not those of both together.
fn hybrid_distinct_of_old(query: &Value) -> bool {
    std::env::var_os("MEILISEARCH_BIN").is_none()
        && query.get("hybrid").is_some()
        && query.get("distinct").is_some()
}

/// How a node highlights the words that begin so depends on how many there are on it.
fn ends_in_a_short_prefix(query: &Value) -> bool {
    let last = query["q"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .last();
    last.is_some_and(|word| word.chars().count() <= 3)
}

/// Whether the query has a word that is two words of the corpus: nodes split it where their own documents do most often.
fn written_together(query: &Value) -> bool {
    let q = query["q"].as_str().unwrap_or_default();
    let is_word = |part: &str| {
        WORDS
            .iter()
            .any(|word| word.starts_with(part) && !part.is_empty())
    };
    q.split_whitespace().any(|word| {
        WORDS
            .iter()
            .any(|first| word.strip_prefix(first).is_some_and(is_word))
            && !WORDS.contains(&word)
    })
}
