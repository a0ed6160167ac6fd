//! The typed client against real answers.

use super::target::each_target;
use miroir_meili::{
    AddParams, ContentType, EnqueuedTask, FetchRequest, NodeClient, NodeTask, NodeTaskUid,
    TaskQuery, TaskStatus, WriteMode,
};
use serde_json::json;
use std::time::{Duration, Instant};

async fn end(client: &NodeClient, enqueued: EnqueuedTask) -> NodeTask {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let task = client.task(enqueued.task_uid).await.expect("an answer");
        let task = task.expect("the task was enqueued");
        if task.status.is_final() {
            return task;
        }
        assert!(Instant::now() < deadline, "{task:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_replica_is_built_and_looked_at() {
    for target in each_target().await {
        let client = target.client(false);
        assert!(client.version().await.expect("version").is_supported());
        assert_eq!(client.index("i").await.expect("answer"), None);
        assert_eq!(client.index_stats("i").await.expect("answer"), None);
        assert_eq!(client.last_task_uid("i").await.expect("answer"), None);

        let created = client
            .create_index("i", Some("id"))
            .await
            .expect("enqueued");
        assert_eq!(end(client, created).await.status, TaskStatus::Succeeded);
        let settings = json!({ "filterableAttributes": ["n"] });
        let settled = client
            .patch_settings("i", &settings)
            .await
            .expect("enqueued");
        end(client, settled).await;
        assert_eq!(
            client.settings("i").await.expect("settings")["filterableAttributes"],
            json!(["n"])
        );

        let lines = "{\"id\":1,\"n\":1.50}\n{\"id\":2,\"n\":2}\n{\"id\":3,\"n\":3}\n";
        let params = AddParams {
            primary_key: Some("id"),
            custom_metadata: target.version.has_custom_metadata().then_some("c:1"),
            skip_creation: false,
        };
        let sent = client.add_documents(
            "i",
            WriteMode::Replace,
            params,
            ContentType::NdJson,
            lines.into(),
        );
        let task = end(client, sent.await.expect("enqueued")).await;
        assert_eq!(
            task.custom_metadata.as_deref(),
            params.custom_metadata,
            "{}",
            target.name
        );
        assert_eq!(task.details.expect("details")["indexedDocuments"], 3);

        let request = FetchRequest {
            limit: 2,
            fields: Some(vec!["id".into(), "n".into()]),
            filter: Some("n < 3".into()),
            ..FetchRequest::default()
        };
        let page = client.fetch("i", &request).await.expect("page");
        let texts: Vec<_> = page.results.iter().map(|document| document.get()).collect();
        assert_eq!(
            (page.total, texts),
            (2, vec![r#"{"id":1,"n":1.5}"#, r#"{"id":2,"n":2}"#])
        );
        let stats = client
            .index_stats("i")
            .await
            .expect("answer")
            .expect("the index");
        assert_eq!(stats.number_of_documents, 3);
        assert!(
            client
                .stats()
                .await
                .expect("stats")
                .indexes
                .contains_key("i")
        );
        let found = client
            .get_document("i", "2")
            .await
            .expect("answer")
            .expect("document");
        assert!(found.get().contains("\"n\":2"), "{}", found.get());
        assert!(
            client
                .get_document("i", "9")
                .await
                .expect("answer")
                .is_none()
        );

        let first = client.index("i").await.expect("answer").expect("the index");
        let gone = client.delete_index("i").await.expect("enqueued");
        end(client, gone).await;
        let again = client.create_index("i", None).await.expect("enqueued");
        end(client, again).await;
        let second = client.index("i").await.expect("answer").expect("the index");
        assert_ne!(first.created_at, second.created_at, "a wiped index is seen");
    }
}

#[tokio::test]
async fn the_queue_is_followed() {
    for target in each_target().await {
        let client = target.client(false);
        let mut last = NodeTaskUid(0);
        let mut all = Vec::new();
        for n in 0..20 {
            let body = if n % 5 == 4 {
                json!([{ "no": n }])
            } else {
                json!([{ "id": n }])
            };
            let params = AddParams {
                primary_key: Some("id"),
                ..AddParams::default()
            };
            let body = body.to_string().into();
            let sent =
                client.add_documents("i", WriteMode::Update, params, ContentType::Json, body);
            let uid = sent.await.expect("enqueued").task_uid;
            assert!(all.is_empty() || uid > last, "uids ascend");
            last = uid;
            all.push(uid);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while !client.index_drained_up_to("i", last).await.expect("answer") {
            assert!(Instant::now() < deadline, "{}: does not drain", target.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.queue_depth().await.expect("depth"), 0);
        assert_eq!(client.last_task_uid("i").await.expect("answer"), Some(last));
        let tasks = client.tasks_of(&all).await.expect("tasks");
        assert_eq!(tasks.len(), 20);
        assert!(tasks.iter().all(|task| task.status.is_final()));
        let failed = client
            .failures("i", Some(all[4]), all[18])
            .await
            .expect("failures");
        let uids: Vec<_> = failed.iter().map(|task| task.uid).collect();
        assert_eq!(uids, [all[14], all[9]], "{}", target.name);
        assert!(failed.iter().all(|task| task.error.is_some()));
        // Drained is about one index; a task of another does not matter.
        let query = TaskQuery {
            index_uids: vec!["other".into()],
            ..TaskQuery::default()
        };
        assert_eq!(client.tasks(&query).await.expect("page").total, 0);
    }
}

#[tokio::test]
async fn keys_are_made_renamed_and_deleted() {
    for target in each_target().await {
        let client = target.client(false);
        for own in client.keys().await.expect("keys") {
            client.delete_key(&own.uid).await.expect("deleted");
        }
        let uid = "01234567-89ab-4cde-8f01-23456789abcd";
        let key = json!({
            "uid": uid, "name": "n", "description": null, "actions": ["search", "documents.*"],
            "indexes": ["a*"], "expiresAt": "2099-01-01T00:00:00Z",
        });
        client.create_key(&key).await.expect("made");
        let again = client.create_key(&key).await.expect_err("made twice");
        assert_eq!(again.code(), Some("api_key_already_exists"));
        let patch = json!({ "name": null, "description": "d" });
        client.patch_key(uid, &patch).await.expect("renamed");
        let keys = client.keys().await.expect("keys");
        let [key] = keys.as_slice() else {
            panic!("not one key: {keys:?}");
        };
        assert_eq!((key.uid.as_str(), &key.name), (uid, &None));
        assert_eq!(key.description.as_deref(), Some("d"));
        assert_eq!(key.actions, ["search", "documents.*"]);
        assert_eq!(key.indexes, ["a*"]);
        let expires_at = key.expires_at.as_deref();
        assert!(expires_at.is_some_and(|at| at.starts_with("2099-01-01T00:00:00")));
        client.delete_key(uid).await.expect("deleted");
        assert_eq!(client.keys().await.expect("keys"), []);
    }
}
