//! Routes of Meilisearch that are not offered, wrong methods, and paths that nobody knows.

use axum::extract::MatchedPath;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::registry::Action;

use super::{Server, refusals, routes};
use crate::error::HttpError;

/// Routes of Meilisearch that this proxy refuses by name, to those whom Meilisearch would let through.
pub const ROUTES: &[(&str, &str, Action)] = &[
    (
        "POST",
        "/indexes/{uid}/documents/edit",
        Action::DocumentsAll,
    ),
    ("POST", "/tasks/compact", Action::TasksCompact),
    ("GET", "/tasks/{uid}/documents", Action::TasksGet),
    ("POST", "/export", Action::Export),
    ("GET", "/network", Action::NetworkGet),
    ("PATCH", "/network", Action::NetworkUpdate),
    ("POST", "/network/control", Action::NetworkUpdate),
    ("GET", "/chats", Action::ChatsGet),
    ("GET", "/chats/{workspace}", Action::ChatsGet),
    ("DELETE", "/chats/{workspace}", Action::ChatsDelete),
    (
        "GET",
        "/chats/{workspace}/settings",
        Action::ChatsSettingsGet,
    ),
    (
        "PATCH",
        "/chats/{workspace}/settings",
        Action::ChatsSettingsUpdate,
    ),
    (
        "DELETE",
        "/chats/{workspace}/settings",
        Action::ChatsSettingsUpdate,
    ),
    (
        "POST",
        "/chats/{workspace}/chat/completions",
        Action::ChatCompletions,
    ),
    ("POST", "/logs/stream", Action::MetricsGet),
    ("DELETE", "/logs/stream", Action::MetricsGet),
    ("POST", "/logs/stderr", Action::MetricsGet),
];

/// The handler of a route that is refused by name.
pub fn handler(method: &str) -> MethodRouter<Server> {
    let filter = match method {
        "GET" => MethodFilter::GET,
        "POST" => MethodFilter::POST,
        "PUT" => MethodFilter::PUT,
        "PATCH" => MethodFilter::PATCH,
        _ => MethodFilter::DELETE,
    };
    on(filter, not_supported)
}

async fn not_supported(method: Method, path: MatchedPath) -> HttpError {
    let route = format!("{method} {}", path.as_str());
    let more = refusals::reason(path.as_str())
        .unwrap_or("The routes that are supported are listed in Miroir's docs/api.md.");
    let message = format!("`{route}` is not supported by this Miroir cluster. {more}");
    ApiError::new(Code::FeatureNotEnabled, message).into()
}

/// Answers a method that the path does not have: as Meilisearch, without a body.
pub async fn wrong_method(path: MatchedPath) -> Response {
    method_not_allowed(&routes::methods_of(path.as_str()).join(", "))
}

/// The answer to a method that is none of `allowed`.
pub fn method_not_allowed(allowed: &str) -> Response {
    let allow = [(header::ALLOW, allowed)];
    (StatusCode::METHOD_NOT_ALLOWED, allow).into_response()
}

/// Answers a path that Meilisearch does not have either: as Meilisearch, without a body. Clients tell by it that they have the wrong
/// address from an index or document that is not there.
pub async fn unknown_path() -> StatusCode {
    StatusCode::NOT_FOUND
}
