//! What clients say about webhooks, refused in Meilisearch's words.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::request::{parse_json, unknown_field, wrong_type};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

const HEADERS_MAX: usize = 200;

/// A webhook as the registry keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where finished tasks are sent.
    pub url: String,
    /// With which headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// What becomes of a webhook: `None` stays, `Some(None)` goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WebhookPatch {
    url: Option<Option<String>>,
    headers: Option<Option<BTreeMap<String, Option<String>>>>,
}

impl WebhookPatch {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Of the first member that is wrong.
    pub fn read(body: &[u8]) -> Result<Self, ApiError> {
        let members = match parse_json(body)? {
            Value::Object(members) => members,
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)) => {
                return Err(wrong_type(Code::BadRequest, "", "an object", &other));
            }
        };
        let mut patch = Self::default();
        for (name, value) in &members {
            let immutable = match name.as_str() {
                "url" => {
                    patch.url = Some(text(value, ".url", Code::InvalidWebhookUrl)?);
                    continue;
                }
                "headers" => {
                    patch.headers = Some(headers(value)?);
                    continue;
                }
                "uuid" => Code::ImmutableWebhookUuid,
                "isEditable" => Code::ImmutableWebhookIsEditable,
                _ => return Err(unknown_field("", name, &["url", "headers"])),
            };
            let message = format!("Immutable field `{name}`: expected one of `url`, `headers`");
            return Err(ApiError::new(immutable, message));
        }
        Ok(patch)
    }

    /// The webhook that the body of `POST /webhooks` describes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn create(&self, uuid: Uuid) -> Result<Webhook, ApiError> {
        let headers = self.headers.clone().flatten().unwrap_or_default();
        let url = self.url.clone().flatten();
        let webhook = Webhook {
            url: url.ok_or_else(|| missing_url(uuid))?,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect(),
        };
        check(uuid, &webhook)?;
        Ok(webhook)
    }

    /// A webhook after the body of `PATCH /webhooks/{uuid}`.
    ///
    /// # Errors
    /// What is wrong with it then.
    pub fn apply(&self, uuid: Uuid, mut webhook: Webhook) -> Result<Webhook, ApiError> {
        match &self.url {
            Some(Some(url)) => webhook.url.clone_from(url),
            Some(None) => return Err(missing_url(uuid)),
            None => {}
        }
        match &self.headers {
            Some(Some(headers)) => {
                for (name, value) in headers {
                    match value {
                        Some(value) => webhook.headers.insert(name.clone(), value.clone()),
                        None => webhook.headers.remove(name),
                    };
                }
            }
            Some(None) => webhook.headers.clear(),
            None => {}
        }
        check(uuid, &webhook)?;
        Ok(webhook)
    }
}

fn text(value: &Value, place: &str, code: Code) -> Result<Option<String>, ApiError> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value.as_str().map(|text| Some(text.to_owned()));
    text.ok_or_else(|| wrong_type(code, place, "a string", value))
}

