//! How much memory the cluster's processes use, looked at now and then.

use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Memory of all processes that this one started, and the most of one process of each kind.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// Memory of their own, in bytes: without the pages of files, which the system takes back when it needs them.
    pub own_bytes: u64,
    /// All of it, pages of mapped databases included, in bytes.
    pub resident_bytes: u64,
    /// The most that one coordinator had resident, in bytes.
    pub coordinator_bytes: u64,
    /// The most that one proxy had resident, in bytes.
    pub proxy_bytes: u64,
}

/// Looks until it is stopped.
#[derive(Debug)]
pub struct MemoryWatch {
    stop: CancellationToken,
    looking: JoinHandle<Memory>,
}

impl MemoryWatch {
    /// Starts looking.
    #[must_use]
    pub fn start() -> Self {
        let stop = CancellationToken::new();
        let looking = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut most = Memory::default();
                while !stop.is_cancelled() {
                    most = most.max(now());
                    tokio::time::sleep(LOOK).await;
                }
                most
            }
        });
        Self { stop, looking }
    }

    /// Stops looking; answers the most that was seen of each.
    pub async fn stop(self) -> Memory {
        self.stop.cancel();
        self.looking.await.unwrap_or_default()
    }
}

impl Memory {
    fn max(self, other: Self) -> Self {
        Self {
            own_bytes: self.own_bytes.max(other.own_bytes),
            resident_bytes: self.resident_bytes.max(other.resident_bytes),
            coordinator_bytes: self.coordinator_bytes.max(other.coordinator_bytes),
            proxy_bytes: self.proxy_bytes.max(other.proxy_bytes),
        }
    }
}

/// Memory at this moment; nothing where the system has no `/proc`.
fn now() -> Memory {
    let mut sum = Memory::default();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(status) = std::fs::read_to_string(entry.path().join("status")).ok() else {
            continue;
        };
        if field(&status, "PPid:") != Some(u64::from(std::process::id())) {
            continue;
        }
        let kib = |name| field(&status, name).unwrap_or_default() * 1024;
        let resident = kib("VmRSS:");
        sum.own_bytes += kib("RssAnon:") + kib("RssShmem:");
        sum.resident_bytes += resident;
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        match command.split(|byte| *byte == 0).nth(1) {
            Some(b"coordinator") => sum.coordinator_bytes = sum.coordinator_bytes.max(resident),
            Some(b"proxy") => sum.proxy_bytes = sum.proxy_bytes.max(resident),
            _ => {}
        }
    }
    sum
}

fn field(status: &str, name: &str) -> Option<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
