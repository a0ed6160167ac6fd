//! Counting what the load saw. No clock, no network.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

/// Ids that a report names at most.
const IDS_NAMED: usize = 10;

/// One request of the load, in milliseconds since the load began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was sent.
    pub sent_ms: u64,
    /// When it was answered, or given up.
    pub ended_ms: u64,
    /// The error, if it was no success: `503 no_leader`, `no answer`.
    pub error: Option<String>,
}

/// Requests of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// All of them.
    pub sent: u64,
    /// Those that were no success.
    pub failed: u64,
    /// How often which error came.
    pub errors: BTreeMap<String, u64>,
    /// The longest time in which none succeeded, in milliseconds.
    pub longest_pause_ms: u64,
    /// The longest that a success took, in milliseconds.
    pub slowest_ms: u64,
}

impl Figures {
    /// Counts requests, sent one after the other, of a load that ended at `end_ms`.
    #[must_use]
    pub fn of(events: &[Event], end_ms: u64) -> Self {
        let mut figures = Self {
            sent: count(events.len()),
            ..Self::default()
        };
        let mut last_ms = 0;
        for event in events {
            match &event.error {
                Some(error) => {
                    figures.failed += 1;
                    *figures.errors.entry(error.clone()).or_default() += 1;
                }
                None => {
                    let took_ms = event.ended_ms.saturating_sub(event.sent_ms);
                    figures.slowest_ms = figures.slowest_ms.max(took_ms);
                    figures.pause(last_ms, event.ended_ms);
                    last_ms = event.ended_ms;
                }
            }
        }
        figures.pause(last_ms, end_ms);
        figures
    }

    fn pause(&mut self, from_ms: u64, to_ms: u64) {
        self.longest_pause_ms = self.longest_pause_ms.max(to_ms.saturating_sub(from_ms));
    }
}

/// When the first request was answered well that was sent at `from_ms` or later.
#[must_use]
pub fn first_success(events: &[Event], from_ms: u64) -> Option<u64> {
    let good = |event: &&Event| event.sent_ms >= from_ms && event.error.is_none();
    events.iter().find(good).map(|event| event.ended_ms)
}

/// What became of acknowledged writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Documents whose write was acknowledged.
    pub acknowledged: u64,
    /// Of them, those that are not there.
    pub lost: u64,
    /// Documents that are there more than once.
    pub duplicated: u64,
    /// Documents that nobody wrote, or otherwise.
    pub wrong: u64,
    /// Ids of some of these.
    pub ids: Vec<String>,
}

impl Kept {
    /// Compares what was acknowledged with what is there. A document that was `sent` may be there
    /// although it was not acknowledged; each is found once at most.
    #[must_use]
    pub fn of(acknowledged: &BTreeSet<String>, sent: &BTreeSet<String>, found: &[Value]) -> Self {
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        let mut kept = Self {
            acknowledged: count(acknowledged.len()),
            ..Self::default()
        };
        for document in found {
            match id_of(document).filter(|id| sent.contains(*id)) {
                Some(id) => *times.entry(id).or_default() += 1,
                None => {
                    kept.wrong += 1;
                    kept.name(&document.to_string());
                }
            }
        }
        for id in acknowledged
            .iter()
            .filter(|id| !times.contains_key(id.as_str()))
        {
            kept.lost += 1;
            kept.name(id);
        }
        for (id, _) in times.iter().filter(|(_, times)| **times > 1) {
            kept.duplicated += 1;
            kept.name(id);
        }
        kept
    }

    fn name(&mut self, id: &str) {
        if self.ids.len() < IDS_NAMED {
            self.ids.push(crate::format::one_line(id));
        }
    }
}

/// A document of the load: its content follows from its id, so that a damaged one is noticed.
#[must_use]
pub fn document(id: &str) -> Value {
    serde_json::json!({"id": id, "text": text(id)})
}

fn text(id: &str) -> String {
    format!("written by a drill as {id}")
}

/// The id of a document that is as [`document`] made it.
fn id_of(document: &Value) -> Option<&str> {
    let id = document["id"].as_str()?;
    (document["text"] == text(id)).then_some(id)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sent_ms: u64, ended_ms: u64, error: Option<&str>) -> Event {
        Event {
            sent_ms,
            ended_ms,
            error: error.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn pauses_are_between_successes_and_at_both_ends() {
        let table: [(&[Event], u64, Figures); 3] = [
            (
                &[],
                700,
                Figures {
                    longest_pause_ms: 700,
                    ..Figures::default()
                },
            ),
            (
                &[event(0, 10, None), event(50, 80, None)],
                100,
                Figures {
                    sent: 2,
                    longest_pause_ms: 70,
                    slowest_ms: 30,
                    ..Figures::default()
                },
            ),
            (
                &[
                    event(0, 10, None),
                    event(20, 900, Some("no answer")),
                    event(950, 2_010, None),
                ],
                2_100,
                Figures {
                    sent: 3,
                    failed: 1,
                    errors: [("no answer".to_owned(), 1)].into(),
                    longest_pause_ms: 2_000,
                    slowest_ms: 1_060,
                },
            ),
        ];
        for (events, end_ms, expected) in table {
            assert_eq!(Figures::of(events, end_ms), expected);
        }
    }

    #[test]
    fn only_what_was_sent_later_shows_that_it_works_again() {
        let events = [
            event(0, 2_000, None),
            event(2_050, 2_060, Some("503 no_leader")),
            event(2_100, 2_130, None),
        ];
        assert_eq!(first_success(&events, 0), Some(2_000));
        assert_eq!(first_success(&events, 1), Some(2_130));
        assert_eq!(first_success(&events, 2_101), None);
    }

    #[test]
    fn acknowledged_writes_are_found_once_and_as_written() {
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let damaged = serde_json::json!({"id": "a", "text": "else"});
        // acknowledged, sent, found; lost, duplicated, wrong
        type Case<'a> = (&'a [&'a str], &'a [&'a str], Vec<Value>, [u64; 3]);
        let table: [Case<'_>; 6] = [
            (&[], &[], vec![], [0, 0, 0]),
            (&["a"], &["a"], vec![document("a")], [0, 0, 0]),
            (
                &["a"],
                &["a", "b"],
                vec![document("b"), document("a")],
                [0, 0, 0],
            ),
            (&["a", "b"], &["a", "b"], vec![document("b")], [1, 0, 0]),
            (
                &["a"],
                &["a", "b"],
                vec![document("a"), document("b"), document("b")],
                [0, 1, 0],
            ),
            (&["a"], &["a"], vec![damaged, document("c")], [1, 0, 2]),
        ];
        for (acknowledged, sent, found, [lost, duplicated, wrong]) in table {
            let kept = Kept::of(&set(acknowledged), &set(sent), &found);
            let expected = [lost, duplicated, wrong];
            assert_eq!(
                [kept.lost, kept.duplicated, kept.wrong],
                expected,
                "{kept:?}"
            );
            assert_eq!(kept.ids.is_empty(), expected == [0, 0, 0]);
        }
    }
}
