//! Payload files: the documents of a task until it is finished.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::engine::sync_directory;
use crate::error::ApiError;

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

    /// Writes a payload durably and answers its name.
    pub fn write(&self, content: &[u8]) -> Result<String, ApiError> {
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
