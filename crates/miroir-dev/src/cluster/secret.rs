//! Secrets of a cluster: each in a file of its own that only its owner reads.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

/// Makes sure that a secret exists: the one given, the one kept, or a new one.
pub(super) fn ensure(path: &Path, given: Option<&str>) -> anyhow::Result<()> {
    match (given, read(path)) {
        (None, Ok(_)) => Ok(()),
        (Some(given), Ok(kept)) if given == kept => Ok(()),
        (Some(_), Ok(_)) => bail!("{} holds another key than the one given", path.display()),
        (given, Err(_)) => {
            let fresh = given.map_or_else(
                || uuid::Uuid::new_v4().simple().to_string(),
                ToOwned::to_owned,
            );
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            file.write_all(fresh.as_bytes())?;
            Ok(())
        }
    }
}

/// What the file holds.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}
