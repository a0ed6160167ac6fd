//! How many writes are under way, for draining.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// The number of writes under way.
#[derive(Debug, Clone)]
pub(super) struct ActiveCount {
    count: watch::Sender<usize>,
}

/// One write under way. Dropping it ends the write.
#[derive(Debug, Default)]
pub(super) struct Active {
    count: Option<watch::Sender<usize>>,
}

impl ActiveCount {
    pub(super) fn new() -> Self {
        Self {
            count: watch::Sender::new(0),
        }
    }

    pub(super) fn begin(&self) -> Active {
        self.count.send_modify(|count| *count += 1);
        Active {
            count: Some(self.count.clone()),
        }
    }

    /// Waits until none is under way; false when that takes longer than `within`.
    pub(super) async fn drained(&self, within: Duration) -> bool {
        let mut count = self.count.subscribe();
        timeout(within, count.wait_for(|count| *count == 0))
            .await
            .is_ok_and(|waited| waited.is_ok())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(count) = &self.count {
            count.send_modify(|count| *count -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_waits_for_the_last() {
        let count = ActiveCount::new();
        let (one, two) = (count.begin(), count.begin());
        drop(one);
        assert!(!count.drained(Duration::from_millis(10)).await);
        drop(two);
        assert!(count.drained(Duration::from_secs(5)).await);
    }
}
