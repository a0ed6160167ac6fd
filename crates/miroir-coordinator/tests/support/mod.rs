//! A state machine small enough to predict, for storage and consensus tests.

use std::collections::BTreeMap;

use miroir_coordinator::raft::Machine;
use serde::{Deserialize, Serialize};

/// Counters by name; every outcome tells what the counter was before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub values: BTreeMap<String, u64>,
    pub last_at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Add {
        name: String,
        amount: u64,
    },
    /// Carries bytes without meaning, to make entries and snapshots large.
    Fill {
        name: String,
        filler: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub before: u64,
    pub index: u64,
}

impl Machine for Counters {
    type Command = Command;
    type Outcome = Outcome;

    fn apply(&mut self, index: u64, at_ms: u64, command: &Command) -> Outcome {
        self.last_at_ms = at_ms;
        let (name, amount) = match command {
            Command::Add { name, amount } => (name.clone(), *amount),
            Command::Fill { name, filler } => (format!("{name}/{filler}"), 1),
        };
        let value = self.values.entry(name).or_default();
        let before = *value;
        *value += amount;
        Outcome { before, index }
    }

    fn snapshot(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a map of numbers is JSON")
    }

    fn restore(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
}
