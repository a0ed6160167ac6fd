//! Which indexes some actor is changing on a node at this moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use miroir_core::id::{Incarnation, IndexUid};

type Key = (IndexUid, Incarnation);

/// Counts the actors of each index. Cheap to clone; all clones are the same.
///
/// An index that is deleted while documents of it are on their way to a node would come back with them: nothing
/// is purged while an actor of it is at work.
#[derive(Debug, Clone, Default)]
pub struct Underway {
    actors: Arc<Mutex<BTreeMap<Key, usize>>>,
}

/// One actor at work. Dropping it ends that.
#[derive(Debug)]
pub struct AtWork {
    all: Underway,
    key: Key,
}

impl Underway {
    /// An actor of an index begins.
    #[must_use]
    pub fn begin(&self, uid: &IndexUid, incarnation: Incarnation) -> AtWork {
        let key = (uid.clone(), incarnation);
        *self.lock().entry(key.clone()).or_default() += 1;
        AtWork {
            all: self.clone(),
            key,
        }
    }

    /// Whether an actor of an index is at work.
    #[must_use]
    pub fn is_at_work(&self, uid: &IndexUid, incarnation: Incarnation) -> bool {
        self.lock().contains_key(&(uid.clone(), incarnation))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, usize>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut actors = self.all.lock();
        if let Some(count) = actors.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                actors.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_rests_when_its_last_actor_does() {
        let underway = Underway::default();
        let uid = IndexUid::parse("books").expect("valid");
        let one = underway.begin(&uid, Incarnation(1));
        let two = underway.begin(&uid, Incarnation(1));
        assert!(!underway.is_at_work(&uid, Incarnation(2)));
        drop(one);
        assert!(underway.is_at_work(&uid, Incarnation(1)));
        drop(two);
        assert!(!underway.is_at_work(&uid, Incarnation(1)));
    }
}
