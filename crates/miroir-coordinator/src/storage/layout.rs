//! Where everything is: keys, and the framing of values.
//!
//! | key | value |
//! |---|---|
//! | `m` `format`, `marker`, `vote`, `purged`, `committed`, `snapshot` | one checked value each |
//! | `l` + u64 index + u16 part | log entry, in parts |
//! | `p` + u64 generation + u32 chunk | snapshot, in chunks |
//!
//! Numbers are big-endian, so that key order is numeric order. Values larger than
//! [`ROW_BYTES_MAX`] are cut up: sled rewrites up to 16 rows at once, and pages above a
//! quarter of a segment would go to separate files that it never syncs.

use std::ops::Range;

use super::StoreError;

/// Version of keys, framing and messages; a directory with another one is refused.
pub const FORMAT: u32 = 1;

/// Longest value of a row, in bytes.
pub const ROW_BYTES_MAX: usize = 32 * 1024;

const META: u8 = b'm';
const LOG: u8 = b'l';
const SNAPSHOT: u8 = b'p';

/// Single rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Format version.
    Format,
    /// Owner of the directory.
    Marker,
    /// Last vote.
    Vote,
    /// Last purged log id.
    Purged,
    /// Last log id known to be committed.
    Committed,
    /// Current snapshot.
    Snapshot,
}

impl Meta {
    /// The row's name, also used in error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Marker => "marker",
            Self::Vote => "vote",
            Self::Purged => "purged",
            Self::Committed => "committed",
            Self::Snapshot => "snapshot",
        }
    }

    /// The row's key.
    pub fn key(self) -> Vec<u8> {
        let mut key = vec![META];
        key.extend_from_slice(self.name().as_bytes());
        key
    }
}

/// Key of one part of a log entry.
pub fn log_key(index: u64, part: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(11);
    key.push(LOG);
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// All log rows.
pub fn log_range() -> Range<Vec<u8>> {
    vec![LOG]..vec![LOG + 1]
}

/// Reads a key made by [`log_key`].
pub fn parse_log_key(key: &[u8]) -> Result<(u64, u16), StoreError> {
    match key {
        [LOG, rest @ ..] if rest.len() == 10 => {
            let (index, part) = rest.split_at(8);
            Ok((be_u64(index), u16::from_be_bytes([part[0], part[1]])))
        }
        _ => Err(StoreError::corrupt(
            format!("key {key:02x?}"),
            "not a log key",
        )),
    }
}

/// Key of one chunk of a snapshot.
pub fn chunk_key(generation: u64, chunk: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(SNAPSHOT);
    key.extend_from_slice(&generation.to_be_bytes());
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// All chunks of one snapshot.
pub fn chunk_range(generation: u64) -> Range<Vec<u8>> {
    let end = match generation.checked_add(1) {
        Some(next) => chunk_key(next, 0),
        None => vec![SNAPSHOT + 1],
    };
    chunk_key(generation, 0)..end
}

/// All chunks of all snapshots.
pub fn snapshot_range() -> Range<Vec<u8>> {
    vec![SNAPSHOT]..vec![SNAPSHOT + 1]
}

/// Generation of a key made by [`chunk_key`].
pub fn parse_chunk_key(key: &[u8]) -> Result<u64, StoreError> {
    match key {
        [SNAPSHOT, rest @ ..] if rest.len() == 12 => Ok(be_u64(&rest[..8])),
        _ => Err(StoreError::corrupt(
            format!("key {key:02x?}"),
            "not a snapshot key",
        )),
    }
}

/// Puts a checksum in front of `body`.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(4 + body.len());
    sealed.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
    sealed.extend_from_slice(body);
    sealed
}

/// Takes off and checks what [`seal`] put on. `row` names the row in the error.
pub fn unseal<'a>(row: &str, sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let Some((crc, body)) = sealed.split_first_chunk::<4>() else {
        return Err(StoreError::corrupt(row, "shorter than its checksum"));
    };
    if u32::from_be_bytes(*crc) != crc32fast::hash(body) {
        return Err(StoreError::corrupt(row, "checksum does not match"));
    }
    Ok(body)
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| (n << 8) | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_their_numbers_and_read_back() {
        let mut previous = Vec::new();
        for (index, part) in [
            (0, 0),
            (0, 1),
            (1, 0),
            (255, 9),
            (256, 0),
            (u64::MAX, 65_535),
        ] {
            let key = log_key(index, part);
            assert!(previous < key, "{index}/{part}");
            assert!(log_range().contains(&key));
            assert_eq!(parse_log_key(&key).expect("own key"), (index, part));
            previous = key;
        }
        for generation in [0, 7, u64::MAX] {
            let key = chunk_key(generation, u32::MAX);
            assert!(chunk_range(generation).contains(&key));
            assert!(snapshot_range().contains(&key));
            assert_eq!(parse_chunk_key(&key).expect("own key"), generation);
        }
        assert!(!chunk_range(7).contains(&chunk_key(8, 0)));
    }

    #[test]
    fn foreign_keys_are_refused() {
        for key in [&b""[..], b"l", b"l1234567", b"x12345678ab"] {
            assert!(parse_log_key(key).is_err(), "{key:?}");
            assert!(parse_chunk_key(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_value_is_found() {
        let sealed = seal(b"a vote");
        assert_eq!(unseal("m/vote", &sealed).expect("untouched"), b"a vote");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("m/vote", &damaged).is_err(), "bit {bit}");
        }
        assert!(unseal("m/vote", &sealed[..3]).is_err());
    }
}
