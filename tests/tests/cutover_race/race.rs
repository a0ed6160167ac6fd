//! One move of one shard of an index of its own, held where a race wants it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_core::hidden_field::shard_of;
use miroir_dev::demo::{Fields, Oracle, check_documents};
use miroir_proto::v1::change_request::Change;
use miroir_proto::v1::{self, Phase, ReplicaState};
use miroir_tests::{Stage, seed};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::STAGE;

/// Every phase of a move in which something happens, with its name.
pub const PHASES: [(Phase, &str); 8] = [
    (Phase::Preparing, "Preparing"),
    (Phase::Copying, "Copying"),
    (Phase::CatchingUp, "CatchingUp"),
    (Phase::Fenced, "Fenced"),
    (Phase::Mirroring, "Mirroring"),
    (Phase::CutOver, "CutOver"),
    (Phase::Holding, "Holding"),
    (Phase::Cleaning, "Cleaning"),
];

/// How long anything may take that must happen; only reached when a test fails.
pub const WITHIN: Duration = Duration::from_secs(120);

/// How long it is watched that a write behind a fence is not acknowledged.
pub const HELD_FOR: Duration = Duration::from_millis(300);

/// Documents of an index at first, of each kind.
const DOCUMENTS: usize = 6;

/// A race: an index, what it must hold, and a move of its first shard.
#[derive(Debug)]
pub struct Race {
    /// Where it runs.
    pub stage: Arc<Stage>,
    /// The index.
    pub index: String,
    /// The phase the client acts in.
    pub phase: Phase,
    /// What the index must hold.
    pub oracle: Oracle,
    seed: u64,
    shards: u16,
    operation: AtomicU64,
    /// Names of the failpoints that hold it.
    held: Mutex<Vec<String>>,
}

/// The documents an index begins with: of two kinds, in the shard that moves and in those that do not.
pub fn first_ids(shards: u16) -> Vec<String> {
    let moving = ids("old", true, shards).take(2 * DOCUMENTS);
    moving
        .chain(ids("old", false, shards).take(2 * DOCUMENTS))
        .collect()
}

/// Ids of documents in the shard that moves, or in others.
fn ids(prefix: &str, moving: bool, shards: u16) -> impl Iterator<Item = String> {
    let all = (0..).map(move |number| format!("{prefix}-{number}"));
    all.filter(move |id| (shard_of(id, shards) == 0) == moving)
}

impl Race {
    /// Makes the index and fills it.
    pub async fn ready(
        stage: &Arc<Stage>,
        index: String,
        phase: Phase,
        seed: u64,
    ) -> anyhow::Result<Arc<Self>> {
        let shards = stage.trial().await.cluster.layout.options.shards;
        let race = Self {
            stage: Arc::clone(stage),
            index,
            phase,
            oracle: Oracle::default(),
            seed,
            shards,
            operation: AtomicU64::new(0),
            held: Mutex::default(),
        };
        race.fill().await?;
        Ok(Arc::new(race))
    }

    /// Makes the index, which must not be there, with its first documents.
    pub async fn fill(&self) -> anyhow::Result<()> {
        let settings = json!({"filterableAttributes": ["kind"], "searchableAttributes": ["text"]});
        self.send(Method::PATCH, "/settings", settings).await?;
        let kinds = ["a", "b"].into_iter().cycle();
        let documents = first_ids(self.shards).into_iter().zip(kinds);
        let documents = documents.map(|(id, kind)| self.document(&id, kind, 0));
        self.put(documents.collect()).await?;
        self.settled().await
    }

    /// Ids with this prefix, so many in the shard that moves and as many in others.
    pub fn some_ids(&self, prefix: &str, of_each: usize) -> Vec<String> {
        let moving = ids(prefix, true, self.shards).take(of_each);
        moving
            .chain(ids(prefix, false, self.shards).take(of_each))
            .collect()
    }

    /// Ids with this prefix in shards that do not move.
    pub fn still_ids(&self, prefix: &str, count: usize) -> Vec<String> {
        ids(prefix, false, self.shards).take(count).collect()
    }

    /// A document whose content depends on the seed.
    pub fn document(&self, id: &str, kind: &str, version: u64) -> Fields {
        let mark = self.seed.wrapping_mul(31).wrapping_add(version);
        let document = json!({"id": id, "kind": kind, "version": version, "mark": mark,
            "text": format!("{kind} word{version} {id}"), "part": {"of": [version, null, "ü"]}});
        Arc::new(document.as_object().cloned().unwrap_or_default())
    }

    /// Sends a request about the index to the next proxy.
    pub async fn send(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let path = format!("/indexes/{}{path}", self.index);
        let client = self.stage.trial().await.client.clone();
        if body.is_null() {
            return client.send(method, &path, None).await;
        }
        client.send_json(method, &path, &body).await
    }

    /// Adds or replaces documents in one request.
    pub async fn put(&self, documents: Vec<Fields>) -> anyhow::Result<()> {
        let body = documents.iter().map(|fields| json!(**fields)).collect();
        let sent = self.send(Method::POST, "/documents", body).await;
        for fields in documents {
            let id = fields["id"].as_str().unwrap_or_default().to_owned();
            match &sent {
                Ok(_) => self.oracle.put(&id, fields),
                Err(_) => self.oracle.maybe_put(&id, fields),
            }
        }
        sent.map(|_| ())
    }

