//! How fast the migrations at work may copy, for whoever asks how they get on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use miroir_core::id::MigrationId;
use miroir_core::migration::Pace;

/// The paces of the migrations that this leader carries out. Cheap to clone; all clones are the same.
///
/// A pace is nobody's decision and part of no state: a new leader begins with none.
#[derive(Debug, Clone, Default)]
pub struct Paces {
    paces: Arc<Mutex<BTreeMap<MigrationId, Pace>>>,
}

/// The pace of one migration at work. Dropping it forgets the pace.
#[derive(Debug)]
pub struct Noted {
    all: Paces,
    id: MigrationId,
}

impl Paces {
    /// A migration begins, or goes on.
    #[must_use]
    pub fn begin(&self, id: MigrationId) -> Noted {
        Noted {
            all: self.clone(),
            id,
        }
    }

    /// The pace of a migration has been adapted.
    pub fn note(&self, id: MigrationId, pace: Pace) {
        self.lock().insert(id, pace);
    }

    /// The pace of a migration; `None` when this coordinator does not copy for it.
    #[must_use]
    pub fn of(&self, id: MigrationId) -> Option<Pace> {
        self.lock().get(&id).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MigrationId, Pace>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}
