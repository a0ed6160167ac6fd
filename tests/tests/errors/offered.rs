//! What is offered, on the cluster that mistakes were made on: single settings, batches, and tasks about tasks.

use anyhow::{Context, ensure};
use miroir_core::settings::{SUB_SETTINGS, SubSetting, Verb};
use reqwest::Method;
use serde_json::{Value, json};

use super::Server;

/// A value of every setting, other than its default.
fn sample(name: &str) -> Value {
    match name {
        "displayedAttributes"
        | "searchableAttributes"
        | "filterableAttributes"
        | "sortableAttributes"
        | "stopWords"
        | "nonSeparatorTokens"
        | "separatorTokens"
        | "dictionary" => json!(["a", "b"]),
        "rankingRules" => json!(["words", "typo", "a:asc"]),
        "synonyms" => json!({"a": ["b"]}),
        "distinctAttribute" => json!("a"),
        "proximityPrecision" => json!("byAttribute"),
        "typoTolerance" => json!({"disableOnWords": ["a"]}),
        "faceting" => json!({"maxValuesPerFacet": 7}),
        "pagination" => json!({"maxTotalHits": 7}),
        "embedders" => json!({"mine": {"source": "userProvided", "dimensions": 2}}),
        "searchCutoffMs" => json!(500),
        "localizedAttributes" => json!([{"attributePatterns": ["a"], "locales": ["jpn"]}]),
        "facetSearch" => json!(false),
        "prefixSearch" => json!("disabled"),
        _ => Value::Null,
    }
}

/// Whether `value` says what `set` asked for: fields that were left out have their defaults.
fn says(value: &Value, set: &Value) -> bool {
    match (value, set) {
        (Value::Object(value), Value::Object(set)) => set
            .iter()
            .all(|(name, set)| value.get(name).is_some_and(|value| says(value, set))),
        _ => value == set,
    }
}

/// Sets every setting by its own route, reads it by both, and puts it back.
pub async fn every_setting_by_its_own_route(cluster: &Server) -> anyhow::Result<()> {
    for setting in &SUB_SETTINGS {
        let value = sample(setting.name);
        if !value.is_null() {
            one_setting(cluster, setting, &value)
                .await
                .context(setting.path)?;
        }
    }
    Ok(())
}

async fn one_setting(cluster: &Server, setting: &SubSetting, value: &Value) -> anyhow::Result<()> {
    let path = format!("/indexes/alone/settings/{}", setting.path);
    let method = match setting.verb {
        Verb::Put => Method::PUT,
        Verb::Patch => Method::PATCH,
    };
    let set = cluster.succeed(method, &path, Some(value)).await?;
    ensure!(set["type"] == "settingsUpdate", "{set}");
    ensure!(set["details"] == json!({ setting.name: value }), "{set}");
    let read = cluster.get(&path).await?;
    ensure!(says(&read, value), "{read}");
    let all = cluster.get("/indexes/alone/settings").await?;
    ensure!(all[setting.name] == read, "{all}");
    cluster.succeed(Method::DELETE, &path, None).await?;
    let reset = cluster.get(&path).await?;
    ensure!(reset != read, "{reset}");
    Ok(())
}

/// Batches are tasks that have begun; deletions forget tasks; cancelations call nothing off.
pub async fn tasks_about_tasks(cluster: &Server) -> anyhow::Result<()> {
    let documents = json!([{"id": 1}]);
    let written = cluster
        .succeed(Method::POST, "/indexes/written/documents", Some(&documents))
        .await?;
    let uid = &written["uid"];
    let batch = cluster.get(&format!("/batches/{uid}")).await?;
    ensure!(
        batch["stats"]["status"] == json!({"succeeded": 1}),
        "{batch}"
    );
    ensure!(
        batch["stats"]["indexUids"] == json!({"written": 1}),
        "{batch}"
    );
    let listed = cluster.get(&format!("/batches?uids={uid}")).await?;
    ensure!(listed["results"] == json!([batch]), "{listed}");
    let detail = cluster.get(&format!("/_miroir/tasks/{uid}")).await?;
    let parts = detail["parts"].as_array().context("parts")?;
    ensure!(!parts.is_empty() && detail["uid"] == *uid, "{detail}");

    let cancel = format!("/tasks/cancel?uids={uid}");
    let canceled = cluster.succeed(Method::POST, &cancel, None).await?;
    ensure!(
        canceled["details"]
            == json!({"matchedTasks": 1, "canceledTasks": 0, "originalFilter": format!("?uids={uid}")}),
        "{canceled}"
    );
    let delete = format!("/tasks?uids={uid}&statuses=*");
    let deleted = cluster.succeed(Method::DELETE, &delete, None).await?;
    ensure!(
        deleted["details"]
            == json!({"matchedTasks": 1, "deletedTasks": 1, "originalFilter": format!("?uids={uid}&statuses=*")}),
        "{deleted}"
    );
    for (path, code) in [("tasks", "task_not_found"), ("batches", "batch_not_found")] {
        let gone = cluster.get(&format!("/{path}/{uid}")).await?;
        ensure!(gone["code"] == code, "{gone}");
    }
    Ok(())
}

/// Every node is asked for a dump, and the manifest says which of them holds what.
pub async fn a_dump_is_a_task_of_every_node(cluster: &Server, nodes: u16) -> anyhow::Result<()> {
    let enqueued = cluster.call(Method::POST, "/dumps", None).await?;
    let task = cluster.task(&enqueued).await?;
    ensure!(task["type"] == "dumpCreation", "{task}");
    ensure!(task["details"]["dumpUid"].is_string(), "{task}");
    let detail = cluster
        .get(&format!("/_miroir/tasks/{}", task["uid"]))
        .await?;
    let parts = detail["parts"].as_array().map_or(0, Vec::len);
    ensure!(parts == usize::from(nodes), "{detail}");
    let told = cluster
        .get(&format!("/_miroir/dumps/{}", task["uid"]))
        .await?;
    ensure!(
        told["nodes"].as_object().map_or(0, serde_json::Map::len) == parts,
        "{told}"
    );
    let none = cluster.get("/_miroir/dumps/0").await?;
    ensure!(none["code"] == "task_not_found", "{none}");
    Ok(())
}
