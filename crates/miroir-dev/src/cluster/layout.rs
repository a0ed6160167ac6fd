//! Which process listens where and keeps its files where; written down, so that a second start finds it again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::{Places, Port, Role, secret};

/// Which ports to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// This one for the first proxy, and those after it.
    From(SocketAddr),
    /// Any that are free on the loopback interface.
    Free,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program whose subcommands are the roles.
    pub program: PathBuf,
    /// Nodes.
    pub nodes: u16,
    /// Coordinators.
    pub coordinators: u16,
    /// Proxies.
    pub proxies: u16,
    /// Replica groups.
    pub groups: u32,
    /// Copies of a shard in a group.
    pub replication_factor: u8,
    /// Shards of a new index.
    pub shards: u16,
    /// Which ports to use.
    pub ports: Ports,
    /// Master key of nodes and proxies.
    pub master_key: Option<String>,
    /// A Meilisearch binary for the nodes.
    pub node_bin: Option<PathBuf>,
    /// How long a proxy holds a write that cannot go on before it answers 503.
    pub hold: Duration,
    /// Environment variables of the coordinators, for tests.
    pub environment: Vec<(String, String)>,
    /// What runs elsewhere or otherwise than usual, for tests.
    pub places: Places,
}

/// How long clients' writes may be held: two elections on a busy machine.
const HOLD: Duration = Duration::from_secs(30);

impl Options {
    /// Three of each, on free ports: what tests start from.
    #[must_use]
    pub fn small(program: PathBuf) -> Self {
        Self {
            program,
            nodes: 3,
            coordinators: 3,
            proxies: 2,
            groups: 1,
            replication_factor: 1,
            shards: 16,
            ports: Ports::Free,
            master_key: None,
            node_bin: std::env::var_os("MEILISEARCH_BIN").map(PathBuf::from),
            hold: HOLD,
            environment: Vec::new(),
            places: Places::default(),
        }
    }
}

/// What is written down of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    coordinators: u16,
    proxies: u16,
    groups: u32,
    replication_factor: u8,
    shards: u16,
    /// Group of every node, in order of node.
    node_groups: Vec<u32>,
    /// Ports by what they are for, such as `node-1`.
    ports: BTreeMap<String, u16>,
    ip: IpAddr,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Layout {
    /// What to run.
    pub options: Options,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    saved: Saved,
    /// Ports that are this cluster's also while their processes are down; none for those that were asked for by number.
    held: Vec<Arc<Port>>,
}

const SAVED: &str = "cluster.json";

impl Layout {
    /// The layout written down in `data_dir`, or a new one.
    ///
    /// # Errors
    /// When the directory was made for a cluster of another size.
    pub fn open_or_create(options: Options, data_dir: PathBuf) -> anyhow::Result<Self> {
        let data_dir = std::fs::canonicalize(&data_dir).unwrap_or(data_dir);
        let path = data_dir.join(SAVED);
        let mut held = Vec::new();
        let saved = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                new_layout(&options, &mut held)?
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut layout = Self {
            options,
            data_dir,
            saved,
            held,
        };
        layout.check_same_size()?;
        layout.add_missing_ports()?;
        layout.save()?;
        secret::ensure(&layout.data_dir.join("cluster.token"), None)?;
        let given = layout.options.master_key.as_deref();
        secret::ensure(&layout.data_dir.join("master.key"), given)?;
        Ok(layout)
    }

    /// Gives a port to everything that listens now and did not when the layout was made.
    fn add_missing_ports(&mut self) -> anyhow::Result<()> {
        for name in names(&self.options) {
            if !self.saved.ports.contains_key(&name) && !name.starts_with("node-") {
                let port = self.next_port()?;
                self.saved.ports.insert(name, port);
            }
        }
        Ok(())
    }

    fn next_port(&mut self) -> anyhow::Result<u16> {
        match self.options.ports {
            Ports::From(_) => {
                let highest = self.saved.ports.values().max().copied().unwrap_or(7700);
                highest.checked_add(1).context("no port is left")
            }
            Ports::Free => take_port(&mut self.held),
        }
    }

    fn check_same_size(&self) -> anyhow::Result<()> {
        let (options, saved) = (&self.options, &self.saved);
        let differences = [
            (
                "--coordinators",
                u64::from(options.coordinators),
                u64::from(saved.coordinators),
            ),
            (
                "--proxies",
                u64::from(options.proxies),
                u64::from(saved.proxies),
            ),
            (
                "--groups",
                u64::from(options.groups),
                u64::from(saved.groups),
            ),
            (
                "--rf",
                u64::from(options.replication_factor),
                u64::from(saved.replication_factor),
            ),
            (
                "--shards",
                u64::from(options.shards),
                u64::from(saved.shards),
            ),
        ];
        for (flag, asked, kept) in differences {
            if asked != kept {
                bail!(
                    "{} holds a cluster with {flag} {kept}, not {asked}; use that, or another --data-dir",
                    self.data_dir.display()
                );
            }
        }
        Ok(())
    }

