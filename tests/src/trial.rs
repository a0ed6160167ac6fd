//! A cluster under test: documents, clients that write to it, an oracle, and coordinators that can be stopped in a
//! named phase.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Cluster, Options, Role};
use miroir_dev::demo::{Client, Corpus, INDEX, Oracle, check_documents};
use miroir_proto::v1;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::ends_of_logs;

/// How long anything may take that must happen; generous, because it is only reached when a test fails.
const WITHIN: Duration = Duration::from_secs(120);

/// A running cluster with documents.
#[derive(Debug)]
pub struct Trial {
    /// The cluster.
    pub cluster: Cluster,
    /// A client of its proxies.
    pub client: Client,
    /// What it must hold.
    pub oracle: Arc<Oracle>,
    /// What it was loaded with.
    pub corpus: Corpus,
    dir: TempDir,
}

impl Trial {
    /// Starts a cluster on free ports and loads the sample into it.
    ///
    /// # Errors
    /// When it does not come up; the logs' place is part of the error.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let trial = Self::start_empty(options).await?;
        trial.load().await?;
        Ok(trial)
    }

    /// Starts a cluster on free ports that has no index.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_empty(options: Options) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("miroir-test-").tempdir()?;
        let cluster = Cluster::start(options, dir.path().to_owned()).await?;
        let client = Client::new(cluster.layout.proxy_urls(), cluster.layout.master_key()?)?;
        Ok(Self {
            cluster,
            client,
            oracle: Arc::default(),
            corpus: Corpus::read(None)?,
            dir,
        })
    }

    /// The options of a small cluster that runs `program`.
    #[must_use]
    pub fn options(program: &str) -> Options {
        Options::small(PathBuf::from(program))
    }

    /// Loads the sample, and waits until it is indexed.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn load(&self) -> anyhow::Result<()> {
        self.client.settings(INDEX, &self.corpus.settings()).await?;
        let lines: Vec<&str> = self
            .corpus
            .documents()
            .iter()
            .map(|document| document.text.as_str())
            .collect();
        self.client.add_ndjson(INDEX, lines.join("\n")).await?;
        for document in self.corpus.documents() {
            self.oracle.put(&document.id, Arc::clone(&document.fields));
        }
        self.client.wait_for_tasks(WITHIN).await
    }

    /// Kills all coordinators and starts them with these failpoints; none when empty.
    ///
    /// # Errors
    /// When they do not come back.
    pub async fn restart_coordinators(&mut self, failpoints: &str) -> anyhow::Result<()> {
        let all: Vec<Role> = (1..=self.cluster.layout.options.coordinators)
            .map(Role::Coordinator)
            .collect();
        for role in &all {
            self.cluster.kill(*role).await?;
        }
        self.set_failpoints(failpoints);
        for role in &all {
            self.cluster.spawn(*role)?;
        }
        self.cluster.admin.leader().await?;
        Ok(())
    }

    /// Sets the failpoints of coordinators that are started from now on.
    pub fn set_failpoints(&mut self, failpoints: &str) {
        self.cluster.layout.options.environment = match failpoints {
            "" => Vec::new(),
            some => vec![("FAILPOINTS".to_owned(), some.to_owned())],
        };
    }

    /// Kills whoever leads and starts it again without failpoints, until one of those restarted leads.
    ///
    /// # Errors
    /// When no coordinator leads after a kill.
    pub async fn kill_leaders_until_clean(&mut self) -> anyhow::Result<()> {
        self.set_failpoints("");
        let mut clean = Vec::new();
        loop {
            let leader = self.cluster.admin.leader().await?;
            if clean.contains(&leader) {
                return Ok(());
            }
            self.cluster.kill(Role::Coordinator(leader)).await?;
            self.cluster.spawn(Role::Coordinator(leader))?;
            clean.push(leader);
        }
    }

    /// Waits until some migration of an operation is in `phase`.
    ///
    /// # Errors
    /// When none comes to it in time.
    pub async fn wait_for_phase(&self, operation: u64, phase: v1::Phase) -> anyhow::Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let migrations = self.cluster.admin.migrations(operation).await?.migrations;
            if migrations.iter().any(|m| m.phase() == phase) {
                return Ok(());
            }
            let phases: Vec<&str> = migrations.iter().map(|m| m.phase().as_str_name()).collect();
            ensure!(
                Instant::now() < deadline,
                "no migration came to {}: {phases:?}",
                phase.as_str_name()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until an operation is done.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_until_moved(&self, operation: u64) -> anyhow::Result<()> {
        self.cluster
            .admin
            .wait_for_operation(operation, WITHIN)
            .await
            .map(|_| ())
    }

    /// Compares everything with the oracle, when every task is done.
    ///
    /// # Errors
    /// Naming documents that are lost, duplicated or wrong.
    pub async fn check(&self) -> anyhow::Result<()> {
        self.client.wait_for_tasks(WITHIN).await?;
        let findings = check_documents(&self.cluster, &self.client, &self.oracle, INDEX).await?;
        ensure!(findings.compared > 0, "nothing was compared");
        ensure!(
            findings.lost == 0 && findings.duplicated == 0,
            "lost {}, duplicated {}: {:#?}",
            findings.lost,
            findings.duplicated,
            findings.examples
        );
        Ok(())
    }

    /// Ends the trial: the cluster stops; after a failure its logs are kept and named.
    ///
    /// # Errors
    /// What the trial ended with.
    pub async fn end(mut self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        self.cluster.stop().await;
        if outcome.is_err() {
            let logs = self.dir.keep().join("logs");
            println!("{}", ends_of_logs(&logs));
            return outcome.with_context(|| format!("logs are in {}", logs.display()));
        }
        Ok(())
    }
}
