//! Two indexes are swapped, over and over, while clients write to them and read them through every proxy: whoever asks after a swap
//! was answered meets it, and every document ends in the one index that its task names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Options;
use miroir_dev::demo::Client;
use miroir_tests::Trial;
use reqwest::Method;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");
const WITHIN: Duration = Duration::from_secs(60);
const SWAPS: usize = 8;
const UIDS: [&str; 2] = ["now", "next"];
/// More documents than are written.
const ALL: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn documents_end_where_their_tasks_say_however_often_indexes_are_swapped()
-> anyhow::Result<()> {
    let options = Options {
        nodes: 2,
        coordinators: 1,
        proxies: 2,
        shards: 4,
        ..Trial::options(PROGRAM)
    };
    let trial = Trial::start_empty(options).await?;
    let outcome = swapped_under_load(&trial).await;
    trial.end(outcome).await
}

async fn post(client: &Client, proxy: &str, path: &str, body: Value) -> anyhow::Result<Value> {
    let body = Some(("application/json", body.to_string()));
    client.send_to(proxy, Method::POST, path, body).await
}

fn task_of(answer: &Value) -> anyhow::Result<u64> {
    answer["taskUid"]
        .as_u64()
        .with_context(|| format!("no task: {answer}"))
}

async fn swapped_under_load(trial: &Trial) -> anyhow::Result<()> {
    let client = trial.client.clone();
    let proxies = client.proxies().to_vec();
    for uid in UIDS {
        let path = format!("/indexes/{uid}/documents");
        let born = json!([{ "id": format!("born-{uid}"), "word": "x" }]);
        post(&client, &proxies[0], &path, born).await?;
    }
    client.wait_for_tasks(WITHIN).await?;
    let over = Arc::new(AtomicBool::new(false));
    let writers = proxies.iter().enumerate().flat_map(|(n, proxy)| {
        let of_uid = |(m, uid): (usize, &'static str)| {
            let writing = write(
                client.clone(),
                proxy.clone(),
                uid,
                (n * 2 + m, Arc::clone(&over)),
            );
            tokio::spawn(writing)
        };
        UIDS.into_iter().enumerate().map(of_uid).collect::<Vec<_>>()
    });
    let writers: Vec<_> = writers.collect();
    let reading = tokio::spawn(read(client.clone(), Arc::clone(&over)));
    let swapping = swap(&client, &proxies).await;
    over.store(true, Ordering::Relaxed);
    let mut written = swapping?;
    for writer in writers {
        written.extend(writer.await??);
    }
    reading.await??;
    client.wait_for_tasks(WITHIN).await?;
    all_where_they_belong(&client, &written).await?;
    renamed(&client, &proxies).await
}

/// Writes documents of its own to what has that uid until it is over; by document, the task.
async fn write(
    client: Client,
    proxy: String,
    uid: &'static str,
    (writer, over): (usize, Arc<AtomicBool>),
) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut written = BTreeMap::new();
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{writer}-{n}");
        let documents = json!([{ "id": id, "word": "x" }]);
        let answer = post(
            &client,
            &proxy,
            &format!("/indexes/{uid}/documents"),
            documents,
        )
        .await?;
        ensure!(answer["indexUid"] == uid, "{answer}");
        written.insert(id, task_of(&answer)?);
    }
    Ok(written)
}

/// Searches both at once, by every proxy: hits are said to be of the index that they were looked for in.
async fn read(client: Client, over: Arc<AtomicBool>) -> anyhow::Result<()> {
    while !over.load(Ordering::Relaxed) {
        for proxy in client.proxies() {
            let queries: Vec<Value> = UIDS
                .iter()
                .map(|uid| json!({ "indexUid": uid, "q": "x" }))
                .collect();
            let body = json!({ "federation": {}, "queries": queries });
            let found = post(&client, proxy, "/multi-search", body).await?;
            let hits = found["hits"].as_array().context("hits")?;
            let told: BTreeSet<&str> = hits
                .iter()
                .filter_map(|hit| hit["_federation"]["indexUid"].as_str())
                .collect();
            ensure!(told.iter().all(|uid| UIDS.contains(uid)), "{found}");
        }
    }
    Ok(())
}