    fn save(&self) -> anyhow::Result<()> {
        let path = self.data_dir.join(SAVED);
        let draft = self.data_dir.join("cluster.json.new");
        std::fs::write(&draft, serde_json::to_vec_pretty(&self.saved)?)?;
        std::fs::rename(&draft, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Refuses ports that something listens on, all at once, before anything is started.
    ///
    /// # Errors
    /// Naming every address that is taken.
    pub fn check_ports(&self) -> anyhow::Result<()> {
        let here = |(name, _): &(&String, &u16)| {
            !self.options.places.addresses.contains_key(name.as_str())
        };
        let taken = |(name, port): (&String, &u16)| {
            let addr = SocketAddr::new(self.saved.ip, *port);
            TcpListener::bind(addr)
                .is_err()
                .then(|| format!("{addr} ({name})"))
        };
        let taken: Vec<String> = self
            .saved
            .ports
            .iter()
            .filter(here)
            .filter_map(taken)
            .collect();
        if !taken.is_empty() {
            bail!(
                "in use: {}; stop what listens there, or choose another --proxy-addr",
                taken.join(", ")
            );
        }
        Ok(())
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> u16 {
        u16::try_from(self.saved.node_groups.len()).unwrap_or(u16::MAX)
    }

    /// The group a node serves in.
    #[must_use]
    pub fn group_of(&self, node: u16) -> u32 {
        self.saved
            .node_groups
            .get(usize::from(node).wrapping_sub(1))
            .copied()
            .unwrap_or(1)
    }

    /// Makes room for one more node.
    ///
    /// # Errors
    /// When no port is free, or the layout cannot be written down.
    pub fn add_node(&mut self, group: u32) -> anyhow::Result<u16> {
        self.saved.node_groups.push(group);
        let node = self.nodes();
        let port = self.next_port()?;
        self.saved.ports.insert(format!("node-{node}"), port);
        self.save()?;
        Ok(node)
    }

    /// The address behind a name, such as `proxy-1` or `coordinator-2-raft`.
    #[must_use]
    pub fn addr(&self, name: &str) -> SocketAddr {
        let usual = || self.saved.ports.get(name).copied().unwrap_or_default();
        let elsewhere = self.options.places.addresses.get(name);
        elsewhere
            .copied()
            .unwrap_or_else(|| SocketAddr::new(self.saved.ip, usual()))
    }

    /// The URL that the cluster knows a node by.
    #[must_use]
    pub fn node_url(&self, node: u16) -> String {
        let name = format!("node-{node}");
        let front = self.options.places.fronts.get(&node);
        format!("http://{}", front.copied().unwrap_or(self.addr(&name)))
    }

    /// Where a proxy listens.
    #[must_use]
    pub fn proxy_url(&self, proxy: u16) -> String {
        format!("http://{}", self.addr(&format!("proxy-{proxy}")))
    }

    /// Where the proxies listen.
    #[must_use]
    pub fn proxy_urls(&self) -> Vec<String> {
        (1..=self.options.proxies)
            .map(|proxy| self.proxy_url(proxy))
            .collect()
    }

    /// Where the coordinators' API listens.
    #[must_use]
    pub fn coordinator_urls(&self) -> Vec<String> {
        (1..=self.options.coordinators)
            .map(|n| format!("http://{}", self.addr(&format!("coordinator-{n}"))))
            .collect()
    }

    /// Where the coordinators' administration over plain HTTP listens.
    #[must_use]
    pub fn admin_urls(&self) -> Vec<String> {
        (1..=self.options.coordinators)
            .map(|n| format!("http://{}", self.addr(&format!("coordinator-{n}-http"))))
            .collect()
    }

    /// Where a process logs.
    #[must_use]
    pub fn log_file(&self, role: Role) -> PathBuf {
        self.data_dir.join("logs").join(format!("{role}.log"))
    }

    /// Where a process keeps its files.
    #[must_use]
    pub fn home(&self, role: Role) -> PathBuf {
        self.data_dir.join(role.to_string())
    }

    /// What processes of the cluster know each other by.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn cluster_token(&self) -> anyhow::Result<String> {
        secret::read(&self.data_dir.join("cluster.token"))
    }

    /// The master key of nodes and proxies.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn master_key(&self) -> anyhow::Result<String> {
        secret::read(&self.data_dir.join("master.key"))
    }

    /// Lines that tell where everything listens.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (n, url) in self.proxy_urls().iter().enumerate() {
            lines.push(format!("proxy-{}        {url}", n + 1));
        }
        for (n, url) in self.coordinator_urls().iter().enumerate() {
            lines.push(format!("coordinator-{}  {url}", n + 1));
        }
        for (n, url) in self.admin_urls().iter().enumerate() {
            lines.push(format!("coordinator-{}-http  {url}", n + 1));
        }
        for node in 1..=self.nodes() {
            lines.push(format!(
                "node-{node}         {} (group {})",
                self.node_url(node),
                self.group_of(node)
            ));
        }
        lines.push(format!("data           {}", self.data_dir.display()));
        lines.push(format!(
            "master key     in {}",
            self.data_dir.join("master.key").display()
        ));
        lines.push(format!(
            "cluster token  in {}",
            self.data_dir.join("cluster.token").display()
        ));
        lines
    }
}

