//! What each call sends, and how it reads a proper answer.

use crate::fake::{Act, Fake, KEY, client, json};
use bytes::Bytes;
use miroir_meili::{
    AddParams, ContentType, FetchRequest, HeaderMap, HeaderValue, MeiliError, Method, NodeClient,
    NodeTaskUid, Secret, TaskQuery, TaskStatus, WriteMode, http_client,
};
use serde_json::json as value;
use std::time::Duration;

const TASK: &str = r#"{"taskUid":7,"indexUid":"i","status":"enqueued","type":"documentDeletion","enqueuedAt":"2026-01-01T00:00:00.5Z"}"#;
const NO_INDEX: &str = r#"{"message":"Index `i` not found.","code":"index_not_found","type":"invalid_request","link":"https://docs.meilisearch.com/errors#index_not_found"}"#;
const NO_TASK: &str =
    r#"{"message":"Task 7 not found.","code":"task_not_found","type":"invalid_request","link":""}"#;
const EMPTY_PAGE: &str = r#"{"results":[],"total":5,"limit":20,"from":null,"next":null}"#;

/// Runs `$call` on a client of a fake that answers `$answer`; gives the result and what
/// the fake saw of it: request line without the protocol, and body.
macro_rules! exchange {
    ($answer:expr, $client:ident => $call:expr) => {{
        let node = Fake::start(vec![Act::Send($answer)]).await;
        let $client = node.client();
        let result = $call.await;
        let seen = node.seen().remove(0);
        assert_eq!(seen.header("authorization"), format!("Bearer {KEY}"));
        let line = seen.line.trim_end_matches(" HTTP/1.1").to_owned();
        let body = String::from_utf8(seen.body.clone()).expect("text");
        (result, line, body)
    }};
}

#[tokio::test]
async fn writes_are_sent_as_meilisearch_takes_them() {
    let params = AddParams {
        primary_key: Some("a.id"),
        custom_metadata: Some("m:1&2"),
        skip_creation: true,
    };
    let documents = Bytes::from_static(b"[{\"a\":1}]");
    let (task, line, body) = exchange!(json(202, TASK), c =>
        c.add_documents("i", WriteMode::Update, params, ContentType::Json, documents));
    assert_eq!(task.expect("enqueued").task_uid, NodeTaskUid(7));
    assert_eq!(
        line,
        "PUT /indexes/i/documents?customMetadata=m%3A1%262&primaryKey=a.id&skipCreation=true"
    );
    assert_eq!(body, "[{\"a\":1}]");

    let (_, line, body) = exchange!(json(202, TASK), c =>
        c.delete_batch("i", Bytes::from_static(b"[1,\"b\"]"), None));
    assert_eq!(line, "POST /indexes/i/documents/delete-batch");
    assert_eq!(body, "[1,\"b\"]");

    let (_, line, body) = exchange!(json(202, TASK), c =>
        c.delete_by_filter("i", "a = \"⁂\"", Some("x")));
    assert_eq!(line, "POST /indexes/i/documents/delete?customMetadata=x");
    assert_eq!(body, "{\"filter\":\"a = \\\"⁂\\\"\"}");

    let (_, line, _) = exchange!(json(202, TASK), c => c.delete_all("i", None));
    assert_eq!(line, "DELETE /indexes/i/documents");

    let settings = value!({ "sortableAttributes": null });
    let (_, line, body) = exchange!(json(202, TASK), c => c.patch_settings("i", &settings));
    assert_eq!(line, "PATCH /indexes/i/settings");
    assert_eq!(body, "{\"sortableAttributes\":null}");

    let (_, line, body) = exchange!(json(202, TASK), c => c.create_index("i", Some("id")));
    assert_eq!(line, "POST /indexes");
    assert_eq!(body, "{\"uid\":\"i\",\"primaryKey\":\"id\"}");

    let (_, line, _) = exchange!(json(202, TASK), c => c.delete_index("i"));
    assert_eq!(line, "DELETE /indexes/i");
}

