//! Names of indexes that may end in a star.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::IndexUid;

/// An index uid, or the beginning of one and a `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexPattern(String);

/// A pattern that Meilisearch would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing only alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*)."
)]
pub struct InvalidIndexPattern(pub String);

impl IndexPattern {
    /// Checks a pattern by Meilisearch's rule.
    ///
    /// # Errors
    /// [`InvalidIndexPattern`] with Meilisearch's wording, which names the part before the star.
    pub fn parse(text: &str) -> Result<Self, InvalidIndexPattern> {
        match text.strip_suffix('*') {
            Some("") => {}
            Some(uid) => check(uid)?,
            None => check(text)?,
        }
        Ok(Self(text.to_owned()))
    }

    /// Every index.
    #[must_use]
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `*`.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0 == "*"
    }

    /// Whether it names one index.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.ends_with('*')
    }

    /// Whether it names this index, among others.
    #[must_use]
    pub fn matches(&self, uid: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => uid.starts_with(beginning),
            None => self.0 == uid,
        }
    }
}

fn check(uid: &str) -> Result<(), InvalidIndexPattern> {
    IndexUid::parse(uid)
        .map(drop)
        .map_err(|invalid| InvalidIndexPattern(invalid.0))
}

impl fmt::Display for IndexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_follow_meilisearchs_rule() {
        for good in ["*", "movies", "movies*", "a-b_*"] {
            assert_eq!(
                IndexPattern::parse(good).map(|p| p.to_string()).as_deref(),
                Ok(good)
            );
        }
        for (bad, named) in [
            ("", ""),
            ("a b", "a b"),
            ("mo*vies", "mo*vies"),
            ("a.*", "a."),
            ("**", "*"),
        ] {
            assert_eq!(
                IndexPattern::parse(bad),
                Err(InvalidIndexPattern(named.to_owned()))
            );
        }
    }

    #[test]
    fn a_star_stands_for_any_ending() {
        let table = [
            ("*", "movies", true),
            ("movies", "movies", true),
            ("movies", "movies2", false),
            ("mov*", "movies", true),
            ("mov*", "mov", true),
            ("mov*", "mo", false),
        ];
        for (pattern, uid, expected) in table {
            let pattern = IndexPattern::parse(pattern).expect("valid");
            assert_eq!(pattern.matches(uid), expected, "{pattern} {uid}");
        }
    }
}
