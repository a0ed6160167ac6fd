//! `drill move`: a shard of a scratch index moves to another node and back while it is written and
//! searched.

use std::collections::BTreeSet;

use miroir_core::hidden_field::shard_of;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use tokio::time::Instant;

use super::load::{Ids, Load};
use super::report::Report;
use super::{confirmed, failed, finish, interruptible, until};
use crate::args::{MoveDrillArgs, Sending};
use crate::commands::change::{self, Wish};
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::format::proto_name;
use crate::output::Output;

/// Moves a shard there and back.
pub async fn run(
    args: &MoveDrillArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    if args.load.proxy.is_none() {
        return Err(Error::Usage(
            "a move is drilled on a scratch index: name a proxy to make it with --proxy".to_owned(),
        ));
    }
    confirmed(
        args.yes,
        "an index is made, filled, moved and deleted: the nodes get that work",
    )?;
    room_in_time(args, coordinators).await?;
    let Some(mut load) = Load::prepare(&args.load).await? else {
        return Err(Error::Usage("--proxy is missing".to_owned()));
    };
    let drilled = interruptible(there_and_back(args, coordinators, &mut load)).await;
    finish(drilled, Some(load), output).await
}

/// Refuses when the policy alone keeps both moves longer than the drill may take.
async fn room_in_time(args: &MoveDrillArgs, coordinators: &Coordinators) -> Result<(), Error> {
    let ask = coordinators.read(async |mut c| c.get_topology(v1::GetTopologyRequest {}).await);
    let policy = ask.await?.policy.unwrap_or_default();
    let needed_s = policy.reverse_window_ms.saturating_mul(2).div_ceil(1_000);
    if needed_s < args.within.timeout_s {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "both moves wait for the reverse window, {needed_s} s in all; give a longer --timeout-s"
    )))
}

/// A copy, and a node that could take it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    shard: u32,
    shards: u16,
    from: u64,
    to: u64,
}

async fn there_and_back(
    args: &MoveDrillArgs,
    coordinators: &Coordinators,
    load: &mut Load,
) -> Result<Report, Error> {
    let deadline = Instant::now() + args.within.duration();
    let way = find_way(load.index(), coordinators).await?;
    load.fill((0..args.documents).map(|n| format!("d{n}")).collect())
        .await?;
    load.start(ids_of(way.shard, way.shards));
    if load.write_since(Instant::now(), deadline).await.is_none() {
        return Err(Error::Local(
            "no write was acknowledged before the move".to_owned(),
        ));
    }
    let mut report = Report::begin("move");
    let index = load.index().to_owned();
    report.fact("index", index.as_str());
    report.fact("documents", args.documents);
    report.fact("shard", way.shard);
    report.fact("from", way.from);
    report.fact("to", way.to);
    for (name, from, to) in [("there", way.from, way.to), ("back", way.to, way.from)] {
        let change = v1::MoveShard {
            index: index.clone(),
            shard: way.shard,
            from,
            to,
        };
        let moved = move_once(change, coordinators, deadline).await?;
        report.mark(&format!("{name}: done"));
        for (phase, ms) in durations(&moved) {
            report.took(&format!("{name}: {phase}"), ms);
        }
        let ended = moved.last().map(v1::PhaseChange::phase);
        if ended != Some(v1::Phase::Done) {
            report.complain(format!(
                "the move {name} did not end in time, or was given up"
            ));
            break;
        }
    }
    Ok(report)
}

/// Moves a copy; answers the history of the migration as far as it came.
async fn move_once(
    change: v1::MoveShard,
    coordinators: &Coordinators,
    deadline: Instant,
) -> Result<Vec<v1::PhaseChange>, Error> {
    let wish = Wish {
        what: format!("the move of shard {} to node {}", change.shard, change.to),
        look: "miroirctl operation list",
        change: Change::MoveShard(change),
    };
    let reply = change::send(wish, &Sending::default(), coordinators).await?;
    let operation = reply.operation.ok_or_else(|| {
        failed("the move was accepted, but no operation carries it out".to_owned())
    })?;
    let request = v1::ListMigrationsRequest {
        operation: Some(operation),
        unfinished_only: false,
    };
    let mut last = Vec::new();
    let done = until(deadline, async || {
        let ask = coordinators.read(async |mut c| c.list_migrations(request).await);
        let listed = ask.await.ok()?;
        last = listed.migrations.into_iter().next()?.history;
        let phase = last.last()?.phase();
        let ended = matches!(phase, v1::Phase::Done | v1::Phase::Cancelled);
        ended.then_some(())
    });
    done.await;
    Ok(last)
}

