//! What is told of a dump of the whole cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use miroir_core::cluster::{ClusterState, TaskKind};
use miroir_core::dump::{Manifest, ManifestNode};
use miroir_core::id::{NodeId, TaskUid};
use miroir_meili::NodeTaskUid;
use miroir_proto::v1;
use tonic::Status;

use crate::actor::Context;
use crate::migration::Nodes;

/// How long a node may take to tell the name of its dump.
const CALL: Duration = Duration::from_secs(2);

/// A dump by its task: how far it has got, and its manifest once nodes were asked.
///
/// # Errors
/// `NOT_FOUND` when there is no such dump, or not any more.
pub async fn told(ctx: &Context, task: TaskUid) -> Result<v1::Dump, Status> {
    let Some((mut dump, manifest)) = ctx.read(|state| known(state, task)) else {
        return Err(Status::not_found(format!("Task `{task}` not found.")));
    };
    if let Some(mut manifest) = manifest {
        name(ctx, &mut manifest.nodes).await;
        let json = serde_json::to_string(&manifest);
        dump.manifest = json.map_err(|error| Status::internal(error.to_string()))?;
    }
    Ok(dump)
}

fn known(state: &ClusterState, uid: TaskUid) -> Option<(v1::Dump, Option<Manifest>)> {
    let task = state.tasks.get(uid);
    let task = task.filter(|task| task.kind == TaskKind::DumpCreation);
    let kept = state.dumps.iter().find(|dump| dump.task == uid);
    if task.is_none() && kept.is_none() {
        return None;
    }
    let dump = v1::Dump {
        // A dump that is kept longer than its task was sent, and its task has ended.
        status: task
            .map_or("forgotten", |task| task.status.as_str())
            .to_owned(),
        error: task
            .and_then(|task| task.error.as_ref())
            .map_or_else(String::new, ToString::to_string),
        manifest: String::new(),
    };
    let manifest = kept.map(|kept| Manifest {
        cluster_id: state.cluster_id.clone().unwrap_or_default(),
        task_uid: uid,
        epoch: kept.epoch,
        nodes: kept
            .asked
            .iter()
            .map(|(node, node_task)| {
                let url = state.nodes.get(node).map(|node| node.url.clone());
                let node_of = ManifestNode {
                    url: url.unwrap_or_default(),
                    node_task: *node_task,
                    dump_uid: None,
                };
                (*node, node_of)
            })
            .collect(),
        indexes: kept.indexes.clone(),
    });
    Some((dump, manifest))
}

/// Asks nodes how they named their dumps; of a node that does not answer it stays unknown.
async fn name(ctx: &Context, nodes: &mut BTreeMap<NodeId, ManifestNode>) {
    let tasks = nodes.iter().map(|(node, one)| (*node, one.node_task));
    let each = tasks.map(|(node, task)| async move {
        let client = ctx.fleet().client(node)?.with_timeout(CALL);
        let task = client.task(NodeTaskUid(task)).await.ok()??;
        let uid = task.details?.get("dumpUid")?.as_str()?.to_owned();
        Some((node, uid))
    });
    for (node, uid) in join_all(each).await.into_iter().flatten() {
        if let Some(one) = nodes.get_mut(&node) {
            one.dump_uid = Some(uid);
        }
    }
}
