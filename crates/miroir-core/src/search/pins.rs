//! Documents that dynamic search rules pin to places in an answer.
//!
//! Nodes judge the rules and tell the place of a hit that is pinned. Which of several goes first that are pinned to one
//! place follows from the order of the rules, which no single node's answer tells.
//!
//! Meilisearch places pins twice: those of each query by the order of the rules, which decides which of them come into
//! the page, and these then by their places.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::raw_json::Members;
use crate::registry::{DYNAMIC_SEARCH_RULES, Registry};

/// Pins that one search follows at most: as many as Meilisearch does.
const PINS_MAX: usize = 100;

/// What rules pin in one index, in the order in which rules come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins {
    /// The turn of each document at each place.
    turns: BTreeMap<(String, u64), usize>,
}

impl Pins {
    /// What the rules of a registry pin in the index `uid`. Nothing, while the feature is off.
    #[must_use]
    pub fn of(registry: &Registry, uid: &str) -> Self {
        let mut pins = Self::default();
        if !registry.feature(DYNAMIC_SEARCH_RULES) {
            return pins;
        }
        let rules = registry.rules().into_iter().map(|(_, entry)| &entry.value);
        let mut rules: Vec<&Value> = rules.filter(|rule| rule["active"] != false).collect();
        // Stable: of two of the same precedence, the older comes first.
        rules.sort_by_key(|rule| rule["precedence"].as_u64().unwrap_or(u64::MAX));
        let actions = rules
            .iter()
            .filter_map(|rule| rule["actions"].as_array())
            .flatten();
        for action in actions {
            let selector = &action["selector"];
            let elsewhere = selector["indexUid"].as_str().is_some_and(|of| of != uid);
            if let (Some(id), Some(position), false) = (
                selector["id"].as_str(),
                action["action"]["position"].as_u64(),
                elsewhere,
            ) {
                let turn = pins.turns.len();
                pins.turns.entry((id.to_owned(), position)).or_insert(turn);
            }
        }
        pins
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many hits of one answer can be pinned.
    pub(super) fn most(&self) -> u64 {
        self.turns.len().min(PINS_MAX) as u64
    }

    /// The turn of a hit that is pinned to `position`. Of one that does not show its id, the first turn that any
    /// document has there.
    pub(super) fn turn(&self, id: Option<&str>, position: u64) -> usize {
        let known = match id {
            Some(id) => self.turns.get(&(id.to_owned(), position)).copied(),
            None => {
                let there = self.turns.iter().filter(|((_, at), _)| *at == position);
                there.map(|(_, turn)| *turn).min()
            }
        };
        known.unwrap_or(usize::MAX)
    }
}

/// A document's id as rules name it: the text, or the digits.
pub(super) fn id_of(members: &Members<'_>, primary_key: Option<&str>) -> Option<String> {
    let (_, raw) = members
        .iter()
        .find(|(name, _)| Some(name.as_ref()) == primary_key)?;
    match serde_json::from_str(raw.get()).ok()? {
        Value::String(text) => Some(text),
        number @ Value::Number(_) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A hit that is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pinned<T> {
    /// Where to.
    pub(super) position: u64,
    /// When it takes its place: see [`Pins::turn`].
    pub(super) turn: usize,
    /// The hit.
    pub(super) hit: T,
}

/// Those of one query's pinned hits that come into its first `end` ones, with so many `others`. Each waits until the one
/// before it in turn has got its place, and goes behind it; or to the end, when there are no others left.
pub(super) fn surviving<T>(
    mut pinned: Vec<Pinned<T>>,
    others: usize,
    end: usize,
) -> Vec<Pinned<T>> {
    pinned.sort_by_key(|pin| pin.turn);
    let others = std::iter::repeat_with(|| None).take(others);
    let pinned = pinned.into_iter().map(|pin| (pin.position, Some(pin)));
    place(pinned, others, end).into_iter().flatten().collect()
}

/// The first `end` hits, with the pinned ones among the others: each at its place, or behind the one before it where
/// that is taken, or at the end of what is there.
pub(super) fn place<T>(
    pinned: impl IntoIterator<Item = (u64, T)>,
    others: impl IntoIterator<Item = T>,
    end: usize,
) -> Vec<T> {
    let mut pinned = pinned.into_iter().peekable();
    let mut others = others.into_iter();
    let mut placed = Vec::new();
    while placed.len() < end {
        let due = pinned.next_if(|(position, _)| *position <= placed.len() as u64);
        let next = due.map(|(_, hit)| hit).or_else(|| others.next());
        match next.or_else(|| pinned.next().map(|(_, hit)| hit)) {
            Some(hit) => placed.push(hit),
            None => break,
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Collection, Entry, FEATURES};
    use serde_json::json;

    fn registry(on: bool, rules: &[Value]) -> Registry {
        let entry = |at: usize, value: Value| Entry {
            value,
            version: 1,
            created_at_ms: at as u64,
            updated_at_ms: at as u64,
        };
        let feature = (
            Collection::ExperimentalFeatures,
            FEATURES.to_owned(),
            entry(0, json!({ DYNAMIC_SEARCH_RULES: on })),
        );
        let rules = rules.iter().enumerate().map(|(at, rule)| {
            // The older ones have the later names.
            let name = format!("rule-{}", 100 - at);
            (
                Collection::DynamicSearchRules,
                name,
                entry(at, rule.clone()),
            )
        });
        Registry::of(1, true, std::iter::once(feature).chain(rules))
    }

    fn pin(id: &str, position: u64) -> Value {
        json!({ "selector": { "id": id }, "action": { "type": "pin", "position": position } })
    }

    #[test]
    fn turns_follow_precedence_then_age_then_the_list() {
        let rules = [
            json!({ "actions": [pin("late", 0)] }),
            json!({ "precedence": 7, "actions": [pin("b", 3), pin("c", 1), pin("b", 3)] }),
            json!({ "precedence": 2, "actions": [pin("a", 9)] }),
            json!({ "precedence": 7, "actions": [pin("d", 3)] }),
            json!({ "active": false, "precedence": 0, "actions": [pin("off", 0)] }),
            json!({ "precedence": 1, "actions": [
                { "selector": { "id": "x", "indexUid": "other" }, "action": { "type": "pin", "position": 0 } },
            ] }),
        ];
        let pins = Pins::of(&registry(true, &rules), "books");
        let turn = |id: &str, at: u64| pins.turn(Some(id), at);
        let turns = [
            turn("a", 9),
            turn("b", 3),
            turn("c", 1),
            turn("d", 3),
            turn("late", 0),
        ];
        assert!(
            turns.is_sorted() && turns.iter().all(|turn| *turn < usize::MAX),
            "{turns:?}"
        );
        assert_eq!(turn("off", 0), usize::MAX);
        assert_eq!(turn("x", 0), usize::MAX);
        assert_eq!(pins.turn(None, 3), turn("b", 3));
        assert_eq!(pins.most(), 5);
        assert_eq!(Pins::of(&registry(true, &rules), "other").most(), 6);
        assert!(Pins::of(&registry(false, &rules), "books").is_empty());
    }

    #[test]
    fn a_pin_that_waits_beyond_the_end_takes_those_behind_it_along() {
        let table: [(&[u64], usize, usize, &[u64]); 5] = [
            (&[3, 12, 11], 50, 13, &[3, 12]),
            (&[3, 12, 11], 50, 14, &[3, 12, 11]),
            (&[8, 0], 50, 5, &[]),
            (&[8, 0], 2, 5, &[8, 0]),
            (&[0, 0, 0], 50, 2, &[0, 0]),
        ];
        for (positions, others, end, expected) in table {
            let pins = positions.iter().enumerate();
            let pins = pins.map(|(turn, position)| Pinned {
                position: *position,
                turn,
                hit: (),
            });
            let left = surviving(pins.rev().collect(), others, end);
            let left: Vec<u64> = left.iter().map(|pin| pin.position).collect();
            assert_eq!(left, expected, "{positions:?} {others} {end}");
        }
    }

    #[test]
    fn pinned_hits_go_to_their_places() {
        type Case<'a> = (&'a [(u64, char)], &'a str, usize, &'a str);
        let table: [Case<'_>; 9] = [
            (&[], "abc", 2, "ab"),
            (&[(0, 'x')], "abc", 10, "xabc"),
            (&[(2, 'x')], "abc", 10, "abxc"),
            // Beyond the end of the others, and beyond what is wanted.
            (&[(9, 'x')], "ab", 10, "abx"),
            (&[(9, 'x')], "abc", 3, "abc"),
            // One place for two, and one that is taken by then.
            (&[(1, 'x'), (1, 'y')], "abc", 10, "axybc"),
            (&[(0, 'x'), (0, 'y'), (1, 'z')], "abc", 10, "xyzabc"),
            (&[(0, 'x'), (1, 'y'), (3, 'z')], "ab", 10, "xyazb"),
            (&[(5, 'x'), (7, 'y')], "", 10, "xy"),
        ];
        for (pinned, others, end, expected) in table {
            let placed = place(pinned.iter().copied(), others.chars(), end);
            assert_eq!(String::from_iter(placed), expected, "{pinned:?} {others}");
        }
    }
}
