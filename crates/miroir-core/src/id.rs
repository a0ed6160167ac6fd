//! Typed identities. All of them are allocated by the replicated state and never reused.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// A Meilisearch node of the fleet.
    NodeId(u64)
}
number_id! {
    /// A replica group: a set of nodes that together hold every shard. A search uses one group.
    GroupId(u32)
}
number_id! {
    /// A shard of one index, from 0 to the index's shard count less one.
    ShardId(u16)
}
number_id! {
    /// One run of one proxy process. A restarted proxy is a new one.
    ProxyId(u64)
}
number_id! {
    /// Something an operator asked for, such as adding a node.
    OperationId(u64)
}
number_id! {
    /// The building of one replica, from plan to done.
    MigrationId(u64)
}
number_id! {
    /// A client-visible task: dense, and below 2^31 because SDKs read it as a signed int.
    TaskUid(u32)
}
number_id! {
    /// The Raft index of the last command that changed routing. Never goes backwards.
    Epoch(u64)
}
number_id! {
    /// One life of an index: the Raft index of its creation. Tells an index from a later one of the same uid.
    Incarnation(u64)
}

/// The name of an index: the uid that clients know it by, or what its nodes call it. Mostly these are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexUid(String);

impl IndexUid {
    /// Longest uid Meilisearch accepts, in bytes.
    pub const LEN_MAX: usize = 400;

    /// Checks `uid` by Meilisearch's rule: 1 to 400 bytes of ASCII letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// [`InvalidIndexUid`] with Meilisearch's wording.
    pub fn parse(uid: &str) -> Result<Self, InvalidIndexUid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if uid.is_empty() || uid.len() > Self::LEN_MAX || !uid.bytes().all(allowed) {
            return Err(InvalidIndexUid(uid.to_owned()));
        }
        Ok(Self(uid.to_owned()))
    }

    /// What begins as this one and ends with a number. Both fit: the beginning is cut where it has to be.
    #[must_use]
    pub(crate) fn numbered(&self, number: u64) -> Self {
        let end = format!("-{number}");
        // Every allowed character is one byte long.
        let kept = self.0.len().min(Self::LEN_MAX - end.len());
        Self(format!("{}{end}", &self.0[..kept]))
    }

    /// The uid as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IndexUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for IndexUid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// An index uid that Meilisearch would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid index uid. Index uid can be an integer or a string containing only alphanumeric characters, hyphens (-) and underscores (_), and can not be more than 512 bytes."
)]
pub struct InvalidIndexUid(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_uids_follow_meilisearchs_rule() {
        for good in ["a", "movies", "Movies_2-x", "1", &"x".repeat(400)] {
            assert_eq!(
                IndexUid::parse(good).map(|u| u.to_string()).as_deref(),
                Ok(good)
            );
        }
        for bad in ["", "a b", "a/b", "é", "a.b", &"x".repeat(401)] {
            assert_eq!(IndexUid::parse(bad), Err(InvalidIndexUid(bad.to_owned())));
        }
    }
}
