//! Changes of nodes, groups, copies and policy.

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;

use super::change::{self, Wish, confirmed};
use crate::args::{
    AddGroupArgs, FactorArgs, HoldArgs, Limit, MoveArgs, NodeArgs, PinArgs, PolicyArgs,
    RebalanceArgs, RemoveGroupArgs, RemoveNodeArgs, Sending,
};
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;

const NODES: &str = "miroirctl node list";
const OPERATIONS: &str = "miroirctl operation list";
const SHARDS: &str = "miroirctl shard list";
const POLICY: &str = "miroirctl policy show";

/// `node drain`
pub async fn drain(
    args: &NodeArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let wish = Wish {
        what: format!("the drain of node {}", args.id),
        look: NODES,
        change: Change::DrainNode(v1::DrainNode { node: args.id }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `node undrain`
pub async fn undrain(
    args: &NodeArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let wish = Wish {
        what: format!("the end of the drain of node {}", args.id),
        look: NODES,
        change: Change::UndrainNode(v1::UndrainNode { node: args.id }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `node remove`
pub async fn remove_node(
    args: &RemoveNodeArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    if args.force {
        let consequence = format!(
            "--force gives up every copy on node {} and builds them from others",
            args.id
        );
        confirmed(args.yes, &args.waiting.sending, &consequence)?;
    }
    let wish = Wish {
        what: format!("the removal of node {}", args.id),
        look: NODES,
        change: Change::RemoveNode(v1::RemoveNode {
            node: args.id,
            force: args.force,
        }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `group add`
pub async fn add_group(
    args: &AddGroupArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let nodes = args
        .nodes
        .iter()
        .map(|text| new_node(text))
        .collect::<Result<_, _>>()?;
    let wish = Wish {
        what: "the addition of a replica group".to_owned(),
        look: "miroirctl group list",
        change: Change::AddGroup(v1::AddGroup { nodes }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `URL[,zone=ZONE][,weight=N]`
fn new_node(text: &str) -> Result<v1::NewNode, Error> {
    let wrong = |part: &str| {
        Error::Usage(format!(
            "`{part}` in --node {text} is neither zone=ZONE nor weight=N"
        ))
    };
    let mut parts = text.split(',');
    let mut node = v1::NewNode {
        url: parts.next().unwrap_or_default().to_owned(),
        ..Default::default()
    };
    for part in parts {
        match part.split_once('=') {
            Some(("zone", zone)) if !zone.is_empty() => node.zone = Some(zone.to_owned()),
            Some(("weight", weight)) => {
                node.weight = Some(weight.parse().map_err(|_| wrong(part))?);
            }
            Some(_) | None => return Err(wrong(part)),
        }
    }
    Ok(node)
}

/// `group remove`
pub async fn remove_group(
    args: &RemoveGroupArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let consequence = format!(
        "replica group {} is not searched any more at once, and its nodes leave the cluster",
        args.id
    );
    confirmed(args.yes, &args.waiting.sending, &consequence)?;
    let wish = Wish {
        what: format!("the removal of replica group {}", args.id),
        look: "miroirctl group list",
        change: Change::RemoveGroup(v1::RemoveGroup { group: args.id }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `index set-replication-factor`
pub async fn set_factor(
    args: &FactorArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let wish = Wish {
        what: format!(
            "the change of `{}` to replication factor {}",
            args.uid, args.replication_factor
        ),
        look: "miroirctl index list",
        change: Change::ChangeReplicationFactor(v1::ChangeReplicationFactor {
            index: args.uid.clone(),
            replication_factor: args.replication_factor,
        }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `rebalance`
pub async fn rebalance(
    args: &RebalanceArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let wish = Wish {
        what: match &args.index {
            Some(index) => format!("the rebalance of `{index}`"),
            None => "the rebalance".to_owned(),
        },
        look: OPERATIONS,
        change: Change::Rebalance(v1::Rebalance {
            index: args.index.clone(),
        }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `shard move`
pub async fn move_shard(
    args: &MoveArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let wish = Wish {
        what: format!(
            "the move of shard {} of `{}` from node {} to node {}",
            args.shard, args.index, args.from, args.to
        ),
        look: OPERATIONS,
        change: Change::MoveShard(v1::MoveShard {
            index: args.index.clone(),
            shard: args.shard,
            from: args.from,
            to: args.to,
        }),
    };
    change::run(wish, &args.waiting, coordinators, output).await
}

/// `shard pin` and `shard unpin`
pub async fn pin(
    args: &PinArgs,
    pinned: bool,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let word = if pinned { "pinning" } else { "unpinning" };
    let wish = Wish {
        what: format!("the {word} of shard {} of `{}`", args.shard, args.index),
        look: SHARDS,
        change: Change::Pin(v1::Pin {
            index: args.index.clone(),
            shard: args.shard,
            node: args.node,
            pinned,
        }),
    };
    change::at_once(wish, &args.sending, coordinators, output).await
}

/// `hold`
pub async fn hold(
    args: &HoldArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let wish = Wish {
        what: "the hold of automatic moves".to_owned(),
        look: POLICY,
        change: Change::Hold(v1::Hold {
            reason: args.reason.clone(),
        }),
    };
    change::at_once(wish, &args.sending, coordinators, output).await
}

/// `release`
pub async fn release(
    sending: &Sending,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let wish = Wish {
        what: "the release of automatic moves".to_owned(),
        look: POLICY,
        change: Change::Release(v1::Release {}),
    };
    change::at_once(wish, sending, coordinators, output).await
}

/// `policy set`
pub async fn set_policy(
    args: &PolicyArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let limit = |limit: Option<Limit>| limit.map(|Limit(per_s)| v1::Limit { per_s });
    let wish = Wish {
        what: "the change of the policy".to_owned(),
        look: POLICY,
        change: Change::Policy(v1::PolicyChange {
            default_shards: args.shards,
            default_replication_factor: args.rf,
            min_in_sync: args.min_in_sync,
            reverse_window_ms: args.reverse_window_ms,
            max_concurrent_migrations: args.max_concurrent_migrations,
            max_migrations_per_target: args.max_migrations_per_target,
            max_migrations_per_source: args.max_migrations_per_source,
            throttle_docs_per_s: limit(args.throttle_docs_per_s),
            throttle_bytes_per_s: limit(args.throttle_bytes_per_s),
            finished_tasks_max: args.finished_tasks_max,
            finished_migrations_max: args.finished_migrations_max,
            idempotency_keys_max: args.idempotency_keys_max,
            idempotency_ttl_ms: args.idempotency_ttl_ms,
        }),
    };
    change::at_once(wish, &args.sending, coordinators, output).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_a_new_group_may_have_a_zone_and_a_weight() {
        let node = new_node("http://a:1,zone=z,weight=3").expect("valid");
        let expected = v1::NewNode {
            url: "http://a:1".to_owned(),
            group: None,
            zone: Some("z".to_owned()),
            weight: Some(3),
        };
        assert_eq!(node, expected);
        for bad in [
            "http://a:1,weight=x",
            "http://a:1,zone=",
            "http://a:1,rack=2",
        ] {
            new_node(bad).expect_err(bad);
        }
    }
}