/// A shard with a copy that another node of its group could take.
async fn find_way(index: &str, coordinators: &Coordinators) -> Result<Way, Error> {
    let request = v1::ListShardsRequest {
        index: Some(index.to_owned()),
    };
    let ask = coordinators.read(async |mut c| c.list_shards(request.clone()).await);
    let copies = ask.await?.copies;
    let ask = coordinators.read(async |mut c| c.list_nodes(v1::ListNodesRequest {}).await);
    let nodes = ask.await?.nodes;
    way(&copies, &nodes).ok_or_else(|| {
        failed(
            "no shard can move: every node of its group has a copy, or does not answer".to_owned(),
        )
    })
}

fn way(copies: &[v1::ShardCopy], nodes: &[v1::Node]) -> Option<Way> {
    let shards: BTreeSet<u32> = copies.iter().map(|copy| copy.shard).collect();
    let shards = u16::try_from(shards.len()).ok()?;
    let taker = |copy: &v1::ShardCopy| {
        let has = |node: &v1::Node| {
            let mut all = copies.iter();
            all.any(|other| other.shard == copy.shard && other.node == node.id)
        };
        let takes = |node: &&v1::Node| {
            node.group == copy.group
                && node.admission == "active"
                && node.health != "down"
                && !has(node)
        };
        nodes.iter().find(takes).map(|node| node.id)
    };
    let movable = |copy: &&v1::ShardCopy| copy.state == "InSync" && copy.moving.is_none();
    copies.iter().filter(movable).find_map(|copy| {
        Some(Way {
            shard: copy.shard,
            shards,
            from: copy.node,
            to: taker(copy)?,
        })
    })
}

/// Ids of the shard that moves: a write to another one would not notice it.
fn ids_of(shard: u32, shards: u16) -> Ids {
    let mut n = 0_u64;
    Box::new(move || {
        loop {
            n += 1;
            let id = format!("w{n}");
            if shards == 0 || u32::from(shard_of(&id, shards)) == shard {
                return id;
            }
        }
    })
}

/// How long each phase took, in order; one that came again is counted together.
fn durations(history: &[v1::PhaseChange]) -> Vec<(String, u64)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for pair in history.windows(2) {
        let name = proto_name(pair[0].phase().as_str_name(), "PHASE_");
        let ms = pair[1].at_ms.saturating_sub(pair[0].at_ms);
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += ms,
            None => sums.push((name, ms)),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(shard: u32, node: u64, state: &str) -> v1::ShardCopy {
        v1::ShardCopy {
            shard,
            group: 1,
            node,
            state: state.to_owned(),
            ..v1::ShardCopy::default()
        }
    }

    fn node(id: u64, group: u32, health: &str) -> v1::Node {
        v1::Node {
            id,
            group,
            admission: "active".to_owned(),
            health: health.to_owned(),
            ..v1::Node::default()
        }
    }

    #[test]
    fn a_copy_moves_to_a_node_of_its_group_that_has_none() {
        let way_of = |copies: &[v1::ShardCopy], nodes: &[v1::Node]| {
            way(copies, nodes).map(|way| (way.shard, way.shards, way.from, way.to))
        };
        let all = [node(1, 1, "up"), node(2, 1, "up"), node(3, 2, "up")];
        let one = [copy(0, 1, "InSync"), copy(1, 2, "InSync")];
        assert_eq!(way_of(&one, &all), Some((0, 2, 1, 2)));
        let both = [copy(0, 1, "InSync"), copy(0, 2, "InSync")];
        assert_eq!(way_of(&both, &all), None);
        let stale = [copy(0, 1, "Stale"), copy(1, 2, "InSync")];
        assert_eq!(way_of(&stale, &all), Some((1, 2, 2, 1)));
        let down = [node(1, 1, "up"), node(2, 1, "down")];
        assert_eq!(way_of(&one[..1], &down), None);
        assert_eq!(way_of(&[], &all), None);
    }

    #[test]
    fn written_ids_are_of_the_shard_that_moves() {
        let mut ids = ids_of(3, 16);
        let some: BTreeSet<String> = (0..50).map(|_| ids()).collect();
        assert_eq!(some.len(), 50);
        assert!(some.iter().all(|id| shard_of(id, 16) == 3));
    }

    #[test]
    fn a_phase_that_comes_again_is_counted_together() {
        let at = |phase: v1::Phase, at_ms| v1::PhaseChange {
            phase: phase.into(),
            at_ms,
            event: String::new(),
        };
        let history = [
            at(v1::Phase::Planned, 0),
            at(v1::Phase::CatchingUp, 10),
            at(v1::Phase::Fenced, 30),
            at(v1::Phase::CatchingUp, 35),
            at(v1::Phase::Fenced, 50),
            at(v1::Phase::Done, 90),
        ];
        let expected = [("Planned", 10), ("CatchingUp", 35), ("Fenced", 45)];
        let expected: Vec<_> = expected
            .iter()
            .map(|(n, ms)| ((*n).to_owned(), *ms))
            .collect();
        assert_eq!(durations(&history), expected);
        assert_eq!(durations(&[]), []);
    }
}
