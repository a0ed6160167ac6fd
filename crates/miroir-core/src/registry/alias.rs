//! Aliases: further names for indexes, which can be pointed elsewhere at one moment.

use serde::{Deserialize, Serialize};

use super::{Collection, Registry};
use crate::id::IndexUid;

/// How many earlier targets an alias remembers.
pub const HISTORY_MAX: usize = 32;

/// Where an alias points, and where it pointed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The uid of the index that is meant.
    pub target: IndexUid,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// What it meant before, newest first, [`HISTORY_MAX`] at most.
    #[serde(default)]
    pub history: Vec<Past>,
}

/// An earlier target of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// The uid that was meant.
    pub target: IndexUid,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

impl Alias {
    /// A new alias.
    #[must_use]
    pub fn new(target: IndexUid, at_ms: u64) -> Self {
        Self {
            target,
            since_ms: at_ms,
            history: Vec::new(),
        }
    }

    /// The alias pointed elsewhere. Pointed to where it points, it stays as it is.
    #[must_use]
    pub fn pointed(mut self, target: IndexUid, at_ms: u64) -> Self {
        if target == self.target {
            return self;
        }
        let past = Past {
            target: std::mem::replace(&mut self.target, target),
            since_ms: self.since_ms,
            until_ms: at_ms,
        };
        self.since_ms = at_ms;
        self.history.insert(0, past);
        self.history.truncate(HISTORY_MAX);
        self
    }
}

impl Registry {
    /// The uid that an alias stands for; `None` for what is no alias.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<IndexUid> {
        let entry = self.get(Collection::Aliases, name)?;
        let target = entry.value.get("target")?.as_str()?;
        IndexUid::parse(target).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> IndexUid {
        IndexUid::parse(text).expect("a uid")
    }

    #[test]
    fn an_alias_remembers_where_it_pointed() {
        let alias = Alias::new(uid("a"), 1);
        let same = alias.clone().pointed(uid("a"), 2);
        assert_eq!(same, alias);
        let moved = same.pointed(uid("b"), 3).pointed(uid("a"), 5);
        let past = |target: &str, since_ms, until_ms| Past {
            target: uid(target),
            since_ms,
            until_ms,
        };
        assert_eq!((moved.target, moved.since_ms), (uid("a"), 5));
        assert_eq!(moved.history, [past("b", 3, 5), past("a", 1, 3)]);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut alias = Alias::new(uid("a0"), 0);
        for n in 1..100 {
            alias = alias.pointed(uid(&format!("a{n}")), n);
        }
        assert_eq!(alias.history.len(), HISTORY_MAX);
        assert_eq!(alias.history[0].target, uid("a98"));
    }
}
