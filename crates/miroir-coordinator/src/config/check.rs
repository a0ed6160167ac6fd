//! The rules that a configuration must obey as a whole.

use std::collections::BTreeSet;

use super::{Config, ConfigError};
use crate::actor::webhooks::certificates;
use crate::nodes::url::http_origin;

impl Config {
    /// Checks every field; the first that breaks a rule is named.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_identity()?;
        self.check_secrets()?;
        self.check_webhooks()?;
        self.check_timings()
    }

    fn check_webhooks(&self) -> Result<(), ConfigError> {
        let Some(path) = &self.webhooks.ca_file else {
            return Ok(());
        };
        let wrong = |error| ConfigError::invalid("webhooks.ca_file", format!("{error:#}"));
        certificates(path).map(drop).map_err(wrong)
    }

    fn check_identity(&self) -> Result<(), ConfigError> {
        let invalid = |field: &str, rule: &str| Err(ConfigError::invalid(field, rule));
        if self.id == 0 {
            return invalid("id", "must be given, and at least 1");
        }
        if self.cluster.trim().is_empty() {
            return invalid("cluster", "must not be empty");
        }
        if self.data_dir.as_os_str().is_empty() {
            return invalid("data_dir", "must not be empty");
        }
        if self.api_addr == self.raft_addr && self.api_addr.port() != 0 {
            return invalid("raft_addr", "must not be the same as `api_addr`");
        }
        for (field, addr) in [("api_addr", self.api_addr), ("raft_addr", self.raft_addr)] {
            if self.http_addr == addr && addr.port() != 0 {
                return invalid("http_addr", &format!("must not be the same as `{field}`"));
            }
        }
        if self.peers.is_empty() {
            return invalid("peers", "must list all coordinators, this one included");
        }
        let mut ids = BTreeSet::new();
        let mut urls = BTreeSet::new();
        for peer in &self.peers {
            if peer.id == 0 || !ids.insert(peer.id) {
                let rule = format!("names the id {} twice, or it is 0", peer.id);
                return invalid("peers", &rule);
            }
            let given = [("api_url", &peer.api_url), ("raft_url", &peer.raft_url)];
            let optional = peer.http_url.iter().map(|url| ("http_url", url));
            for (field, url) in given.into_iter().chain(optional) {
                let field = format!("peers.{field}");
                if let Err(error) = http_origin(url) {
                    return invalid(&field, &format!("of coordinator {}: {error}", peer.id));
                }
                if !urls.insert(url.trim_end_matches('/')) {
                    return invalid(&field, &format!("`{url}` is used twice"));
                }
            }
        }
        if !ids.contains(&self.id) {
            let rule = format!(
                "must list this coordinator too, which has `id = {}`",
                self.id
            );
            return invalid("peers", &rule);
        }
        Ok(())
    }

    fn check_secrets(&self) -> Result<(), ConfigError> {
        let secrets = [
            ("cluster_token", &self.cluster_token, "MIROIR_CLUSTER_TOKEN"),
            (
                "node_master_key",
                &self.node_master_key,
                "MIROIR_NODE_MASTER_KEY",
            ),
        ];
        for (field, secret, variable) in secrets {
            let Some(secret) = secret else {
                let rule = format!("must be given, here, in `{field}_file` or in {variable}");
                return Err(ConfigError::invalid(field, rule));
            };
            let text = secret.expose();
            if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
                let rule = "must be visible ASCII characters without spaces, at least one";
                return Err(ConfigError::invalid(field, rule));
            }
        }
        Ok(())
    }

    fn check_timings(&self) -> Result<(), ConfigError> {
        let (raft, nodes, tasks) = (&self.raft, &self.nodes, &self.tasks);
        let rules = [
            (
                (500..=60_000).contains(&self.lease_ms),
                "lease_ms",
                "must be from 500 to 60000",
            ),
            (
                self.static_reads_ms >= u64::from(self.lease_ms),
                "static_reads_ms",
                "must be at least `lease_ms`",
            ),
            (
                self.late_request_ms <= 60_000,
                "late_request_ms",
                "must be at most 60000",
            ),
            (
                self.drain_ms <= 600_000,
                "drain_ms",
                "must be at most 600000",
            ),
            (
                (20..=10_000).contains(&raft.heartbeat_ms),
                "raft.heartbeat_ms",
                "must be from 20 to 10000",
            ),
            (
                raft.election_min_ms >= 3 * raft.heartbeat_ms,
                "raft.election_min_ms",
                "must be at least three times `raft.heartbeat_ms`",
            ),
            (
                raft.election_min_ms <= 60_000,
                "raft.election_min_ms",
                "must be at most 60000",
            ),
            (
                (30..raft.election_min_ms).contains(&raft.election_span_ms),
                "raft.election_span_ms",
                "must be at least 30 and less than `raft.election_min_ms`",
            ),
            (
                raft.snapshot_every_entries >= 100,
                "raft.snapshot_every_entries",
                "must be at least 100",
            ),
            (
                raft.propose_timeout_ms >= raft.election_min_ms,
                "raft.propose_timeout_ms",
                "must be at least `raft.election_min_ms`",
            ),
            (
                nodes.health_interval_ms >= 10,
                "nodes.health_interval_ms",
                "must be at least 10",
            ),
            (
                nodes.health_timeout_ms >= 10,
                "nodes.health_timeout_ms",
                "must be at least 10",
            ),
            (
                nodes.down_after >= 1,
                "nodes.down_after",
                "must be at least 1",
            ),
            (
                nodes.connect_timeout_ms >= 10,
                "nodes.connect_timeout_ms",
                "must be at least 10",
            ),
            (
                nodes.request_timeout_ms >= 100,
                "nodes.request_timeout_ms",
                "must be at least 100",
            ),
            (
                (1..=100_000).contains(&self.migration.copy_chunk_docs),
                "migration.copy_chunk_docs",
                "must be from 1 to 100000",
            ),
            (
                self.migration.fence_budget_ms >= 10,
                "migration.fence_budget_ms",
                "must be at least 10",
            ),
            (
                self.migration.repair_interval_ms >= 10,
                "migration.repair_interval_ms",
                "must be at least 10",
            ),
            (
                self.migration.lost_after_ms >= 100,
                "migration.lost_after_ms",
                "must be at least 100",
            ),
            (
                self.migration.adaptive_docs_per_s_min >= 1,
                "migration.adaptive_docs_per_s_min",
                "must be at least 1",
            ),
            (
                self.migration.adaptive_queue_max >= 1,
                "migration.adaptive_queue_max",
                "must be at least 1",
            ),
            (
                self.migration.adaptive_latency_max_ms >= 1,
                "migration.adaptive_latency_max_ms",
                "must be at least 1",
            ),
            (
                self.migration.adaptive_reads_max_ms >= 1,
                "migration.adaptive_reads_max_ms",
                "must be at least 1",
            ),
            (
                (1..=100_000).contains(&self.scrub.chunk_docs),
                "scrub.chunk_docs",
                "must be from 1 to 100000",
            ),
            (
                tasks.poll_min_ms >= 1,
                "tasks.poll_min_ms",
                "must be at least 1",
            ),
            (
                tasks.poll_max_ms >= tasks.poll_min_ms,
                "tasks.poll_max_ms",
                "must be at least `tasks.poll_min_ms`",
            ),
        ];
        match rules.iter().find(|(holds, _, _)| !holds) {
            Some((_, field, rule)) => Err(ConfigError::invalid(*field, *rule)),
            None => Ok(()),
        }
    }
}
