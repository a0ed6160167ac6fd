//! Waiting until a cluster that was harmed is whole again.

use std::time::Duration;

use anyhow::{Context, bail};
use miroir_proto::v1;
use tokio::time::Instant;

use crate::Trial;

/// How long healing may take: a lost session, a repair and what is left of a move.
const WITHIN: Duration = Duration::from_secs(90);

impl Trial {
    /// Waits until nothing moves, no copy is stale, every task is finished and every proxy may write; then compares
    /// everything with the oracle.
    ///
    /// # Errors
    /// Naming what is not whole, or what is lost, duplicated or wrong.
    pub async fn heal_and_check(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let lacking = match self.lacking().await {
                Ok(None) => break,
                Ok(Some(lacking)) => lacking,
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                bail!(
                    "after {WITHIN:?}: {lacking}\n{}",
                    self.unfinished().await.unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.check().await
    }

    /// What keeps the cluster from being whole, as its leader sees it.
    async fn lacking(&self) -> anyhow::Result<Option<String>> {
        let admin = &self.cluster.admin;
        let status = admin.status_of(admin.leader().await?).await?;
        let counts = [
            (status.migrations_unfinished, "migrations"),
            (status.operations_unfinished, "operations"),
            (status.replicas_stale, "stale copies"),
            (status.tasks_unfinished, "unfinished tasks"),
        ];
        if let Some((count, what)) = counts.iter().find(|(count, _)| *count > 0) {
            return Ok(Some(format!("there are {count} {what}")));
        }
        let proxies = admin.proxies().await?;
        let live = proxies.iter().filter(|proxy| proxy.lease == "live").count();
        let expected = usize::from(self.cluster.layout.options.proxies);
        Ok((live < expected).then(|| format!("{live} of {expected} proxies may write")))
    }

    /// Lines about every migration that has not ended.
    async fn unfinished(&self) -> anyhow::Result<String> {
        let operations = self.cluster.admin.operations().await?;
        let mut lines = Vec::new();
        for operation in operations.iter().filter(|one| one.state != "done") {
            lines.push(format!(
                "operation {} ({}) is {}",
                operation.id, operation.kind, operation.state
            ));
            let migrations = self.cluster.admin.migrations(operation.id).await?;
            lines.extend(migrations.migrations.iter().filter(|m| !ended(m)).map(line));
        }
        Ok(lines.join("\n"))
    }

    /// The number of the proxy that orders the index's writes.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn writer(&self, index: &str) -> anyhow::Result<u16> {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.writer_now(index).await? {
                Some(writer) => return Ok(writer),
                None if Instant::now() > deadline => bail!("index {index} has no writer"),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn writer_now(&self, index: &str) -> anyhow::Result<Option<u16>> {
        let detail = self.cluster.admin.index(index).await?;
        let summary = detail.summary.context("an index without a summary")?;
        let proxies = self.cluster.admin.proxies().await?;
        let url = proxies
            .into_iter()
            .find(|proxy| Some(proxy.id) == summary.writer)
            .map(|proxy| proxy.url);
        let layout = &self.cluster.layout;
        Ok((1..=layout.options.proxies).find(|n| url.as_ref() == Some(&layout.proxy_url(*n))))
    }
}

fn ended(migration: &v1::Migration) -> bool {
    matches!(migration.phase(), v1::Phase::Done | v1::Phase::Cancelled)
}

fn line(migration: &v1::Migration) -> String {
    format!(
        "  migration {} of shard {}, {} to {}: {}, attempt {}: {}",
        migration.id,
        migration.shard,
        migration.source,
        migration.target,
        migration.phase().as_str_name(),
        migration.attempts,
        migration.last_error
    )
}
