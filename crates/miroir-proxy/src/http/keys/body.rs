//! What clients say about keys, refused in Meilisearch's words.

use miroir_core::api_error::{ApiError, Code};
use miroir_core::registry::{Action, ApiKey, IndexPattern};
use miroir_core::request::{expected_one_of, parse_json, unknown_field, wrong_type};
use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};
use uuid::Uuid;

/// A key to be made.
#[derive(Debug, PartialEq)]
pub struct NewKey {
    /// Its uid; a random one when the client names none.
    pub uid: Option<Uuid>,
    /// What it is.
    pub key: ApiKey,
}

/// What becomes of a key's name and description: `None` stays, `Some(None)` goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// Its name.
    pub name: Option<Option<String>>,
    /// Its description.
    pub description: Option<Option<String>>,
}

const NEW: [&str; 6] = [
    "description",
    "name",
    "uid",
    "actions",
    "indexes",
    "expiresAt",
];
const PATCHED: [&str; 2] = ["description", "name"];

/// Reads the body of `POST /keys`.
///
/// # Errors
/// Of the first member that is wrong, in their order; then of the first that is missing.
pub fn read_new(body: &[u8], now: OffsetDateTime) -> Result<NewKey, ApiError> {
    let mut new = NewKey {
        uid: None,
        key: ApiKey {
            name: None,
            description: None,
            actions: Vec::new(),
            indexes: Vec::new(),
            expires_at: None,
            expires_at_ms: None,
        },
    };
    let members = object(body)?;
    for (name, value) in &members {
        match name.as_str() {
            "description" => new.key.description = text(name, value)?,
            "name" => new.key.name = text(name, value)?,
            "uid" => new.uid = Some(uid(value)?),
            "actions" => new.key.actions = list(name, value, Code::InvalidApiKeyActions, action)?,
            "indexes" => new.key.indexes = list(name, value, Code::InvalidApiKeyIndexes, pattern)?,
            "expiresAt" => {
                let at = expiry(value, now)?;
                new.key.expires_at = at.and_then(|at| at.format(&Rfc3339).ok());
                new.key.expires_at_ms = at.map(unix_ms);
            }
            _ => return Err(unknown_field("", name, &NEW)),
        }
    }
    let required = [
        ("actions", Code::MissingApiKeyActions),
        ("indexes", Code::MissingApiKeyIndexes),
        ("expiresAt", Code::MissingApiKeyExpiresAt),
    ];
    for (name, code) in required {
        if !members.contains_key(name) {
            return Err(ApiError::new(code, format!("Missing field `{name}`")));
        }
    }
    if let Some(action) = new.key.out_of_scope() {
        let message = format!(
            "cannot create index-scoped API key with global action `\"{action}\"`\n  - Hint: remove action `\"{action}\"` from the action list, or remove `indexes` to make the key global"
        );
        let code = Code::IndexScopedApiKeyWithGlobalAction;
        return Err(ApiError::new(code, message));
    }
    Ok(new)
}

/// Reads the body of `PATCH /keys/{key}`.
///
/// # Errors
/// Of the first member that is wrong; all but two cannot be changed.
pub fn read_patch(body: &[u8]) -> Result<KeyPatch, ApiError> {
    let mut patch = KeyPatch::default();
    for (name, value) in &object(body)? {
        let immutable = match name.as_str() {
            "description" => {
                patch.description = Some(text(name, value)?);
                continue;
            }
            "name" => {
                patch.name = Some(text(name, value)?);
                continue;
            }
            "uid" => Code::ImmutableApiKeyUid,
            "actions" => Code::ImmutableApiKeyActions,
            "indexes" => Code::ImmutableApiKeyIndexes,
            "expiresAt" => Code::ImmutableApiKeyExpiresAt,
            "createdAt" => Code::ImmutableApiKeyCreatedAt,
            "updatedAt" => Code::ImmutableApiKeyUpdatedAt,
            _ => return Err(unknown_field("", name, &PATCHED)),
        };
        let message = format!("Immutable field `{name}`: expected one of `description`, `name`");
        return Err(ApiError::new(immutable, message));
    }
    Ok(patch)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match parse_json(body)? {
        Value::Object(members) => Ok(members),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => Err(wrong_type(Code::BadRequest, "", "an object", &other)),
    }
}

fn text(name: &str, value: &Value) -> Result<Option<String>, ApiError> {
    let code = if name == "name" {
        Code::InvalidApiKeyName
    } else {
        Code::InvalidApiKeyDescription
    };
    if value.is_null() {
        return Ok(None);
    }
    let text = value.as_str().map(|text| Some(text.to_owned()));
    text.ok_or_else(|| wrong_type(code, &format!(".{name}"), "a string", value))
}

