//! The number that all chance of a drill comes from, printed so that a failing run can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that repeats a run.
const VARIABLE: &str = "MIROIR_SEED";

/// A seed for the drill of this name: the one asked for, or a new one.
///
/// # Errors
/// When the variable holds no number.
pub fn seed(drill: &str) -> anyhow::Result<u64> {
    let seed = match std::env::var(VARIABLE) {
        Ok(text) => text
            .parse()
            .map_err(|error| anyhow::anyhow!("{VARIABLE} is `{text}`: {error}"))?,
        Err(_) => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
            u64::from(since.subsec_nanos())
        }
    };
    println!(
        "{drill}: seed {seed}; repeat with {VARIABLE}={seed} cargo test -p miroir-tests {drill}"
    );
    Ok(seed)
}
