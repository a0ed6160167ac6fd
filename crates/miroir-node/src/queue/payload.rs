//! Payload files: the documents of a task until it is finished.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::task::Payload;
use crate::engine::sync_directory;
use crate::error::ApiError;

/// Largest payload that is stored beside its task instead of in a file, bytes.
pub const MAX_ROW_BYTES: usize = 128 << 10;

/// A directory of payload files, each written once.
#[derive(Debug)]
pub struct Payloads {
    directory: PathBuf,
}

impl Payloads {
    /// Opens the directory, creating it when absent.
    pub fn open(directory: PathBuf) -> Result<Self, ApiError> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// Decides where documents wait for their task. Small ones are handed back, to be stored
    /// beside the task; others are on disk when this returns.
    pub fn place(&self, documents: Vec<u8>) -> Result<(Payload, Option<Vec<u8>>), ApiError> {
        if documents.len() <= MAX_ROW_BYTES {
            return Ok((Payload::Row, Some(documents)));
        }
        Ok((Payload::File(self.write(&documents)?), None))
    }

    fn write(&self, content: &[u8]) -> Result<String, ApiError> {
        let name = uuid::Uuid::new_v4().to_string();
        let mut file = File::create_new(self.path(&name))?;
        file.write_all(content)?;
        file.sync_data()?;
        sync_directory(&self.directory)?;
        Ok(name)
    }

    /// Where a payload is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Deletes a payload. It is not an error if that fails: the next start tries again.
    pub fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path(name)) {
            tracing::warn!(name, %error, "cannot remove a finished payload");
        }
    }

    /// Deletes every payload but these: leftovers of requests a crash interrupted.
    pub fn retain(&self, used: &HashSet<String>) -> Result<(), ApiError> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !used.contains(entry.file_name().to_string_lossy().as_ref()) {
                remove_entry(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn remove_entry(path: &Path) -> std::io::Result<()> {
    tracing::info!(path = %path.display(), "removing an abandoned payload");
    fs::remove_file(path)
}
