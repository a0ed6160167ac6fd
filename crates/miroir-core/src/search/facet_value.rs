//! Facet values as Meilisearch compares them.

use unicode_normalization::UnicodeNormalization;

/// Two texts are one facet value when this is equal: trimmed, compatibility-decomposed,
/// lower-cased. Applying it twice changes nothing that a comparison sees.
pub(super) fn normalise(text: &str) -> String {
    if text.is_ascii() {
        return text.trim().to_ascii_lowercase();
    }
    text.trim().nfkd().collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_width_and_outer_space_do_not_count() {
        let table = [
            ("Action", "action"),
            ("  Sci Fi\n", "sci fi"),
            ("ＡＢ", "ab"),
            ("É", "e\u{301}"),
            ("ﬁn", "fin"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(normalise(text), expected);
            assert_eq!(normalise(expected), expected);
        }
    }
}
