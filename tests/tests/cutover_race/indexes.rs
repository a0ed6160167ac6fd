//! What concerns a whole index, in every phase of a move of one of its shards.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use miroir_proto::v1::Phase;
use miroir_tests::seed;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::STAGE;
use super::race::{HELD_FOR, Race, WITHIN, each_phase, in_every_phase};

/// A field that could not be filtered by before can be in every phase after, through every proxy, and is what every copy
/// is filtered by.
#[test]
fn cutover_race_settings_change() -> anyhow::Result<()> {
    let name = "settings_change";
    let seed = seed(&format!("cutover_race_{name}"))?;
    STAGE.play(move |stage| async move {
        each_phase(&stage, name, seed, |race, phase| async move {
            race.begin(&[phase]).await?;
            race.reached(phase.0).await?;
            let settings = json!({"filterableAttributes": ["kind", "version"], "synonyms": {"zwei": ["word2"]}});
            let changing = tokio::spawn({
                let race = Arc::clone(&race);
                async move { race.send(Method::PATCH, "/settings", settings).await }
            });
            if phase.0 == Phase::Fenced {
                tokio::time::sleep(HELD_FOR).await;
                race.release_all()?;
            }
            changing.await??;
            let ids = race.some_ids("old", 2);
            race.put(ids.iter().map(|id| race.document(id, "a", 2)).collect())
                .await?;
            race.settled().await?;
            filtered(&race).await?;
            race.release_all()?;
            let end = race.over().await?;
            ensure!(end == Phase::Done, "{} was cancelled", race.index);
            filtered(&race).await?;
            race.check().await
        })
        .await
    })
}

/// Searches that need the new settings find the four documents of version 2.
async fn filtered(race: &Race) -> anyhow::Result<()> {
    let client = race.stage.trial().await.client.clone();
    for proxy in client.proxies() {
        for query in [json!({"filter": "version = 2"}), json!({"q": "zwei"})] {
            let path = format!("/indexes/{}/search", race.index);
            let body = Some(("application/json", query.to_string()));
            let answer = client.send_to(proxy, Method::POST, &path, body).await?;
            let hits = answer["hits"].as_array().map_or(0, Vec::len);
            ensure!(hits == 4, "{query} through {proxy}: {answer}");
        }
    }
    Ok(())
}

/// The index goes while its shard moves, and another of the same name comes. Nothing of the old one is in it.
#[test]
fn cutover_race_index_delete_and_recreate() -> anyhow::Result<()> {
    let name = "index_delete_and_recreate";
    let seed = seed(&format!("cutover_race_{name}"))?;
    STAGE.play(move |stage| async move {
        each_phase(&stage, name, seed, |race, phase| async move {
            race.begin(&[phase]).await?;
            race.reached(phase.0).await?;
            let deleting = tokio::spawn({
                let race = Arc::clone(&race);
                async move { race.send(Method::DELETE, "", Value::Null).await }
            });
            if phase.0 == Phase::Fenced {
                tokio::time::sleep(HELD_FOR).await;
                race.release_all()?;
            }
            deleting.await??;
            // While an actor may be sending documents of the old index, no other can have its name.
            race.release_all()?;
            recreate(&race).await?;
            race.shown().await?;
            nothing_moves(&race).await?;
            race.check().await
        })
        .await
    })
}

async fn recreate(race: &Race) -> anyhow::Result<()> {
    for id in race.oracle.documents().keys() {
        race.oracle.delete(id);
    }
    let settings = json!({"filterableAttributes": ["kind"]});
    race.send(Method::PATCH, "/settings", settings).await?;
    let ids = race.some_ids("again", 3);
    race.put(ids.iter().map(|id| race.document(id, "b", 1)).collect())
        .await?;
    race.settled().await
}

/// Waits until the move of the index that is gone is no more, however it ended.
async fn nothing_moves(race: &Race) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    while let Some(now) = race.migration().await? {
        if matches!(now.phase(), Phase::Done | Phase::Cancelled) {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{} is still in {}: {} {}",
            race.index,
            now.phase().as_str_name(),
            now.waits_for,
            now.last_error
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A batch has documents of the shard that moves and of others; it is one write, wherever its parts go.
#[test]
fn cutover_race_batch_spanning_shards() -> anyhow::Result<()> {
    in_every_phase("batch_spanning_shards", |race: Arc<Race>| async move {
        let span: Vec<String> = [race.some_ids("old", 3), race.some_ids("span", 3)].concat();
        let spanning = tokio::spawn({
            let race = Arc::clone(&race);
            let span = span.clone();
            async move {
                let documents = span.iter().map(|id| race.document(id, "s", 1));
                race.put(documents.collect()).await
            }
        });
        if race.phase == Phase::Fenced {
            // A part that is held holds later writes of its shard, not of others.
            let still = race.still_ids("still", 3);
            let documents = still.iter().map(|id| race.document(id, "s", 2));
            race.put(documents.collect()).await?;
        }
        spanning.await??;
        race.update(&span, &json!({"mark": "after"})).await
    })
}
