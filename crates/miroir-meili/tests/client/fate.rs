//! What an error says about the fate of a write, against nodes that misbehave.

use crate::fake::{Act, Fake, answer, client, json};
use bytes::Bytes;
use miroir_meili::{
    AddParams, ContentType, EnqueuedTask, FetchRequest, Interruption, MeiliError, NodeClient,
    WriteMode,
};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

const TASK: &str = r#"{"taskUid":7,"indexUid":"i","status":"enqueued","type":"documentAdditionOrUpdate","enqueuedAt":"2026-01-01T00:00:00.5Z"}"#;
const INTERNAL: &str = r#"{"message":"boom","code":"internal","type":"internal","link":""}"#;
const BAD_ID: &str = r#"{"message":"bad","code":"invalid_document_id","type":"invalid_request","link":"https://docs.meilisearch.com/errors#invalid_document_id"}"#;
const TOO_MANY: &str =
    r#"{"message":"too many","code":"too_many_search_requests","type":"system","link":""}"#;

async fn write(client: &NodeClient, body: Bytes) -> Result<EnqueuedTask, MeiliError> {
    let mode = WriteMode::Replace;
    let params = AddParams::default();
    client
        .add_documents("i", mode, params, ContentType::NdJson, body)
        .await
}

fn kind(error: &MeiliError) -> &'static str {
    match error {
        MeiliError::Invalid { .. } => "invalid",
        MeiliError::Connect { .. } => "connect",
        MeiliError::UnknownOutcome { how, .. } => match how {
            Interruption::Timeout => "timeout",
            Interruption::Connection => "broken",
            Interruption::Gateway => "gateway",
        },
        MeiliError::Busy { .. } => "busy",
        MeiliError::Api { .. } => "api",
        MeiliError::Protocol { .. } => "protocol",
    }
}

#[tokio::test]
async fn each_misbehaviour_has_its_meaning() {
    let html = "<html>hello</html>";
    let cut = json(202, TASK)[..60].to_vec();
    let cut_chunk = b"HTTP/1.1 202 X\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{\"task".to_vec();
    #[rustfmt::skip]
    let table: Vec<(&str, Act, &str, bool, bool)> = vec![
        // what the node does                                      error       unknown retry
        ("never answers", Act::Hang,                               "timeout",  true,  true),
        ("sends half a head", Act::SendAndClose(b"HTTP/1.1 2".to_vec()), "broken", true, true),
        ("stops in the body", Act::Send(cut.clone()),              "timeout",  true,  true),
        ("closes in the body", Act::SendAndClose(cut),             "broken",   true,  true),
        ("closes in a chunk", Act::SendAndClose(cut_chunk),        "broken",   true,  true),
        ("closes unanswered", Act::SendAndClose(Vec::new()),       "broken",   true,  true),
        ("closes while it is written to", Act::CloseEarly,         "broken",   true,  true),
        ("speaks no HTTP", Act::SendAndClose(b"SSH-2.0-x\r\n\r\n".to_vec()), "broken", true, true),
        ("gateway without a node", Act::Send(answer(502, "", html)), "gateway", true, true),
        ("gateway gave up", Act::Send(answer(504, "", "")),        "gateway",  true,  true),
        ("202 with a page", Act::Send(answer(202, "", html)),      "protocol", true,  false),
        ("202 with other JSON", Act::Send(json(202, "{\"ok\":1}")), "protocol", true, false),
        ("202 and nothing", Act::Send(json(202, "")),              "protocol", true,  false),
        ("404 of another server", Act::Send(answer(404, "", html)), "protocol", true, false),
        ("moved", Act::Send(answer(307, "Location: http://127.0.0.1:1/\r\n", "")), "protocol", true, false),
        ("internal error", Act::Send(json(500, INTERNAL)),         "api",      true,  true),
        ("refused", Act::Send(json(400, BAD_ID)),                  "api",      false, false),
        ("overloaded", Act::Send(json(503, TOO_MANY)),             "busy",     false, true),
        ("limited by a gateway", Act::Send(answer(429, "", html)), "busy",     false, true),
    ];
    for (what, act, expected, unknown, retryable) in table {
        let node = Fake::start(vec![act]).await;
        let error = write(&node.client(), Bytes::from_static(b"{}"))
            .await
            .expect_err(what);
        assert_eq!(kind(&error), expected, "{what}: {error}");
        assert_eq!(error.outcome_unknown(), unknown, "{what}: {error}");
        assert_eq!(error.retryable(), retryable, "{what}: {error}");
        let text = error.to_string();
        assert!(text.contains("/indexes/i/documents"), "{what}: {text}");
        assert!(!text.contains(crate::fake::KEY), "{what}: {text}");
    }
}

