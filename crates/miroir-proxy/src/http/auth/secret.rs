//! Values of keys: how they follow from the master key, and how they are compared.

use hmac::{Hmac, Mac};
use miroir_meili::Secret;
use sha2::Sha256;

/// The value of a key, before it is written in hexadecimal.
pub type KeyBytes = [u8; 32];

/// The value of the key of that uid (lowercase, hyphenated), as every node computes it.
#[must_use]
pub fn derive(master: &Secret, uid: &str) -> KeyBytes {
    let mut mac = Hmac::<Sha256>::new_from_slice(master.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(uid.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Lowercase hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// The value that a client wrote in hexadecimal, in either case; `None` for what is no value of a key.
#[must_use]
pub fn from_hex(text: &str) -> Option<KeyBytes> {
    let digits = text.as_bytes();
    let mut bytes = KeyBytes::default();
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Compares in a time that depends on the lengths only, so that a key cannot be guessed byte by
/// byte from how long a refusal takes.
#[must_use]
pub fn same(given: &[u8], expected: &[u8]) -> bool {
    let differing = expected
        .iter()
        .enumerate()
        .fold(0_u8, |differing, (at, byte)| {
            differing | (byte ^ given.get(at).copied().unwrap_or(0))
        });
    std::hint::black_box(differing) == 0 && given.len() == expected.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_meilisearch() {
        // Taken from a node: master key `masterKey`.
        let uid = "550e8400-e29b-41d4-a716-446655440000";
        let value = to_hex(&derive(&Secret::new("masterKey"), uid));
        assert_eq!(
            value,
            "a2499f4f77f061ba04d2cc025f254ade88ec7b66ccf25ef171ecde5cee4dfc7f"
        );
        assert_eq!(from_hex(&value.to_uppercase()), from_hex(&value));
        assert_eq!(from_hex(&value).map(|bytes| to_hex(&bytes)), Some(value));
    }

    #[test]
    fn what_is_not_hexadecimal_is_no_value() {
        let long = "0".repeat(65);
        let odd = "é".repeat(32);
        let wrong = "g".repeat(64);
        for text in ["", "00", "masterKey", &long, &odd, &wrong] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_same_is_the_same() {
        let table = [
            ("master", true),
            ("maste", false),
            ("masterr", false),
            ("", false),
            ("mastes", false),
        ];
        for (given, expected) in table {
            assert_eq!(same(given.as_bytes(), b"master"), expected, "{given}");
        }
    }
}
