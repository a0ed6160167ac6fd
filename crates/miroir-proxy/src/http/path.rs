//! Parameters in a path, with a refusal of Meilisearch's shape.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use miroir_core::api_error::{ApiError, Code};
use serde::de::DeserializeOwned;

use crate::error::HttpError;

/// The decoded parameters of a route's path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(parameters)) => Ok(Self(parameters)),
            Err(rejection) => Err(ApiError::new(Code::BadRequest, rejection.body_text()).into()),
        }
    }
}
