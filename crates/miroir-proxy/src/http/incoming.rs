//! Write requests: who sends them, what they say, and the answer to them.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use miroir_core::cluster::Idempotency;
use miroir_core::id::IndexUid;
use miroir_core::session::SessionToken;
use uuid::Uuid;

use super::aliases::ByAlias;
use super::{Allowed, Server, body, idempotency, view};
use crate::error::HttpError;
use crate::read::{SESSION_HEADER, session_of};
use crate::write::{
    Accepted, FORWARDED_HEADER, MOVED_HEADER, Operation, REQUEST_ID_HEADER, RawRequest, WriteError,
    WriteRequest,
};

/// The headers that say how to read a body.
const PASSED_ON: [HeaderName; 1] = [header::CONTENT_TYPE];

/// A write request whose sender may write.
#[derive(Debug)]
pub struct Incoming {
    raw: RawRequest,
    uri: Uri,
    forwarded: bool,
    allowed: Allowed,
    request_id: Uuid,
    idempotency: Option<Idempotency>,
    session: SessionToken,
}

impl Incoming {
    /// Reads the body of a request that was let through.
    /// The mark of a forwarded request counts only next to the cluster token.
    ///
    /// # Errors
    /// What [`body::read`] refuses; `invalid_idempotency_key`; `invalid_session`.
    pub async fn read(server: &Server, request: Request) -> Result<Self, HttpError> {
        let (head, content) = request.into_parts();
        let parts = server.parts();
        let forwarded =
            head.headers.contains_key(FORWARDED_HEADER) && parts.keys.is_proxy(&head.headers);
        let allowed = head.extensions.get::<Allowed>().cloned();
        let allowed = allowed
            .ok_or_else(|| HttpError::internal("a write came by a route that asks for no key"))?;
        if head
            .extensions
            .get::<ByAlias>()
            .is_some_and(|by| !by.is_current)
        {
            let message = "The request names an alias, which may point elsewhere by now: the proxy has no contact to the coordinators. Try again.";
            return Err(HttpError::unavailable("writes_unavailable", message));
        }
        let session = session_of(&head.headers, &parts.control.table().cluster_id)?;
        let given = head
            .headers
            .get(REQUEST_ID_HEADER)
            .and_then(|id| id.to_str().ok());
        let given = given
            .filter(|_| forwarded)
            .and_then(|id| Uuid::parse_str(id).ok());
        let key = match forwarded {
            true => None,
            false => idempotency::key(&head.headers, &allowed)?,
        };
        let content = body::read(&head.headers, content, parts.payload_limit).await?;
        let path_and_query = head.uri.path_and_query().map(ToString::to_string);
        let path_and_query = path_and_query.unwrap_or_else(|| "/".to_owned());
        let write = match key {
            None => idempotency::passed_on(&head.headers).filter(|_| forwarded),
            Some(key) => {
                Some(idempotency::of(key, (&head.method, &path_and_query), &content).await?)
            }
        };
        let kept = |name: &HeaderName| head.headers.get(name).map(|v| (name.clone(), v.clone()));
        Ok(Self {
            raw: RawRequest {
                method: head.method,
                path_and_query,
                headers: PASSED_ON.iter().filter_map(kept).collect::<HeaderMap>(),
                body: content,
            },
            uri: head.uri,
            forwarded,
            allowed,
            request_id: given.unwrap_or_else(Uuid::new_v4),
            idempotency: write,
            session,
        })
    }

    /// Its address.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Its headers that say how to read the body.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.raw.headers
    }

    /// What its sender may do.
    #[must_use]
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// What tells it from a request that was sent before.
    #[must_use]
    pub fn idempotency(&self) -> Option<Idempotency> {
        self.idempotency
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.raw.body
    }

    /// Carries it out and answers with its task.
    pub async fn submit(self, server: &Server, index: IndexUid, operation: Operation) -> Response {
        self.submit_with(server, index, operation, None).await
    }

    /// Carries it out under the client's own `customMetadata`.
    pub async fn submit_with(
        mut self,
        server: &Server,
        index: IndexUid,
        operation: Operation,
        custom_metadata: Option<String>,
    ) -> Response {
        let request = WriteRequest {
            may_create: self.allowed.may_create(index.as_str()),
            index,
            operation,
            custom_metadata,
            forwarded: self.forwarded,
            raw: self.raw,
            request_id: self.request_id,
            idempotency: self.idempotency,
        };
        match Box::pin(server.parts().writes.submit(request)).await {
            Ok(accepted) => {
                // A session is about indexes, whatever they are called later.
                let table = server.parts().control.table();
                let uid = &accepted.index_uid;
                let name = table.indexes.get(uid).map_or(uid, |index| &index.name);
                self.session.note(Some(name.as_str()), accepted.task_uid);
                accept(&accepted, &self.session)
            }
            Err(error) => refuse(&error),
        }
    }
}

/// The answer, with the session that the task is part of from now on.
fn accept(accepted: &Accepted, session: &SessionToken) -> Response {
    let summary = view::summary(
        accepted.task_uid.0,
        Some(accepted.index_uid.as_str()),
        accepted.kind,
        accepted.enqueued_at_ms,
        accepted.custom_metadata.as_deref(),
    );
    let session = [(SESSION_HEADER, session.encode())];
    (StatusCode::ACCEPTED, session, axum::Json(summary)).into_response()
}

pub(super) fn refuse(error: &WriteError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    let mut response = (status, [(header::CONTENT_TYPE, json)], error.body()).into_response();
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match error {
        WriteError::Moved => {
            headers.insert(MOVED_HEADER, HeaderValue::from_static("1"));
        }
        WriteError::Refused(_)
        | WriteError::Unavailable { .. }
        | WriteError::Repeated { .. }
        | WriteError::Answer { .. } => {}
    }
    response
}
