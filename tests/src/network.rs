//! A network of the test's own: every process in a network namespace, all on one bridge, and any two of them can be cut
//! off from each other.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, bail};
use miroir_dev::cluster::{Places, Role};

/// Where packets go that are to get lost: an address no interface has, so that the sender learns nothing.
const NOBODY: &str = "02:00:00:00:00:01";

/// Where nodes and proxies listen, each on an address of its own.
const HTTP_PORT: u16 = 7_700;
const API_PORT: u16 = 7_710;
const RAFT_PORT: u16 = 7_720;

/// The network. Dropping it removes it.
#[derive(Debug)]
pub struct Network {
    /// Tells this process's interfaces and namespaces from those of others.
    tag: String,
    members: BTreeMap<Role, Ipv4Addr>,
}

impl Network {
    /// Makes a network with these members; in the inner result, why this machine lets nobody make one.
    ///
    /// # Errors
    /// When one could be begun and not be finished.
    pub fn create(members: impl IntoIterator<Item = Role>) -> anyhow::Result<Result<Self, String>> {
        let pid = std::process::id();
        let tag = format!("mir{:05x}", pid & 0xf_ffff);
        // A range for benchmarks of networks, which nobody routes.
        let [_, _, low, high] = pid.to_be_bytes();
        let address = |host| Ipv4Addr::new(198, 18 + (low & 1), high, host);
        let network = Self {
            members: members
                .into_iter()
                .zip(1..)
                .map(|(role, host)| (role, address(host)))
                .collect(),
            tag,
        };
        let bridge = &network.tag;
        if let Err(error) = ip(&format!("link add {bridge} type bridge")) {
            return Ok(Err(format!("no network can be made here: {error:#}")));
        }
        let probe = format!("{bridge}-probe");
        if let Err(error) = ip(&format!("netns add {probe}")) {
            return Ok(Err(format!("no network namespace can be made: {error:#}")));
        }
        ip(&format!("netns del {probe}"))?;
        ip(&format!("addr add {}/24 dev {bridge}", address(254)))?;
        ip(&format!("link set {bridge} up"))?;
        for (role, address) in &network.members {
            network.join(*role, *address)?;
        }
        Ok(Ok(network))
    }

    fn join(&self, role: Role, address: Ipv4Addr) -> anyhow::Result<()> {
        let (bridge, name) = (&self.tag, self.namespace(role));
        let [.., host] = address.octets();
        let cable = format!("{bridge}-{host}");
        ip(&format!("netns add {name}"))?;
        ip(&format!(
            "link add {cable} type veth peer name eth0 netns {name}"
        ))?;
        ip(&format!("link set {cable} master {bridge} up"))?;
        ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} link set lo up"))
    }

    fn namespace(&self, role: Role) -> String {
        format!("{}-{role}", self.tag)
    }

    /// Where the members' processes run and listen.
    #[must_use]
    pub fn places(&self) -> Places {
        let mut places = Places::default();
        for (role, address) in &self.members {
            let mut listen = |name: String, port| {
                let address = SocketAddr::from((*address, port));
                places.addresses.insert(name, address);
            };
            match role {
                Role::Node(_) | Role::Proxy(_) => listen(role.to_string(), HTTP_PORT),
                Role::Coordinator(_) => {
                    listen(role.to_string(), API_PORT);
                    listen(format!("{role}-raft"), RAFT_PORT);
                }
            }
            let wrapper = ["ip", "netns", "exec", &self.namespace(*role)];
            places
                .wrappers
                .insert(*role, wrapper.map(ToOwned::to_owned).to_vec());
        }
        places
    }

    /// Loses everything that two members send each other, without a word to either.
    ///
    /// # Errors
    /// When one is no member.
    pub fn cut(&self, one: Role, other: Role) -> anyhow::Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            let (name, to) = (self.namespace(from), self.address(to)?);
            ip(&format!(
                "-n {name} neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"
            ))?;
        }
        Ok(())
    }

    /// Lets two members that were cut off hear each other again.
    ///
    /// # Errors
    /// When they were not cut off.
    pub fn heal(&self, one: Role, other: Role) -> anyhow::Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            let (name, to) = (self.namespace(from), self.address(to)?);
            ip(&format!("-n {name} neigh del {to} dev eth0"))?;
        }
        Ok(())
    }

    fn address(&self, role: Role) -> anyhow::Result<Ipv4Addr> {
        let address = self.members.get(&role);
        address
            .copied()
            .with_context(|| format!("{role} is not in the network"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Best effort: what was never made cannot be removed.
        for role in self.members.keys() {
            let _gone = ip(&format!("netns del {}", self.namespace(*role)));
        }
        let _gone = ip(&format!("link del {}", self.tag));
    }
}

/// Runs `ip` with these words.
fn ip(words: &str) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .context("there is no `ip`")?;
    if !output.status.success() {
        bail!(
            "ip {words}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
