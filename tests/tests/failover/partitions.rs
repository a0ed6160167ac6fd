//! Two roles cannot hear each other for a while, for every pair of roles, while a shard moves.

use std::time::Duration;

use anyhow::ensure;
use miroir_dev::cluster::{Options, Role};
use miroir_dev::demo::INDEX;
use miroir_proto::v1::Phase;
use miroir_tests::{Load, Network, Trial, seed};

use super::{ALONE, options};

/// How long they are cut off: longer than a lease with its margin, and than an election.
const LASTS: Duration = Duration::from_secs(6);

/// Nodes in the beginning.
const NODES: u16 = 3;

#[derive(Debug, Clone, Copy)]
enum Pair {
    LeaderAndFollower,
    /// The leader goes on to hear proxies and nodes, and must not act.
    LeaderAndAllFollowers,
    LeaderAndWriter,
    LeaderAndSource,
    LeaderAndTarget,
    WriterAndNode,
    ProxyAndProxy,
}

const PAIRS: [Pair; 7] = [
    Pair::LeaderAndFollower,
    Pair::LeaderAndAllFollowers,
    Pair::LeaderAndWriter,
    Pair::LeaderAndSource,
    Pair::LeaderAndTarget,
    Pair::WriterAndNode,
    Pair::ProxyAndProxy,
];

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_roles_is_cut_off() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let seed = seed("every_pair_of_roles_is_cut_off")?;
    let options = options();
    let added = u16::try_from(PAIRS.len())?;
    let members = (1..=options.coordinators)
        .map(Role::Coordinator)
        .chain((1..=options.proxies).map(Role::Proxy))
        .chain((1..=NODES + added).map(Role::Node));
    let network = match Network::create(members)? {
        Ok(network) => network,
        Err(reason) => {
            println!("SKIPPED: {reason}");
            return Ok(());
        }
    };
    let options = Options {
        nodes: NODES,
        replication_factor: 2,
        places: network.places(),
        ..options
    };
    let mut trial = Trial::start(options).await?;
    let outcome = cut_every_pair(&mut trial, &network, seed).await;
    trial.end(outcome).await
}

async fn cut_every_pair(trial: &mut Trial, network: &Network, seed: u64) -> anyhow::Result<()> {
    for (round, pair) in (0..).zip(PAIRS) {
        println!("  {pair:?}");
        let load = Load::start(trial, seed.wrapping_add(round));
        let (target, operation) = trial.cluster.add_node(1).await?;
        trial.wait_for_phase(operation, Phase::Copying).await?;
        let cuts = cuts(trial, pair, target).await?;
        for (one, other) in &cuts {
            println!("    {one} and {other}");
            network.cut(*one, *other)?;
        }
        tokio::time::sleep(LASTS).await;
        for (one, other) in &cuts {
            network.heal(*one, *other)?;
        }
        trial.wait_until_moved(operation).await?;
        let seen = load.stop().await?;
        ensure!(
            seen.searched.latencies.iter().any(|some| !some.is_empty()),
            "nothing was searched"
        );
        seen.every_read_succeeded()?;
        trial.heal_and_check().await?;
    }
    Ok(())
}

/// Who is cut off from whom.
async fn cuts(trial: &Trial, pair: Pair, target: u16) -> anyhow::Result<Vec<(Role, Role)>> {
    let leading = trial.cluster.admin.leader().await?;
    let leader = Role::Coordinator(leading);
    let followers = (1..=3).filter(|n| *n != leading).map(Role::Coordinator);
    let writer = Role::Proxy(trial.writer(INDEX).await?);
    // Every node that was there before is a source of something.
    let source = Role::Node(1);
    Ok(match pair {
        Pair::LeaderAndFollower => followers.take(1).map(|one| (leader, one)).collect(),
        Pair::LeaderAndAllFollowers => followers.map(|one| (leader, one)).collect(),
        Pair::LeaderAndWriter => vec![(leader, writer)],
        Pair::LeaderAndSource => vec![(leader, source)],
        Pair::LeaderAndTarget => vec![(leader, Role::Node(target))],
        Pair::WriterAndNode => vec![(writer, source)],
        Pair::ProxyAndProxy => vec![(Role::Proxy(1), Role::Proxy(2))],
    })
}
