//! The node killed with SIGKILL, at any time: what was acknowledged is there afterwards.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::Api;
use serde_json::{Value, json};

/// The node's program, killed when dropped.
struct Process {
    child: Child,
    api: Api,
}

impl Process {
    fn start(db: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_miroir-node"))
            .args([
                "--http-addr",
                "127.0.0.1:0",
                "--no-analytics",
                "--log-level",
                "WARN",
            ])
            .arg("--db-path")
            .arg(db)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut lines = stderr.lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
            .expect("the node says where it listens");
        // Keep reading, so that the node never blocks on a full pipe.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| eprintln!("{line}"))
        });
        Self {
            child,
            api: Api::new(address, None),
        }
    }

    fn kill(mut self) {
        self.child.kill().expect("SIGKILL is delivered");
        self.child.wait().expect("the node is dead");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn batch(number: u64, size: u64) -> Value {
    // Large payloads wait in files, small ones beside their tasks: alternate.
    let repeats = if number.is_multiple_of(2) { 8 } else { 2 };
    let text = "some words to index so that this takes a while ".repeat(repeats);
    (0..size)
        .map(|at| json!({ "id": number * size + at, "batch": number, "text": format!("{text}{at}") }))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_kills_while_indexing() {
    const BATCHES: u64 = 24;
    const SIZE: u64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path());
    let mut acknowledged = 0;
    let mut kills = 0;
    while acknowledged < BATCHES {
        let path = "/indexes/docs/documents?primaryKey=id";
        process
            .api
            .post(path, batch(acknowledged, SIZE))
            .await
            .expect(202);
        acknowledged += 1;
        if acknowledged % 6 == 0 {
            // Sometimes at once, sometimes in the middle of indexing.
            if acknowledged % 12 == 0 {
                wait_until_processing(&process.api).await;
            }
            process.kill();
            kills += 1;
            process = Process::start(directory.path());
        }
    }
    assert_eq!(kills, 4);
    for uid in 0..BATCHES {
        let task = process.api.wait(uid).await;
        assert_eq!(task["status"], "succeeded", "{task:#}");
        assert_eq!(task["details"]["indexedDocuments"], SIZE);
    }
    let stats = process.api.get("/indexes/docs/stats").await.expect(200);
    assert_eq!(stats["numberOfDocuments"], BATCHES * SIZE);
    assert_no_payload_is_left(directory.path()).await;
}

async fn assert_no_payload_is_left(db: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let payloads = || std::fs::read_dir(db.join("update_files")).unwrap().count();
    while payloads() > 0 {
        assert!(
            Instant::now() < deadline,
            "{} payloads are left",
            payloads()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a batch is being processed, or everything is done.
async fn wait_until_processing(api: &Api) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let processing = api.get("/tasks?statuses=processing&limit=0").await;
        let enqueued = api.get("/tasks?statuses=enqueued&limit=0").await;
        if processing.expect(200)["total"] != 0 || enqueued.expect(200)["total"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "nothing is processed");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_counts_and_indexes_survive_kills() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path());
    let api = &process.api;
    api.succeeded(
        api.post("/indexes", json!({ "uid": "kept", "primaryKey": "id" }))
            .await,
    )
    .await;
    let created = api.get("/indexes/kept").await.expect(200);
    api.succeeded(api.post("/indexes/kept/documents", batch(0, 300)).await)
        .await;
    let failed = api
        .finished(
            api.post("/indexes/kept/documents", json!([{ "no": 1 }]))
                .await,
        )
        .await;
    assert_eq!(failed["status"], "failed");
    let settings = json!({ "filterableAttributes": ["batch"] });
    api.succeeded(api.patch("/indexes/kept/settings", settings).await)
        .await;
    api.succeeded(api.post("/indexes", json!({ "uid": "dropped" })).await)
        .await;
    // Acknowledged, and then the lights go out.
    let deletion = api
        .post(
            "/indexes/kept/documents/delete",
            json!({ "filter": "batch = 0" }),
        )
        .await;
    let by_id = api
        .post("/indexes/kept/documents/delete-batch", json!([1, 2]))
        .await;
    let gone = api.delete("/indexes/dropped").await;
    let again = api.post("/indexes/kept/documents", batch(1, 50)).await;
    process.kill();

    let process = Process::start(directory.path());
    let api = &process.api;
    let deletion = api.succeeded(deletion).await;
    assert_eq!(deletion["details"]["deletedDocuments"], 300, "{deletion:#}");
    assert_eq!(api.succeeded(by_id).await["details"]["deletedDocuments"], 0);
    api.succeeded(gone).await;
    api.get("/indexes/dropped")
        .await
        .error(404, "index_not_found");
    assert_eq!(
        api.succeeded(again).await["details"]["indexedDocuments"],
        50
    );
    assert_eq!(
        api.get(&format!("/tasks/{}", failed["uid"]))
            .await
            .expect(200),
        failed
    );
    assert_eq!(
        api.get("/indexes/kept").await.expect(200)["createdAt"],
        created["createdAt"]
    );
    assert_eq!(
        api.get("/indexes/kept/stats").await.expect(200)["numberOfDocuments"],
        50
    );
}

/// Deleting is what must not be counted again: kill at many different moments.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_counted_once_whenever_the_node_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path());
    for round in 0..8_u64 {
        let add = process
            .api
            .post("/indexes/d/documents?primaryKey=id", batch(round, 100))
            .await;
        process.api.succeeded(add).await;
        let ids: Vec<u64> = (round * 100..round * 100 + 60).collect();
        let deletion = process
            .api
            .post("/indexes/d/documents/delete-batch", json!(ids))
            .await;
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        process.kill();
        process = Process::start(directory.path());
        let task = process.api.succeeded(deletion).await;
        assert_eq!(
            task["details"]["deletedDocuments"], 60,
            "round {round}: {task:#}"
        );
    }
    let stats = process.api.get("/indexes/d/stats").await.expect(200);
    assert_eq!(stats["numberOfDocuments"], 8 * 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_serves_one_node_and_sigterm_ends_it_gracefully() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path());
    let second = Command::new(env!("CARGO_BIN_EXE_miroir-node"))
        .args(["--http-addr", "127.0.0.1:0", "--db-path"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("in use by another node"), "{message}");

    process
        .api
        .post("/indexes/g/documents?primaryKey=id", batch(0, 500))
        .await
        .expect(202);
    let pid = process.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    let status = loop {
        if let Some(status) = process.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "the node ignores SIGTERM");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(status.success(), "{status}");
    let process = Process::start(directory.path());
    assert_eq!(process.api.wait(0).await["status"], "succeeded");
}
