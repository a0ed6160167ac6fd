//! Meilisearch's HTTP API.

mod actions;
mod auth;
mod documents;
mod documents_write;
mod dumps;
mod extract;
mod facet_search;
mod indexes;
pub mod keys;
mod multi_search;
mod payload_format;
mod search;
mod search_get;
mod settings;
mod stats;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::engine::Engine;
use crate::error::{ApiError, Code};
use crate::queue::{NewTask, TaskQueue};
use keys::Keys;

/// Searches that may run at once, per core.
const SEARCHES_PER_CORE: usize = 4;

/// Searches that may wait for their turn.
const SEARCH_QUEUE: usize = 1000;

/// How long a search waits for its turn.
const SEARCH_WAIT: Duration = Duration::from_secs(60);

/// What every handler needs.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    queue: Arc<TaskQueue>,
    keys: Keys,
    payload_limit_bytes: usize,
    searches: Semaphore,
    waiting: AtomicUsize,
}

impl App {
    /// The state of a node's HTTP server.
    pub fn new(
        engine: Arc<Engine>,
        queue: Arc<TaskQueue>,
        keys: Keys,
        payload_limit_bytes: usize,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Inner {
            engine,
            queue,
            keys,
            payload_limit_bytes,
            searches: Semaphore::new(cores * SEARCHES_PER_CORE),
            waiting: AtomicUsize::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    fn queue(&self) -> &TaskQueue {
        &self.inner.queue
    }

    fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Runs blocking work off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app))
            .await
            .map_err(|error| ApiError::new(Code::Internal, error.to_string()))?
    }

    /// Runs a search or another read of documents, when it is its turn.
    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let _permit = self.search_permit().await?;
        self.blocking(work).await
    }

    async fn search_permit(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        let waiting = &self.inner.waiting;
        if waiting.fetch_add(1, Ordering::Relaxed) >= SEARCH_QUEUE {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(too_many_searches());
        }
        let turn = tokio::time::timeout(SEARCH_WAIT, self.inner.searches.acquire()).await;
        waiting.fetch_sub(1, Ordering::Relaxed);
        match turn {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(too_many_searches()),
        }
    }

    /// Registers a task and answers 202 with its summary.
    async fn enqueue(&self, task: NewTask) -> Result<Response, ApiError> {
        let task = self.blocking(move |app| app.queue().register(task)).await?;
        Ok((StatusCode::ACCEPTED, Json(task.summary())).into_response())
    }
}

fn too_many_searches() -> ApiError {
    ApiError::new(
        Code::TooManySearchRequests,
        format!(
            "Too many search requests running at the same time: {SEARCH_QUEUE}. Retry after 10s."
        ),
    )
}

/// All routes.
pub fn router(app: App) -> Router {
    let documents = Router::new()
        .route(
            "/",
            get(documents::browse)
                .post(documents_write::replace)
                .put(documents_write::update)
                .delete(documents_write::clear),
        )
        .route("/fetch", post(documents::fetch))
        .route("/delete-batch", post(documents_write::delete_batch))
        .route("/delete", post(documents_write::delete_by_filter))
        .route(
            "/{document_id}",
            get(documents::get_one).delete(documents_write::delete_one),
        );
    let index = Router::new()
        .route(
            "/",
            get(indexes::get_one)
                .patch(indexes::update)
                .delete(indexes::delete),
        )
        .route("/stats", get(stats::index))
        .route("/facet-search", post(facet_search::post))
        .route("/search", get(search::search_get).post(search::search_post))
        .route(
            "/settings",
            get(settings::read)
                .patch(settings::update)
                .delete(settings::reset),
        )
        .nest("/documents", documents);
    Router::new()
        .route("/health", get(stats::health))
        .route("/version", get(stats::version))
        .route("/stats", get(stats::all))
        .route("/multi-search", post(multi_search::post))
        .route("/indexes", get(indexes::list).post(indexes::create))
        .nest("/indexes/{index_uid}", index)
        .route("/dumps", post(dumps::create))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{task_uid}", get(tasks::get_one))
        .route("/keys", get(keys::list).post(keys::create))
        .route(
            "/keys/{key}",
            get(keys::get_one).patch(keys::update).delete(keys::delete),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(
        Code::NotFound,
        format!("The route `{}` does not exist.", uri.path()),
    )
}

async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> ApiError {
    let message = format!(
        "The route `{}` does not accept the method {method}.",
        uri.path()
    );
    ApiError::new(Code::MethodNotAllowed, message)
}

/// A page of a listing.
fn page(results: Vec<Value>, offset: usize, limit: usize, total: u64) -> Json<Value> {
    Json(serde_json::json!({
        "results": results, "offset": offset, "limit": limit, "total": total,
    }))
}
