//! Finds requests that name the hidden field. It is Miroir's own; clients are refused.

use serde_json::Value;

use super::NAME;
use crate::api_error::{ApiError, Code};

/// Whether `attribute` is the hidden field or a field inside it.
#[must_use]
pub fn is_reserved(attribute: &str) -> bool {
    attribute
        .strip_prefix(NAME)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a filter expression holds the hidden field's name as a whole word, plainly or
/// through escapes (Meilisearch decodes `"\u{5f}miroir_shard"` too).
///
/// Values are not told from attributes: a filter for the literal value `_miroir_shard` is
/// also found.
#[must_use]
pub fn mentions(expression: &str) -> bool {
    contains_word(expression) || (expression.contains('\\') && contains_word(&unescape(expression)))
}

fn contains_word(text: &str) -> bool {
    text.match_indices(NAME).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + NAME.len()..].chars().next();
        !before.is_some_and(|c| is_word(c) || c == '.') && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// Decodes the escapes that Meilisearch's filter parser knows; keeps what it cannot decode.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        if let Some((decoded, length)) = decode_escape(escape) {
            out.push(decoded);
            rest = &escape[length..];
        } else {
            rest = escape;
        }
    }
    out.push_str(rest);
    out
}

/// The character an escape stands for and the bytes it takes after the backslash.
fn decode_escape(escape: &str) -> Option<(char, usize)> {
    let number = |digits: Option<&str>, radix: u32| {
        digits
            .and_then(|d| u32::from_str_radix(d, radix).ok())
            .and_then(char::from_u32)
    };
    if let Some(braced) = escape.strip_prefix("u{") {
        // Up to the first that is no digit: a search for the brace would go to the end at each of a million `\u{`.
        // As many zeros may lead as one likes, and a sign.
        let end = braced
            .bytes()
            .position(|b| !b.is_ascii_hexdigit() && b != b'+')
            .filter(|end| braced.as_bytes()[*end] == b'}')?;
        return Some((number(braced.get(..end), 16)?, end + 3));
    }
    if escape.starts_with('u') {
        return Some((number(escape.get(1..5), 16)?, 5));
    }
    if escape.starts_with('x') {
        return Some((number(escape.get(1..3), 16)?, 3));
    }
    let octal = escape
        .bytes()
        .take(3)
        .take_while(|b| (b'0'..=b'7').contains(b))
        .count();
    if octal > 0 {
        return Some((number(escape.get(..octal), 8)?, octal));
    }
    None
}

/// Refuses a filter (string, array, array of arrays) that names the hidden field.
///
/// # Errors
/// `code`, naming the field.
pub fn check_filter(filter: &Value, code: Code) -> Result<(), ApiError> {
    match filter {
        Value::String(expression) if mentions(expression) => Err(reserved("filter", code)),
        Value::Array(members) => members
            .iter()
            .try_for_each(|member| check_filter(member, code)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Ok(())
        }
    }
}

/// Refuses sort expressions (`field:asc`) on the hidden field.
///
/// # Errors
/// `code`, naming the field.
pub fn check_sort<'a>(
    expressions: impl IntoIterator<Item = &'a str>,
    code: Code,
) -> Result<(), ApiError> {
    let fields = expressions
        .into_iter()
        .map(|e| e.rsplit_once(':').map_or(e, |(field, _)| field));
    check_attributes("sort", fields, code)
}

/// Refuses lists of attribute names, given in `parameter`, that hold the hidden field.
///
/// # Errors
/// `code`, naming the field and the parameter.
pub fn check_attributes<'a>(
    parameter: &str,
    attributes: impl IntoIterator<Item = &'a str>,
    code: Code,
) -> Result<(), ApiError> {
    if attributes.into_iter().any(is_reserved) {
        Err(reserved(parameter, code))
    } else {
        Ok(())
    }
}

fn reserved(parameter: &str, code: Code) -> ApiError {
    ApiError::new(
        code,
        format!("Attribute `{NAME}` is reserved and cannot be used in `{parameter}`."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_that_name_the_field_are_found() {
        let refused = [
            "_miroir_shard = \"†††\"",
            "a = 1 OR NOT(_miroir_shard EXISTS)",
            "'_miroir_shard' IN [a]",
            "\"_miroir_shard\"=1",
            "_miroir_shard.x = 1",
            r#""\u{5f}miroir_shard" = 1"#,
            r#""\u{+0000000000000000000000000000000000000000000000000000000000000000005F}miroir_shard" = 1"#,
            r#""\x5fmiroir\x5Fshard" = 1"#,
            r#""\137miroir_shard" = 1"#,
            r#""\u005fmiroir_shard" = 1"#,
            "a = _miroir_shard",
        ];
        for expression in refused {
            assert!(mentions(expression), "{expression}");
            for filter in [
                json!(expression),
                json!([expression]),
                json!([["a = 1", expression]]),
            ] {
                let error = check_filter(&filter, Code::InvalidSearchFilter).expect_err("refused");
                assert_eq!(error.code, Code::InvalidSearchFilter);
                assert!(
                    error.message.contains("`_miroir_shard` is reserved"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        let allowed = [
            "a = 1",
            "my_miroir_shard = 1",
            "_miroir_shards = 1",
            "_miroir_shard-2 = 1",
            "nested._miroir_shard = 1",
            r#"a = "\"quoted\" \ ""#,
            "a = 'x\\",
        ];
        for expression in allowed {
            assert!(!mentions(expression), "{expression}");
            assert_eq!(
                check_filter(&json!(expression), Code::InvalidSearchFilter),
                Ok(())
            );
        }
    }

    #[test]
    fn sort_and_attribute_lists() {
        assert!(check_sort(["price:asc", "_miroir_shard:desc"], Code::InvalidSearchSort).is_err());
        assert!(check_sort(["_miroir_shard"], Code::InvalidSearchSort).is_err());
        assert!(check_sort(["_miroir_shard_2:asc"], Code::InvalidSearchSort).is_ok());
        let error = check_attributes("facets", ["a", "_miroir_shard"], Code::InvalidSearchFacets);
        assert_eq!(
            error.expect_err("refused").message,
            "Attribute `_miroir_shard` is reserved and cannot be used in `facets`."
        );
        assert!(check_attributes("facets", ["*"], Code::InvalidSearchFacets).is_ok());
    }
}
