//! Embedded Meilisearch-compatible node on milli-core, for development, demos and tests.
//!
//! Three layers, each below the next:
//! - [`engine`]: the indexes, and searching, reading and writing them;
//! - [`queue`]: the durable queue of tasks, and the one thread that does them in order;
//! - [`http`]: Meilisearch's routes, errors and keys.
//!
//! A request that changes something is stored as a task and answered; one that reads goes to the
//! engine on a blocking thread, within a bounded number of searches.

pub mod config;
pub mod engine;
pub mod error;
pub mod http;
mod lock;
mod os;
pub mod queue;
pub mod validate;

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;

pub use config::{NodeArgs, NodeConfig};

use engine::{Engine, EngineOptions};
use http::App;
use http::keys::Keys;
use queue::payload::Payloads;
use queue::store::Store;
use queue::{BatchLimitBytes, TaskQueue, Worker};

/// Version reported to clients: the one of the engine.
pub const VERSION: &str = "1.15.1";

/// Runs a node until `shutdown` resolves, then stops gracefully: requests in flight are
/// answered, and the task in progress is given up, to be done again at the next start.
///
/// Prints one line to standard error once it listens.
pub async fn run(
    config: NodeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.http_addr)
        .await
        .with_context(|| format!("cannot listen on {}", config.http_addr))?;
    serve(config, listener, shutdown).await
}

/// As [`run`], on a listener that is already bound.
pub async fn serve(
    config: NodeConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let database = tokio::task::spawn_blocking(move || Node::open(config)).await??;
    let Node { app, worker, _lock } = database;
    eprintln!("miroir-node {VERSION} listening on http://{address}");
    axum::serve(listener, http::router(app))
        .with_graceful_shutdown(shutdown)
        .await
        .context("the HTTP server failed")?;
    tokio::task::spawn_blocking(move || worker.stop()).await?;
    Ok(())
}

/// Everything a node keeps open.
struct Node {
    app: App,
    worker: Worker,
    _lock: lock::DirectoryLock,
}

impl Node {
    fn open(config: NodeConfig) -> anyhow::Result<Self> {
        let root = &config.db_path;
        std::fs::create_dir_all(root)
            .with_context(|| format!("cannot create {}", root.display()))?;
        let lock = lock::acquire(root)?;
        let store = Store::open(&root.join("tasks"))?;
        let engine = Engine::open(
            EngineOptions {
                root: root.join("indexes"),
                dumps: config.dump_dir.clone(),
                indexing_threads: config.max_indexing_threads,
                indexing_memory_bytes: config.max_indexing_memory_bytes,
            },
            store.catalog()?,
        )?;
        let engine = Arc::new(engine);
        let queue = TaskQueue::open(store, Payloads::open(root.join("update_files"))?)?;
        let queue = Arc::new(queue);
        let keys = Keys::open(queue.clone(), config.master_key.clone())?;
        let limit = BatchLimitBytes((config.max_indexing_memory_bytes / 2) as u64);
        let worker = queue::spawn(engine.clone(), queue.clone(), limit, root.join("hold"))?;
        let app = App::new(engine, queue, keys, config.http_payload_limit_bytes);
        Ok(Self {
            app,
            worker,
            _lock: lock,
        })
    }
}
