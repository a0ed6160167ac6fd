//! What the cluster must hold: every write that was acknowledged, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

/// A document's fields.
pub type Fields = Arc<Map<String, Value>>;

#[derive(Debug, Default)]
struct Known {
    documents: BTreeMap<String, Fields>,
    /// Ids of writes whose fate the client does not know: both outcomes are right.
    unknown: BTreeSet<String>,
}

/// The record of acknowledged writes. Each id has one client that writes it, one request after the other, so
/// that the last acknowledged write of an id is known.
#[derive(Debug, Default)]
pub struct Oracle {
    known: Mutex<Known>,
}

impl Oracle {
    /// A document was added or replaced.
    pub fn put(&self, id: &str, fields: Fields) {
        let mut known = self.lock();
        known.unknown.remove(id);
        known.documents.insert(id.to_owned(), fields);
    }

    /// Some fields of a document were changed; one that was not there came to be with these alone.
    pub fn update(&self, id: &str, changed: &Map<String, Value>) {
        let mut known = self.lock();
        let mut fields = known
            .documents
            .get(id)
            .map(|old| old.as_ref().clone())
            .unwrap_or_default();
        fields.extend(changed.clone());
        known.documents.insert(id.to_owned(), Arc::new(fields));
    }

    /// A document was deleted.
    pub fn delete(&self, id: &str) {
        let mut known = self.lock();
        known.unknown.remove(id);
        known.documents.remove(id);
    }

    /// A write of this id was not acknowledged, and may have been carried out.
    pub fn doubt(&self, id: &str) {
        self.lock().unknown.insert(id.to_owned());
    }

    /// How many documents there must be.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().documents.len()
    }

    /// Whether there must be none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All documents there must be.
    #[must_use]
    pub fn documents(&self) -> BTreeMap<String, Fields> {
        self.lock().documents.clone()
    }

    /// Ids of which either outcome is right.
    #[must_use]
    pub fn unknown(&self) -> BTreeSet<String> {
        self.lock().unknown.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
