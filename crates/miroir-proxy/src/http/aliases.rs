//! Aliases: further names for indexes, kept in the registry.
//!
//! An alias stands for its index wherever a request reads or writes an index. To delete, rename or swap one, it must be named itself.

mod resolve;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::body::{only, parse_object, text};
use miroir_core::id::IndexUid;
use miroir_core::registry::{Alias, Change, Collection, Entry, Expected, Past, RegistryError};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::path::Path;
use super::{Allowed, Server, index_uid, registry, view};
use crate::error::HttpError;

pub use resolve::{ByAlias, in_path, in_queries};

/// What a client may say of an alias.
const FIELDS: [&str; 2] = ["target", "expectedTarget"];

/// An alias as clients see it.
fn shown(name: &str, entry: &Entry) -> Result<Value, HttpError> {
    let alias = read(&entry.value)?;
    let past = |past: &Past| {
        json!({
            "target": past.target,
            "since": view::timestamp(past.since_ms),
            "until": view::timestamp(past.until_ms),
        })
    };
    Ok(json!({
        "name": name,
        "target": alias.target,
        "since": view::timestamp(alias.since_ms),
        "history": alias.history.iter().map(past).collect::<Vec<_>>(),
    }))
}

fn read(value: &Value) -> Result<Alias, HttpError> {
    Alias::deserialize(value)
        .map_err(|_| HttpError::internal("an alias is of a later version than this proxy"))
}

fn not_found(name: &IndexUid) -> HttpError {
    ApiError::new(Code::AliasNotFound, format!("Alias `{name}` not found.")).into()
}

fn refusal(name: &IndexUid, refused: &RegistryError) -> HttpError {
    let (code, message) = match refused {
        RegistryError::Unknown { .. } => return not_found(name),
        RegistryError::IsIndex { .. } => (
            Code::IndexAlreadyExists,
            format!("Index `{name}` already exists. Choose another name for the alias."),
        ),
        RegistryError::NoIndex { uid } => {
            (Code::IndexNotFound, format!("Index `{uid}` not found."))
        }
        RegistryError::Exists { .. }
        | RegistryError::Changed { .. }
        | RegistryError::Full { .. }
        | RegistryError::Unfit { .. } => return registry::of_refusal(refused),
    };
    ApiError::new(code, message).into()
}

/// `GET /_miroir/aliases`
pub async fn list(
    State(server): State<Server>,
    allowed: Allowed,
) -> Result<axum::Json<Value>, HttpError> {
    let registry = server.registry();
    let mut results = Vec::new();
    for (name, entry) in registry.iter(Collection::Aliases) {
        if allowed.index(read(&entry.value)?.target.as_str()) {
            results.push(shown(name, entry)?);
        }
    }
    Ok(axum::Json(json!({ "results": results })))
}

/// `GET /_miroir/aliases/{name}`
pub async fn get(
    State(server): State<Server>,
    Path(name): Path<String>,
    allowed: Allowed,
) -> Result<axum::Json<Value>, HttpError> {
    let name = index_uid(&name)?;
    let registry = server.registry();
    let entry = registry.get(Collection::Aliases, name.as_str());
    let entry = entry.ok_or_else(|| not_found(&name))?;
    allowed.require_index(read(&entry.value)?.target.as_str())?;
    shown(name.as_str(), entry).map(axum::Json)
}

/// `PUT /_miroir/aliases/{name}`: makes an alias, or points it elsewhere. Answered once every proxy goes by it.
pub async fn put(
    State(server): State<Server>,
    Path(name): Path<String>,
    allowed: Allowed,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let name = index_uid(&name)?;
    let wish = Wish::read(&server.json_body(request).await?)?;
    // Its name is then no longer free for an index, and requests for it go elsewhere.
    allowed.require_index(name.as_str())?;
    allowed.require_index(wish.target.as_str())?;
    let edit = |value: Option<&Value>| {
        let before = value.map(read).transpose()?;
        if let Some(before) = &before {
            allowed.require_index(before.target.as_str())?;
        }
        wish.check(&name, before.as_ref())?;
        let (target, now) = (wish.target.clone(), view::now_ms());
        let alias = match before {
            Some(before) => before.pointed(target, now),
            None => Alias::new(target, now),
        };
        serde_json::to_value(alias).map_err(|error| HttpError::internal(error.to_string()))
    };
    let place = (Collection::Aliases, name.as_str());
    let entry = server.edit_object(place, edit, |refused| refusal(&name, &refused));
    shown(name.as_str(), &*entry.await?).map(axum::Json)
}

