//! Clients' repeated writes: which of them are known already (docs/adr/0016).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::id::TaskUid;

/// 128 bits of a hash. Nothing of what was hashed can be read back from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest that 32 hexadecimal digits say, or `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = well_formed.then(|| u128::from_str_radix(text, 16).ok())??;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a digest has 32 hexadecimal digits"))
    }
}

/// What tells a client's repeated write from a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// Of the client's key, and of whose it is.
    pub key: Digest,
    /// Of the request: method, path, query and body.
    pub request: Digest,
}

/// A write that was registered under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownWrite {
    /// The request.
    pub request: Digest,
    /// Its task, which may have been forgotten since.
    pub task: TaskUid,
    /// When it was registered, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Counts registrations: the order in which they are forgotten.
    number: u64,
}

/// The writes that are known by a key, the newest of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Digest, KnownWrite)>", into = "Vec<(Digest, KnownWrite)>")]
pub struct KnownWrites {
    by_key: BTreeMap<Digest, KnownWrite>,
    by_number: BTreeMap<u64, Digest>,
}

/// How many known writes are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// The most of them; the oldest go first.
    pub max: u32,
    /// For how long, in milliseconds.
    pub ttl_ms: u64,
}

impl KnownWrites {
    /// The write that was registered under a key, unless that is too long ago at `now_ms`.
    #[must_use]
    pub fn find(&self, key: &Digest, now_ms: u64, keeping: Keeping) -> Option<&KnownWrite> {
        let known = self.by_key.get(key)?;
        (!is_over(known, now_ms, keeping)).then_some(known)
    }

    /// How many are remembered, those that are too old by now included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Remembers a write, and forgets what is too old or too much. A key that is known keeps its write.
    pub(crate) fn note(&mut self, new: Idempotency, task: TaskUid, now_ms: u64, keeping: Keeping) {
        self.trim(now_ms, keeping);
        if self.find(&new.key, now_ms, keeping).is_some() {
            return;
        }
        let number = self
            .by_number
            .last_key_value()
            .map_or(0, |(newest, _)| newest + 1);
        let known = KnownWrite {
            request: new.request,
            task,
            at_ms: now_ms,
            number,
        };
        if let Some(before) = self.by_key.insert(new.key, known) {
            self.by_number.remove(&before.number);
        }
        self.by_number.insert(number, new.key);
        self.trim(now_ms, keeping);
    }

    fn trim(&mut self, now_ms: u64, keeping: Keeping) {
        let max = usize::try_from(keeping.max).unwrap_or(usize::MAX);
        while let Some((number, key)) = self.by_number.first_key_value() {
            let is_kept = self
                .by_key
                .get(key)
                .is_some_and(|known| !is_over(known, now_ms, keeping));
            if is_kept && self.by_number.len() <= max {
                return;
            }
            let (number, key) = (*number, *key);
            self.by_number.remove(&number);
            self.by_key.remove(&key);
        }
    }
}

/// Times are the leaders', whose clocks may differ: one that lies ahead is not over.
fn is_over(known: &KnownWrite, now_ms: u64, keeping: Keeping) -> bool {
    now_ms.saturating_sub(known.at_ms) >= keeping.ttl_ms
}

impl From<Vec<(Digest, KnownWrite)>> for KnownWrites {
    fn from(writes: Vec<(Digest, KnownWrite)>) -> Self {
        let by_number = writes.iter().map(|(key, known)| (known.number, *key));
        Self {
            by_number: by_number.collect(),
            by_key: writes.into_iter().collect(),
        }
    }
}

impl From<KnownWrites> for Vec<(Digest, KnownWrite)> {
    fn from(writes: KnownWrites) -> Self {
        writes.by_key.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: u8, request: u8) -> Idempotency {
        Idempotency {
            key: Digest([key; 16]),
            request: Digest([request; 16]),
        }
    }

    #[test]
    fn digests_are_32_digits() {
        let digest = Digest([0x0f; 16]);
        assert_eq!(digest.to_string(), "0f".repeat(16));
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        for wrong in ["", "0f", &"+0".repeat(16), &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_newest_are_kept_for_their_time() {
        let keeping = Keeping {
            max: 2,
            ttl_ms: 100,
        };
        let mut known = KnownWrites::default();
        for (n, at) in [(1, 1000), (2, 1010), (3, 1020)] {
            known.note(write(n, n), TaskUid(n.into()), at, keeping);
        }
        let task = |known: &KnownWrites, key: u8, now| {
            let found = known.find(&Digest([key; 16]), now, keeping);
            found.map(|write| write.task.0)
        };
        assert_eq!(
            [1, 2, 3].map(|key| task(&known, key, 1030)),
            [None, Some(2), Some(3)]
        );
        assert_eq!(task(&known, 2, 1110), None, "too old");
        // A clock that goes back does not make it older.
        assert_eq!(task(&known, 2, 5), Some(2));
        // What is known stays; what is over is replaced, once.
        known.note(write(3, 9), TaskUid(9), 1050, keeping);
        assert_eq!(task(&known, 3, 1050), Some(3));
        known.note(write(3, 9), TaskUid(9), 1120, keeping);
        assert_eq!((task(&known, 3, 1120), known.len()), (Some(9), 1));
    }

    #[test]
    fn what_is_stored_is_what_there_was() {
        let keeping = Keeping {
            max: 9,
            ttl_ms: 100,
        };
        let mut known = KnownWrites::default();
        for n in [3, 1, 2] {
            known.note(write(n, n), TaskUid(n.into()), 1000, keeping);
        }
        let stored = serde_json::to_string(&known).expect("JSON");
        let read: KnownWrites = serde_json::from_str(&stored).expect("the same");
        assert_eq!(read, known);
    }
}
