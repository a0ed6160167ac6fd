//! `docker-compose.yml` describes a whole cluster: every part, each watched, its state on named
//! volumes, no secret in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use miroirctl::args as ctl;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The file with its anchors and merges resolved, and nothing interpolated.
fn compose() -> Result<Value> {
    let text = std::fs::read_to_string(repository().join("docker-compose.yml"))?;
    let mut document: serde_norway::Value = serde_norway::from_str(&text)?;
    // One pass resolves one level; a kind of service merges in what all services share.
    for _ in 0..2 {
        document.apply_merge()?;
    }
    Ok(serde_json::to_value(document)?)
}

fn names<'a>(map: &'a Value, what: &str) -> Result<BTreeSet<&'a str>> {
    let map = map
        .as_object()
        .with_context(|| format!("{what} is not a map"))?;
    Ok(map.keys().map(String::as_str).collect())
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Services whose program is `program`.
fn running<'a>(document: &'a Value, program: &str) -> Result<Vec<(&'a str, &'a Value)>> {
    let services = document["services"]
        .as_object()
        .context("there are no services")?;
    let runs = |service: &Value| words(&service["command"]).first() == Some(&program);
    Ok(services
        .iter()
        .filter(|(_, s)| runs(s))
        .map(|(name, s)| (name.as_str(), s))
        .collect())
}

/// The named volume that is mounted at the data directory.
fn data_volume(service: &Value) -> Option<&str> {
    let mounts = words(&service["volumes"]);
    mounts
        .into_iter()
        .find_map(|mount| mount.strip_suffix(":/var/lib/miroir"))
}

#[test]
fn every_part_of_a_cluster_is_there_and_watched() -> Result<()> {
    let document = compose()?;
    for (program, count) in [
        ("miroir-coordinator", 3),
        ("miroir-proxy", 2),
        ("miroir-node", 3),
    ] {
        let services = running(&document, program)?;
        assert_eq!(services.len(), count, "services that run {program}");
        for (name, service) in services {
            assert!(
                !words(&service["healthcheck"]["test"]).is_empty(),
                "{name} is not watched"
            );
            assert_eq!(service["image"], "miroir:local", "{name}");
            assert_eq!(service["restart"], "unless-stopped", "{name}");
        }
    }
    Ok(())
}

#[test]
fn what_keeps_state_has_a_named_volume_of_its_own() -> Result<()> {
    let document = compose()?;
    let declared = names(&document["volumes"], "volumes")?;
    let mut used = BTreeSet::new();
    for program in ["miroir-coordinator", "miroir-node"] {
        for (name, service) in running(&document, program)? {
            let volume = data_volume(service).with_context(|| format!("{name} has no volume"))?;
            assert!(used.insert(volume), "{volume} is mounted twice");
        }
    }
    assert_eq!(declared, used);
    Ok(())
}

/// The commands of the step that makes the cluster, as words.
fn init_commands(document: &Value) -> Result<Vec<Vec<&str>>> {
    let command = words(&document["services"]["init"]["command"]);
    let script = command.last().context("the step has no script")?;
    let lines = script.lines().map(|line| line.split_whitespace().collect());
    Ok(lines.filter(|line: &Vec<&str>| !line.is_empty()).collect())
}

#[test]
fn the_cluster_is_initialised_once_before_proxies_start() -> Result<()> {
    let document = compose()?;
    assert_eq!(document["services"]["init"]["restart"], "no");
    let mut added = BTreeSet::new();
    let mut initialised = false;
    for line in init_commands(&document)? {
        let args =
            miroirctl::Args::try_parse_from(&line).map_err(|e| anyhow::anyhow!("{line:?}: {e}"))?;
        // The step runs again at every start: what is done must be found done.
        if let ctl::Command::Cluster(ctl::ClusterCommand::Init(init)) = args.command {
            assert!(init.if_needed && added.is_empty(), "{line:?}");
            initialised = true;
        } else if let ctl::Command::Node(ctl::NodeCommand::Add(add)) = args.command {
            assert!(add.if_needed, "{line:?}");
            added.insert(add.url);
        } else {
            anyhow::bail!("{line:?} does not belong to the making of a cluster");
        }
    }
    assert!(initialised);
    let nodes = running(&document, "miroir-node")?;
    let nodes: BTreeSet<_> = nodes
        .iter()
        .map(|(name, _)| format!("http://{name}:7700"))
        .collect();
    assert_eq!(added, nodes);
    for (name, proxy) in running(&document, "miroir-proxy")? {
        let condition = &proxy["depends_on"]["init"]["condition"];
        assert_eq!(condition, "service_completed_successfully", "{name}");
    }
    Ok(())
}

