//! Which shard an id belongs to, and how a shard number is written into a document.

use twox_hash::XxHash3_64;

use super::NAME;

/// The most shards an index can have: three symbols of sixteen.
pub const MAX_SHARDS: u16 = 4096;

/// Symbols that Meilisearch's tokenizer treats as separators, so that a value made of them
/// holds no word and no query can match it. They survive NFKD and lower-casing unchanged,
/// and they ascend by code point, so that the order of codes is the order of shards and a
/// string range selects a range of shards.
pub(crate) const SYMBOLS: [char; 16] = [
    '\u{2020}', '\u{2021}', '\u{2042}', '\u{204C}', '\u{204D}', '\u{204E}', '\u{2050}', '\u{2051}',
    '\u{2053}', '\u{2055}', '\u{2058}', '\u{2059}', '\u{205B}', '\u{205C}', '\u{205D}', '\u{205E}',
];

/// Never change it: it decides where every stored document lives.
const SEED: u64 = 0x6d69_726f_6972_0001;

/// The field's value for `shard`.
///
/// # Panics
/// When `shard` is [`MAX_SHARDS`] or more. The catalogue refuses such indexes.
#[must_use]
pub fn encode(shard: u16) -> String {
    assert!(
        shard < MAX_SHARDS,
        "shard {shard} has no code: indexes have at most {MAX_SHARDS} shards"
    );
    [shard >> 8, shard >> 4, shard]
        .iter()
        .map(|digit| SYMBOLS[usize::from(digit & 0xf)])
        .collect()
}

/// The shard that `code` names, if it is a code.
#[must_use]
pub fn decode(code: &str) -> Option<u16> {
    let mut symbols = code.chars();
    let mut shard = 0;
    for _ in 0..3 {
        let symbol = symbols.next()?;
        let digit = SYMBOLS.iter().position(|known| *known == symbol)?;
        shard = shard << 4 | u16::try_from(digit).ok()?;
    }
    symbols.next().is_none().then_some(shard)
}

/// The shard of the document with this canonical id, in an index of `shard_count` shards.
///
/// The high bits of XXH3-64 choose it, by multiplication: unlike a modulo this has no bias
/// worth naming and keeps hash order and shard order alike.
///
/// # Panics
/// When `shard_count` is zero, which no index has.
#[must_use]
pub fn shard_of(id: &str, shard_count: u16) -> u16 {
    assert!(shard_count > 0, "an index has at least one shard");
    let hash = XxHash3_64::oneshot_with_seed(SEED, id.as_bytes());
    let shard = (u128::from(hash) * u128::from(shard_count)) >> 64;
    u16::try_from(shard).expect("below shard_count, which is a u16")
}

/// The first bytes of a document of `shard`: the opening brace and the hidden member, without
/// the comma that follows it unless the document is empty.
pub(crate) fn splice_prefix(shard: u16) -> String {
    format!("{{\"{NAME}\":\"{}\"", encode(shard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    #[test]
    fn golden_codes() {
        let golden = [
            (0, "†††"),
            (1, "††‡"),
            (15, "††⁞"),
            (16, "†‡†"),
            (63, "†⁌⁞"),
            (64, "†⁍†"),
            (255, "†⁞⁞"),
            (256, "‡††"),
            (4095, "⁞⁞⁞"),
        ];
        for (shard, code) in golden {
            assert_eq!(encode(shard), code, "shard {shard}");
            assert_eq!(decode(code), Some(shard), "code {code}");
        }
    }

    #[test]
    fn all_codes_are_distinct_ordered_and_stable() {
        let codes: Vec<String> = (0..MAX_SHARDS).map(encode).collect();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]));
        for (shard, code) in codes.iter().enumerate() {
            assert_eq!(decode(code).map(usize::from), Some(shard));
            let normalised: String = code.trim().nfkd().flat_map(char::to_lowercase).collect();
            assert_eq!(
                &normalised, code,
                "facet normalisation changes the code of shard {shard}"
            );
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in ["", "†", "††", "††††", "abc", "††a", " †††", "†††\n"]
        {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    #[should_panic(expected = "shard 4096 has no code")]
    fn shards_without_a_code_do_not_wrap() {
        let _ = encode(MAX_SHARDS);
    }

    #[test]
    fn golden_shards() {
        for (id, of_16, of_64, of_4096) in GOLDEN_SHARDS {
            assert_eq!(
                (shard_of(id, 16), shard_of(id, 64), shard_of(id, 4096)),
                (of_16, of_64, of_4096),
                "id {id:?}"
            );
            assert_eq!(shard_of(id, 1), 0);
        }
    }

    /// Computed with python-xxhash, so that the hash is checked against another implementation.
    const GOLDEN_SHARDS: [(&str, u16, u16, u16); 6] = [
        ("0", 4, 19, 1253),
        ("1", 1, 5, 373),
        ("007", 7, 28, 1826),
        ("-5", 2, 8, 546),
        ("libc6_2-36", 0, 2, 138),
        ("6f9619ff-8b86-d011-b42d-00c04fc964ff", 3, 12, 830),
    ];

    #[test]
    fn ids_spread_evenly() {
        let mut counts = [0_u32; 64];
        for id in 0..64_000 {
            counts[usize::from(shard_of(&id.to_string(), 64))] += 1;
        }
        // 1000 expected each; six standard deviations of a binomial are about 190.
        assert!(
            counts.iter().all(|count| (810..=1190).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn shard_is_below_the_count(id in "[A-Za-z0-9_-]{1,40}", count in 1_u16..=MAX_SHARDS) {
            prop_assert!(shard_of(&id, count) < count);
        }
    }
}
