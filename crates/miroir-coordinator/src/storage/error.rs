//! What can go wrong with a coordinator's storage.

use std::path::PathBuf;

use thiserror::Error;

/// A storage failure. It names the file or row, and what an operator can do about it.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The operating system refused an operation on a file or directory.
    #[error("cannot {action} {}: {detail}", path.display())]
    Io {
        /// What was tried, as a verb phrase ("open", "sync").
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's own words.
        detail: String,
    },
    /// Another process has this directory open.
    #[error(
        "{} is in use by another coordinator process; stop it, or give this one its own data directory",
        path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The engine failed while reading or writing.
    #[error("storage engine cannot {action}: {detail}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// The engine's own words.
        detail: String,
    },
    /// Stored bytes are not what was written.
    #[error(
        "storage is damaged at {row}: {detail}; remove this coordinator, and add it again with a new id and an empty directory"
    )]
    Corrupt {
        /// Which row or file.
        row: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The directory belongs to another cluster or coordinator.
    #[error("storage belongs to {found}, but this process is configured as {expected}")]
    WrongOwner {
        /// Who this process says it is.
        expected: String,
        /// Who wrote the directory.
        found: String,
    },
    /// The directory was written by a version this program does not read.
    #[error(
        "storage has format {found}, this program reads format {supported}; run the version that wrote it"
    )]
    Format {
        /// Format found on disk.
        found: u32,
        /// Format this program reads and writes.
        supported: u32,
    },
    /// An earlier write failed; nothing is written any more, since what reached the disk is
    /// unknown. The process has to be restarted.
    #[error("storage stopped after an earlier failure: {first}")]
    Poisoned {
        /// The failure that stopped it.
        first: String,
    },
    /// The storage was closed by a shutdown.
    #[error("storage is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later in this process without an operator.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Locked { .. } => true,
            Self::Io { .. }
            | Self::Engine { .. }
            | Self::Corrupt { .. }
            | Self::WrongOwner { .. }
            | Self::Format { .. }
            | Self::Poisoned { .. }
            | Self::Closed => false,
        }
    }

    /// An I/O failure on `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: &std::io::Error,
    ) -> Self {
        Self::Io {
            action,
            path: path.into(),
            detail: source.to_string(),
        }
    }

    /// Damage found in the row or file named `row`.
    pub(crate) fn corrupt(row: impl Into<String>, detail: impl ToString) -> Self {
        Self::Corrupt {
            row: row.into(),
            detail: detail.to_string(),
        }
    }
}
