//! Which Meilisearch a node runs, and what that version can do.

use serde::Deserialize;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The oldest Meilisearch that Miroir works with: the first with the filterable
/// attribute rules that the hidden shard field needs.
const OLDEST_SUPPORTED: Semver = Semver::release(1, 15, 0);
/// The first version whose document routes take `customMetadata`.
const CUSTOM_METADATA: Semver = Semver::release(1, 26, 0);
/// The first version whose document routes take `skipCreation`.
const SKIP_CREATION: Semver = Semver::release(1, 31, 0);

/// A version number: `1.15.0` or `1.16.0-rc.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semver {
    /// Breaking changes.
    pub major: u64,
    /// Features.
    pub minor: u64,
    /// Fixes.
    pub patch: u64,
    /// What follows the hyphen; a version that has one precedes its release.
    pub pre: Option<String>,
}

impl Semver {
    /// A released version.
    pub const fn release(major: u64, minor: u64, patch: u64) -> Self {
        Self {
            major,
            minor,
            patch,
            pre: None,
        }
    }
}

impl Ord for Semver {
    /// Order of precedence, except that two pre-releases of one version compare as
    /// text: `rc.10` sorts before `rc.9`. Thresholds are releases, so none depends on it.
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |v: &Self| (v.major, v.minor, v.patch);
        numbers(self)
            .cmp(&numbers(other))
            .then_with(|| match (&self.pre, &other.pre) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) => a.cmp(b),
            })
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Semver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("`{text}` is not a version of the form major.minor.patch");
        let (version, _build) = text.split_once('+').unwrap_or((text, ""));
        let (numbers, pre) = match version.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre.to_owned())),
            None => (version, None),
        };
        let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
        let mut next = || parts.next().flatten().ok_or_else(bad);
        let (major, minor, patch) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self {
            major,
            minor,
            patch,
            pre,
        })
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        match &self.pre {
            Some(pre) => write!(f, "-{pre}"),
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Semver {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A node's answer to `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeVersion {
    /// The commit it was built from, or `unknown`.
    pub commit_sha: String,
    /// When that commit was made, or `unknown`.
    pub commit_date: String,
    /// The version that decides what the node can do.
    pub pkg_version: Semver,
}

impl NodeVersion {
    /// Whether Miroir works with this node at all: Meilisearch 1.15.0 or newer.
    pub fn is_supported(&self) -> bool {
        self.pkg_version >= OLDEST_SUPPORTED
    }

    /// Whether document writes may carry `customMetadata`; an older node answers
    /// 400 to a parameter it does not know.
    pub fn has_custom_metadata(&self) -> bool {
        self.pkg_version >= CUSTOM_METADATA
    }

    /// Whether document writes may carry `skipCreation`.
    pub fn has_skip_creation(&self) -> bool {
        self.pkg_version >= SKIP_CREATION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> NodeVersion {
        let body = format!(r#"{{"commitSha":"a","commitDate":"b","pkgVersion":"{text}"}}"#);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn thresholds() {
        //        version          supported metadata skip
        let table = [
            ("0.30.5", false, false, false),
            ("1.14.9", false, false, false),
            ("1.15.0-rc.3", false, false, false),
            ("1.15.0", true, false, false),
            ("1.16.0-rc.1", true, false, false),
            ("1.25.9", true, false, false),
            ("1.26.0", true, true, false),
            ("1.31.0+build.7", true, true, true),
            ("1.50.0", true, true, true),
            ("2.0.0", true, true, true),
        ];
        for (text, supported, metadata, skip) in table {
            let v = version(text);
            let got = (
                v.is_supported(),
                v.has_custom_metadata(),
                v.has_skip_creation(),
            );
            assert_eq!(got, (supported, metadata, skip), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["", "1", "1.15", "1.15.x", "1.15.0.1", "v1.15.0", "-1.0.0"] {
            let error = text.parse::<Semver>().expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn shows_what_it_parsed() {
        for text in ["1.15.0", "1.16.0-rc.1"] {
            assert_eq!(
                text.parse::<Semver>().map(|v| v.to_string()),
                Ok(text.into())
            );
        }
    }
}
