//! The same dynamic search rules on a node as in the registry.

use std::collections::BTreeMap;

use miroir_core::cluster::{ClusterState, Command, Index, TaskKind, TaskStatus, TaskUpdate};
use miroir_core::id::{NodeId, TaskUid};
use miroir_core::registry::{DYNAMIC_SEARCH_RULES, Entry, Registry};
use miroir_meili::{EnqueuedTask, MeiliError, NodeClient, NodeTaskUid, TaskStatus as NodeStatus};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, sleep};

use super::super::Context;
use crate::cluster::Cluster;

/// What a rule consists of, beside its uid.
const MEMBERS: [&str; 5] = [
    "description",
    "precedence",
    "active",
    "conditions",
    "actions",
];
/// How long the node may take for what it was given.
const LOOKS: usize = 200;
const PAUSE: Duration = Duration::from_millis(25);

/// What uids mean on nodes where these call indexes otherwise: the name there, or nothing.
pub(super) type Names = BTreeMap<String, Option<String>>;

/// What nodes call indexes that clients call otherwise, by uid.
pub(super) fn names(state: &ClusterState) -> Names {
    let renamed = || {
        let indexes = state.indexes.values();
        indexes.filter(|index| *index.name() != index.uid)
    };
    let by_uid = |index: &Index| (index.uid.to_string(), Some(index.name().to_string()));
    let mut names: Names = renamed().map(by_uid).collect();
    // A name that no client's index has as its uid means nothing to clients.
    for name in renamed().map(Index::name) {
        if state.index_called(name).is_none() {
            names.insert(name.to_string(), None);
        }
    }
    names
}

/// The tasks about rules that have not ended, and the registry that has what all of them changed.
pub(super) fn waiting<C: Cluster>(ctx: &Context<C>) -> (u64, Vec<TaskUid>) {
    ctx.read(|state| {
        let is_of_rules = |kind| matches!(kind, TaskKind::DsrUpdate | TaskKind::DsrClear);
        let tasks = state.tasks.unfinished();
        let waiting = tasks.filter(|task| is_of_rules(task.kind));
        (
            state.registry.version,
            waiting.map(|task| task.uid).collect(),
        )
    })
}

/// Ends tasks whose changes nodes have.
///
/// # Errors
/// When consensus has ended.
pub(super) async fn end<C: Cluster>(ctx: &Context<C>, tasks: &[TaskUid]) -> anyhow::Result<()> {
    let now = ctx.clock.now_ms();
    let begun = ctx.read(|state| {
        let begun = |uid: &TaskUid| state.tasks.get(*uid).map(|task| task.enqueued_at_ms);
        tasks.iter().map(begun).collect::<Vec<_>>()
    });
    let updates = tasks.iter().zip(begun).map(|(uid, begun)| TaskUpdate {
        uid: *uid,
        status: TaskStatus::Succeeded,
        details: None,
        error: None,
        started_at_ms: begun,
        finished_at_ms: Some(now),
    });
    let command = Command::UpdateTasks {
        updates: updates.collect(),
    };
    ctx.cluster.propose(command).await?;
    Ok(())
}

/// Gives a node the rules that differ, and takes away those that the registry has not. Done when searches of the node
/// obey them. A node without the feature has no rules.
pub(super) async fn tend(
    node: NodeId,
    client: &NodeClient,
    registry: &Registry,
    names: &Names,
) -> Result<(), MeiliError> {
    if !registry.feature(DYNAMIC_SEARCH_RULES) {
        return Ok(());
    }
    let features = match client.features().await {
        Ok(features) => features,
        // A node whose version has no such route has no rules.
        Err(error) if !error.retryable() && !error.outcome_unknown() => return Ok(()),
        Err(error) => return Err(error),
    };
    if features.get(DYNAMIC_SEARCH_RULES) != Some(&Value::Bool(true)) {
        return Ok(());
    }
    let held = client.rules().await?;
    let wanted = registry.rules();
    let mut last = None;
    for uid in held.keys().filter(|uid| !is_wanted(&wanted, uid)) {
        tracing::info!(%node, uid, "a rule of a node is deleted");
        last = Some(client.delete_rule(uid).await?);
    }
    let mut before = "";
    for (uid, entry) in wanted {
        let mut rule = whole(&entry.value);
        rename(&mut rule, names);
        if held.get(uid).is_some_and(|held| same(held, &rule)) {
            continue;
        }
        // A node numbers the rules that it takes at once by their uids, and follows older numbers first.
        if uid < before {
            wait(client, last.take()).await?;
        }
        before = uid;
        tracing::info!(%node, uid, "a rule of a node is set");
        last = Some(client.patch_rule(uid, &rule).await?);
    }
    wait(client, last).await
}

