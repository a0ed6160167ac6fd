//! Languages as clients name them: ISO 639-1 or 639-3 codes, answered as 639-3.

use std::convert::Infallible;

use deserr::{DeserializeError, Deserr, ErrorKind, IntoValue, ValuePointerRef, take_cf_content};
use milli_core::tokenizer::Language;
use milli_core::{AttributePatterns, LocalizedAttributesRule};
use serde::{Deserialize, Serialize};

use crate::validate::{FromParam, Problem};

/// ISO 639-1 codes and the 639-3 codes of the tokenizer, in the order messages list them.
const SHORT_CODES: [(&str, &str); 69] = [
    ("af", "afr"),
    ("ak", "aka"),
    ("am", "amh"),
    ("ar", "ara"),
    ("az", "aze"),
    ("be", "bel"),
    ("bn", "ben"),
    ("bg", "bul"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("et", "est"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("jv", "jav"),
    ("ja", "jpn"),
    ("kn", "kan"),
    ("ka", "kat"),
    ("km", "khm"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lv", "lav"),
    ("lt", "lit"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("mk", "mkd"),
    ("my", "mya"),
    ("ne", "nep"),
    ("nl", "nld"),
    ("nb", "nob"),
    ("or", "ori"),
    ("pa", "pan"),
    ("fa", "pes"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sn", "sna"),
    ("es", "spa"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("tl", "tgl"),
    ("th", "tha"),
    ("tk", "tuk"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("yi", "yid"),
    ("zh", "zho"),
    ("zu", "zul"),
];

/// A language a query or an attribute is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Locale(pub Language);

impl FromParam for Locale {
    fn from_param(text: &str) -> Result<Self, Problem> {
        let code = SHORT_CODES
            .iter()
            .find(|(short, _)| *short == text)
            .map_or(text, |(_, c)| *c);
        match Language::from_code(code) {
            Some(language) => Ok(Self(language)),
            None => Err(Problem(unsupported(text))),
        }
    }
}

/// Every code, the short ones first.
fn codes() -> impl Iterator<Item = &'static str> {
    let short = SHORT_CODES.iter().map(|(short, _)| *short);
    let long = SHORT_CODES.iter().map(|(_, long)| *long);
    short.chain(long).chain(["cmn"])
}

fn unsupported(text: &str) -> String {
    let mut known: Vec<&str> = codes().collect();
    known.sort_unstable_by_key(|code| (code.len(), *code));
    format!(
        "Unsupported locale `{text}`, expected one of {}",
        known.join(", ")
    )
}

impl TryFrom<String> for Locale {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        Self::from_param(&code).map_err(|problem| problem.0)
    }
}

impl From<Locale> for String {
    fn from(locale: Locale) -> Self {
        locale.0.code().to_owned()
    }
}

impl<E: DeserializeError> Deserr<E> for Locale {
    fn deserialize_from_value<V: IntoValue>(
        value: deserr::Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, E> {
        let code = String::deserialize_from_value(value, location)?;
        Self::from_param(&code).map_err(|_| {
            let accepted: Vec<&str> = codes().collect();
            take_cf_content(E::error::<Infallible>(
                None,
                ErrorKind::UnknownValue {
                    value: &code,
                    accepted: &accepted,
                },
                location,
            ))
        })
    }
}

/// Which languages the attributes of some patterns are written in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[deserr(rename_all = camelCase)]
#[serde(rename_all = "camelCase")]
pub struct LocalizedAttributes {
    /// Attribute names or patterns with `*`.
    pub attribute_patterns: AttributePatterns,
    /// Languages; empty means to detect them.
    pub locales: Vec<Locale>,
}

impl From<LocalizedAttributes> for LocalizedAttributesRule {
    fn from(view: LocalizedAttributes) -> Self {
        Self {
            attribute_patterns: view.attribute_patterns,
            locales: view.locales.into_iter().map(|locale| locale.0).collect(),
        }
    }
}

impl From<LocalizedAttributesRule> for LocalizedAttributes {
    fn from(rule: LocalizedAttributesRule) -> Self {
        Self {
            attribute_patterns: rule.attribute_patterns,
            locales: rule.locales.into_iter().map(Locale).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_code_names_a_language_of_the_tokenizer() {
        for (short, long) in SHORT_CODES {
            let locale = Locale::from_param(short).unwrap();
            assert_eq!(String::from(locale), long);
        }
        assert!(
            Locale::from_param("xx")
                .unwrap_err()
                .0
                .starts_with("Unsupported locale `xx`")
        );
    }
}
