//! A leader that dies while it holds writes behind a fence, and a writer that dies in every phase.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use miroir_dev::cluster::{Options, Role};
use miroir_proto::v1::Phase;
use miroir_tests::{Stage, seed};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::race::{HELD_FOR, PHASES, Race, allow_many_moves};
use super::{STAGE, options};

/// Between two writes to an index: eight at once must not be more than the nodes can take, or no copy catches up.
const WRITES_PAUSE: Duration = Duration::from_millis(150);

/// Writes that are held when the leader dies reach all copies in the end, and their clients are told so.
#[test]
fn cutover_race_held_write_outlives_the_leader() -> anyhow::Result<()> {
    let seed = seed("cutover_race_held_write_outlives_the_leader")?;
    STAGE.play_alone(async move {
        let stage = Arc::new(Stage::start(options()).await?);
        let outcome = leader_dies(&stage, seed).await;
        Stage::end_shared(stage, outcome).await
    })
}

async fn leader_dies(stage: &Arc<Stage>, seed: u64) -> anyhow::Result<()> {
    let race = Race::ready(stage, "held".to_owned(), Phase::Fenced, seed).await?;
    race.begin(&[(Phase::Fenced, "Fenced")]).await?;
    race.reached(Phase::Fenced).await?;
    let mut held = JoinSet::new();
    for number in 0..4 {
        let race = Arc::clone(&race);
        held.spawn(async move { held_write(&race, number).await });
    }
    tokio::time::sleep(HELD_FOR).await;
    ensure!(
        held.try_join_next().is_none(),
        "a write passed the fence before the leader died"
    );
    let leader = stage.trial().await.cluster.admin.leader().await?;
    let dead = Role::Coordinator(leader);
    stage.trial.write().await.cluster.kill(dead).await?;
    race.release_all()?;
    while let Some(written) = held.join_next().await {
        written??;
    }
    let end = race.over().await?;
    ensure!(end == Phase::Done, "the move was cancelled");
    stage.trial.write().await.cluster.spawn(dead)?;
    race.check().await
}

/// Every kind of write to the shard that moves, each with documents of its own.
async fn held_write(race: &Race, number: usize) -> anyhow::Result<()> {
    let old = race.some_ids("old", 4);
    match number {
        0 => {
            let ids = race.some_ids("new", 2);
            race.put(ids.iter().map(|id| race.document(id, "a", 1)).collect())
                .await
        }
        1 => race.put(vec![race.document(&old[1], "b", 2)]).await,
        2 => race.update(&old[2..3], &json!({"mark": "held"})).await,
        _ => race.delete(&old[3]).await,
    }
}

/// The proxy that orders the writes of eight indexes dies, with writes under way, while each moves a shard and is held in
/// another phase. What it acknowledged stays; what it did not is on all copies or on none.
#[test]
fn cutover_race_writer_dies_in_each_phase() -> anyhow::Result<()> {
    let seed = seed("cutover_race_writer_dies_in_each_phase")?;
    STAGE.play_alone(async move {
        let mut options = Options {
            coordinators: 1,
            ..options()
        };
        // A dead proxy may have left requests behind; this is how long they can last here.
        options.environment.push((
            "MIROIR_COORDINATOR__NODES__REQUEST_TIMEOUT_MS".to_owned(),
            "10000".to_owned(),
        ));
        let stage = Arc::new(Stage::start(options).await?);
        let outcome = writer_dies(&stage, seed).await;
        Stage::end_shared(stage, outcome).await
    })
}

async fn writer_dies(stage: &Arc<Stage>, seed: u64) -> anyhow::Result<()> {
    allow_many_moves(stage).await?;
    let mut races = Vec::new();
    for phase in PHASES {
        let race = of_the_first_proxy(stage, phase, seed).await?;
        race.begin(&[phase]).await?;
        races.push(race);
    }
    for race in &races {
        race.reached(race.phase).await?;
    }
    let mut writers = JoinSet::new();
    let mut moves = JoinSet::new();
    for race in &races {
        let stop = CancellationToken::new();
        writers.spawn(write(Arc::clone(race), stop.clone()));
        moves.spawn(moved(Arc::clone(race), stop));
    }
    // Somewhere in the middle of the writes; where exactly is chance.
    tokio::time::sleep(Duration::from_millis(500 + seed % 100)).await;
    let dead = Role::Proxy(1);
    stage.trial.write().await.cluster.kill(dead).await?;
    stage.trial.write().await.cluster.spawn(dead)?;
    for race in &races {
        race.release_all()?;
    }
    while let Some(moved) = moves.join_next().await {
        moved??;
    }
    while let Some(written) = writers.join_next().await {
        let (right, wrong) = written?;
        println!("  {right} writes acknowledged, {wrong} not");
        ensure!(right > 0, "nothing was written");
    }
    for race in &races {
        race.check().await?;
    }
    Ok(())
}

/// Waits until the move is over, and then stops the index's writer.
async fn moved(race: Arc<Race>, stop: CancellationToken) -> anyhow::Result<()> {
    let _stop = stop.drop_guard();
    let end = race.over().await?;
    ensure!(end == Phase::Done, "{} was cancelled", race.index);
    Ok(())
}

/// A race about an index whose writer is the first proxy, because it was asked for the index.
async fn of_the_first_proxy(
    stage: &Arc<Stage>,
    phase: (Phase, &str),
    seed: u64,
) -> anyhow::Result<Arc<Race>> {
    let index = format!("writer-{}", phase.1);
    let trial = stage.trial().await;
    let (client, first) = (&trial.client, trial.cluster.layout.proxy_url(1));
    let body = Some(("application/json", json!({"uid": index}).to_string()));
    client
        .send_to(&first, Method::POST, "/indexes", body)
        .await?;
    let race = Race::ready(stage, index, phase.0, seed).await?;
    let writer = trial.writer(&race.index).await?;
    ensure!(writer == 1, "proxy {writer} writes {}", race.index);
    Ok(race)
}

/// Writes documents until told to stop; answers how many writes were acknowledged, and how many not.
async fn write(race: Arc<Race>, stop: CancellationToken) -> (u64, u64) {
    let ids = race.some_ids("old", 3);
    let (mut right, mut wrong) = (0, 0);
    for version in 1.. {
        if stop.is_cancelled() {
            break;
        }
        let documents = ids.iter().map(|id| race.document(id, "w", version));
        match race.put(documents.collect()).await {
            Ok(()) => right += 1,
            Err(_) => wrong += 1,
        }
        tokio::time::sleep(WRITES_PAUSE).await;
    }
    (right, wrong)
}
