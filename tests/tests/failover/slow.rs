//! A node that is slow, and one that hangs. There are two copies of every shard, so no read may fail; writes may wait or be
//! refused, and none that was acknowledged is lost.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Options, Port, Role};
use miroir_dev::demo::INDEX;
use miroir_tests::{Forwarder, Load, Trial, seed};
use reqwest::Method;
use serde_json::json;

use super::{ALONE, options};

/// How long each harm lasts.
const LASTS: Duration = Duration::from_secs(8);

/// How many different searches are made around a node that hangs.
const SEARCHES: usize = 120;

/// How late everything is on the slow line, in each direction: unpleasant, and too late to count as healthy.
const DELAYS: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(1_500)];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_slow_and_another_hangs() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let seed = seed("a_node_is_slow_and_another_hangs")?;
    let port = Port::take()?;
    let behind = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let line = Forwarder::start(behind).await?;
    let mut options = Options {
        nodes: 3,
        replication_factor: 2,
        ..options()
    };
    options
        .places
        .addresses
        .insert(Role::Node(1).to_string(), behind);
    options.places.fronts.insert(1, line.address);
    let mut trial = Trial::start(options).await?;
    let outcome = async {
        for delay in DELAYS {
            slow(&mut trial, &line, delay, seed).await?;
        }
        hung(&mut trial, seed.wrapping_add(1)).await
    };
    let outcome = outcome.await;
    trial.end(outcome).await
}

/// Makes many different searches, so that every copy is some search's first choice. All are answered with what one node
/// would give.
async fn search_widely(trial: &Trial) -> anyhow::Result<()> {
    for n in 0..SEARCHES {
        let query = json!({
            "filter": format!("section != none-{n}"), "limit": 50, "attributesToRetrieve": ["id"],
        });
        let path = format!("/indexes/{INDEX}/search");
        let found = trial.client.send_json(Method::POST, &path, &query).await?;
        let hits = found["hits"].as_array().context("no hits")?;
        let ids: BTreeSet<String> = hits.iter().map(|hit| hit["id"].to_string()).collect();
        ensure!(
            (ids.len(), hits.len()) == (50, 50),
            "documents are missing or repeated: {found}"
        );
    }
    Ok(())
}

/// How often other copies answered for a late node, on all proxies together.
async fn hedges_won(trial: &Trial) -> anyhow::Result<u64> {
    let mut won = 0;
    for proxy in trial.client.proxies() {
        let path = "/_miroir/proxy/stats";
        let stats = trial.client.send_to(proxy, Method::GET, path, None).await?;
        won += stats["reads"]["hedgesWon"].as_u64().context("not told")?;
    }
    Ok(won)
}

/// Shards move from and to other nodes, and from the slow one, while everything it says is late.
async fn slow(
    trial: &mut Trial,
    line: &Forwarder,
    delay: Duration,
    seed: u64,
) -> anyhow::Result<()> {
    println!("  slow by {delay:?}");
    line.delay(delay);
    let load = Load::start(trial, seed);
    let (_, operation) = trial.cluster.add_node(1).await?;
    tokio::time::sleep(LASTS).await;
    line.delay(Duration::ZERO);
    trial.wait_until_moved(operation).await?;
    let seen = load.stop().await?;
    seen.every_read_succeeded()?;
    trial.heal_and_check().await
}

/// A node keeps its connections and answers nothing; then it goes on as if no time had passed.
async fn hung(trial: &mut Trial, seed: u64) -> anyhow::Result<()> {
    println!("  hung");
    search_widely(trial).await?;
    let won = hedges_won(trial).await?;
    let load = Load::start(trial, seed);
    trial.cluster.pause(Role::Node(2)).await?;
    let begun = Instant::now();
    search_widely(trial).await?;
    let more = hedges_won(trial).await? - won;
    println!("    other copies answered {more} times for a node that was late");
    ensure!(more > 0, "nobody answered for the node that hangs");
    tokio::time::sleep_until((begun + LASTS).into()).await;
    trial.cluster.resume(Role::Node(2)).await?;
    let (_, operation) = trial.cluster.add_node(1).await?;
    trial.wait_until_moved(operation).await?;
    let seen = load.stop().await?;
    seen.every_read_succeeded()?;
    ensure!(
        seen.searched.latencies.iter().any(|some| !some.is_empty()),
        "nothing was searched"
    );
    trial.heal_and_check().await
}
