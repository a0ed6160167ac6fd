//! Exchanging the uids of indexes.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::body::{array, flag, object, text};
use miroir_core::cluster::{IndexSwap, TaskKind, named_twice};
use miroir_core::id::IndexUid;
use miroir_core::request::{parse_json, unknown_field};
use serde_json::Value;

use super::incoming::{Incoming, refuse};
use super::{Allowed, Server, body, view};
use crate::error::HttpError;

const FIELDS: [&str; 2] = ["indexes", "rename"];

/// One swap as a client wrote it: it should name two indexes.
#[derive(Debug, PartialEq)]
struct Wanted {
    indexes: Vec<IndexUid>,
    rename: bool,
}

/// `POST /swap-indexes`
pub async fn post(State(server): State<Server>, request: Request) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    body::require_json(incoming.headers())?;
    let swaps = allowed(read(incoming.body())?, incoming.allowed())?;
    Ok(
        match server
            .parts()
            .writes
            .swap(&swaps, incoming.idempotency())
            .await
        {
            Ok(task) => {
                let summary = view::summary_now(task, None, TaskKind::IndexSwap);
                (StatusCode::ACCEPTED, axum::Json(summary)).into_response()
            }
            Err(error) => refuse(&error),
        },
    )
}

/// Reads the body and every field of it, as Meilisearch does before it looks at what they say together.
fn read(content: &[u8]) -> Result<Vec<Wanted>, ApiError> {
    let swaps: Value = parse_json(content)?;
    let swaps = array(&swaps, "", Code::BadRequest)?.iter().enumerate();
    swaps
        .map(|(at, swap)| read_one(swap, &format!("[{at}]")))
        .collect()
}

fn read_one(swap: &Value, path: &str) -> Result<Wanted, ApiError> {
    let (mut indexes, mut rename) = (None, false);
    for (name, value) in object(swap.clone(), path, Code::BadRequest)? {
        let path_of = format!("{path}.{name}");
        match name.as_str() {
            "indexes" => {
                let uids = array(&value, &path_of, Code::InvalidSwapIndexes)?.iter();
                let uid = |(at, uid): (usize, &Value)| read_uid(uid, &format!("{path_of}[{at}]"));
                indexes = Some(uids.enumerate().map(uid).collect::<Result<_, _>>()?);
            }
            "rename" => rename = flag(&value, &path_of, Code::InvalidSwapRename)?,
            _ => return Err(unknown_field(path, &name, &FIELDS)),
        }
    }
    let missing = || {
        let message = format!("Missing field `indexes` inside `{path}`");
        ApiError::new(Code::MissingSwapIndexes, message)
    };
    Ok(Wanted {
        indexes: indexes.ok_or_else(missing)?,
        rename,
    })
}

fn read_uid(value: &Value, path: &str) -> Result<IndexUid, ApiError> {
    let uid = text(value, path, Code::InvalidSwapIndexes)?;
    IndexUid::parse(&uid).map_err(|error| {
        let message = format!("Invalid value at `{path}`: {error}");
        ApiError::new(Code::InvalidSwapIndexes, message)
    })
}

/// The swaps, if each is of two indexes that the sender may touch, and no index is in two of them.
fn allowed(wanted: Vec<Wanted>, allowed: &Allowed) -> Result<Vec<IndexSwap>, HttpError> {
    let mut swaps = Vec::with_capacity(wanted.len());
    for Wanted { indexes, rename } in wanted {
        let [first, second] = indexes.as_slice() else {
            let named: Vec<String> = indexes.iter().map(|uid| format!("\"{uid}\"")).collect();
            let message = format!(
                "Two indexes must be given for each swap. The list `[{}]` contains {} indexes.",
                named.join(", "),
                indexes.len()
            );
            return Err(ApiError::new(Code::InvalidSwapIndexes, message).into());
        };
        allowed.require_index(first.as_str())?;
        allowed.require_index(second.as_str())?;
        swaps.push(IndexSwap {
            indexes: (first.clone(), second.clone()),
            rename,
        });
    }
    let twice: Vec<String> = named_twice(&swaps)
        .into_iter()
        .map(|uid| format!("`{uid}`"))
        .collect();
    if twice.is_empty() {
        return Ok(swaps);
    }
    let were = if twice.len() == 1 { "was" } else { "were" };
    let message = format!(
        "Indexes must be declared only once during a swap. {} {were} specified several times.",
        twice.join(", ")
    );
    Err(ApiError::new(Code::InvalidSwapDuplicateIndexFound, message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_their_order_and_refused_with_their_own_codes() {
        let table = [
            (
                "{}",
                Code::BadRequest,
                "Invalid value type: expected an array",
            ),
            (
                "[1]",
                Code::BadRequest,
                "Invalid value type at `[0]`: expected an object",
            ),
            (
                "[{}]",
                Code::MissingSwapIndexes,
                "Missing field `indexes` inside `[0]`",
            ),
            (
                r#"[{"indexes":[1,"b"]}]"#,
                Code::InvalidSwapIndexes,
                "Invalid value type at `[0].indexes[0]`: expected a string",
            ),
            (
                r#"[{"indexes":["a b","b"]}]"#,
                Code::InvalidSwapIndexes,
                "Invalid value at `[0].indexes[0]`: `a b` is not a valid index uid",
            ),
            (
                r#"[{"rename":1,"indexes":1}]"#,
                Code::InvalidSwapRename,
                "Invalid value type at `[0].rename`: expected a boolean",
            ),
            (
                r#"[{"renam":1}]"#,
                Code::BadRequest,
                "Unknown field `renam` inside `[0]`: did you mean `rename`?",
            ),
        ];
        for (content, code, message) in table {
            let error = read(content.as_bytes()).expect_err(content);
            assert_eq!(error.code, code, "{content}");
            assert!(error.message.starts_with(message), "{}", error.message);
        }
        let read = read(br#"[{"indexes":["a","b"]},{"indexes":[],"rename":true}]"#).expect("valid");
        assert_eq!((read[0].indexes.len(), read[0].rename), (2, false));
        assert_eq!((read[1].indexes.len(), read[1].rename), (0, true));
    }
}
