//! Making whole what a round harmed: everything runs, nothing is paused, held or pinned, and nothing is under way.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use miroir_dev::cluster::Role;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_proto::v1::{control_migration, control_operation};
use tokio::time::Instant;

use super::stage::Stage;
use super::view::is_under_way;

/// How long healing may take: a lost session, repairs, and what is left of the moves, on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

impl Stage {
    /// Has exactly the nodes run that the cluster has. One whose removal was asked for in vain runs again.
    pub async fn run_right_nodes(&mut self) -> anyhow::Result<()> {
        let nodes = self.cluster.admin.nodes().await?;
        let urls: BTreeSet<String> = nodes.into_iter().map(|node| node.url).collect();
        for node in 1..=self.cluster.layout.nodes() {
            let role = Role::Node(node);
            let wanted = urls.contains(&self.cluster.layout.node_url(node));
            let process = self.cluster.process(role);
            let runs = process.is_some_and(|process| process.is_running());
            if wanted && !runs {
                self.cluster.spawn(role)?;
            } else if !wanted && runs {
                self.cluster.kill(role).await?;
            }
        }
        Ok(())
    }

    /// Waits until the cluster is whole.
    ///
    /// # Errors
    /// Saying what is not.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let lacking = match self.lacking().await {
                Ok(None) => break,
                Ok(Some(lacking)) => lacking,
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                let under_way = self.under_way().await.unwrap_or_default();
                bail!("not whole after {WITHIN:?}: {lacking}\n{under_way}");
            }
            tokio::time::sleep(LOOK).await;
        }
        self.run_right_nodes().await
    }

    /// Lets go what keeps the cluster from being whole; answers what still does.
    async fn lacking(&mut self) -> anyhow::Result<Option<String>> {
        let admin = self.cluster.admin.clone();
        let topology = admin.topology().await?;
        if topology.hold.is_some() {
            // What is refused because somebody else did it is as good.
            let _released = admin.change(Change::Release(v1::Release {})).await;
        }
        self.resume_all().await?;
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
        if let Some(node) = topology.nodes.iter().find(|node| node.health != "up") {
            return Ok(Some(format!("node {} is {}", node.id, node.health)));
        }
        // One that was killed is found lost when its lease has run out. Until then what it left behind on some copies
        // only, and never acknowledged, has not been looked for.
        let mut proxies = admin.proxies().await?;
        proxies.retain(|proxy| !proxy.lost);
        let live = proxies.iter().filter(|proxy| proxy.lease == "live").count();
        let expected = usize::from(self.cluster.layout.options.proxies);
        let right = live == expected && proxies.len() == expected;
        Ok((!right).then(|| format!("{live} of {} proxies may write", proxies.len())))
    }

    /// Has everything go on that was paused or throttled, and unpins what is pinned where it cannot stay.
    async fn resume_all(&self) -> anyhow::Result<()> {
        let admin = &self.cluster.admin;
        let operations = admin.operations().await?;
        for operation in operations.iter().filter(|o| is_under_way(o) && o.paused) {
            let action = Some(control_operation::Action::Resume(v1::Resume {}));
            let id = operation.id;
            let change = v1::ControlOperation { id, action };
            let _resumed = admin.change(Change::ControlOperation(change)).await;
        }
        for migration in admin.unfinished_migrations().await? {
            let id = migration.id;
            let resume = control_migration::Action::Resume(v1::Resume {});
            let unthrottle = control_migration::Action::Throttle(v1::Throttle::default());
            let throttled = migration.throttle_docs_per_s.is_some();
            for (needed, action) in [(migration.paused, resume), (throttled, unthrottle)] {
                if needed {
                    let action = Some(action);
                    let change = v1::ControlMigration { id, action };
                    let _done = admin.change(Change::ControlMigration(change)).await;
                }
            }
        }
        Ok(())
    }

    /// Lets go every copy of every index that is pinned.
    pub async fn unpin_all(&self) -> anyhow::Result<()> {
        let admin = &self.cluster.admin;
        for copy in admin.shards(None).await?.iter().filter(|copy| copy.pinned) {
            let unpin = v1::Pin {
                index: copy.index.clone(),
                shard: copy.shard,
                node: Some(copy.node),
                pinned: false,
            };
            let _unpinned = admin.change(Change::Pin(unpin)).await;
        }
        Ok(())
    }

    /// Lines about everything that is not over.
    async fn under_way(&self) -> anyhow::Result<String> {
        let admin = &self.cluster.admin;
        let mut lines = Vec::new();
        for operation in admin.operations().await?.iter().filter(|o| is_under_way(o)) {
            lines.push(format!(
                "operation {} ({}) is {}; {}",
                operation.id, operation.kind, operation.state, operation.last_error
            ));
        }
        for migration in admin.unfinished_migrations().await? {
            lines.push(format!(
                "migration {} of shard {} of {}, {} to {}: {}, attempt {}: {}; waits for {}",
                migration.id,
                migration.shard,
                migration.index,
                migration.source,
                migration.target,
                migration.phase().as_str_name(),
                migration.attempts,
                migration.last_error,
                migration.waits_for,
            ));
        }
        let copies = admin.shards(None).await?;
        for copy in copies.iter().filter(|copy| copy.state != "inSync") {
            lines.push(format!(
                "the copy of shard {} of {} on node {} is {}",
                copy.shard, copy.index, copy.node, copy.state
            ));
        }
        Ok(lines.join("\n"))
    }
}
