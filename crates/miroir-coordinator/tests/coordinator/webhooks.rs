//! Finished tasks go to webhooks.

use std::io::Read as _;

use flate2::read::GzDecoder;
use miroir_proto::v1;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::cluster::{Cluster, Coordinator, PATIENCE};

/// Takes one POST and answers it with `status`; its headers in lowercase, and its lines.
async fn take(listener: &TcpListener, status: u16) -> (String, Vec<Value>) {
    let accepted = tokio::time::timeout(PATIENCE, listener.accept());
    let (stream, _) = accepted.await.expect("a request").expect("a connection");
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.expect("a line"), 0);
    }
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|text| text.parse().ok()).expect("a length")];
    stream.read_exact(&mut body).await.expect("the body");
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let stream: &mut TcpStream = stream.get_mut();
    stream.write_all(answer.as_bytes()).await.expect("answered");
    let mut text = String::new();
    GzDecoder::new(&body[..])
        .read_to_string(&mut text)
        .expect("gzip");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    (head, lines.collect())
}

/// Registers a task that has failed already.
async fn fail_a_task(coordinator: &Coordinator) -> u32 {
    let task = v1::NewTask {
        kind: "documentDeletion".to_owned(),
        details: "{\"deletedDocuments\":0,\"_own\":1}".to_owned(),
        custom_metadata: None,
        failure: Some("{\"code\":\"index_not_found\"}".to_owned()),
        idempotency: None,
    };
    let request = v1::RegisterTaskRequest {
        rules: None,
        request_id: String::new(),
        uid: Some("books".to_owned()),
        task: Some(task),
    };
    let reply = coordinator.catalog().register_task(request).await;
    reply.expect("registered").into_inner().task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_tasks_are_sent_until_they_are_taken() {
    let cluster =
        Cluster::initialised_with(1, "[webhooks]\nallowed_networks = [\"127.0.0.0/8\"]\n").await;
    let leader = cluster.leader().await;
    fail_a_task(leader).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let request = v1::ChangeRegistryRequest {
        request_id: String::new(),
        collection: "webhooks".to_owned(),
        name: "550e8400-e29b-41d4-a716-446655440000".to_owned(),
        expected: None,
        value: Some(format!(
            "{{\"url\":\"http://{address}/done\",\"headers\":{{\"Authorization\":\"Bearer x\"}}}}"
        )),
    };
    let changed = leader.catalog().change_registry(request).await;
    assert!(changed.expect("changed").into_inner().epoch > 0);
    // Only what finishes from when the webhook is known: the actor looks a moment after the change.
    let sent = loop {
        let task = fail_a_task(leader).await;
        let taken = tokio::time::timeout(std::time::Duration::from_secs(2), take(&listener, 500));
        if let Ok((head, lines)) = taken.await {
            break (task, head, lines);
        }
    };
    let (task, head, lines) = sent;
    assert!(head.starts_with("post /done "), "{head}");
    for header in [
        "authorization: bearer x",
        "content-encoding: gzip",
        "content-type: application/x-ndjson",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(
        lines.last().map(|line| &line["uid"]),
        Some(&Value::from(task))
    );
    assert!(
        lines
            .iter()
            .all(|line| line["status"] == "failed" && line["uid"] != 0)
    );
    assert!(
        lines
            .iter()
            .all(|line| line["details"].get("_own").is_none())
    );
    // It answered that it is broken, so it is asked again with the same.
    let (_, again) = take(&listener, 200).await;
    assert_eq!(again, lines);
}