/// What a service's environment is when every secret is given.
fn environment(service: &Value) -> BTreeMap<String, String> {
    let given = service["environment"].as_object().into_iter().flatten();
    given
        .map(|(name, value)| {
            let value = value.as_str().unwrap_or_default();
            let value = if value.starts_with("${") {
                "only-for-this-test-0001"
            } else {
                value
            };
            (name.clone(), value.to_owned())
        })
        .collect()
}

/// The file on this machine that a service is told to read.
fn config_file(name: &str, service: &Value) -> Result<PathBuf> {
    let command = words(&service["command"]);
    let at = command.iter().position(|word| *word == "--config");
    let inside = at
        .and_then(|at| command.get(at + 1))
        .with_context(|| format!("{name} reads no file"))?;
    let mounts = words(&service["volumes"]);
    let found = mounts.iter().find_map(|mount| {
        let (outside, rest) = mount.strip_prefix("./")?.split_once(':')?;
        let rest = inside.strip_prefix(rest.strip_suffix(":ro")?)?;
        Some(
            repository()
                .join(outside)
                .join(rest.trim_start_matches('/')),
        )
    });
    found.with_context(|| format!("{inside} is not mounted read-only in {name}"))
}

/// The port inside the container that a service publishes.
fn published(service: &Value) -> Option<u16> {
    let port = words(&service["ports"]).into_iter().next()?;
    port.rsplit(':').next()?.parse().ok()
}