fn is_wanted(wanted: &[(&str, &Entry)], uid: &str) -> bool {
    wanted.iter().any(|(known, _)| *known == uid)
}

/// A rule with every member, so that nothing of an older one stays.
fn whole(rule: &Value) -> Map<String, Value> {
    let member = |name: &str| match (name, rule.get(name)) {
        (_, Some(value)) => value.clone(),
        ("active", None) => json!(true),
        ("conditions", None) => json!({}),
        ("actions", None) => json!([]),
        (_, None) => Value::Null,
    };
    let members = MEMBERS.iter();
    members
        .map(|name| ((*name).to_owned(), member(name)))
        .collect()
}

/// Puts the nodes' names of indexes into the actions of a rule, and takes out what is about none of theirs.
fn rename(rule: &mut Map<String, Value>, names: &Names) {
    let Some(Value::Array(actions)) = rule.get_mut("actions") else {
        return;
    };
    actions.retain_mut(|action| {
        let Some(index) = action.pointer_mut("/selector/indexUid") else {
            return true;
        };
        match index.as_str().and_then(|uid| names.get(uid)) {
            Some(Some(name)) => {
                *index = json!(name);
                true
            }
            Some(None) => false,
            None => true,
        }
    });
}

/// Whether a node's rule is this one.
fn same(held: &Value, rule: &Map<String, Value>) -> bool {
    let held = whole(held);
    MEMBERS
        .iter()
        .all(|name| held.get(*name) == rule.get(*name))
}

/// Waits until the node has done what it was given last, and with it all before.
async fn wait(client: &NodeClient, last: Option<EnqueuedTask>) -> Result<(), MeiliError> {
    let Some(EnqueuedTask { task_uid, .. }) = last else {
        return Ok(());
    };
    for _ in 0..LOOKS {
        match client.task(task_uid).await?.map(|task| task.status) {
            Some(NodeStatus::Enqueued | NodeStatus::Processing) => sleep(PAUSE).await,
            Some(NodeStatus::Succeeded) => return Ok(()),
            ended @ (Some(NodeStatus::Failed | NodeStatus::Canceled) | None) => {
                return Err(undone(task_uid, ended));
            }
        }
    }
    Err(undone(task_uid, None))
}

fn undone(task: NodeTaskUid, status: Option<NodeStatus>) -> MeiliError {
    let status = status.map_or("not done in time", NodeStatus::as_str);
    MeiliError::Invalid {
        what: format!("task {task} about dynamic search rules is {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_compared_with_their_defaults() {
        let stored = json!({ "precedence": 1, "actions": [{ "selector": { "id": "a" } }] });
        let shown = json!({
            "uid": "r", "lastUpdatedAt": "2024-01-01T00:00:00Z", "active": true, "conditions": {},
            "precedence": 1, "actions": [{ "selector": { "id": "a" } }],
        });
        assert!(same(&shown, &whole(&stored)));
        for (name, value) in [
            ("active", json!(false)),
            ("precedence", json!(2)),
            ("description", json!("d")),
            ("conditions", json!({ "query": {} })),
            ("actions", json!([])),
        ] {
            let mut other = shown.clone();
            other[name] = value;
            assert!(!same(&other, &whole(&stored)), "{name}");
        }
    }

    #[test]
    fn indexes_are_named_as_nodes_call_them() {
        let names = Names::from([
            ("books".to_owned(), Some("films".to_owned())),
            ("films".to_owned(), None),
        ]);
        let action = |uid: Value| json!({ "selector": { "indexUid": uid, "id": "1" } });
        let mut rule = whole(&json!({
            "actions": [action(json!("books")), action(json!("films")), action(json!("other")), action(json!(null))],
        }));
        rename(&mut rule, &names);
        assert_eq!(
            rule["actions"],
            json!([
                action(json!("films")),
                action(json!("other")),
                action(json!(null))
            ])
        );
    }

    #[test]
    fn what_a_rule_has_not_is_reset() {
        assert_eq!(
            Value::Object(whole(&json!({}))),
            json!({
                "description": null, "precedence": null, "active": true, "conditions": {}, "actions": [],
            })
        );
    }
}
