//! Two of three coordinators are down: reads go on, writes stop cleanly, nothing moves.

use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Role;
use miroir_dev::demo::{Client, INDEX, Refusal};
use miroir_proto::v1::Phase;
use miroir_tests::{Load, Trial, seed};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::{ALONE, options};

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_coordinators_are_down() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let seed = seed("two_of_three_coordinators_are_down")?;
    let mut trial = Trial::start(options()).await?;
    let outcome = without_quorum(&mut trial, seed).await;
    trial.end(outcome).await
}

async fn without_quorum(trial: &mut Trial, seed: u64) -> anyhow::Result<()> {
    let load = Load::start(trial, seed);
    let (_, operation) = trial.cluster.add_node(1).await?;
    trial.wait_for_phase(operation, Phase::Copying).await?;

    let leader = trial.cluster.admin.leader().await?;
    let last = leader % 3 + 1;
    let down: Vec<Role> = (1..=3)
        .filter(|n| *n != last)
        .map(Role::Coordinator)
        .collect();
    for role in &down {
        trial.cluster.kill(*role).await?;
    }
    println!("  two are down");
    let before = trial.cluster.admin.status_of(last).await?;
    writes_are_refused(trial).await?;
    println!("  refused");
    // Leases are over, so what follows is what lasts.
    writes_are_refused(trial).await?;
    let after = trial.cluster.admin.status_of(last).await?;
    println!("  refused again");
    ensure!(
        !after.has_quorum,
        "coordinator {last} says that it has a quorum, all alone"
    );
    ensure!(
        after.migrations_unfinished > 0 && after.epoch == before.epoch,
        "routes changed without a quorum: {before:?}, then {after:?}"
    );

    for role in &down {
        trial.cluster.spawn(*role)?;
    }
    acknowledged_again(trial).await?;
    println!("  acknowledged again");
    trial.wait_until_moved(operation).await?;
    let seen = load.stop().await?;
    ensure!(seen.written.refused > 0, "no write was refused");
    seen.every_read_succeeded()?;
    trial.heal_and_check().await
}

/// Writes through every proxy at once, each of which must say 503, `Retry-After`, in Meilisearch's shape.
async fn writes_are_refused(trial: &Trial) -> anyhow::Result<()> {
    let mut refused = JoinSet::new();
    for proxy in trial.client.proxies() {
        refused.spawn(write_is_refused(trial.client.clone(), proxy.clone()));
    }
    refused.join_all().await.into_iter().collect()
}

async fn write_is_refused(client: Client, proxy: String) -> anyhow::Result<()> {
    let path = format!("/indexes/{INDEX}/documents/nobody-has-this-id");
    let sent = client.send_to(&proxy, Method::DELETE, &path, None).await;
    let error = sent
        .err()
        .with_context(|| format!("{proxy} acknowledged a write without coordinators"))?;
    let refusal = error
        .downcast_ref::<Refusal>()
        .with_context(|| format!("{proxy} did not answer: {error:#}"))?;
    ensure!(
        refusal.is_unavailable(),
        "{refusal}, Retry-After {:?}",
        refusal.retry_after_s
    );
    Ok(())
}

/// Waits until every proxy acknowledges writes.
async fn acknowledged_again(trial: &Trial) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let path = format!("/indexes/{INDEX}/documents/delete-batch");
    for proxy in trial.client.proxies() {
        let body = || {
            Some((
                "application/json",
                json!(["nobody-has-this-id"]).to_string(),
            ))
        };
        while let Err(error) = trial
            .client
            .send_to(proxy, Method::POST, &path, body())
            .await
        {
            ensure!(
                tokio::time::Instant::now() < deadline,
                "still after a minute: {error:#}"
            );
        }
    }
    Ok(())
}
