//! What one node answered to a search, read one level deep.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::distinct::{DistinctValue, values_of};
use super::rank::Rank;
use super::unseen::{Unseen, Values};
use crate::hidden_field::{is_reserved, strip_facets};
use crate::raw_json::{self, Members};

/// Why the answers of nodes cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A node answered something else than a list of hits or documents.
    #[error("answer {position} of the merge is unreadable: {detail}")]
    Unreadable {
        /// Which of the answers, from 0.
        position: usize,
        /// What is wrong with it.
        detail: String,
    },
}

impl MergeError {
    /// Whether asking again, another replica perhaps, may help.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreadable { .. } => true,
        }
    }
}

/// A hit: its members as text and what it is ranked by.
pub(super) struct Hit<'a> {
    pub(super) members: Members<'a>,
    pub(super) rank: Rank,
    /// What was read of its document beyond what it shows.
    pub(super) unseen: Option<Members<'a>>,
}

/// A node's answer.
pub(super) struct Answer<'a> {
    /// In the node's order.
    pub(super) hits: Vec<Hit<'a>>,
    members: Members<'a>,
}

impl<'a> Answer<'a> {
    /// Reads the body that the node at `position` sent.
    pub(super) fn read(body: &'a [u8], position: usize) -> Result<Self, MergeError> {
        Self::read_with(body, None, position)
    }

    /// As [`read`](Self::read), with what was read of the hits' documents beside.
    pub(super) fn read_with(
        body: &'a [u8],
        values: Option<(&'a [u8], &Unseen)>,
        position: usize,
    ) -> Result<Self, MergeError> {
        let unreadable = |error: &dyn std::fmt::Display| MergeError::Unreadable {
            position,
            detail: error.to_string(),
        };
        let text = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
        let members = raw_json::members(text).map_err(|e| unreadable(&e))?;
        let hits = member(&members, "hits").ok_or_else(|| unreadable(&"there are no `hits`"))?;
        let hits: Vec<&RawValue> = serde_json::from_str(hits).map_err(|e| unreadable(&e))?;
        let mut values = match values {
            Some((body, unseen)) => {
                let body = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
                let values = Values::read(body, &unseen.primary_key).map_err(|e| unreadable(&e))?;
                Some((values, unseen))
            }
            None => None,
        };
        let hits = hits
            .into_iter()
            .map(|raw| Hit::read(raw.get(), values.as_mut()))
            .collect::<Result<_, _>>();
        Ok(Self {
            hits: hits.map_err(|e| unreadable(&e))?,
            members,
        })
    }

    /// The text of a member of the answer.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        member(&self.members, name)
    }

    /// A count in the answer; zero when it is not there.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.raw(name).and_then(|raw| raw.parse().ok()).unwrap_or(0)
    }

    /// An object in the answer.
    pub(super) fn object(&self, name: &str) -> Option<Map<String, Value>> {
        self.raw(name)
            .and_then(|raw| serde_json::from_str(raw).ok())
    }

    /// Every member of the answer.
    pub(super) fn members(&self) -> &Members<'a> {
        &self.members
    }
}

/// The hits of an answer, unread.
pub(super) fn hits_of(answer: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    let members = raw_json::members(answer)?;
    serde_json::from_str(member(&members, "hits").unwrap_or("null"))
}

impl<'a> Hit<'a> {
    fn read(
        raw: &'a str,
        values: Option<&mut (Values<'a>, &Unseen)>,
    ) -> Result<Self, serde_json::Error> {
        let members = raw_json::members(raw)?;
        let details = match member(&members, "_rankingScoreDetails") {
            Some(details) => serde_json::from_str(details)?,
            None => Map::new(),
        };
        let score = member(&members, "_rankingScore").and_then(|score| score.parse().ok());
        let mut rank = Rank::new(&details, score.unwrap_or(0.0));
        let mut unseen = None;
        if let Some((values, of)) = values {
            unseen = values.take(&members, &of.primary_key);
            rank.reveal(&details, &of.keys, unseen.as_ref());
        }
        Ok(Self {
            members,
            rank,
            unseen,
        })
    }

    /// The values that the hit has for `path`, shown or not.
    pub(super) fn values(&self, path: &str) -> BTreeSet<DistinctValue> {
        let mut values = values_of(&self.members, path);
        if let Some(unseen) = &self.unseen {
            values.extend(values_of(unseen, path));
        }
        values
    }

    /// The hit as the client sees it.
    pub(super) fn write(&self, view: &View<'_>) -> String {
        self.write_without(view, (view.without.as_slice(), view.without.as_slice()))
    }

    /// The hit as the client sees it, without what some paths name: the first ones in the hit
    /// itself, the others in `_formatted`.
    pub(super) fn write_without(
        &self,
        view: &View<'_>,
        (paths, formatted): (&[&str], &[&str]),
    ) -> String {
        let paths = |name: &str| match name {
            "_formatted" => formatted,
            "_matchesPosition" => &[],
            _ => paths,
        };
        let kept: Vec<(&str, String)> = self
            .members
            .iter()
            .filter(|(name, _)| !is_reserved(name) && view.shows(name))
            .filter_map(|(name, value)| {
                Some((name.as_ref(), shown(name, value.get(), paths(name))?))
            })
            .collect();
        raw_json::object(kept.iter().map(|(name, value)| (*name, value.as_str())))
    }
}

/// What of a hit the client asked for.
pub(super) struct View<'q> {
    pub(super) score: bool,
    pub(super) details: bool,
    /// Attributes that only the merge asked for.
    pub(super) without: Vec<&'q str>,
}

