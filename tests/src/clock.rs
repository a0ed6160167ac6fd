//! A wall clock that a test moves, for processes started under it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;

/// What is loaded into the process.
const SHIM: &str = include_str!("clock_shim.c");

/// The clock.
#[derive(Debug)]
pub struct MovedClock {
    library: PathBuf,
    shift: PathBuf,
}

impl MovedClock {
    /// Prepares a clock that is right until it is moved, with its files in `dir`; in the inner result, why this machine
    /// has none.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub async fn prepare(dir: &Path) -> anyhow::Result<Result<Self, String>> {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        std::fs::write(&source, SHIM)?;
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .output()
            .await;
        let compiled = match compiled {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "cc refuses the clock shim: {}",
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => Err(format!(
                "there is no C compiler for the clock shim: {error}"
            )),
        };
        let clock = Self {
            library,
            shift: dir.join("clock-shift"),
        };
        clock.set(0)?;
        Ok(compiled.map(|()| clock))
    }

    /// The command that a process with this clock is started by.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("MIROIR_CLOCK_SHIFT={}", self.shift.display()),
        ]
    }

    /// Moves it to this many seconds from the right time.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn set(&self, shift_s: i64) -> anyhow::Result<()> {
        let draft = self.shift.with_extension("new");
        std::fs::write(&draft, shift_s.to_string())?;
        // The process must never read half a number.
        std::fs::rename(&draft, &self.shift).context("the clock cannot be moved")
    }
}
