//! The configuration files of coordinators and proxies.

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use super::{Layout, Role};

#[derive(Serialize)]
struct Coordinator {
    id: u16,
    cluster: &'static str,
    data_dir: PathBuf,
    api_addr: String,
    raft_addr: String,
    http_addr: String,
    cluster_token_file: PathBuf,
    node_master_key_file: PathBuf,
    peers: Vec<Peer>,
    webhooks: Webhooks,
}

#[derive(Serialize)]
struct Webhooks {
    allowed_networks: [&'static str; 2],
}

#[derive(Serialize)]
struct Peer {
    id: u16,
    api_url: String,
    raft_url: String,
    http_url: String,
}

/// Writes a coordinator's file; answers where it is.
pub(super) fn coordinator(layout: &Layout, n: u16) -> anyhow::Result<PathBuf> {
    let role = Role::Coordinator(n);
    let peer = |id| Peer {
        id,
        api_url: format!("http://{}", layout.addr(&format!("coordinator-{id}"))),
        raft_url: format!("http://{}", layout.addr(&format!("coordinator-{id}-raft"))),
        http_url: format!("http://{}", layout.addr(&format!("coordinator-{id}-http"))),
    };
    let config = Coordinator {
        id: n,
        cluster: "miroir-dev",
        data_dir: layout.home(role).join("data"),
        api_addr: layout.addr(&role.to_string()).to_string(),
        raft_addr: layout.addr(&format!("{role}-raft")).to_string(),
        http_addr: layout.addr(&format!("{role}-http")).to_string(),
        cluster_token_file: layout.data_dir.join("cluster.token"),
        node_master_key_file: layout.data_dir.join("master.key"),
        peers: (1..=layout.options.coordinators).map(peer).collect(),
        // On one machine, what listens for finished tasks is on that machine.
        webhooks: Webhooks {
            allowed_networks: ["127.0.0.0/8", "::1/128"],
        },
    };
    write(layout, role, &config)
}

#[derive(Serialize)]
struct Proxy {
    name: String,
    http_addr: String,
    advertise_url: String,
    coordinators: Vec<String>,
    cluster_token_file: PathBuf,
    master_key_file: PathBuf,
    hold_ms: u64,
}

/// Writes a proxy's file; answers where it is.
pub(super) fn proxy(layout: &Layout, n: u16) -> anyhow::Result<PathBuf> {
    let role = Role::Proxy(n);
    let config = Proxy {
        name: role.to_string(),
        http_addr: layout.addr(&role.to_string()).to_string(),
        advertise_url: layout.proxy_url(n),
        coordinators: layout.coordinator_urls(),
        cluster_token_file: layout.data_dir.join("cluster.token"),
        master_key_file: layout.data_dir.join("master.key"),
        hold_ms: u64::try_from(layout.options.hold.as_millis())?,
    };
    write(layout, role, &config)
}

fn write(layout: &Layout, role: Role, config: &impl Serialize) -> anyhow::Result<PathBuf> {
    let path = layout.home(role).join("config.toml");
    let text = toml::to_string(config)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
