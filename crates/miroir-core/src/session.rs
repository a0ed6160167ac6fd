//! What a client has written, as a token that it shows with its reads (docs/adr/0017).

use std::collections::BTreeMap;

use twox_hash::XxHash3_64;

use crate::id::TaskUid;

/// Begins every token.
const VERSION: u8 = 1;
/// Indexes that a token names. What is beyond them counts for every index.
const INDEXES_MAX: usize = 32;
/// Version, cluster, the task for every index, and the check at the end.
const FIXED_BYTES: usize = 1 + 8 + 4 + 4;
const INDEX_BYTES: usize = 8 + 4;

/// The newest task of a client's for each index that it wrote to.
///
/// Indexes and the cluster are named by hashes. Two indexes of one hash share a task, which only makes a read wait for
/// more than it has to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionToken {
    cluster: u64,
    /// One more than the newest task that counts for every index; 0 is none.
    everywhere: u32,
    by_index: BTreeMap<u64, u32>,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It is not a token, or not any more.
    #[error("it is damaged")]
    Damaged,
    /// It was given by another cluster.
    #[error("it is of another cluster")]
    OtherCluster,
}

impl SessionToken {
    /// Of a client that has written nothing to this cluster.
    #[must_use]
    pub fn new(cluster_id: &str) -> Self {
        Self {
            cluster: hash(cluster_id),
            everywhere: 0,
            by_index: BTreeMap::new(),
        }
    }

    /// The token that a text says.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn decode(text: &str, cluster_id: &str) -> Result<Self, SessionError> {
        let bytes = from_hex(text).ok_or(SessionError::Damaged)?;
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(SessionError::Damaged)?;
        let indexes = bytes.len().checked_sub(FIXED_BYTES);
        let well_formed = body.first() == Some(&VERSION)
            && indexes.is_some_and(|n| n.is_multiple_of(INDEX_BYTES))
            && indexes.is_some_and(|n| n / INDEX_BYTES <= INDEXES_MAX)
            && checked(body) == *check;
        if !well_formed {
            return Err(SessionError::Damaged);
        }
        let (cluster, rest) = body[1..].split_first_chunk().ok_or(SessionError::Damaged)?;
        let (everywhere, rest) = rest.split_first_chunk().ok_or(SessionError::Damaged)?;
        let one = |chunk: &[u8]| {
            let (index, task) = chunk.split_first_chunk()?;
            let task = task.first_chunk()?;
            Some((u64::from_be_bytes(*index), u32::from_be_bytes(*task)))
        };
        let by_index: Option<_> = rest.chunks(INDEX_BYTES).map(one).collect();
        let token = Self {
            cluster: u64::from_be_bytes(*cluster),
            everywhere: u32::from_be_bytes(*everywhere),
            by_index: by_index.ok_or(SessionError::Damaged)?,
        };
        if token.cluster == hash(cluster_id) {
            Ok(token)
        } else {
            Err(SessionError::OtherCluster)
        }
    }

    /// Takes note of a task of the client's; without an index it counts for every one.
    pub fn note(&mut self, index: Option<&str>, task: TaskUid) {
        match index {
            None => self.everywhere = self.everywhere.max(task.0.saturating_add(1)),
            Some(index) => {
                let newest = self.by_index.entry(hash(index)).or_default();
                *newest = task.0.max(*newest);
            }
        }
        if self.by_index.len() > INDEXES_MAX {
            self.forget_oldest();
        }
    }

    /// The oldest task counts for every index from now on: most likely it has long ended.
    fn forget_oldest(&mut self) {
        let oldest = self.by_index.iter().min_by_key(|(_, task)| **task);
        if let Some((index, task)) = oldest.map(|(index, task)| (*index, *task)) {
            self.by_index.remove(&index);
            self.everywhere = self.everywhere.max(task.saturating_add(1));
        }
    }

    /// The newest task of an index that the client's reads of it are to show; it, and what came before it.
    #[must_use]
    pub fn newest(&self, index: &str) -> Option<TaskUid> {
        let own = self.by_index.get(&hash(index)).copied();
        own.max(self.everywhere.checked_sub(1)).map(TaskUid)
    }

    /// Its text: at most some 800 hexadecimal digits.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.cluster.to_be_bytes());
        bytes.extend(self.everywhere.to_be_bytes());
        for (index, task) in &self.by_index {
            bytes.extend(index.to_be_bytes());
            bytes.extend(task.to_be_bytes());
        }
        bytes.extend(checked(&bytes));
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn hash(text: &str) -> u64 {
    XxHash3_64::oneshot(text.as_bytes())
}

fn checked(body: &[u8]) -> [u8; 4] {
    let hash = XxHash3_64::oneshot(body).to_be_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let longest = 2 * (FIXED_BYTES + INDEXES_MAX * INDEX_BYTES);
    if text.len() > longest || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_task_of_each_index_is_remembered() {
        let mut token = SessionToken::new("one");
        assert_eq!(token.newest("a"), None);
        for (index, task) in [(Some("a"), 7), (Some("b"), 0), (Some("a"), 3)] {
            token.note(index, TaskUid(task));
        }
        let newest = |token: &SessionToken, index| token.newest(index).map(|task| task.0);
        assert_eq!(
            ["a", "b", "c"].map(|index| newest(&token, index)),
            [Some(7), Some(0), None]
        );
        assert_eq!(
            SessionToken::decode(&token.encode(), "one"),
            Ok(token.clone())
        );
        assert_eq!(
            SessionToken::decode(&token.encode(), "two"),
            Err(SessionError::OtherCluster)
        );
        token.note(None, TaskUid(5));
        assert_eq!(
            ["a", "b", "c"].map(|index| newest(&token, index)),
            [Some(7), Some(5), Some(5)]
        );
    }

    #[test]
    fn a_token_of_many_indexes_stays_small_and_forgets_nothing() {
        let mut token = SessionToken::new("one");
        for task in 0..1000 {
            token.note(Some(&format!("index-{task}")), TaskUid(task));
        }
        assert!(token.encode().len() <= 802, "{}", token.encode().len());
        for task in 0..1000 {
            let newest = token.newest(&format!("index-{task}"));
            assert!(newest >= Some(TaskUid(task)), "{task}");
        }
        assert_eq!(token.newest("index-999"), Some(TaskUid(999)));
        assert!(SessionToken::decode(&token.encode(), "one").is_ok());
    }

    proptest! {
        #[test]
        fn damage_is_noticed(at in 0_usize..58, digit in "[0-9a-f]", text in ".{0,900}") {
            let mut token = SessionToken::new("one");
            token.note(Some("a"), TaskUid(7));
            let good = token.encode();
            let mut damaged = good.clone();
            damaged.replace_range(at..=at, &digit);
            let read = SessionToken::decode(&damaged, "one");
            prop_assert_eq!(read.is_ok(), damaged == good);
            prop_assert!(SessionToken::decode(&text, "one").is_err());
            prop_assert!(SessionToken::decode(&good[..at], "one").is_err());
        }
    }
}