#[tokio::test]
async fn bodies_name_their_type() {
    for (content, expected) in [
        (ContentType::Json, "application/json"),
        (ContentType::NdJson, "application/x-ndjson"),
    ] {
        let node = Fake::start(vec![Act::Send(json(202, TASK))]).await;
        let (mode, params) = (WriteMode::Replace, AddParams::default());
        node.client()
            .add_documents("i", mode, params, content, Bytes::new())
            .await
            .expect("enqueued");
        assert_eq!(node.seen()[0].header("content-type"), expected);
    }
}

#[tokio::test]
async fn absent_things_are_none_and_other_refusals_are_errors() {
    let (index, line, _) = exchange!(json(404, NO_INDEX), c => c.index("i"));
    assert_eq!(
        (index.expect("none"), line.as_str()),
        (None, "GET /indexes/i")
    );
    let (stats, line, _) = exchange!(json(404, NO_INDEX), c => c.index_stats("i"));
    assert_eq!(
        (stats.expect("none"), line.as_str()),
        (None, "GET /indexes/i/stats")
    );
    let (task, line, _) = exchange!(json(404, NO_TASK), c => c.task(NodeTaskUid(7)));
    assert_eq!((task.expect("none"), line.as_str()), (None, "GET /tasks/7"));
    let (document, _, _) = exchange!(json(404, NO_INDEX), c => c.get_document("i", "1"));
    assert!(document.expect_err("no index").is_index_not_found());
    let (settings, _, _) = exchange!(json(404, NO_INDEX), c => c.settings("i"));
    assert!(settings.expect_err("no index").is_index_not_found());
}

