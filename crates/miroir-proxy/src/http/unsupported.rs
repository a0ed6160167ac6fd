//! Routes of Meilisearch that are not offered, wrong methods, and paths that nobody knows.

use axum::extract::MatchedPath;
use axum::http::{Method, Uri};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use miroir_core::api_error::{ApiError, Code};

use super::{Server, refusals, routes};
use crate::error::HttpError;

/// Routes of Meilisearch that this proxy refuses by name.
pub const ROUTES: &[(&str, &str)] = &[
    ("POST", "/swap-indexes"),
    ("POST", "/indexes/{uid}/documents/edit"),
    ("POST", "/tasks/compact"),
    ("GET", "/tasks/{uid}/documents"),
    ("POST", "/export"),
    ("GET", "/network"),
    ("PATCH", "/network"),
    ("POST", "/network/control"),
    ("GET", "/chats"),
    ("GET", "/chats/{workspace}"),
    ("DELETE", "/chats/{workspace}"),
    ("GET", "/chats/{workspace}/settings"),
    ("PATCH", "/chats/{workspace}/settings"),
    ("DELETE", "/chats/{workspace}/settings"),
    ("POST", "/chats/{workspace}/chat/completions"),
    ("POST", "/logs/stream"),
    ("DELETE", "/logs/stream"),
    ("POST", "/logs/stderr"),
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

/// Answers a method that the path does not have.
pub async fn wrong_method(method: Method, uri: Uri, path: MatchedPath) -> impl IntoResponse {
    let allowed = routes::methods_of(path.as_str()).join(", ");
    let error = HttpError::method_not_allowed(method.as_str(), uri.path(), &allowed);
    ([(axum::http::header::ALLOW, allowed)], error)
}

/// Answers a path that Meilisearch does not have either.
pub async fn unknown_path(method: Method, uri: Uri) -> HttpError {
    let message = format!("`{method} {}` is not a route of Meilisearch.", uri.path());
    ApiError::new(Code::NotFound, message).into()
}
