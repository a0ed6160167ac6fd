//! A move that is taken through its phases step by step while something goes on without pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use miroir_proto::v1::Phase;
use tokio::time::Instant;

use super::race::{HELD_FOR, PHASES, Race, WITHIN};

/// Counts what goes on beside the move.
#[derive(Debug, Clone, Default)]
pub struct Beat(Arc<AtomicU64>);

impl Beat {
    /// Once more.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until it went on so many times more.
    async fn more(&self, times: u64) -> anyhow::Result<()> {
        let (before, deadline) = (self.0.load(Ordering::Relaxed), Instant::now() + WITHIN);
        while self.0.load(Ordering::Relaxed) < before + times {
            ensure!(Instant::now() < deadline, "nothing goes on beside the move");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Takes the move through all its phases. In each it stands still until the clients went on so many times; `writes` says
/// that a fence stops them.
pub async fn walk(race: &Race, beat: &Beat, times: u64, writes: bool) -> anyhow::Result<()> {
    race.begin(&PHASES).await?;
    for (phase, name) in PHASES {
        race.reached(phase).await?;
        if phase == Phase::Fenced && writes {
            tokio::time::sleep(HELD_FOR).await;
        } else {
            beat.more(times).await?;
        }
        race.release(name)?;
    }
    let end = race.over().await?;
    ensure!(end == Phase::Done, "{} was cancelled", race.index);
    beat.more(times).await
}