impl View<'_> {
    fn shows(&self, member: &str) -> bool {
        match member {
            "_rankingScore" => self.score,
            "_rankingScoreDetails" => self.details,
            _ => true,
        }
    }
}

/// The value of a hit's member without what `paths` name; `None` when nothing is left.
fn shown(name: &str, raw: &str, paths: &[&str]) -> Option<String> {
    let whole = match name {
        "_formatted" | "_matchesPosition" => strip_facets(raw).into_owned(),
        _ => raw.to_owned(),
    };
    let mut paths = paths.iter();
    paths.try_fold(whole, |raw, path| match name {
        "_formatted" => prune(&raw, path),
        _ => prune_member(name, &raw, path),
    })
}

/// The member's value without what `path` names; `None` when nothing is left.
pub(super) fn prune_member(name: &str, raw: &str, path: &str) -> Option<String> {
    match path.strip_prefix(name) {
        Some("") => None,
        Some(rest) => match rest.strip_prefix('.') {
            Some(rest) => prune(raw, rest),
            None => Some(raw.to_owned()),
        },
        None => Some(raw.to_owned()),
    }
}

fn prune(raw: &str, path: &str) -> Option<String> {
    if let Ok(members) = raw_json::members(raw) {
        let kept: Vec<(&str, String)> = members
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_ref(), prune_member(name, value.get(), path)?))
            })
            .collect();
        let object = raw_json::object(kept.iter().map(|(name, value)| (*name, value.as_str())));
        return (!kept.is_empty()).then_some(object);
    }
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) {
        let kept: Vec<String> = items
            .iter()
            .filter_map(|item| prune(item.get(), path))
            .collect();
        return (!kept.is_empty()).then(|| format!("[{}]", kept.join(",")));
    }
    Some(raw.to_owned())
}

fn member<'a>(members: &Members<'a>, name: &str) -> Option<&'a str> {
    members
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_show_what_was_asked_for() {
        let raw = r#"{"_miroir_shard":"†††","id":1.10,"a":{"b":1,"c":2},"d":[{"b":1},{"e":2}],"_formatted":{"_miroir_shard":"†††","id":"1","a":{"b":"1"}},"_rankingScore":0.50,"_rankingScoreDetails":{"words":{"order":0}}}"#;
        let hit = Hit::read(raw, None).expect("a hit");
        let table = [
            (
                false,
                false,
                None,
                r#"{"id":1.10,"a":{"b":1,"c":2},"d":[{"b":1},{"e":2}],"_formatted":{"id":"1","a":{"b":"1"}}}"#,
            ),
            (
                true,
                false,
                Some("a"),
                r#"{"id":1.10,"d":[{"b":1},{"e":2}],"_formatted":{"id":"1"},"_rankingScore":0.50}"#,
            ),
            (
                false,
                true,
                Some("a.b"),
                r#"{"id":1.10,"a":{"c":2},"d":[{"b":1},{"e":2}],"_formatted":{"id":"1"},"_rankingScoreDetails":{"words":{"order":0}}}"#,
            ),
            (
                false,
                false,
                Some("d.b"),
                r#"{"id":1.10,"a":{"b":1,"c":2},"d":[{"e":2}],"_formatted":{"id":"1","a":{"b":"1"}}}"#,
            ),
        ];
        for (score, details, without, expected) in table {
            assert_eq!(
                hit.write(&View {
                    score,
                    details,
                    without: Vec::from_iter(without),
                }),
                expected
            );
        }
    }

    #[test]
    fn unreadable_answers_say_which_and_why() {
        for (body, detail) in [
            (&b"oops"[..], "expected"),
            (b"{\"results\":[]}", "there are no `hits`"),
            (b"{\"hits\":[1]}", "expected a map"),
            (b"\xff", "utf-8"),
        ] {
            let error = Answer::read(body, 3).err().expect("unreadable");
            assert!(error.retryable());
            let text = error.to_string();
            assert!(
                text.starts_with("answer 3 of the merge") && text.contains(detail),
                "{text}"
            );
        }
    }
}