#[tokio::test]
async fn closed_port_proves_that_nothing_was_sent() {
    let socket = TcpSocket::new_v4().expect("socket");
    socket
        .bind("127.0.0.1:0".parse().expect("address"))
        .expect("bind");
    // Bound and not listening: nobody else gets the port, and connections are refused.
    let url = format!("http://{}", socket.local_addr().expect("address"));
    let error = write(&client(&url), Bytes::new())
        .await
        .expect_err("closed port");
    assert_eq!(kind(&error), "connect", "{error}");
    assert!(!error.outcome_unknown() && error.retryable());
}

#[tokio::test]
async fn unanswered_connection_attempt_proves_it_too() {
    let socket = TcpSocket::new_v4().expect("socket");
    socket
        .bind("127.0.0.1:0".parse().expect("address"))
        .expect("bind");
    let listener = socket.listen(1).expect("listen");
    let address = listener.local_addr().expect("address");
    // Nobody accepts; once the backlog is full the kernel drops further attempts.
    let mut waiting = Vec::new();
    let patience = Duration::from_millis(100);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        waiting.push(stream.expect("a place in the backlog"));
        assert!(waiting.len() < 100, "the backlog never fills");
    }
    let node = client(&format!("http://{address}"));
    let error = write(&node, Bytes::new()).await.expect_err("full backlog");
    assert_eq!(kind(&error), "connect", "{error}");
}

#[tokio::test]
async fn death_on_a_reused_connection_is_unknown() {
    let acts = vec![
        Act::Send(json(202, TASK)),
        Act::SendAndClose(Vec::new()),
        Act::Send(json(202, TASK)),
    ];
    let node = Fake::start(acts).await;
    let client = node.client();
    let first = write(&client, Bytes::from_static(b"1"))
        .await
        .expect("first");
    assert_eq!(
        (first.task_uid.0, first.index_uid.as_deref()),
        (7, Some("i"))
    );
    let error = write(&client, Bytes::from_static(b"2"))
        .await
        .expect_err("second");
    assert!(error.outcome_unknown(), "{error}");
    write(&client, Bytes::from_static(b"3"))
        .await
        .expect("third");
    // No write was sent a second time behind the caller's back.
    let bodies: Vec<_> = node.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"1", b"2", b"3"]);
}

#[tokio::test]
async fn busy_says_when_to_come_back() {
    for (header, expected) in [
        ("Retry-After: 10\r\n", Some(Duration::from_secs(10))),
        ("Retry-After: soon\r\n", None),
        ("", None),
    ] {
        let node = Fake::start(vec![Act::Send(answer(503, header, TOO_MANY))]).await;
        match node.client().stats().await {
            Err(MeiliError::Busy {
                retry_after,
                detail,
                ..
            }) => {
                assert_eq!(retry_after, expected);
                assert!(detail.contains("too many"), "{detail}");
            }
            other => panic!("{header:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn long_answers_are_read_up_to_the_limit() {
    const LIMIT: usize = 1 << 20;
    let documents = |bytes: usize| {
        let text = "x".repeat(bytes);
        format!(r#"{{"results":[{{"id":1,"t":"{text}"}}],"offset":0,"limit":1,"total":1}}"#)
    };
    let chunked = |body: &str| {
        let head = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
    };
    let (short, long) = (documents(LIMIT - 200), documents(LIMIT + 1));
    let table = [
        (json(200, &short), true),
        (chunked(&short), true),
        (json(200, &long), false),
        (chunked(&long), false),
    ];
    for (number, (bytes, fits)) in table.into_iter().enumerate() {
        let node = Fake::start(vec![Act::SendAndClose(bytes)]).await;
        let client = node
            .client()
            .with_answer_limit(LIMIT)
            .with_timeout(Duration::from_secs(20));
        match client.fetch("i", &FetchRequest::default()).await {
            Ok(page) => assert!(
                fits && page.results[0].get().len() > LIMIT - 300,
                "{number}"
            ),
            Err(error) => {
                assert!(!fits && kind(&error) == "protocol", "{number}: {error}");
                assert!(error.to_string().contains("limit"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn long_requests_arrive_whole() {
    let node = Fake::start(vec![Act::Send(json(202, TASK))]).await;
    let body: Bytes = vec![b'7'; 24 << 20].into();
    let client = node.client().with_timeout(Duration::from_secs(60));
    write(&client, body.clone()).await.expect("write");
    assert!(node.seen()[0].body == body);
}