#[test]
fn coordinators_read_their_file_and_agree_on_who_they_are() -> Result<()> {
    let document = compose()?;
    let coordinators = running(&document, "miroir-coordinator")?;
    let mut peers = None;
    for (name, service) in &coordinators {
        let text = std::fs::read_to_string(config_file(name, service)?)?;
        let config = miroir_coordinator::config::Config::parse(name, &text, environment(service))?;
        let me = config.me();
        assert_eq!(
            me.api_url,
            format!("http://{name}:{}", config.api_addr.port()),
            "{name}"
        );
        assert_eq!(
            me.raft_url,
            format!("http://{name}:{}", config.raft_addr.port()),
            "{name}"
        );
        assert_eq!(Some(config.api_addr.port()), published(service), "{name}");
        assert!(
            config.api_addr.ip().is_unspecified() && config.raft_addr.ip().is_unspecified(),
            "{name}"
        );
        assert!(
            config.data_dir.starts_with("/var/lib/miroir"),
            "{name}: its state is on no volume"
        );
        assert_eq!(config.peers.len(), coordinators.len(), "{name}");
        assert!(
            config.drain() < grace(service)?,
            "{name} would be killed while it drains"
        );
        assert_eq!(
            peers.get_or_insert(config.peers.clone()),
            &config.peers,
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn proxies_read_their_files_and_find_coordinators_and_each_other() -> Result<()> {
    let document = compose()?;
    let coordinators = running(&document, "miroir-coordinator")?;
    let expected: BTreeSet<String> = coordinators
        .iter()
        .map(|(name, _)| format!("http://{name}:7710"))
        .collect();
    let mut files = BTreeSet::new();
    for (name, service) in running(&document, "miroir-proxy")? {
        let file = config_file(name, service)?;
        let variables = environment(service);
        let config =
            miroir_proxy::config::Config::load(Some(&file), |name| variables.get(name).cloned())?;
        assert_eq!(config.name, name);
        assert_eq!(
            config.advertise_url,
            Some(format!("http://{name}:{}", config.http_addr.port()))
        );
        assert_eq!(Some(config.http_addr.port()), published(service), "{name}");
        assert!(config.http_addr.ip().is_unspecified(), "{name}");
        assert_eq!(
            config.coordinators.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{name}"
        );
        // Without it the cluster would be open to everybody.
        assert!(
            config.master_key.is_some() && config.cluster_token.is_some(),
            "{name}"
        );
        assert!(
            std::time::Duration::from_millis(config.drain_ms) < grace(service)?,
            "{name}"
        );
        assert!(files.insert(file), "{name} shares its file");
    }
    let listed = std::fs::read_dir(repository().join("cluster-config"))?.count();
    assert_eq!(
        listed,
        files.len() + 1,
        "a file in cluster-config is read by nobody"
    );
    Ok(())
}

/// How long a service has to stop.
fn grace(service: &Value) -> Result<std::time::Duration> {
    let text = service["stop_grace_period"]
        .as_str()
        .context("no grace period")?;
    let seconds = text.strip_suffix('s').context("not in seconds")?.parse()?;
    Ok(std::time::Duration::from_secs(seconds))
}

#[test]
fn nodes_and_health_checks_are_what_the_programs_understand() -> Result<()> {
    #[derive(clap::Parser)]
    struct Node {
        #[command(flatten)]
        args: miroir_node::NodeArgs,
    }
    let document = compose()?;
    for (name, service) in running(&document, "miroir-node")? {
        let variables = environment(service);
        let key = variables
            .get("MEILI_MASTER_KEY")
            .with_context(|| format!("{name} has no key"))?;
        let mut line = words(&service["command"]);
        line.extend(["--master-key", key]);
        let node =
            Node::try_parse_from(&line).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        let config = miroir_node::NodeConfig::try_from(node.args)?;
        assert!(
            config.db_path.starts_with("/var/lib/miroir"),
            "{name}: its documents are on no volume"
        );
        assert_eq!(config.http_addr.port(), 7700, "{name}");
    }
    for (name, service) in running(&document, "miroir-coordinator")? {
        let test = words(&service["healthcheck"]["test"]);
        let args = miroirctl::Args::try_parse_from(&test[1..])
            .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        assert!(matches!(args.command, ctl::Command::Status), "{test:?}");
        // It must have given up, with a reason, before Docker does.
        assert!(
            args.connection.timeout() < std::time::Duration::from_secs(5),
            "{test:?}"
        );
        assert_eq!(service["healthcheck"]["timeout"], "5s");
    }
    Ok(())
}

#[test]
fn everything_that_is_waited_for_exists() -> Result<()> {
    let document = compose()?;
    let services = names(&document["services"], "services")?;
    for name in &services {
        let Some(needed) = document["services"][name]["depends_on"].as_object() else {
            continue;
        };
        for (other, how) in needed {
            assert!(
                services.contains(other.as_str()),
                "{name} waits for {other}"
            );
            let watched = document["services"][other]["healthcheck"].is_object();
            assert!(
                how["condition"] != "service_healthy" || watched,
                "{other} has no health check"
            );
        }
    }
    Ok(())
}

/// A default would be the key of every installation that did not change it.
#[test]
fn no_secret_has_a_value_in_the_file() -> Result<()> {
    let document = compose()?;
    let services = document["services"]
        .as_object()
        .context("there are no services")?;
    let mut seen = 0;
    for (name, service) in services {
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            if variable.ends_with("_KEY") || variable.ends_with("_TOKEN") {
                let value = value.as_str().unwrap_or_default();
                assert!(value.starts_with("${MIROIR_"), "{name}: {variable}");
                assert!(value.contains(":?"), "{name}: {variable} may be left unset");
                seen += 1;
            }
        }
    }
    assert!(
        seen >= 8,
        "every coordinator, proxy and node needs its secrets, {seen} found"
    );
    Ok(())
}

#[test]
fn coordinators_are_told_apart_and_ports_stay_on_this_machine() -> Result<()> {
    let document = compose()?;
    let mut ids = BTreeSet::new();
    for (name, service) in running(&document, "miroir-coordinator")? {
        let id = service["environment"]["MIROIR_COORDINATOR__ID"].as_str();
        assert!(
            ids.insert(id.with_context(|| format!("{name} has no id"))?),
            "{name}: id twice"
        );
    }
    assert_eq!(ids, BTreeSet::from(["1", "2", "3"]));
    let mut taken = BTreeSet::new();
    for service in document["services"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, s)| s)
    {
        for port in words(&service["ports"]) {
            let (host, _) = port
                .rsplit_once(':')
                .context("a port without a host side")?;
            assert!(
                host.starts_with("127.0.0.1:"),
                "{port} is open to the network"
            );
            assert!(taken.insert(host), "{host} is taken twice");
        }
    }
    Ok(())
}

/// Docker's own opinion, where its tool is installed; the tests above stand in elsewhere.
#[test]
fn docker_accepts_the_file() -> Result<()> {
    let compose = |arguments: &[&str]| {
        Command::new("docker")
            .arg("compose")
            .args(arguments)
            .current_dir(repository())
            .env("MIROIR_MASTER_KEY", "only-for-this-test-0001")
            .env("MIROIR_CLUSTER_TOKEN", "only-for-this-test-0002")
            .output()
    };
    if !compose(&["version"]).is_ok_and(|output| output.status.success()) {
        println!("`docker compose` is not installed: checked by parsing alone");
        return Ok(());
    }
    let checked = compose(&["config", "--quiet"])?;
    let complaint = String::from_utf8_lossy(&checked.stderr);
    ensure!(
        checked.status.success(),
        "docker compose config: {complaint}"
    );
    Ok(())
}
