//! Clients that never pause while a shard moves: writers of one document, readers, and writers of everything.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use miroir_proto::v1::Phase;
use miroir_tests::seed;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::STAGE;
use super::race::{Race, allow_many_moves};
use super::walk::{Beat, walk};

/// Readers of each proxy.
const READERS: usize = 2;

/// One document is written again and again, one write after the other, through both proxies.
#[test]
fn cutover_race_hot_document() -> anyhow::Result<()> {
    let name = "hot_document";
    let seed = seed(&format!("cutover_race_{name}"))?;
    STAGE.play(move |stage| async move {
        allow_many_moves(&stage).await?;
        let race = Race::ready(&stage, name.to_owned(), Phase::Planned, seed).await?;
        let (beat, stop) = (Beat::default(), CancellationToken::new());
        let writing = tokio::spawn(hot(Arc::clone(&race), beat.clone(), stop.clone()));
        let walked = walk(&race, &beat, 3, true).await;
        race.release_all()?;
        stop.cancel();
        writing.await??;
        walked?;
        race.check().await
    })
}

async fn hot(race: Arc<Race>, beat: Beat, stop: CancellationToken) -> anyhow::Result<()> {
    let ids = race.some_ids("old", 1);
    for version in 1.. {
        if stop.is_cancelled() {
            break;
        }
        if version % 3 == 0 {
            race.update(&ids[..1], &json!({"version": version})).await?;
        } else {
            race.put(vec![race.document(&ids[0], "hot", version)])
                .await?;
        }
        beat.beat();
    }
    Ok(())
}

/// Readers read everything all the time. At every moment every document is there once; and some of the reads were under
/// way when reads moved, and when the old copy was given up.
#[test]
fn cutover_race_read_spanning_cutover() -> anyhow::Result<()> {
    let name = "read_spanning_cutover";
    let seed = seed(&format!("cutover_race_{name}"))?;
    STAGE.play(move |stage| async move {
        allow_many_moves(&stage).await?;
        let race = Race::ready(&stage, name.to_owned(), Phase::Planned, seed).await?;
        let (beat, stop) = (Beat::default(), CancellationToken::new());
        let mut readers = JoinSet::new();
        let proxies = stage.trial().await.client.proxies().to_vec();
        for proxy in proxies.into_iter().flat_map(|url| vec![url; READERS]) {
            readers.spawn(read(Arc::clone(&race), proxy, beat.clone(), stop.clone()));
        }
        let walked = walk(&race, &beat, 8, false).await;
        race.release_all()?;
        stop.cancel();
        let mut reads = Vec::new();
        while let Some(read) = readers.join_next().await {
            reads.extend(read??);
        }
        walked?;
        let history = race.migration().await?.context("no move")?.history;
        for phase in [Phase::CutOver, Phase::Cleaning] {
            let change = history.iter().find(|change| change.phase() == phase);
            let at = change.context("the phase is not in the history")?.at_ms;
            let spanned = reads
                .iter()
                .filter(|(from, to)| (*from..=*to).contains(&at));
            let spanned = spanned.count();
            println!("{} reads, {spanned} across {phase:?}", reads.len());
            ensure!(spanned > 0, "no read spanned the change to {phase:?}");
        }
        race.check().await
    })
}

/// Reads until told to stop; answers when each read began and ended, in milliseconds.
async fn read(
    race: Arc<Race>,
    proxy: String,
    beat: Beat,
    stop: CancellationToken,
) -> anyhow::Result<Vec<(u64, u64)>> {
    let client = race.stage.trial().await.client.clone();
    let expected: BTreeSet<String> = race.oracle.documents().into_keys().collect();
    let requests = [
        ("documents/fetch", json!({"limit": 1_000})),
        (
            "search",
            json!({"page": 1, "hitsPerPage": 1_000, "facets": ["kind"]}),
        ),
    ];
    let mut reads = Vec::new();
    while !stop.is_cancelled() {
        for (what, body) in &requests {
            let path = format!("/indexes/{}/{what}", race.index);
            let body = Some(("application/json", body.to_string()));
            let from = now_ms()?;
            let answer = client.send_to(&proxy, Method::POST, &path, body).await?;
            reads.push((from, now_ms()?));
            complete(&answer, &expected).with_context(|| format!("{proxy} {what}: {answer}"))?;
            beat.beat();
        }
    }
    Ok(reads)
}

fn complete(answer: &Value, expected: &BTreeSet<String>) -> anyhow::Result<()> {
    let list = answer["hits"].as_array().or(answer["results"].as_array());
    let list = list.context("no list")?;
    let ids = list.iter().filter_map(|one| one["id"].as_str());
    let ids: BTreeSet<String> = ids.map(ToOwned::to_owned).collect();
    ensure!(ids == *expected, "these are not all documents");
    ensure!(list.len() == ids.len(), "some document came twice");
    if let Some(kinds) = answer["facetDistribution"]["kind"].as_object() {
        let counted: u64 = kinds.values().filter_map(Value::as_u64).sum();
        ensure!(counted == expected.len() as u64, "facets count {counted}");
    }
    let total = answer["totalHits"].as_u64().or(answer["total"].as_u64());
    ensure!(
        total == Some(expected.len() as u64),
        "the total is {total:?}"
    );
    Ok(())
}

fn now_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}

/// All kinds of writes, by chance, from two clients with documents of their own.
#[test]
fn cutover_race_all_kinds_of_writes() -> anyhow::Result<()> {
    let name = "all_kinds_of_writes";
    let seed = seed(&format!("cutover_race_{name}"))?;
    STAGE.play(move |stage| async move {
        allow_many_moves(&stage).await?;
        let race = Race::ready(&stage, name.to_owned(), Phase::Planned, seed).await?;
        let (beat, stop) = (Beat::default(), CancellationToken::new());
        let mut writers = JoinSet::new();
        for number in 0..2 {
            let race = Arc::clone(&race);
            writers.spawn(anything(race, number, seed, beat.clone(), stop.clone()));
        }
        let walked = walk(&race, &beat, 6, true).await;
        race.release_all()?;
        stop.cancel();
        while let Some(written) = writers.join_next().await {
            written??;
        }
        walked?;
        race.check().await
    })
}

async fn anything(
    race: Arc<Race>,
    number: u64,
    seed: u64,
    beat: Beat,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut chance = StdRng::seed_from_u64(seed.wrapping_add(number));
    let ids = race.some_ids(&format!("own{number}"), 6);
    for version in 1.. {
        if stop.is_cancelled() {
            break;
        }
        let from = chance.random_range(0..ids.len());
        let some = &ids[from..ids.len().min(from + 4)];
        match chance.random_range(0..5) {
            0..=1 => {
                let documents = some.iter().map(|id| race.document(id, "any", version));
                race.put(documents.collect()).await?;
            }
            2 => race.update(some, &json!({"version": version})).await?,
            3 => race.delete(&some[0]).await?,
            _ => {
                race.send(Method::POST, "/documents/delete-batch", json!(some))
                    .await?;
                some.iter().for_each(|id| race.oracle.delete(id));
            }
        }
        beat.beat();
    }
    Ok(())
}