    /// Changes some fields of documents in one request.
    pub async fn update(&self, ids: &[String], changed: &Value) -> anyhow::Result<()> {
        let part = |id: &String| {
            let mut part = changed.as_object().cloned().unwrap_or_default();
            part.insert("id".to_owned(), json!(id));
            part
        };
        let body = ids.iter().map(|id| json!(part(id))).collect();
        self.send(Method::PUT, "/documents", body).await?;
        for id in ids {
            self.oracle.update(id, &part(id));
        }
        Ok(())
    }

    /// Deletes one document by a request of its own.
    pub async fn delete(&self, id: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, &format!("/documents/{id}"), Value::Null)
            .await?;
        self.oracle.delete(id);
        Ok(())
    }

    /// Waits until no task of the index is unfinished. None may have failed.
    pub async fn settled(&self) -> anyhow::Result<()> {
        let client = self.stage.trial().await.client.clone();
        let total = async |statuses: &str| {
            let path = format!(
                "/tasks?statuses={statuses}&indexUids={}&limit=1",
                self.index
            );
            let found = client.send(Method::GET, &path, None).await?;
            let total = found["total"].as_u64().context("a list has no total")?;
            anyhow::Ok((total, found["results"][0].to_string()))
        };
        let deadline = Instant::now() + WITHIN;
        loop {
            let (open, such_as) = total("enqueued,processing").await?;
            if open == 0 {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{}: {open} tasks are unfinished, such as {such_as}",
                self.index
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (failed, such_as) = total("failed,canceled").await?;
        ensure!(failed == 0, "{}: task {such_as}", self.index);
        Ok(())
    }

    /// Sets the failpoints of these phases for this index, and begins to move its first shard.
    pub async fn begin(&self, phases: &[(Phase, &str)]) -> anyhow::Result<()> {
        for (_, name) in phases {
            let point = format!("migration-{name}-{}", self.index);
            self.stage.points.set(&point, "pause").await?;
            self.lock().push(point);
        }
        let trial = self.stage.trial().await;
        let admin = &trial.cluster.admin;
        let holders: Vec<u64> = self.replicas(admin).await?;
        let nodes = admin.nodes().await?;
        let free = nodes.iter().find(|node| !holders.contains(&node.id));
        let change = Change::MoveShard(v1::MoveShard {
            index: self.index.clone(),
            shard: 0,
            from: *holders.first().context("the shard has no copy")?,
            to: free.context("every node holds the shard")?.id,
        });
        let reply = admin.change(change).await?;
        let operation = reply.operation.context("a move is an operation")?;
        self.operation.store(operation, Ordering::Relaxed);
        Ok(())
    }

    async fn replicas(&self, admin: &miroir_dev::admin::Admin) -> anyhow::Result<Vec<u64>> {
        let detail = admin.index(&self.index).await?;
        let shard = detail.shards.first().context("the index has no shard")?;
        Ok(shard.replicas.iter().map(|replica| replica.node).collect())
    }

    /// The move.
    pub async fn migration(&self) -> anyhow::Result<Option<v1::Migration>> {
        let operation = self.operation.load(Ordering::Relaxed);
        let trial = self.stage.trial().await;
        let found = trial.cluster.admin.migrations(operation).await?;
        Ok(found.migrations.into_iter().next())
    }

    /// Waits until the move is in a phase.
    pub async fn reached(&self, phase: Phase) -> anyhow::Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let now = self.migration().await?.context("the move is forgotten")?;
            if now.phase() == phase {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline && !ended(now.phase()),
                "{} did not come to {}; it is in {}: {}",
                self.index,
                phase.as_str_name(),
                now.phase().as_str_name(),
                now.last_error
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Lifts the failpoint of a phase.
    pub fn release(&self, name: &str) -> anyhow::Result<()> {
        self.stage
            .points
            .lift(&format!("migration-{name}-{}", self.index))
    }

    /// Lifts all failpoints of the race.
    pub fn release_all(&self) -> anyhow::Result<()> {
        let held = std::mem::take(&mut *self.lock());
        held.iter()
            .try_for_each(|name| self.stage.points.lift(name))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the move is over; answers how it ended.
    pub async fn over(&self) -> anyhow::Result<Phase> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let now = self.migration().await?.context("the move is forgotten")?;
            if ended(now.phase()) {
                return Ok(now.phase());
            }
            ensure!(
                Instant::now() < deadline,
                "{} is still in {}: {} {}",
                self.index,
                now.phase().as_str_name(),
                now.waits_for,
                now.last_error
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks that every proxy shows exactly what was acknowledged.
    pub async fn shown(&self) -> anyhow::Result<()> {
        let client = self.stage.trial().await.client.clone();
        let expected: BTreeMap<String, Value> = self
            .oracle
            .documents()
            .into_iter()
            .map(|(id, fields)| (id, json!(*fields)))
            .collect();
        for proxy in client.proxies() {
            let path = format!("/indexes/{}/documents/fetch", self.index);
            let body = Some(("application/json", json!({"limit": 1_000}).to_string()));
            let answer = client.send_to(proxy, Method::POST, &path, body).await?;
            let results = answer["results"].as_array().context("no results")?;
            let found: BTreeMap<String, Value> = results
                .iter()
                .map(|one| {
                    (
                        one["id"].as_str().unwrap_or_default().to_owned(),
                        one.clone(),
                    )
                })
                .collect();
            ensure!(
                found == expected && results.len() == expected.len(),
                "{} in {} through {proxy} is {results:?} and should be {expected:?}",
                self.index,
                self.phase.as_str_name()
            );
        }
        Ok(())
    }

    /// Waits until every shard has all its copies, all of them are in sync, and none moves.
    async fn whole(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let trial = self.stage.trial().await;
            let copies = usize::from(trial.cluster.layout.options.replication_factor);
            let shards = trial.cluster.admin.index(&self.index).await?.shards;
            let in_sync = |copy: &v1::ReplicaRoute| copy.state() == ReplicaState::InSync;
            let lacks = |shard: &&v1::ShardRoute| {
                shard.replicas.len() != copies
                    || !shard.replicas.iter().all(in_sync)
                    || shard.moving.is_some()
            };
            let Some(shard) = shards.iter().find(lacks) else {
                return Ok(());
            };
            ensure!(Instant::now() < deadline, "{}: {shard:?}", self.index);
            drop(trial);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks every document through every proxy and on every copy, all of which must be in sync; then the index goes.
    pub async fn check(&self) -> anyhow::Result<()> {
        self.settled().await?;
        self.whole().await?;
        let trial = self.stage.trial().await;
        let findings =
            check_documents(&trial.cluster, &trial.client, &self.oracle, &self.index).await?;
        ensure!(
            findings.lost == 0 && findings.duplicated == 0,
            "{}: lost {}, duplicated {} of {}: {:#?}",
            self.index,
            findings.lost,
            findings.duplicated,
            findings.compared,
            findings.examples
        );
        drop(trial);
        self.send(Method::DELETE, "", Value::Null).await.map(|_| ())
    }
}

fn ended(phase: Phase) -> bool {
    matches!(phase, Phase::Done | Phase::Cancelled)
}

/// What a client does in a phase; it returns when it was told that it is done.
pub trait Act<F>: Fn(Arc<Race>) -> F + Clone + Send + 'static {}
impl<F, T: Fn(Arc<Race>) -> F + Clone + Send + 'static> Act<F> for T {}

/// Runs a race in every phase at the same time, on the shared stage.
pub fn in_every_phase<F>(name: &'static str, act: impl Act<F>) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let seed = seed(&format!("cutover_race_{name}"))?;
    STAGE.play(move |stage| async move {
        let held = move |race: Arc<Race>, phase| held_in(race, phase, act.clone());
        each_phase(&stage, name, seed, held).await
    })
}

/// Makes a race for every phase, and has all of them run at the same time.
pub async fn each_phase<F>(
    stage: &Arc<Stage>,
    name: &'static str,
    seed: u64,
    run: impl Fn(Arc<Race>, (Phase, &'static str)) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    allow_many_moves(stage).await?;
    let mut races = JoinSet::new();
    for phase in PHASES {
        let (stage, run) = (Arc::clone(stage), run.clone());
        races.spawn(async move {
            let index = format!("{name}-{}", phase.1);
            let race = Race::ready(&stage, index, phase.0, seed).await?;
            let outcome = run(Arc::clone(&race), phase).await;
            race.release_all()?;
            outcome.with_context(|| format!("in {}", phase.1))
        });
    }
    while let Some(ended) = races.join_next().await {
        ended??;
    }
    Ok(())
}

/// The races' moves must not wait for each other: they are held in different phases.
pub async fn allow_many_moves(stage: &Stage) -> anyhow::Result<()> {
    let change = Change::Policy(v1::PolicyChange {
        max_concurrent_migrations: Some(64),
        max_migrations_per_target: Some(64),
        max_migrations_per_source: Some(64),
        ..v1::PolicyChange::default()
    });
    let trial = stage.trial().await;
    trial.cluster.admin.change(change).await.map(|_| ())
}

async fn held_in<F>(
    race: Arc<Race>,
    phase: (Phase, &'static str),
    act: impl Act<F>,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    race.begin(&[phase]).await?;
    race.reached(phase.0).await?;
    let acting = tokio::spawn(act(Arc::clone(&race)));
    if phase.0 == Phase::Fenced {
        tokio::time::sleep(HELD_FOR).await;
        if acting.is_finished() {
            acting.await??;
            anyhow::bail!("a write was acknowledged behind the fence");
        }
        race.release_all()?;
        acting.await??;
    } else {
        acting.await??;
        race.settled().await?;
        race.shown().await?;
        race.release_all()?;
    }
    let end = race.over().await?;
    ensure!(end == Phase::Done, "{} was cancelled", race.index);
    race.check().await
}