fn uid(value: &Value) -> Result<Uuid, ApiError> {
    let code = Code::InvalidApiKeyUid;
    let Some(text) = value.as_str() else {
        return Err(wrong_type(code, ".uid", "a string", value));
    };
    text.parse()
        .map_err(|error| ApiError::new(code, format!("Invalid value at `.uid`: {error}")))
}

/// A list of texts, each read by `read` with its place.
fn list<T>(
    name: &str,
    value: &Value,
    code: Code,
    read: impl Fn(&str, &str) -> Result<T, ApiError>,
) -> Result<Vec<T>, ApiError> {
    let Some(items) = value.as_array() else {
        return Err(wrong_type(code, &format!(".{name}"), "an array", value));
    };
    let items = items.iter().enumerate().map(|(at, item)| {
        let place = format!(".{name}[{at}]");
        match item.as_str() {
            Some(text) => read(text, &place),
            None => Err(wrong_type(code, &place, "a string", item)),
        }
    });
    items.collect()
}

fn action(text: &str, place: &str) -> Result<Action, ApiError> {
    Action::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Action::ALL_ACTIONS.iter().map(|one| one.as_str()).collect();
        let known = expected_one_of(text, &known);
        let message = format!("Unknown value `{text}` at `{place}`: {known}");
        ApiError::new(Code::InvalidApiKeyActions, message)
    })
}

fn pattern(text: &str, place: &str) -> Result<IndexPattern, ApiError> {
    IndexPattern::parse(text).map_err(|error| {
        let message = format!("Invalid value at `{place}`: {error}");
        ApiError::new(Code::InvalidApiKeyIndexes, message)
    })
}

/// RFC 3339, or a date with or without a time; it must lie in the future.
fn expiry(value: &Value, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, ApiError> {
    let code = Code::InvalidApiKeyExpiresAt;
    if value.is_null() {
        return Ok(None);
    }
    let Some(text) = value.as_str() else {
        return Err(wrong_type(code, ".expiresAt", "a string", value));
    };
    let at = moment(text).filter(|at| *at > now);
    at.map(Some).ok_or_else(|| {
        let message = format!(
            "Invalid value at `.expiresAt`: `{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
        );
        ApiError::new(code, message)
    })
}

fn moment(text: &str) -> Option<OffsetDateTime> {
    let with_t = format_description!(
        "[year repr:full base:calendar]-[month repr:numerical]-[day]T[hour]:[minute]:[second]"
    );
    let with_space = format_description!(
        "[year repr:full base:calendar]-[month repr:numerical]-[day] [hour]:[minute]:[second]"
    );
    let day = format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]");
    let in_utc = || {
        PrimitiveDateTime::parse(text, with_t)
            .or_else(|_| PrimitiveDateTime::parse(text, with_space))
            .or_else(|_| Date::parse(text, day).map(|day| day.with_time(Time::MIDNIGHT)))
    };
    let rfc = OffsetDateTime::parse(text, &Rfc3339).ok();
    rfc.or_else(|| in_utc().ok().map(PrimitiveDateTime::assume_utc))
}

