//! What an answer is without: shards of which no copy answered.

use std::collections::{BTreeMap, BTreeSet};

use super::merge::{push_member, to_json};
use crate::api_error::{ApiError, Code};
use crate::id::{IndexUid, NodeId, ShardId};

/// How many indexes a header names.
const INDEXES_MAX: usize = 8;
/// How many shards a message names.
const SHARDS_MAX: usize = 8;
/// The name of what has no node at all.
const NO_NODE: &str = "no node";

/// By index, the shards that an answer is without. Empty for a whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    indexes: BTreeMap<IndexUid, OfIndex>,
}

/// The shards of one index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfIndex {
    shards: BTreeSet<ShardId>,
    shard_count: u16,
    /// Who should have answered for which of them, and why it did not.
    holders: BTreeMap<Option<NodeId>, (BTreeSet<ShardId>, String)>,
}

impl Missing {
    /// Counts a shard of `index`, which has `shard_count` of them, as missing. `holders` are the nodes with a
    /// copy of it and why each did not answer, in words that a client may see.
    pub fn insert(
        &mut self,
        (index, shard_count): (&IndexUid, u16),
        shard: ShardId,
        holders: impl IntoIterator<Item = (NodeId, String)>,
    ) {
        let missing = self.indexes.entry(index.clone()).or_default();
        missing.shards.insert(shard);
        missing.shard_count = shard_count;
        let mut put = |node, why| {
            let (shards, known) = missing.holders.entry(node).or_default();
            shards.insert(shard);
            *known = why;
        };
        let mut holders = holders.into_iter().peekable();
        if holders.peek().is_none() {
            put(None, "there is no copy".to_owned());
        }
        for (node, why) in holders {
            put(Some(node), why);
        }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Whether this shard is missing.
    #[must_use]
    pub fn contains(&self, index: &IndexUid, shard: ShardId) -> bool {
        let missing = self.indexes.get(index);
        missing.is_some_and(|missing| missing.shards.contains(&shard))
    }

    /// Counts what another part of the answer is without, too.
    pub fn add(&mut self, other: Self) {
        for (index, theirs) in other.indexes {
            let ours = self.indexes.entry(index).or_default();
            ours.shard_count = theirs.shard_count;
            ours.shards.extend(theirs.shards);
            for (node, (shards, why)) in theirs.holders {
                let (known, said) = ours.holders.entry(node).or_default();
                known.extend(shards);
                *said = why;
            }
        }
    }

    /// The value of a header that tells how many of which index's shards are missing, such as
    /// `shards=3/64; index=movies`: a list, of some indexes at most. `None` for a whole answer.
    #[must_use]
    pub fn header(&self) -> Option<String> {
        let told = self.indexes.iter().take(INDEXES_MAX);
        let mut entries: Vec<String> = told
            .map(|(index, missing)| {
                let (lost, of) = (missing.shards.len(), missing.shard_count);
                format!("shards={lost}/{of}; index={index}")
            })
            .collect();
        if self.indexes.len() > INDEXES_MAX {
            entries.push(format!("more={}", self.indexes.len() - INDEXES_MAX));
        }
        (!entries.is_empty()).then(|| entries.join(", "))
    }

    /// The nodes that should have answered, by their name, and what they owe.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<String, ApiError> {
        let mut messages: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (index, missing) in self.indexes.iter().take(INDEXES_MAX) {
            for (node, (shards, why)) in &missing.holders {
                let name = node.map_or(NO_NODE.to_owned(), |node| format!("node {node}"));
                let message = format!("{} of index `{index}`: {why}.", listed(shards));
                messages.entry(name).or_default().push(message);
            }
        }
        let error =
            |messages: Vec<String>| ApiError::new(Code::UnavailableShards, messages.join(" "));
        messages
            .into_iter()
            .map(|(name, messages)| (name, error(messages)))
            .collect()
    }

    /// The JSON object `answer` with these errors as its `remoteErrors`; unchanged when nothing is missing.
    #[must_use]
    pub fn told_in(&self, mut answer: String) -> String {
        if !self.is_empty() && answer.ends_with('}') {
            answer.pop();
            push_member(&mut answer, "remoteErrors", &to_json(&self.errors()));
            answer.push('}');
        }
        answer
    }
}

/// The shards in words, the first few of them by number.
fn listed(shards: &BTreeSet<ShardId>) -> String {
    let named = shards.iter().take(SHARDS_MAX).map(ToString::to_string);
    let named = named.collect::<Vec<_>>().join(", ");
    match shards.len() {
        1 => format!("Shard {named}"),
        count if count <= SHARDS_MAX => format!("Shards {named}"),
        count => format!("Shards {named} and {} more", count - SHARDS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn index(uid: &str) -> IndexUid {
        IndexUid::parse(uid).expect("valid")
    }

    fn lost(uid: &str, shards: &[u16], node: u64, why: &str) -> Missing {
        let mut missing = Missing::default();
        for shard in shards {
            let holders = [(NodeId(node), why.to_owned())];
            missing.insert((&index(uid), 64), ShardId(*shard), holders);
        }
        missing
    }

    #[test]
    fn a_whole_answer_stays_as_it_is() {
        let whole = Missing::default();
        assert!(whole.is_empty());
        assert_eq!(whole.header(), None);
        assert_eq!(whole.told_in(r#"{"a":1}"#.to_owned()), r#"{"a":1}"#);
    }

    #[test]
    fn every_node_says_what_it_owes() {
        let mut missing = lost("movies", &[3, 5], 2, "it is busy");
        missing.add(lost("books", &[1], 2, "it answered HTTP 500"));
        missing.add(lost("movies", &[5, 6], 4, "its copy is not in sync"));
        missing.insert((&index("movies"), 64), ShardId(9), []);
        assert_eq!(
            missing.header().as_deref(),
            Some("shards=1/64; index=books, shards=4/64; index=movies")
        );
        assert!(missing.contains(&index("movies"), ShardId(6)));
        assert!(!missing.contains(&index("books"), ShardId(6)));
        let told = missing.told_in(r#"{"hits":[]}"#.to_owned());
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let error = |message: &str| {
            json!({
                "message": message, "code": "unavailable_shards", "type": "system",
                "link": "https://docs.meilisearch.com/errors#unavailable_shards",
            })
        };
        assert_eq!(
            told,
            json!({"hits": [], "remoteErrors": {
                "no node": error("Shard 9 of index `movies`: there is no copy."),
                "node 2": error("Shard 1 of index `books`: it answered HTTP 500. Shards 3, 5 of index `movies`: it is busy."),
                "node 4": error("Shards 5, 6 of index `movies`: its copy is not in sync."),
            }})
        );
    }

    #[test]
    fn what_is_told_is_bounded() {
        let mut missing = Missing::default();
        for at in 0..40 {
            let all: Vec<u16> = (0..64).collect();
            missing.add(lost(&format!("index-{at:02}"), &all, 1, "it is busy"));
        }
        let header = missing.header().expect("some");
        assert!(
            header.ends_with("shards=64/64; index=index-07, more=32"),
            "{header}"
        );
        let errors = missing.errors();
        let message = &errors["node 1"].message;
        assert!(
            message.starts_with(
                "Shards 0, 1, 2, 3, 4, 5, 6, 7 and 56 more of index `index-00`: it is busy. "
            ),
            "{message}"
        );
        assert!(message.len() < 1000, "{message}");
    }
}