/// Names of everything that listens.
fn names(options: &Options) -> Vec<String> {
    let proxies = (1..=options.proxies).map(|n| format!("proxy-{n}"));
    let api = (1..=options.coordinators).map(|n| format!("coordinator-{n}"));
    let raft = (1..=options.coordinators).map(|n| format!("coordinator-{n}-raft"));
    let nodes = (1..=options.nodes).map(|n| format!("node-{n}"));
    let http = (1..=options.coordinators).map(|n| format!("coordinator-{n}-http"));
    let all = proxies.chain(api).chain(raft).chain(nodes);
    all.chain(http).collect()
}

fn new_layout(options: &Options, held: &mut Vec<Arc<Port>>) -> anyhow::Result<Saved> {
    if u32::from(options.nodes) < options.groups * u32::from(options.replication_factor) {
        bail!(
            "{} nodes cannot hold {} copies of a shard in each of {} groups; give at least --nodes {}",
            options.nodes,
            options.replication_factor,
            options.groups,
            options.groups * u32::from(options.replication_factor)
        );
    }
    let mut ports = BTreeMap::new();
    let mut ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (n, name) in (0_u16..).zip(names(options)) {
        let port = match options.ports {
            Ports::From(first) => {
                ip = first.ip();
                first
                    .port()
                    .checked_add(n)
                    .context("--proxy-addr leaves too few ports after it")?
            }
            Ports::Free => take_port(held)?,
        };
        ports.insert(name, port);
    }
    Ok(Saved {
        coordinators: options.coordinators,
        proxies: options.proxies,
        groups: options.groups,
        replication_factor: options.replication_factor,
        shards: options.shards,
        node_groups: (0..u32::from(options.nodes))
            .map(|node| node % options.groups + 1)
            .collect(),
        ports,
        ip,
    })
}

fn take_port(held: &mut Vec<Arc<Port>>) -> anyhow::Result<u16> {
    let port = Port::take()?;
    let number = port.number();
    held.push(Arc::new(port));
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            nodes: 4,
            groups: 2,
            ..Options::small(PathBuf::from("unused"))
        }
    }

    #[test]
    fn a_second_start_finds_the_same_cluster() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut first = Layout::open_or_create(options(), dir.path().to_owned()).expect("new");
        let node = first.add_node(2).expect("room");
        let second = Layout::open_or_create(options(), dir.path().to_owned()).expect("kept");
        assert_eq!((node, second.nodes()), (5, 5));
        assert_eq!(second.endpoints(), first.endpoints());
        assert_eq!([1, 2, 3, 4, 5].map(|n| second.group_of(n)), [1, 2, 1, 2, 2]);
        assert_eq!(
            second.master_key().expect("kept"),
            first.master_key().expect("made")
        );
    }

    #[test]
    fn another_size_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        Layout::open_or_create(options(), dir.path().to_owned()).expect("new");
        let other = Options {
            shards: 99,
            ..options()
        };
        let error = Layout::open_or_create(other, dir.path().to_owned()).expect_err("another size");
        assert!(error.to_string().contains("--shards 16, not 99"), "{error}");
    }

    #[test]
    fn a_taken_port_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open_or_create(options(), dir.path().to_owned()).expect("new");
        layout.check_ports().expect("free");
        let taken = TcpListener::bind(layout.addr("proxy-2")).expect("free");
        let error = layout.check_ports().expect_err("taken");
        assert!(
            error
                .to_string()
                .contains(&format!("{} (proxy-2)", taken.local_addr().expect("bound")))
        );
    }

    #[test]
    fn too_few_nodes_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let few = Options {
            nodes: 3,
            groups: 2,
            replication_factor: 2,
            ..options()
        };
        let error = Layout::open_or_create(few, dir.path().to_owned()).expect_err("too few");
        assert!(error.to_string().contains("--nodes 4"), "{error}");
    }
}