fn unix_ms(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

    fn whole() -> Value {
        json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": null })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = whole();
        body[name] = value;
        body
    }

    #[test]
    fn keys_are_read() {
        let body = json!({
            "actions": ["search", "documents.*"], "indexes": ["b", "a*"], "name": null,
            "description": "d", "expiresAt": "2030-01-01T00:00:00+02:00",
            "uid": "550E8400e29b41d4a716446655440000",
        });
        let new = read_new(body.to_string().as_bytes(), NOW).expect("valid");
        let uid = new.uid.expect("named").to_string();
        assert_eq!(uid, "550e8400-e29b-41d4-a716-446655440000");
        assert_eq!(
            serde_json::to_value(new.key).expect("plain data"),
            json!({
                "actions": ["search", "documents.*"], "indexes": ["b", "a*"], "name": null,
                "description": "d", "expiresAt": "2030-01-01T00:00:00+02:00",
                "expiresAtMs": 1_893_448_800_000_i64,
            })
        );
    }

    #[test]
    fn dates_have_three_forms() {
        let table = [
            ("2031-01-01", Some("2031-01-01T00:00:00Z")),
            ("2031-01-01 10:11:12", Some("2031-01-01T10:11:12Z")),
            ("2031-01-01T10:11:12", Some("2031-01-01T10:11:12Z")),
            ("2031-01-01T10:11:12.5Z", Some("2031-01-01T10:11:12.5Z")),
            ("2025-01-01", None),
            ("2031-1-1", None),
            ("", None),
        ];
        for (text, shown) in table {
            let body = with("expiresAt", json!(text)).to_string();
            let read = read_new(body.as_bytes(), NOW).map(|new| new.key.expires_at);
            let expected = shown.map(|shown| Some(shown.to_owned()));
            assert_eq!(read.ok(), expected, "{text}");
        }
    }

    #[test]
    fn wrong_keys_get_meilisearchs_answer() {
        let table = [
            (
                json!([]),
                Code::BadRequest,
                "Invalid value type: expected an object, but found an array: `[]`",
            ),
            (
                json!({}),
                Code::MissingApiKeyActions,
                "Missing field `actions`",
            ),
            (
                json!({ "actions": [] }),
                Code::MissingApiKeyIndexes,
                "Missing field `indexes`",
            ),
            (
                json!({ "actions": [], "indexes": [] }),
                Code::MissingApiKeyExpiresAt,
                "Missing field `expiresAt`",
            ),
            (
                with("actions", json!(1)),
                Code::InvalidApiKeyActions,
                "Invalid value type at `.actions`: expected an array, but found a positive integer: `1`",
            ),
            (
                with("actions", json!([1])),
                Code::InvalidApiKeyActions,
                "Invalid value type at `.actions[0]`: expected a string, but found a positive integer: `1`",
            ),
            (
                with("indexes", json!(["a.*"])),
                Code::InvalidApiKeyIndexes,
                "Invalid value at `.indexes[0]`: `a.` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing only alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*).",
            ),
            (
                with("expiresAt", json!("2010-01-01")),
                Code::InvalidApiKeyExpiresAt,
                "Invalid value at `.expiresAt`: `2010-01-01` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n",
            ),
            (
                json!({ "actions": ["version"], "indexes": ["a"], "expiresAt": null }),
                Code::IndexScopedApiKeyWithGlobalAction,
                "cannot create index-scoped API key with global action `\"version\"`\n  - Hint: remove action `\"version\"` from the action list, or remove `indexes` to make the key global",
            ),
            (
                with("uid", json!("x")),
                Code::InvalidApiKeyUid,
                "Invalid value at `.uid`: invalid character: found `x` at 0",
            ),
            (
                with("uid", json!(null)),
                Code::InvalidApiKeyUid,
                "Invalid value type at `.uid`: expected a string, but found null",
            ),
            (
                with("name", json!(1)),
                Code::InvalidApiKeyName,
                "Invalid value type at `.name`: expected a string, but found a positive integer: `1`",
            ),
            (
                with("nam", json!(1)),
                Code::BadRequest,
                "Unknown field `nam`: expected one of `description`, `name`, `uid`, `actions`, `indexes`, `expiresAt`",
            ),
        ];
        for (body, code, message) in table {
            let error = read_new(body.to_string().as_bytes(), NOW).expect_err("wrong");
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
        let body = with("actions", json!(["documents.ad"])).to_string();
        let error = read_new(body.as_bytes(), NOW).expect_err("unknown");
        let beginning = "Unknown value `documents.ad` at `.actions[0]`: did you mean `documents.add`? expected one of `*`, `search`,";
        assert!(error.message.starts_with(beginning), "{error}");
    }

    #[test]
    fn only_name_and_description_change() {
        let read = |body: Value| read_patch(body.to_string().as_bytes());
        let patch = KeyPatch {
            name: Some(None),
            description: Some(Some("d".to_owned())),
        };
        assert_eq!(read(json!({ "name": null, "description": "d" })), Ok(patch));
        assert_eq!(read(json!({})), Ok(KeyPatch::default()));
        let table = [
            ("uid", Code::ImmutableApiKeyUid),
            ("actions", Code::ImmutableApiKeyActions),
            ("indexes", Code::ImmutableApiKeyIndexes),
            ("expiresAt", Code::ImmutableApiKeyExpiresAt),
            ("createdAt", Code::ImmutableApiKeyCreatedAt),
            ("updatedAt", Code::ImmutableApiKeyUpdatedAt),
        ];
        for (name, code) in table {
            let mut body = json!({ "name": "n" });
            body[name] = json!(1);
            let error = read(body).expect_err(name);
            let message =
                format!("Immutable field `{name}`: expected one of `description`, `name`");
            assert_eq!((error.code, error.message), (code, message));
        }
        let error = read(json!({ "key": 1 })).expect_err("unknown");
        assert_eq!(error.code, Code::BadRequest);
    }
}
