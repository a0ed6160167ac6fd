//! What the cluster must hold: every write that was acknowledged, and of the others what may have come of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

/// A document's fields.
pub type Fields = Arc<Map<String, Value>>;

/// What a document may be by now: one state for each way its unacknowledged writes may have ended; `None` is absent.
/// Never empty, and one alone when every write since the last whole replacement was acknowledged.
pub type States = Vec<Option<Fields>>;

/// The record of writes. Each id has one client that writes it, one request after the other, so that the order of an
/// id's writes is known. An id that is not in it was never written, or was deleted for certain.
#[derive(Debug, Default)]
pub struct Oracle {
    known: Mutex<BTreeMap<String, States>>,
}

impl Oracle {
    /// A document was added or replaced.
    pub fn put(&self, id: &str, fields: Fields) {
        self.lock().insert(id.to_owned(), vec![Some(fields)]);
    }

    /// A document may have been added or replaced.
    pub fn maybe_put(&self, id: &str, fields: Fields) {
        self.also(id, |_| Some(Arc::clone(&fields)));
    }

    /// Some fields of a document were changed; one that was not there came to be with these alone.
    pub fn update(&self, id: &str, changed: &Map<String, Value>) {
        let mut known = self.lock();
        let states = known.entry(id.to_owned()).or_insert_with(|| vec![None]);
        for state in states {
            *state = Some(updated(state.as_ref(), changed));
        }
    }

    /// Some fields of a document may have been changed.
    pub fn maybe_update(&self, id: &str, changed: &Map<String, Value>) {
        self.also(id, |state| Some(updated(state, changed)));
    }

    /// A document was deleted.
    pub fn delete(&self, id: &str) {
        self.lock().remove(id);
    }

    /// A document may have been deleted.
    pub fn maybe_delete(&self, id: &str) {
        self.also(id, |_| None);
    }

    /// Keeps every state there may be, and adds what each would be after a write.
    fn also(&self, id: &str, write: impl Fn(Option<&Fields>) -> Option<Fields>) {
        let mut known = self.lock();
        let states = known.entry(id.to_owned()).or_insert_with(|| vec![None]);
        let after: Vec<_> = states.iter().map(|state| write(state.as_ref())).collect();
        for state in after {
            if !states.contains(&state) {
                states.push(state);
            }
        }
    }

    /// How many documents there must be.
    #[must_use]
    pub fn len(&self) -> usize {
        let must = |states: &&States| states.iter().all(Option::is_some);
        self.lock().values().filter(must).count()
    }

    /// Whether there must be none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All documents whose state is known for certain.
    #[must_use]
    pub fn documents(&self) -> BTreeMap<String, Fields> {
        let certain = |(id, states): (&String, &States)| match states.as_slice() {
            [Some(fields)] => Some((id.clone(), Arc::clone(fields))),
            _ => None,
        };
        self.lock().iter().filter_map(certain).collect()
    }

    /// What every document may be.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, States> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, States>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn updated(old: Option<&Fields>, changed: &Map<String, Value>) -> Fields {
    let mut fields = old.map(|old| old.as_ref().clone()).unwrap_or_default();
    fields.extend(changed.clone());
    Arc::new(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: &Value) -> Fields {
        Arc::new(value.as_object().cloned().unwrap_or_default())
    }

    fn states(oracle: &Oracle) -> Vec<Value> {
        let states = oracle.states().remove("a").unwrap_or_default();
        states
            .into_iter()
            .map(|state| state.map_or(Value::Null, |fields| json!(*fields)))
            .collect()
    }

    #[test]
    fn an_unacknowledged_write_leaves_both_outcomes_until_the_next_replacement() {
        let oracle = Oracle::default();
        let (one, two) = (fields(&json!({"v": 1})), fields(&json!({"v": 2})));
        oracle.put("a", one);
        oracle.maybe_put("a", Arc::clone(&two));
        assert_eq!(states(&oracle), [json!({"v": 1}), json!({"v": 2})]);
        oracle.update("a", &fields(&json!({"w": 3})));
        assert_eq!(
            states(&oracle),
            [json!({"v": 1, "w": 3}), json!({"v": 2, "w": 3})]
        );
        assert_eq!((oracle.len(), oracle.documents().len()), (1, 0));
        oracle.maybe_delete("a");
        assert_eq!((oracle.len(), states(&oracle).len()), (0, 3));
        oracle.maybe_delete("a");
        assert_eq!(states(&oracle).len(), 3, "the same state twice is one");
        oracle.put("a", two);
        assert_eq!(states(&oracle), [json!({"v": 2})]);
    }

    #[test]
    fn a_document_nobody_wrote_may_come_of_an_unacknowledged_write() {
        let oracle = Oracle::default();
        oracle.maybe_update("a", &fields(&json!({"v": 1})));
        assert_eq!(states(&oracle), [Value::Null, json!({"v": 1})]);
        oracle.delete("a");
        assert!(states(&oracle).is_empty() && oracle.is_empty());
    }
}
