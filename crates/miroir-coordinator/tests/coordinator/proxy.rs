//! The coordinator's side of a proxy: a session, and what proxies ask to be committed.

use miroir_proto::v1;
use miroir_proto::v1::coordinator_message::Message as Answer;
use miroir_proto::v1::proxy_message::Message;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::cluster::{Coordinator, PATIENCE, eventually};

/// A proxy with a session. Its leases must be long: it never renews.
pub struct Proxy {
    pub id: u64,
    to: mpsc::Sender<v1::ProxyMessage>,
    from: Streaming<v1::CoordinatorMessage>,
}

impl Proxy {
    pub async fn connect(coordinator: &Coordinator, name: &str) -> Self {
        let (to, messages) = mpsc::channel(8);
        let hello = v1::Hello {
            instance: name.to_owned(),
            name: name.to_owned(),
            url: format!("http://{name}:7700"),
            epoch: 0,
        };
        to.send(v1::ProxyMessage {
            message: Some(Message::Hello(hello)),
        })
        .await
        .expect("room");
        let stream = coordinator
            .routing()
            .session(ReceiverStream::new(messages))
            .await
            .expect("a session");
        let mut proxy = Self {
            id: 0,
            to,
            from: stream.into_inner(),
        };
        let Answer::Welcome(welcome) = proxy.next().await else {
            panic!("a session begins with welcome")
        };
        proxy.id = welcome.proxy_id;
        proxy
    }

    async fn next(&mut self) -> Answer {
        let message = tokio::time::timeout(PATIENCE, self.from.message())
            .await
            .expect("an answer in time");
        message
            .expect("the session goes on")
            .and_then(|message| message.message)
            .expect("a message")
    }

    /// Leaves, and waits until the coordinator has noted it.
    pub async fn leave(mut self) {
        let goodbye = v1::ProxyMessage {
            message: Some(Message::Goodbye(v1::Goodbye {})),
        };
        self.to.send(goodbye).await.expect("the session is open");
        while let Ok(Some(_)) = self.from.message().await {}
    }
}

/// Details as a writer gives them.
pub fn addition() -> v1::NewTask {
    task(
        "documentAdditionOrUpdate",
        json!({"receivedDocuments": 3, "indexedDocuments": null, "_distinct": 2}),
    )
}

pub fn task(kind: &str, details: Value) -> v1::NewTask {
    v1::NewTask {
        kind: kind.to_owned(),
        details: details.to_string(),
        custom_metadata: None,
        failure: None,
        idempotency: None,
    }
}

/// Creates the index `books`.
pub async fn create(coordinator: &Coordinator, writer: Option<u64>, copies: u32) -> v1::IndexRef {
    let request = v1::CreateIndexRequest {
        uid: "books".to_owned(),
        writer,
        replication_factor: Some(copies),
        ..Default::default()
    };
    let reply = coordinator
        .catalog()
        .create_index(request)
        .await
        .expect("created")
        .into_inner();
    v1::IndexRef {
        uid: "books".to_owned(),
        incarnation: reply.incarnation,
    }
}

/// Registers a write of which these nodes have these tasks.
pub async fn write(
    coordinator: &Coordinator,
    (index, proxy): (&v1::IndexRef, u64),
    parts: &[(u64, u32)],
    request_id: &str,
) -> u32 {
    let part = |(node, node_task): &(u64, u32)| v1::TaskPart {
        node: *node,
        node_task: *node_task,
        counts: true,
    };
    let write = v1::Write {
        index: Some(index.clone()),
        task: Some(addition()),
        parts: parts.iter().map(part).collect(),
        missed: Vec::new(),
    };
    let request = v1::RegisterWritesRequest {
        request_id: request_id.to_owned(),
        proxy,
        writes: vec![write],
    };
    let reply = coordinator
        .catalog()
        .register_writes(request)
        .await
        .expect("registered")
        .into_inner();
    match reply.results.as_slice() {
        [
            v1::WriteResult {
                result: Some(v1::write_result::Result::Task(task)),
            },
        ] => *task,
        other => panic!("{other:?}"),
    }
}

/// The task, once it has that status.
pub async fn task_at(coordinator: &Coordinator, uid: u32, status: &str) -> v1::Task {
    eventually(&format!("task {uid} {status}"), async || {
        let reply = coordinator
            .catalog()
            .get_task(v1::GetTaskRequest { uid })
            .await;
        let task = reply.map_err(|status| status.to_string())?.into_inner();
        if task.status == status {
            Ok(task)
        } else {
            Err(format!("{task:?}"))
        }
    })
    .await
}
