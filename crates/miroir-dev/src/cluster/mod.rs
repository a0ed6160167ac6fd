//! The processes of a cluster on this machine.

mod config;
mod layout;
mod places;
mod ports;
mod process;
mod secret;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

pub use layout::{Layout, Options, Ports};
pub use places::Places;
pub use ports::Port;
pub use process::{Process, Role};

use crate::admin::Admin;

/// How long a cluster may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running cluster. Dropping it kills its processes.
#[derive(Debug)]
pub struct Cluster {
    /// Where everything is.
    pub layout: Layout,
    /// Clients of the coordinators.
    pub admin: Admin,
    processes: Vec<Process>,
    /// Held while the cluster runs: two clusters on one directory would ruin both.
    _lock: std::fs::File,
}

impl Cluster {
    /// Starts a cluster in `data_dir`, or starts the one that is there again, and waits until it is ready.
    ///
    /// # Errors
    /// When the directory is used by another cluster or was made for other options, when a port is taken, or when
    /// a process does not come up; what was started is stopped again.
    pub async fn start(options: Options, data_dir: PathBuf) -> anyhow::Result<Self> {
        let lock = lock(&data_dir)?;
        let layout = Layout::open_or_create(options, data_dir)?;
        layout.check_ports()?;
        let admin = Admin::new(layout.coordinator_urls(), layout.cluster_token()?)?;
        let mut cluster = Self {
            layout,
            admin,
            processes: Vec::new(),
            _lock: lock,
        };
        for node in 1..=cluster.layout.nodes() {
            cluster.spawn(Role::Node(node))?;
        }
        for coordinator in 1..=cluster.layout.options.coordinators {
            cluster.spawn(Role::Coordinator(coordinator))?;
        }
        cluster.initialise().await?;
        for proxy in 1..=cluster.layout.options.proxies {
            cluster.spawn(Role::Proxy(proxy))?;
        }
        cluster.wait_for_proxies().await?;
        Ok(cluster)
    }

    /// Starts one process, which must not be running.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn spawn(&mut self, role: Role) -> anyhow::Result<()> {
        if self
            .process(role)
            .is_some_and(|process| process.is_running())
        {
            bail!("{role} is running already");
        }
        self.processes.retain(|process| process.role != role);
        self.processes.push(Process::spawn(&self.layout, role)?);
        Ok(())
    }

    /// The process of a role, running or not.
    pub fn process(&mut self, role: Role) -> Option<&mut Process> {
        self.processes
            .iter_mut()
            .find(|process| process.role == role)
    }

    /// Kills a process with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn kill(&mut self, role: Role) -> anyhow::Result<()> {
        let process = self
            .process(role)
            .with_context(|| format!("{role} is not running"))?;
        process.kill().await
    }

    /// Stops a process with SIGSTOP: it stays, and keeps its connections, but does nothing.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn pause(&mut self, role: Role) -> anyhow::Result<()> {
        self.signal(role, "STOP").await
    }

    /// Lets a paused process go on with SIGCONT, as if no time had passed.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn resume(&mut self, role: Role) -> anyhow::Result<()> {
        self.signal(role, "CONT").await
    }

    async fn signal(&mut self, role: Role, name: &str) -> anyhow::Result<()> {
        let process = self
            .process(role)
            .with_context(|| format!("{role} is not running"))?;
        process.signal(name).await
    }

    /// Adds one more node to the machine and to the cluster; answers the operation that gives it its share.
    ///
    /// # Errors
    /// When it does not start, or the cluster refuses it.
    pub async fn add_node(&mut self, group: u32) -> anyhow::Result<(u16, u64)> {
        let node = self.layout.add_node(group)?;
        self.spawn(Role::Node(node))?;
        let url = self.layout.node_url(node);
        self.wait_for_http(Role::Node(node), &format!("{url}/health"))
            .await?;
        let (_, operation) = self.admin.add_node(&url, group).await?;
        Ok((node, operation))
    }

    async fn initialise(&mut self) -> anyhow::Result<()> {
        for node in 1..=self.layout.nodes() {
            let url = format!("{}/health", self.layout.node_url(node));
            self.wait_for_http(Role::Node(node), &url).await?;
        }
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.check_running()?;
            match self.admin.ensure_initialised(&self.layout.options).await {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("the coordinators did not form a cluster"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        let known: Vec<String> = self
            .admin
            .nodes()
            .await?
            .into_iter()
            .map(|node| node.url)
            .collect();
        for node in 1..=self.layout.nodes() {
            let url = self.layout.node_url(node);
            if !known.contains(&url) {
                self.admin
                    .add_node(&url, self.layout.group_of(node))
                    .await?;
            }
        }
        Ok(())
    }

    async fn wait_for_proxies(&mut self) -> anyhow::Result<()> {
        for proxy in 1..=self.layout.options.proxies {
            let url = format!("{}/health", self.layout.proxy_url(proxy));
            self.wait_for_http(Role::Proxy(proxy), &url).await?;
        }
        let proxies = usize::from(self.layout.options.proxies);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.check_running()?;
            let live = self
                .admin
                .proxies()
                .await
                .map_or(0, |all| all.iter().filter(|p| p.lease == "live").count());
            if live >= proxies {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("only {live} of {proxies} proxies have a session with the leader");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a process answers 200.
    ///
    /// # Errors
    /// When it exits or does not answer in time.
    pub async fn wait_for_http(&mut self, role: Role, url: &str) -> anyhow::Result<()> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.check_running()?;
            if http
                .get(url)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{role} does not answer at {url}; see {}",
                    self.layout.log_file(role).display()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn check_running(&mut self) -> anyhow::Result<()> {
        match self.processes.iter_mut().find_map(Process::obituary) {
            Some(died) => bail!("{died}"),
            None => Ok(()),
        }
    }

    /// Waits until some process dies that was not killed on purpose; answers what to tell of it.
    pub async fn first_to_die(&mut self) -> String {
        loop {
            if let Some(died) = self.processes.iter_mut().find_map(Process::obituary) {
                return died;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lines that tell where everything listens.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.layout.endpoints()
    }

    /// Stops everything in order: proxies drain while coordinators and nodes are still there.
    pub async fn stop(&mut self) {
        let rank = |role: Role| match role {
            Role::Proxy(_) => 0,
            Role::Coordinator(_) => 1,
            Role::Node(_) => 2,
        };
        for now in 0..=2 {
            let some = self
                .processes
                .iter_mut()
                .filter(|process| rank(process.role) == now);
            futures::future::join_all(some.map(Process::stop)).await;
        }
    }

    /// Where everything is kept.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.layout.data_dir
    }
}

fn lock(data_dir: &Path) -> anyhow::Result<std::fs::File> {
    use fs4::fs_std::FileExt;
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot create {}", data_dir.display()))?;
    let path = data_dir.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock_exclusive() {
        Ok(true) => Ok(file),
        _ => bail!(
            "another cluster runs in {}; stop it, or choose another --data-dir",
            data_dir.display()
        ),
    }
}
