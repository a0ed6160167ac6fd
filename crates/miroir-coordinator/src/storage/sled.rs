//! The engine for production: sled 0.34.7. The only file that names the crate.
//!
//! How it is used, and why not more simply:
//! - sled's `flush()` on Linux writes pages out but is no fsync, so [`Kv::sync`] follows it
//!   with `fdatasync` on a descriptor of our own (sync works on the inode, whoever opened it).
//! - A crash while sled opens leaves `snap.*.generating` behind, which the next open takes
//!   for its newest snapshot and calls corruption. It is deleted first.
//! - sled never syncs its `conf`, `blobs/` and directories; we do at every open.
//! - Only `apply_batch`, `get`, `range`, `flush` and `size_on_disk` are called: the others
//!   deadlock (`flush_async`) or cost O(n) (`len`).

use std::fs::{self, File};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs4::fs_std::FileExt;

use super::StoreError;
use super::kv::{Batch, Change, Kv, Visitor};

/// Soft limit of sled's page cache. Everything hot is in our own memory, so it stays small.
const CACHE_BYTES: u64 = 16 << 20;

/// Fixed at creation. Pages above a quarter of it would be written to unsynced files.
const SEGMENT_BYTES: usize = 4 << 20;

/// A sled database in a directory of its own, locked for this process.
#[derive(Debug)]
pub struct SledKv {
    db: sled::Db,
    data_file: File,
    data_path: PathBuf,
    // Released when dropped, after the database (fields drop in order).
    _lock: File,
}

impl SledKv {
    /// Opens the database in `dir`, creating both if absent.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, &e))?;
        let lock = lock_directory(dir)?;
        let data_dir = dir.join("sled");
        delete_unfinished_snapshots(&data_dir)?;
        let db = open_database(&data_dir)?;
        sync_files(dir, &data_dir)?;
        let data_path = data_dir.join("db");
        let data_file =
            File::open(&data_path).map_err(|e| StoreError::io("open", &data_path, &e))?;
        Ok(Self {
            db,
            data_file,
            data_path,
            _lock: lock,
        })
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get(key).map_err(|e| engine("read a row", &e))?;
        Ok(value.map(|v| v.to_vec()))
    }

    fn scan(&self, range: Range<Vec<u8>>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        if range.is_empty() {
            return Ok(());
        }
        for row in self.db.range(range) {
            let (key, value) = row.map_err(|e| engine("scan rows", &e))?;
            visit(&key, &value)?;
        }
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut native = sled::Batch::default();
        for change in batch.changes() {
            match change {
                Change::Put { key, value } => native.insert(key.as_slice(), value.as_slice()),
                Change::Delete { key } => native.remove(key.as_slice()),
            }
        }
        self.db
            .apply_batch(native)
            .map_err(|e| engine("apply a batch", &e))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|e| engine("flush", &e))?;
        self.data_file
            .sync_data()
            .map_err(|e| StoreError::io("sync", &self.data_path, &e))
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        self.db
            .size_on_disk()
            .map_err(|e| engine("measure its size", &e))
    }
}

fn engine(action: &'static str, source: &sled::Error) -> StoreError {
    StoreError::Engine {
        action,
        detail: source.to_string(),
    }
}

/// Takes the lock that says "a coordinator runs here". sled has a lock too, but only after it
/// has begun to change files.
fn lock_directory(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| StoreError::io("open", &path, &e))?;
    match file.try_lock_exclusive() {
        Ok(true) => Ok(file),
        Ok(false) => Err(StoreError::Locked { path }),
        Err(e) => Err(StoreError::io("lock", &path, &e)),
    }
}

fn delete_unfinished_snapshots(data_dir: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StoreError::io("list", data_dir, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| StoreError::io("list", data_dir, &e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(file = %entry.path().display(), "deleting a page table that a crash left unfinished");
            fs::remove_file(entry.path())
                .map_err(|e| StoreError::io("delete", entry.path(), &e))?;
        }
    }
    Ok(())
}

/// How long the remains of a closed database may hold on to its file.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Opens the database. We hold the directory's lock, so a file that is still locked belongs
/// to a database closed in this process a moment ago: sled's background threads let go of
/// it some milliseconds after it was dropped.
fn open_database(data_dir: &Path) -> Result<sled::Db, StoreError> {
    let deadline = Instant::now() + CLOSING_MAX;
    loop {
        match try_open(data_dir) {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(e)) if is_locked(&e) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(sled::Error::Io(e)) => return Err(StoreError::io("open", data_dir, &e)),
            Err(e) => {
                return Err(StoreError::corrupt(data_dir.display().to_string(), e));
            }
        }
    }
}

fn try_open(data_dir: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new()
        .path(data_dir)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        // sled reclaims space from its flusher thread; without one the file only grows.
        .flush_every_ms(Some(500));
    // sled asserts on some damaged files instead of returning an error.
    catch_unwind(AssertUnwindSafe(|| config.open()))
        .unwrap_or_else(|panic| Err(sled::Error::ReportableBug(panic_text(panic.as_ref()))))
}

/// sled gives this error no kind of its own, only a text.
fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the engine gave up: {}", text.unwrap_or("no reason given"))
}

/// Makes creation durable: the files sled itself never syncs, and the names of all of them.
fn sync_files(dir: &Path, data_dir: &Path) -> Result<(), StoreError> {
    let mut paths = vec![
        data_dir.join("conf"),
        data_dir.join("db"),
        data_dir.join("blobs"),
        data_dir.to_path_buf(),
        dir.to_path_buf(),
    ];
    paths.extend(dir.parent().map(Path::to_path_buf));
    for path in paths.iter().filter(|p| !p.as_os_str().is_empty()) {
        match File::open(path) {
            Ok(file) => file
                .sync_all()
                .map_err(|e| StoreError::io("sync", path, &e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::io("open", path, &e)),
        }
    }
    Ok(())
}
