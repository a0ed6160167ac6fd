//! The writer proxy dies, and wakes up from a long sleep, while its lease runs. Its successor's writes and its own never
//! mix: whatever was acknowledged is on both copies of its shard, in the same order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Options, Port, Role};
use miroir_dev::demo::{Client, Fields, INDEX};
use miroir_tests::{Forwarder, Load, Trial, seed};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{ALONE, options};

/// Writes that are under way when the writer falls asleep.
const BURST: u32 = 24;

/// How late the slow node is, in each direction.
const DELAY: Duration = Duration::from_millis(300);

/// How long a writer that woke up is watched.
const AWAKE: Duration = Duration::from_secs(2);

/// How long a successor may take.
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_dies_and_sleeps() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let seed = seed("the_writer_dies_and_sleeps")?;
    let mut options = Options {
        replication_factor: 2,
        ..options()
    };
    // A dead proxy may have left reads behind; this is how long they can last here, where no search takes longer.
    options.environment.push((
        "MIROIR_COORDINATOR__NODES__REQUEST_TIMEOUT_MS".to_owned(),
        "10000".to_owned(),
    ));
    let port = Port::take()?;
    let behind = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let line = Forwarder::start(behind).await?;
    let places = &mut options.places;
    places.addresses.insert(Role::Node(1).to_string(), behind);
    places.fronts.insert(1, line.address);
    let mut trial = Trial::start(options).await?;
    let outcome = async {
        killed(&mut trial, seed).await?;
        for nap in 0..2 {
            asleep(&mut trial, &line, seed, nap).await?;
        }
        Ok(())
    };
    let outcome = outcome.await;
    trial.end(outcome).await
}

async fn killed(trial: &mut Trial, seed: u64) -> anyhow::Result<()> {
    println!("  killed");
    let load = Load::start(trial, seed);
    let (_, operation) = trial.cluster.add_node(1).await?;
    let writer = trial.writer(INDEX).await?;
    trial.cluster.kill(Role::Proxy(writer)).await?;
    successor(trial, writer).await?;
    trial.cluster.spawn(Role::Proxy(writer))?;
    trial.wait_until_moved(operation).await?;
    let seen = load.stop().await?;
    let dead = trial.cluster.layout.proxy_url(writer);
    let others = seen.searched.failures.iter().find(|f| !f.contains(&dead));
    ensure!(
        others.is_none(),
        "a search through another proxy failed: {others:?}"
    );
    trial.heal_and_check().await
}

/// The writer is stopped with requests under way, for longer than its lease. When it goes on it believes that no time
/// has passed; meanwhile another has become writer and overwritten the same documents.
async fn asleep(trial: &mut Trial, line: &Forwarder, seed: u64, nap: u64) -> anyhow::Result<()> {
    println!("  asleep");
    let writer = trial.writer(INDEX).await?;
    let url = trial.cluster.layout.proxy_url(writer);
    // The other clients would wait for the sleeper, too.
    let others = trial.cluster.layout.proxy_urls();
    let others = others.into_iter().filter(|other| *other != url).collect();
    let others = Client::new(others, trial.cluster.layout.master_key()?)?;
    let load = Load::through(&others, trial, seed.wrapping_add(nap + 1));
    // One write is under way to a slow node, and the others are queued behind it: these are what a writer that does not
    // look at its lease sends on waking up.
    line.delay(DELAY);
    let mut burst = JoinSet::new();
    for number in 0..BURST {
        let (client, url) = (trial.client.clone(), url.clone());
        let fields = document(nap, number, "old");
        burst.spawn(async move { (number, put(&client, &url, &fields).await) });
    }
    tokio::time::sleep(DELAY / 2 + Duration::from_millis(seed % 200)).await;
    trial.cluster.pause(Role::Proxy(writer)).await?;
    line.delay(Duration::ZERO);
    let outcome = overwritten(trial, writer, nap).await;
    trial.cluster.resume(Role::Proxy(writer)).await?;
    outcome?;
    // What the sleeper does on waking up, and what the others write past it.
    tokio::time::sleep(AWAKE).await;

    let mut acknowledged = 0;
    for (number, sent) in burst.join_all().await {
        // One that was passed on to the successor came after what that had written; one that was acknowledged by the
        // sleeper itself came before. One that was refused must not come any more.
        if sent.is_ok() {
            acknowledged += 1;
            let fields = document(nap, number, "old");
            trial.oracle.maybe_put(&id(nap, number), fields);
        }
    }
    println!("    {acknowledged} of {BURST} writes of the sleeper were acknowledged");
    load.stop().await?.every_read_succeeded()?;
    trial.heal_and_check().await
}

/// Waits for another writer and writes the same documents through it.
async fn overwritten(trial: &Trial, sleeper: u16, nap: u64) -> anyhow::Result<()> {
    let writer = successor(trial, sleeper).await?;
    let url = trial.cluster.layout.proxy_url(writer);
    for number in 0..BURST {
        let fields = document(nap, number, "new");
        put(&trial.client, &url, &fields)
            .await
            .context("the new writer")?;
        trial.oracle.put(&id(nap, number), fields);
    }
    Ok(())
}

/// The writer after `gone`, once it acknowledges writes.
async fn successor(trial: &Trial, gone: u16) -> anyhow::Result<u16> {
    let deadline = Instant::now() + WITHIN;
    let path = format!("/indexes/{INDEX}/documents/nobody-has-this-id");
    loop {
        let writer = trial.writer(INDEX).await?;
        let url = trial.cluster.layout.proxy_url(writer);
        let other = writer != gone;
        let delete = trial.client.send_to(&url, Method::DELETE, &path, None);
        if other && delete.await.is_ok() {
            return Ok(writer);
        }
        ensure!(
            Instant::now() < deadline,
            "nobody took over from proxy {gone} in {WITHIN:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn id(nap: u64, number: u32) -> String {
    format!("nap-{nap}-{number}")
}

fn document(nap: u64, number: u32, version: &str) -> Fields {
    let fields = BTreeMap::from([("id", json!(id(nap, number))), ("name", json!(version))]);
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Arc::new(fields.collect())
}

async fn put(client: &Client, server: &str, fields: &Fields) -> anyhow::Result<Value> {
    let path = format!("/indexes/{INDEX}/documents");
    let body = json!([**fields]).to_string();
    let body = Some(("application/json", body));
    client.send_to(server, Method::POST, &path, body).await
}