/// Swaps the two, and after each swap asks every proxy, and writes through it. By document, the task.
async fn swap(client: &Client, proxies: &[String]) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut written = BTreeMap::new();
    for n in 1..=SWAPS {
        let swap = json!([{ "indexes": UIDS }]);
        post(client, &proxies[n % proxies.len()], "/swap-indexes", swap).await?;
        for (p, proxy) in proxies.iter().enumerate() {
            for (at, uid) in UIDS.into_iter().enumerate() {
                let born = UIDS[(at + n) % 2];
                let path = format!("/indexes/{uid}/documents/born-{born}");
                let met = client.send_to(proxy, Method::GET, &path, None).await;
                met.with_context(|| format!("`{uid}` after {n} swaps, by {proxy}"))?;
                let id = format!("after-{n}-{p}-was-{born}");
                let documents = json!([{ "id": id, "word": "x" }]);
                let path = format!("/indexes/{uid}/documents");
                let answer = post(client, proxy, &path, documents).await?;
                written.insert(id, task_of(&answer)?);
            }
        }
    }
    Ok(written)
}

/// The ids of all documents of an index.
async fn ids(client: &Client, uid: &str) -> anyhow::Result<BTreeSet<String>> {
    let path = format!("/indexes/{uid}/documents?fields=id&limit={ALL}");
    let page = client.send(Method::GET, &path, None).await?;
    let results = page["results"].as_array().context("results")?;
    let ids = results
        .iter()
        .filter_map(|document| document["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

async fn all_where_they_belong(
    client: &Client,
    written: &BTreeMap<String, u64>,
) -> anyhow::Result<()> {
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for uid in UIDS {
        // After an even number of swaps each has its first uid again.
        expected.insert(uid.to_owned(), BTreeSet::from([format!("born-{uid}")]));
    }
    let tasks = client
        .send(Method::GET, &format!("/tasks?limit={ALL}"), None)
        .await?;
    let tasks = tasks["results"].as_array().context("tasks")?;
    let index_of: BTreeMap<u64, &str> = tasks
        .iter()
        .filter_map(|task| Some((task["uid"].as_u64()?, task["indexUid"].as_str()?)))
        .collect();
    for (id, task) in written {
        let uid = index_of
            .get(task)
            .with_context(|| format!("no task {task}"))?;
        if let Some((_, born)) = id.split_once("-was-") {
            ensure!(
                born == *uid,
                "`{id}` was acknowledged after a swap and is in `{uid}`"
            );
        }
        expected
            .entry((*uid).to_owned())
            .or_default()
            .insert(id.clone());
    }
    for uid in UIDS {
        let found = ids(client, uid).await?;
        ensure!(
            expected.get(uid) == Some(&found),
            "`{uid}`: lost {:?}, strange {:?}",
            expected[uid].difference(&found).take(5).collect::<Vec<_>>(),
            found.difference(&expected[uid]).take(5).collect::<Vec<_>>(),
        );
    }
    Ok(())
}

/// One gets a third uid; who knew it by the old one can create another index of that uid.
async fn renamed(client: &Client, proxies: &[String]) -> anyhow::Result<()> {
    let before = ids(client, UIDS[0]).await?;
    let path = format!("/indexes/{}", UIDS[0]);
    let body = Some(("application/json", json!({ "uid": "past" }).to_string()));
    client
        .send_to(&proxies[0], Method::PATCH, &path, body)
        .await?;
    let documents = json!([{ "id": "new" }]);
    post(client, &proxies[1], &format!("{path}/documents"), documents).await?;
    client.wait_for_tasks(WITHIN).await?;
    ensure!(ids(client, "past").await? == before);
    let anew = ids(client, UIDS[0]).await?;
    ensure!(anew == BTreeSet::from(["new".to_owned()]), "{anew:?}");
    Ok(())
}
