//! `docker-compose.yml` describes a whole cluster: every part, each watched, its state on named
//! volumes, no secret in the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
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

#[test]
fn the_cluster_is_initialised_once_before_proxies_start() -> Result<()> {
    let document = compose()?;
    let init = &document["services"]["init"];
    assert_eq!(init["restart"], "no");
    let script = words(&init["command"]).join(" ");
    assert!(script.contains("ctl cluster init"), "{script}");
    for (node, _) in running(&document, "miroir-node")? {
        assert!(script.contains(node), "{node} is never added: {script}");
    }
    for (name, proxy) in running(&document, "miroir-proxy")? {
        let condition = &proxy["depends_on"]["init"]["condition"];
        assert_eq!(condition, "service_completed_successfully", "{name}");
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