fn headers(value: &Value) -> Result<Option<BTreeMap<String, Option<String>>>, ApiError> {
    let code = Code::InvalidWebhookHeaders;
    if value.is_null() {
        return Ok(None);
    }
    let Some(members) = value.as_object() else {
        return Err(wrong_type(code, ".headers", "an object", value));
    };
    let read = |(name, value): (&String, &Value)| {
        let value = text(value, &format!(".headers.{name}"), code)?;
        Ok((name.clone(), value))
    };
    members.iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn missing_url(uuid: Uuid) -> ApiError {
    let message = format!("The URL for the webhook `{uuid}` is missing.");
    ApiError::new(Code::InvalidWebhookUrl, message)
}

fn check(uuid: Uuid, webhook: &Webhook) -> Result<(), ApiError> {
    if webhook.url.is_empty() {
        return Err(missing_url(uuid));
    }
    let wrong_headers = |message: String| ApiError::new(Code::InvalidWebhookHeaders, message);
    if webhook.headers.len() > HEADERS_MAX {
        return Err(wrong_headers(format!(
            "Too many headers for the webhook `{uuid}`. Please limit the number of headers to 200. Hint: To remove an already defined header set its value to `null`"
        )));
    }
    for (name, value) in &webhook.headers {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| wrong_headers(format!("Invalid header name `{name}`: {error}")))?;
        HeaderValue::from_str(value)
            .map_err(|error| wrong_headers(format!("Invalid header value `{name}`: {error}")))?;
    }
    Url::parse(&webhook.url).map(drop).map_err(|error| {
        let message = format!("Invalid URL `{}`: {error}", webhook.url);
        ApiError::new(Code::InvalidWebhookUrl, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Result<WebhookPatch, ApiError> {
        WebhookPatch::read(body.to_string().as_bytes())
    }

    #[test]
    fn wrong_webhooks_get_meilisearchs_answer() {
        let nil = "00000000-0000-0000-0000-000000000000";
        let missing = format!("The URL for the webhook `{nil}` is missing.");
        let many: serde_json::Map<String, Value> =
            (0..201).map(|at| (format!("h{at}"), json!("x"))).collect();
        let table = [
            (json!({}), Code::InvalidWebhookUrl, missing.as_str()),
            (json!({ "url": null }), Code::InvalidWebhookUrl, &missing),
            (json!({ "url": "" }), Code::InvalidWebhookUrl, &missing),
            (
                json!({ "url": 1 }),
                Code::InvalidWebhookUrl,
                "Invalid value type at `.url`: expected a string, but found a positive integer: `1`",
            ),
            (
                json!({ "url": "x" }),
                Code::InvalidWebhookUrl,
                "Invalid URL `x`: relative URL without a base",
            ),
            (
                json!({ "url": "http://a", "headers": 1 }),
                Code::InvalidWebhookHeaders,
                "Invalid value type at `.headers`: expected an object, but found a positive integer: `1`",
            ),
            (
                json!({ "url": "http://a", "headers": { "a": 1 } }),
                Code::InvalidWebhookHeaders,
                "Invalid value type at `.headers.a`: expected a string, but found a positive integer: `1`",
            ),
            (
                json!({ "url": "http://a", "headers": { "a b": "x" } }),
                Code::InvalidWebhookHeaders,
                "Invalid header name `a b`: invalid HTTP header name",
            ),
            (
                json!({ "url": "http://a", "headers": { "a": "x\ny" } }),
                Code::InvalidWebhookHeaders,
                "Invalid header value `a`: failed to parse header value",
            ),
            (
                json!({ "url": "http://a", "uuid": "x" }),
                Code::ImmutableWebhookUuid,
                "Immutable field `uuid`: expected one of `url`, `headers`",
            ),
            (
                json!({ "url": "http://a", "isEditable": true }),
                Code::ImmutableWebhookIsEditable,
                "Immutable field `isEditable`: expected one of `url`, `headers`",
            ),
            (
                json!({ "ur": "http://a" }),
                Code::BadRequest,
                "Unknown field `ur`: expected one of `url`, `headers`",
            ),
            (
                json!({ "url": "http://a", "headers": many }),
                Code::InvalidWebhookHeaders,
                "Too many headers for the webhook `00000000-0000-0000-0000-000000000000`. Please limit the number of headers to 200. Hint: To remove an already defined header set its value to `null`",
            ),
        ];
        for (body, code, message) in table {
            let error = read(&body)
                .and_then(|patch| patch.create(Uuid::nil()))
                .expect_err(message);
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }

    #[test]
    fn patches_change_what_they_name() {
        let made = read(&json!({ "url": "http://a", "headers": { "a": null, "b": "1" } }));
        let made = made
            .and_then(|patch| patch.create(Uuid::nil()))
            .expect("valid");
        assert_eq!(
            json!(made),
            json!({ "url": "http://a", "headers": { "a": "", "b": "1" } })
        );
        let table = [
            (
                json!({}),
                json!({ "url": "http://a", "headers": { "a": "", "b": "1" } }),
            ),
            (
                json!({ "url": "http://c", "headers": { "b": null, "d": "2" } }),
                json!({ "url": "http://c", "headers": { "a": "", "d": "2" } }),
            ),
            (
                json!({ "headers": null }),
                json!({ "url": "http://a", "headers": {} }),
            ),
        ];
        for (patch, expected) in table {
            let patched = read(&patch).and_then(|p| p.apply(Uuid::nil(), made.clone()));
            assert_eq!(
                patched.map(|webhook| json!(webhook)),
                Ok(expected),
                "{patch}"
            );
        }
        let error = read(&json!({ "url": null }))
            .and_then(|patch| patch.apply(Uuid::nil(), made))
            .expect_err("missing");
        assert_eq!(error.code, Code::InvalidWebhookUrl);
    }
}