#[tokio::test]
async fn documents_keep_their_text() {
    let document = r#"{"id":18446744073709551615,"f":1.50,"_miroir_shard":"⁂"}"#;
    let page = format!(r#"{{"results":[{document}],"offset":2,"limit":3,"total":9}}"#);
    let request = FetchRequest {
        offset: 2,
        limit: 3,
        fields: Some(vec!["id".into()]),
        filter: Some("a = 1".into()),
        ids: Some(vec!["x".into()]),
        retrieve_vectors: true,
    };
    let (got, line, body) = exchange!(json(200, &page), c => c.fetch("i", &request));
    let got = got.expect("page");
    assert_eq!((got.offset, got.limit, got.total), (2, 3, 9));
    assert_eq!(got.results[0].get(), document);
    assert_eq!(line, "POST /indexes/i/documents/fetch");
    assert_eq!(
        body,
        r#"{"offset":2,"limit":3,"fields":["id"],"filter":"a = 1","ids":["x"],"retrieveVectors":true}"#
    );
    let (got, line, _) = exchange!(json(200, document), c => c.get_document("i", "a/b"));
    assert_eq!(got.expect("document").expect("found").get(), document);
    assert_eq!(line, "GET /indexes/i/documents/a%2Fb");
}

#[tokio::test]
async fn task_queries_name_what_they_filter() {
    let query = TaskQuery {
        uids: vec![NodeTaskUid(1), NodeTaskUid(2)],
        index_uids: vec!["a".into(), "b".into()],
        statuses: vec![TaskStatus::Failed, TaskStatus::Canceled],
        types: vec!["documentDeletion".into()],
        limit: Some(3),
        from: Some(NodeTaskUid(9)),
        reverse: true,
    };
    let (page, line, _) = exchange!(json(200, EMPTY_PAGE), c => c.tasks(&query));
    assert_eq!(page.expect("page").total, 5);
    assert_eq!(
        line,
        "GET /tasks?uids=1%2C2&indexUids=a%2Cb&statuses=failed%2Ccanceled\
         &types=documentDeletion&limit=3&from=9&reverse=true"
    );
    let (page, line, _) = exchange!(json(200, EMPTY_PAGE), c => c.tasks(&TaskQuery::default()));
    assert!(page.is_ok());
    assert_eq!(line, "GET /tasks");
    let (depth, line, _) = exchange!(json(200, EMPTY_PAGE), c => c.queue_depth());
    assert_eq!(depth.expect("depth"), 5);
    assert_eq!(line, "GET /tasks?statuses=enqueued%2Cprocessing&limit=0");
}

fn task(uid: u32, status: &str) -> String {
    format!(
        r#"{{"uid":{uid},"batchUid":1,"indexUid":"i","status":"{status}","type":"documentDeletion","canceledBy":null,"details":{{"n":1}},"error":{{"message":"m","code":"c","type":"t","link":"l"}},"duration":"PT0.1S","enqueuedAt":"e","startedAt":"s","finishedAt":"f","customMetadata":"mine"}}"#
    )
}

fn page(tasks: &[String], next: &str) -> Vec<u8> {
    let results = tasks.join(",");
    json(
        200,
        &format!(r#"{{"results":[{results}],"total":9,"limit":1,"from":1,"next":{next}}}"#),
    )
}

#[tokio::test]
async fn an_index_is_drained_when_nothing_older_is_open() {
    for (oldest, expected) in [
        (None, true),
        (Some(4), false),
        (Some(5), false),
        (Some(6), true),
    ] {
        let open: Vec<String> = oldest
            .map(|uid| task(uid, "enqueued"))
            .into_iter()
            .collect();
        let (drained, line, _) = exchange!(page(&open, "null"), c =>
            c.index_drained_up_to("i", NodeTaskUid(5)));
        assert_eq!(drained.expect("answer"), expected, "{oldest:?}");
        assert_eq!(
            line,
            "GET /tasks?indexUids=i&statuses=enqueued%2Cprocessing&limit=1&reverse=true"
        );
    }
    let (last, line, _) = exchange!(page(&[task(8, "failed")], "null"), c => c.last_task_uid("i"));
    assert_eq!(last.expect("answer"), Some(NodeTaskUid(8)));
    assert_eq!(line, "GET /tasks?indexUids=i&limit=1");
}

#[tokio::test]
async fn failures_are_read_page_by_page_down_to_the_bound() {
    let acts = vec![
        Act::Send(page(&[task(9, "failed"), task(7, "canceled")], "5")),
        Act::Send(page(&[task(5, "failed"), task(3, "failed")], "2")),
    ];
    let node = Fake::start(acts).await;
    let failed = node
        .client()
        .failures("i", Some(NodeTaskUid(3)), NodeTaskUid(9))
        .await
        .expect("failures");
    let uids: Vec<u32> = failed.iter().map(|task| task.uid.0).collect();
    assert_eq!(uids, [9, 7, 5]);
    assert_eq!(failed[0].error.as_ref().map(|e| e.code.as_str()), Some("c"));
    assert_eq!(failed[0].custom_metadata.as_deref(), Some("mine"));
    // A list that never goes down ends all the same.
    let stuck = vec![Act::Send(page(&[task(9, "failed")], "9"))];
    let node = Fake::start(stuck).await;
    let failed = node.client().failures("i", None, NodeTaskUid(9)).await;
    assert_eq!(failed.expect("failures").len(), 1);
}

#[tokio::test]
async fn many_uids_are_asked_for_in_parts() {
    let acts = vec![
        Act::Send(page(&[task(0, "succeeded")], "null")),
        Act::Send(page(&[task(1500, "processing")], "null")),
    ];
    let node = Fake::start(acts).await;
    let uids: Vec<_> = (0..1600).map(NodeTaskUid).collect();
    let found = node.client().tasks_of(&uids).await.expect("tasks");
    let open: Vec<_> = found
        .iter()
        .map(|t| (t.uid.0, t.status.is_final()))
        .collect();
    assert_eq!(open, [(0, true), (1500, false)]);
    assert!(node.seen().iter().all(|seen| seen.line.len() < 16 << 10));
}

#[tokio::test]
async fn a_clients_own_authorization_goes_to_the_node() {
    let node = Fake::start(vec![Act::Send(json(403, NO_INDEX)); 3]).await;
    let client = node.client();
    let theirs = HeaderValue::from_static("Bearer tenant");
    let body = Bytes::from_static(b"{\"q\":\"x\"}");
    let answer = client
        .search_raw("i", body, Some(&theirs))
        .await
        .expect("a refusal is an answer");
    assert_eq!(answer.status.as_u16(), 403);
    assert_eq!(answer.body, NO_INDEX.as_bytes());
    assert!(answer.into_success().expect_err("403").is_index_not_found());
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static("b"));
    client
        .raw(Method::PATCH, "/a%20b?c=%2C", headers, Bytes::new())
        .await
        .expect("answer");
    let seen = node.seen();
    assert_eq!(seen[0].line, "POST /indexes/i/search HTTP/1.1");
    assert_eq!(seen[0].header("authorization"), "Bearer tenant");
    assert_eq!(seen[1].line, "PATCH /a%20b?c=%2C HTTP/1.1");
    assert_eq!(seen[1].header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(seen[1].header("x-a"), "b");
    assert_eq!(seen[1].header("accept-encoding"), "");
}

#[tokio::test]
async fn health_wants_the_right_word() {
    for (body, healthy) in [
        (r#"{"status":"available"}"#, true),
        (r#"{"status":"mustRestart"}"#, false),
        ("[]", false),
    ] {
        let (result, _, _) = exchange!(json(200, body), c => c.health());
        assert_eq!(result.is_ok(), healthy, "{body}: {result:?}");
    }
}

#[tokio::test]
async fn stats_are_read_from_old_and_new_nodes() {
    let old = r#"{"databaseSize":1,"lastUpdate":null,"indexes":{"i":{"numberOfDocuments":3,"isIndexing":true,"fieldDistribution":{"id":3}}}}"#;
    let (stats, _, _) = exchange!(json(200, old), c => c.stats());
    let stats = stats.expect("stats");
    assert_eq!((stats.database_size, stats.used_database_size), (1, 0));
    let index = &stats.indexes["i"];
    assert_eq!((index.number_of_documents, index.is_indexing), (3, true));
    assert_eq!(index.field_distribution["id"], 3);
}

#[test]
fn wrong_arguments_are_named_and_secrets_are_not() {
    let http = || http_client(Duration::from_secs(1)).expect("client");
    let secret = || Some(Secret::new("pssst"));
    for url in [
        "",
        "127.0.0.1:7700",
        "https://127.0.0.1",
        "ftp://127.0.0.1",
        "http://u:pssst@127.0.0.1",
        "http://127.0.0.1/?a=b",
    ] {
        let error = NodeClient::new(http(), url, secret()).expect_err(url);
        assert!(
            matches!(error, MeiliError::Invalid { .. }),
            "{url}: {error}"
        );
        assert!(!format!("{error} {error:?}").contains("pssst"), "{error:?}");
    }
    let error = NodeClient::new(http(), "http://127.0.0.1", Some(Secret::new("pssst\n")))
        .expect_err("a line break");
    assert!(!format!("{error} {error:?}").contains("pssst"), "{error:?}");
    let shown = format!("{:?} {:?}", client("http://127.0.0.1"), Secret::new(KEY));
    assert!(!shown.contains(KEY), "{shown}");
}

#[tokio::test]
async fn names_that_would_change_the_route_are_refused() {
    let node = Fake::start(vec![]).await;
    for uid in ["", ".", ".."] {
        let error = node.client().delete_index(uid).await.expect_err(uid);
        assert!(
            matches!(error, MeiliError::Invalid { .. }),
            "{uid}: {error}"
        );
    }
    let error = node
        .client()
        .raw(Method::GET, "stats", HeaderMap::new(), Bytes::new())
        .await
        .expect_err("no slash");
    assert!(error.to_string().contains("`stats`"), "{error}");
    assert!(node.seen().is_empty());
}

#[tokio::test]
async fn a_gateways_path_comes_first() {
    let node = Fake::start(vec![Act::Send(json(200, EMPTY_PAGE)); 2]).await;
    let client = client(&format!("{}/node-1/", node.url));
    client.queue_depth().await.expect("depth");
    client
        .raw(Method::GET, "/x", HeaderMap::new(), Bytes::new())
        .await
        .expect("answer");
    let lines: Vec<_> = node.seen().into_iter().map(|seen| seen.line).collect();
    assert!(lines[0].starts_with("GET /node-1/tasks?"), "{lines:?}");
    assert!(lines[1].starts_with("GET /node-1/x "), "{lines:?}");
}
