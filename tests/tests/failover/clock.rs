//! The wall clock of a proxy jumps, far and both ways, while it is the writer and shards move. Leases, holds and barriers
//! count by the monotonic clock, so nobody notices.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use miroir_dev::cluster::Role;
use miroir_dev::demo::INDEX;
use miroir_tests::{Load, MovedClock, Trial, seed};
use reqwest::Method;
use serde_json::json;

use super::{ALONE, options};

const DAY_S: i64 = 86_400;

/// Jumps, in seconds from the right time.
const JUMPS: [i64; 4] = [40 * DAY_S, -40 * DAY_S, 10, 0];

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_a_proxy_jumps() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let seed = seed("the_clock_of_a_proxy_jumps")?;
    let dir = tempfile::tempdir()?;
    let clock = match MovedClock::prepare(dir.path()).await? {
        Ok(clock) => clock,
        Err(reason) => {
            println!("SKIPPED: {reason}");
            return Ok(());
        }
    };
    let mut options = options();
    // Both, so that the writer is one of them whoever it is.
    for proxy in 1..=options.proxies {
        let wrappers = &mut options.places.wrappers;
        wrappers.insert(Role::Proxy(proxy), clock.wrapper());
    }
    let mut trial = Trial::start(options).await?;
    let outcome = jumping(&mut trial, &clock, seed).await;
    trial.end(outcome).await
}

async fn jumping(trial: &mut Trial, clock: &MovedClock, seed: u64) -> anyhow::Result<()> {
    let load = Load::start(trial, seed);
    let (_, operation) = trial.cluster.add_node(1).await?;
    for jump in JUMPS {
        clock.set(jump)?;
        told_time(trial, jump).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    trial.wait_until_moved(operation).await?;
    let seen = load.stop().await?;
    seen.every_read_succeeded()?;
    seen.every_write_succeeded()?;
    trial.heal_and_check().await
}

/// Checks by the time in a proxy's answer that its clock has jumped; without this the drill would show nothing.
async fn told_time(trial: &Trial, jump_s: i64) -> anyhow::Result<()> {
    let writer = trial.writer(INDEX).await?;
    let url = trial.cluster.layout.proxy_url(writer);
    let path = format!("/indexes/{INDEX}/documents/delete-batch");
    let body = Some((
        "application/json",
        json!(["nobody-has-this-id"]).to_string(),
    ));
    let answer = trial
        .client
        .send_to(&url, Method::POST, &path, body)
        .await?;
    let told = answer["enqueuedAt"].as_str().context("no `enqueuedAt`")?;
    let told_s = time::OffsetDateTime::parse(told, &time::format_description::well_known::Rfc3339)?
        .unix_timestamp();
    let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    ensure!(
        (told_s - now_s - jump_s).abs() < 5,
        "the proxy's clock was moved by {jump_s} s, and it says {told}"
    );
    Ok(())
}