/// `DELETE /_miroir/aliases/{name}`
pub async fn delete(
    State(server): State<Server>,
    Path(name): Path<String>,
    allowed: Allowed,
) -> Result<StatusCode, HttpError> {
    let name = index_uid(&name)?;
    allowed.require_index(name.as_str())?;
    let registry = server.registry();
    let entry = registry.get(Collection::Aliases, name.as_str());
    if let Some(entry) = entry {
        allowed.require_index(read(&entry.value)?.target.as_str())?;
    }
    let change = Change {
        collection: Collection::Aliases,
        name: name.to_string(),
        // Not one that points to what was not judged.
        expected: entry.map_or(Expected::Present, |entry| Expected::Version(entry.version)),
        value: None,
    };
    match server.change_registry(&change).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(Ok(refused)) => Err(refusal(&name, &refused)),
        Err(Err(error)) => Err(error),
    }
}

/// Where an alias is to point.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    target: IndexUid,
    /// Where it must point now for the change to be made.
    expected: Option<IndexUid>,
}

impl Wish {
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let members = parse_object(body)?;
        only(&members, "", &FIELDS, Code::BadRequest)?;
        let uid = |name: &str| {
            let path = format!(".{name}");
            let uid = |value| {
                let uid = text(value, &path, Code::InvalidAliasTarget)?;
                IndexUid::parse(&uid).map_err(|error| {
                    let message = format!("Invalid value at `{path}`: {error}");
                    ApiError::new(Code::InvalidAliasTarget, message)
                })
            };
            members.get(name).map(uid).transpose()
        };
        let missing = || ApiError::new(Code::InvalidAliasTarget, "Missing field `target`");
        Ok(Self {
            target: uid("target")?.ok_or_else(missing)?,
            expected: uid("expectedTarget")?,
        })
    }

    fn check(&self, name: &IndexUid, before: Option<&Alias>) -> Result<(), ApiError> {
        let Some(expected) = &self.expected else {
            return Ok(());
        };
        let found = before.map(|alias| &alias.target);
        if found == Some(expected) {
            return Ok(());
        }
        let found = found.map_or_else(|| "nowhere".to_owned(), |uid| format!("to `{uid}`"));
        let message = format!("Alias `{name}` points {found}, not to `{expected}`.");
        Err(ApiError::new(Code::AliasChanged, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Target and expected target.
    type Told<'a> = (&'a str, Option<&'a str>);

    #[test]
    fn wishes_are_read_and_checked() {
        let table: [(&str, Result<Told<'_>, Code>); 7] = [
            (r#"{"target":"a"}"#, Ok(("a", None))),
            (
                r#"{"target":"a","expectedTarget":"b"}"#,
                Ok(("a", Some("b"))),
            ),
            ("{}", Err(Code::InvalidAliasTarget)),
            (r#"{"target":null}"#, Err(Code::InvalidAliasTarget)),
            (r#"{"target":"a b"}"#, Err(Code::InvalidAliasTarget)),
            (r#"{"target":"a","to":"b"}"#, Err(Code::BadRequest)),
            ("[]", Err(Code::BadRequest)),
        ];
        let uid = |text: &str| IndexUid::parse(text).expect("a uid");
        for (body, expected) in table {
            let wish = Wish::read(body.as_bytes()).map_err(|error| error.code);
            let expected = expected.map(|(target, expected)| Wish {
                target: uid(target),
                expected: expected.map(uid),
            });
            assert_eq!(wish, expected, "{body}");
        }
    }

    #[test]
    fn an_alias_that_points_elsewhere_by_now_is_left() {
        let uid = |text: &str| IndexUid::parse(text).expect("a uid");
        let wish = Wish {
            target: uid("c"),
            expected: Some(uid("a")),
        };
        let check = |before: Option<&str>| {
            let before = before.map(|target| Alias::new(uid(target), 0));
            wish.check(&uid("x"), before.as_ref())
                .map_err(|error| error.code)
        };
        assert_eq!(check(Some("a")), Ok(()));
        assert_eq!(check(Some("b")), Err(Code::AliasChanged));
        assert_eq!(check(None), Err(Code::AliasChanged));
    }
}
