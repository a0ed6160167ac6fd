//! Which indexes exist and where their files are.
//!
//! An index's directory has a random name, so that an index created after one of the same name
//! was deleted never meets the old one's files, or readers still holding them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use milli_core::heed::EnvOpenOptions;
use milli_core::update::IndexerConfig;
use milli_core::{Index, ThreadPoolNoAbort, ThreadPoolNoAbortBuilder};

use super::vectors::EmbedderCache;
use crate::error::ApiError;
use crate::os;

/// Largest size of one index, bytes. Address space only: nothing is reserved on disk.
const INDEX_MAP_BYTES: usize = 256 << 30;

/// How the engine works.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory that holds one directory per index.
    pub root: PathBuf,
    /// Directory that dumps are written to; made with the first.
    pub dumps: PathBuf,
    /// Threads of the indexing pool.
    pub indexing_threads: usize,
    /// Memory budget of the indexer, bytes.
    pub indexing_memory_bytes: usize,
}

/// A change of the set of indexes, made together with the task that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexUpdate {
    /// No index is created or deleted.
    None,
    /// An index exists from now on, in this directory.
    Create {
        /// Its uid.
        uid: String,
        /// Name of its directory below the root.
        directory: String,
    },
    /// An index is gone.
    Delete {
        /// Its uid.
        uid: String,
    },
}

struct Slot {
    directory: String,
    index: Index,
}

/// All indexes of the node, open.
pub struct Engine {
    root: PathBuf,
    dumps: PathBuf,
    indexes: RwLock<BTreeMap<String, Slot>>,
    /// Settings of milli's indexer, with its thread pool.
    pub indexer: IndexerConfig,
    /// Embedders are shared between indexing and searching.
    pub embedders: EmbedderCache,
}

impl Engine {
    /// Opens every index of `catalog` (uid and directory) and deletes directories it does not
    /// name: leftovers of a creation or deletion that a crash interrupted.
    pub fn open(options: EngineOptions, catalog: Vec<(String, String)>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.root)?;
        let known: HashSet<&str> = catalog
            .iter()
            .map(|(_, directory)| directory.as_str())
            .collect();
        remove_strangers(&options.root, &known)?;
        let pool = ThreadPoolNoAbortBuilder::new()
            .thread_name(|at| format!("indexing-{at}"))
            .num_threads(options.indexing_threads)
            .build()?;
        let indexer = IndexerConfig {
            thread_pool: Some(pool),
            max_memory: Some(options.indexing_memory_bytes),
            ..IndexerConfig::default()
        };
        let engine = Self {
            root: options.root,
            dumps: options.dumps,
            indexes: RwLock::default(),
            indexer,
            embedders: EmbedderCache::default(),
        };
        for (uid, directory) in catalog {
            let index = engine
                .open_files(&directory, false)
                .map_err(|error| anyhow::anyhow!("cannot open index `{uid}`: {error}"))?;
            engine.write().insert(uid, Slot { directory, index });
        }
        Ok(engine)
    }

    /// Where dumps are written.
    pub fn dumps(&self) -> &Path {
        &self.dumps
    }

    /// The threads that index.
    pub fn pool(&self) -> &ThreadPoolNoAbort {
        self.indexer
            .thread_pool
            .as_ref()
            .expect("`open` builds the pool")
    }

    /// The index of this uid.
    pub fn index(&self, uid: &str) -> Result<Index, ApiError> {
        self.read()
            .get(uid)
            .map(|slot| slot.index.clone())
            .ok_or_else(|| ApiError::index_not_found(uid))
    }

    /// Whether the index exists.
    pub fn exists(&self, uid: &str) -> bool {
        self.read().contains_key(uid)
    }

    /// All indexes, sorted by uid.
    pub fn all(&self) -> Vec<(String, Index)> {
        self.read()
            .iter()
            .map(|(uid, slot)| (uid.clone(), slot.index.clone()))
            .collect()
    }

    /// Creates the files of a new index, which is not visible before [`Engine::adopt`].
    pub fn create_files(&self) -> Result<(String, Index), ApiError> {
        let directory = uuid::Uuid::new_v4().to_string();
        std::fs::create_dir(self.root.join(&directory))?;
        let index = self.open_files(&directory, true)?;
        sync_directory(&self.root.join(&directory))?;
        sync_directory(&self.root)?;
        Ok((directory, index))
    }

    /// Makes a created index visible.
    pub fn adopt(&self, uid: String, directory: String, index: Index) {
        self.write().insert(uid, Slot { directory, index });
    }

    /// Takes an index away. Requests that hold it finish undisturbed; its files go with it.
    pub fn forget(&self, uid: &str) {
        let Some(slot) = self.write().remove(uid) else {
            return;
        };
        let path = self.root.join(&slot.directory);
        drop(slot);
        if let Err(error) = std::fs::remove_dir_all(&path) {
            // The next start removes it.
            tracing::warn!(path = %path.display(), %error, "cannot remove a deleted index");
        }
    }

    fn open_files(&self, directory: &str, creation: bool) -> milli_core::Result<Index> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options
            .map_size(INDEX_MAP_BYTES)
            .max_readers(os::MAX_READERS);
        Index::new(options, self.root.join(directory), creation)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Slot>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Slot>> {
        self.indexes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_strangers(root: &Path, known: &HashSet<&str>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if !known.contains(entry.file_name().to_string_lossy().as_ref()) {
            tracing::info!(path = %entry.path().display(), "removing an abandoned index directory");
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Makes a created, renamed or removed directory entry durable.
pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}
