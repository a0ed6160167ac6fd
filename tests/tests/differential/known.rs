//! What is known to be inexact, and documented so in `docs/search.md`: nothing else may differ.

use serde_json::Value;

use super::compare::What;
use super::corpus::{Index, WORDS};

const HALVES: &str = "words against meaning where both weigh nearly the same";

/// Nodes rank such hits by words of their own dictionaries, and tell other distances or numbers of typos for a few.
const WORDS_APART: &str = "order of hits of several words";

const HIGHLIGHTS: &str = "highlights of prefixes and of words with typos";
/// Members that tell where a hit matches. `all` stands for a hit that does not say which it is.
const MARKED: [&str; 3] = ["_formatted", "_matchesPosition", "all"];

/// What is so rare that more of it is a mistake, in queries of a hundred.
pub const RARE: [(&str, usize); 3] = [(HIGHLIGHTS, 2), (HALVES, 1), (WORDS_APART, 1)];

/// The name of the inexactness that a difference belongs to.
pub fn excused(index: &Index, query: &Value, what: &What) -> Option<&'static str> {
    let member = match what {
        What::Spelling => {
            return Some("spelling of a facet value that documents spell differently");
        }
        What::Halves => return Some(HALVES),
        What::Member(name) if name == "semanticHitCount" => return Some(HALVES),
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
    // One hit in another place moves those after it, which a later page shows.
    let moved = matches!(what, What::Order) && query.get("hybrid").is_some();
    if moved && query["q"].as_str().is_some_and(|q| !q.trim().is_empty()) {
        return Some(HALVES);
    }
    let words = query["q"]
        .as_str()
        .map_or(0, |q| q.split_whitespace().count());
    if matches!(what, What::Order) && words > 1 {
        return Some(WORDS_APART);
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
    let marked = matches!(what, What::Hit(name) if MARKED.contains(&name.as_str()));
    if marked && query.get("q").is_some() {
        return Some(HIGHLIGHTS);
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
