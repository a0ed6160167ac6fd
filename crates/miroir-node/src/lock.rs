//! Keeps two nodes from sharing one database directory.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::{Context, bail};
use fs4::fs_std::FileExt;

/// Holds the directory's lock until dropped. The kernel releases it when the process dies.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Takes the lock of a database directory, which must exist.
pub fn acquire(directory: &Path) -> anyhow::Result<DirectoryLock> {
    let path = directory.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let locked = FileExt::try_lock_exclusive(&file)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    if !locked {
        bail!(
            "{} is in use by another node; stop it or choose another --db-path",
            directory.display()
        );
    }
    Ok(DirectoryLock { _file: file })
}
