//! One search over several nodes: what to ask each of them, and one answer from theirs.
//!
//! ```
//! use std::collections::BTreeMap;
//! use miroir_core::search::{Plan, SearchQuery, SearchSettings};
//!
//! let query = SearchQuery::from_json(br#"{"q": "cat", "limit": 1}"#)?;
//! let plan = Plan::new(query, SearchSettings::default(), 2);
//! let body = plan.body(Some("_miroir_shard = \"†††\""))?;
//! assert_eq!(body["limit"], 1);
//!
//! let node = |title: &str, words: u32| format!(
//!     r#"{{"hits":[{{"title":"{title}","_rankingScoreDetails":{{"words":{{"order":0,"matchingWords":{words}}}}}}}],"estimatedTotalHits":1}}"#
//! );
//! let answers = [node("a cat", 0), node("cat cat", 1)];
//! let answer = plan.merge(&[answers[0].as_bytes(), answers[1].as_bytes()], &BTreeMap::new()).expect("answers");
//! assert!(answer.starts_with(r#"{"hits":[{"title":"cat cat"}],"query":"cat","#));
//! # Ok::<(), miroir_core::api_error::ApiError>(())
//! ```

mod answer;
mod distinct;
mod documents;
mod documents_sort;
mod facet_search;
mod facet_value;
mod facets;
mod federated;
pub mod hydrate;
mod merge;
mod params;
mod partial;
mod pins;
mod plan;
mod query;
mod rank;
mod settings;
mod similar;
mod unseen;

pub use answer::MergeError;
pub use documents::{Window, merge_documents, windows};
pub use documents_sort::DocumentSort;
pub use facet_search::FacetSearch;
pub use federated::{Federated, Federation, IndexAnswers, MultiQuery, MultiSearch};
pub use merge::NodeAnswer;
pub use partial::Missing;
pub use pins::Pins;
pub use plan::Plan;
pub use query::{Pagination, SearchQuery};
pub use settings::{FacetOrder, SearchSettings};
pub use similar::SimilarQuery;
