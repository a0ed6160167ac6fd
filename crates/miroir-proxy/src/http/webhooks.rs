//! Webhooks: kept in the registry. The leading coordinator sends finished tasks to them.

mod body;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::registry::{Change, Collection, Expected, RegistryError};
use serde_json::{Value, json};
use uuid::Uuid;

use super::path::Path;
use super::{Server, registry};
use crate::error::HttpError;
use body::{Webhook, WebhookPatch};

/// A webhook as clients see it: what authorizes it is hidden but for its beginning.
fn shown(uuid: &str, value: &Value) -> Result<Value, HttpError> {
    let mut webhook = webhook(value)?;
    for (name, value) in &mut webhook.headers {
        if name.eq_ignore_ascii_case("authorization") {
            *value = hidden(value);
        }
    }
    Ok(json!({
        "uuid": uuid, "isEditable": true, "url": webhook.url, "headers": webhook.headers,
    }))
}

fn webhook(value: &Value) -> Result<Webhook, HttpError> {
    serde_json::from_value(value.clone())
        .map_err(|_| HttpError::internal("a webhook is of a later version than this proxy"))
}

/// A secret as Meilisearch hides it: the longer it is, the more of its beginning shows.
fn hidden(secret: &str) -> String {
    const SCHEME: &str = "Bearer ";
    let scheme = if secret.starts_with(SCHEME) {
        SCHEME.len()
    } else {
        0
    };
    let (shown, marks) = match secret.len() - scheme {
        0..10 => (0, "XXX..."),
        10..20 => (2, "XXXX..."),
        20..30 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    };
    let mut end = scheme + shown;
    while !secret.is_char_boundary(end) {
        end += 1;
    }
    format!("{}{marks}", &secret[..end])
}

fn not_found(uuid: Uuid) -> HttpError {
    let message = format!("Webhook `{uuid}` not found.");
    ApiError::new(Code::WebhookNotFound, message).into()
}

fn parse_uuid(text: &str) -> Result<Uuid, ApiError> {
    let invalid = |error| ApiError::new(Code::InvalidWebhookUuid, format!("Invalid UUID: {error}"));
    text.parse().map_err(invalid)
}

/// The webhook of the command line has this name in Meilisearch; here there is none.
fn refuse_nil(uuid: Uuid) -> Result<(), ApiError> {
    if !uuid.is_nil() {
        return Ok(());
    }
    let message = format!(
        "Webhook `{uuid}` is immutable. The webhook defined from the command line cannot be modified using the API."
    );
    Err(ApiError::new(Code::ImmutableWebhook, message))
}

fn refusal(uuid: Uuid, refused: &RegistryError) -> HttpError {
    match refused {
        RegistryError::Unknown { .. } => not_found(uuid),
        RegistryError::Full { .. } => {
            let message = "Defining too many webhooks would crush the server. Please limit the number of webhooks to 20. You may use a third-party proxy server to dispatch events to more than 20 endpoints.";
            ApiError::new(Code::InvalidWebhooks, message).into()
        }
        RegistryError::Exists { .. }
        | RegistryError::Changed { .. }
        | RegistryError::IsIndex { .. }
        | RegistryError::NoIndex { .. }
        | RegistryError::Unfit { .. } => registry::of_refusal(refused),
    }
}

/// `GET /webhooks`
pub async fn list(State(server): State<Server>) -> Result<axum::Json<Value>, HttpError> {
    let registry = server.registry();
    let webhooks = registry.iter(Collection::Webhooks);
    let results: Vec<Value> = webhooks
        .map(|(uuid, entry)| shown(uuid, &entry.value))
        .collect::<Result<_, _>>()?;
    Ok(axum::Json(json!({ "results": results })))
}

/// `GET /webhooks/{uuid}`
pub async fn get(
    State(server): State<Server>,
    Path(uuid): Path<String>,
) -> Result<axum::Json<Value>, HttpError> {
    let uuid = parse_uuid(&uuid)?;
    let registry = server.registry();
    let name = uuid.to_string();
    let entry = registry.get(Collection::Webhooks, &name);
    let entry = entry.ok_or_else(|| not_found(uuid))?;
    shown(&name, &entry.value).map(axum::Json)
}

/// `POST /webhooks`
pub async fn create(
    State(server): State<Server>,
    request: Request,
) -> Result<(StatusCode, axum::Json<Value>), HttpError> {
    let body = server.json_body(request).await?;
    let uuid = Uuid::new_v4();
    let value = json!(WebhookPatch::read(&body)?.create(uuid)?);
    let change = Change {
        collection: Collection::Webhooks,
        name: uuid.to_string(),
        expected: Expected::Absent,
        value: Some(value.clone()),
    };
    match server.change_registry(&change).await {
        Ok(_) => Ok((
            StatusCode::CREATED,
            axum::Json(shown(&change.name, &value)?),
        )),
        Err(Ok(refused)) => Err(refusal(uuid, &refused)),
        Err(Err(error)) => Err(error),
    }
}

/// `PATCH /webhooks/{uuid}`
pub async fn update(
    State(server): State<Server>,
    Path(uuid): Path<String>,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let body = server.json_body(request).await?;
    let uuid = parse_uuid(&uuid)?;
    let patch = WebhookPatch::read(&body)?;
    refuse_nil(uuid)?;
    let name = uuid.to_string();
    let edit = |value: Option<&Value>| {
        let before = webhook(value.ok_or_else(|| not_found(uuid))?)?;
        Ok(json!(patch.apply(uuid, before)?))
    };
    let place = (Collection::Webhooks, name.as_str());
    let entry = server.edit_object(place, edit, |refused| refusal(uuid, &refused));
    shown(&name, &entry.await?.value).map(axum::Json)
}

/// `DELETE /webhooks/{uuid}`
pub async fn delete(
    State(server): State<Server>,
    Path(uuid): Path<String>,
) -> Result<StatusCode, HttpError> {
    let uuid = parse_uuid(&uuid)?;
    refuse_nil(uuid)?;
    let change = Change {
        collection: Collection::Webhooks,
        name: uuid.to_string(),
        expected: Expected::Present,
        value: None,
    };
    match server.change_registry(&change).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(Ok(refused)) => Err(refusal(uuid, &refused)),
        Err(Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_as_meilisearch_hides_them() {
        let table = [
            ("", "XXX..."),
            ("Bearer ", "Bearer XXX..."),
            ("Bearer 123456789", "Bearer XXX..."),
            ("Bearer 1234567890", "Bearer 12XXXX..."),
            ("Bearer 12345678901234567890", "Bearer 123XXXXX..."),
            ("123456789012345678901234567890123", "12345XXXXXX..."),
            ("aéaaaaaaaaa", "aéXXXX..."),
        ];
        for (secret, expected) in table {
            assert_eq!(hidden(secret), expected, "{secret}");
        }
    }

    #[test]
    fn what_authorizes_is_not_shown() {
        let value =
            json!({ "url": "http://a", "headers": { "AUTHORIZATION": "1234567890", "b": "c" } });
        let shown = shown("u", &value).expect("a webhook");
        assert_eq!(
            shown,
            json!({
                "uuid": "u", "isEditable": true, "url": "http://a",
                "headers": { "AUTHORIZATION": "12XXXX...", "b": "c" },
            })
        );
    }
}
