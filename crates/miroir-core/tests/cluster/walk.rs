//! Random walks: any commands in any order keep what must hold, and from wherever they lead the cluster comes to rest.
//! Half as many walks as `PROPTEST_CASES` says are made, or as many as take a few seconds.

mod acts;
mod documents;
mod invariants;
mod settle;

use proptest::prelude::*;

use crate::support::{self, Log};
use acts::Act;
pub use acts::{forward, task};
use documents::Documents;

/// A cluster to begin with.
#[derive(Debug, Clone)]
struct Start {
    /// Nodes of each group.
    groups: Vec<u8>,
    shards: u16,
    rf: u8,
}

fn start() -> impl Strategy<Value = Start> {
    let groups = prop_oneof![
        3 => (1..=4_u8).prop_map(|nodes| vec![nodes]),
        2 => (1..=3_u8, 1..=2_u8).prop_map(|(a, b)| vec![a, b]),
        1 => Just(vec![2, 1, 1]),
    ];
    (groups, 1..=8_u16, 1..=3_u8).prop_map(|(groups, shards, rf)| {
        let rf = rf.min(groups.iter().copied().min().unwrap_or(1));
        Start { groups, shards, rf }
    })
}

fn begin(start: &Start) -> Log {
    let groups = u32::try_from(start.groups.len()).expect("few");
    let mut log = Log::initialised(miroir_core::cluster::Policy {
        groups,
        default_shards: start.shards,
        default_replication_factor: start.rf,
        finished_migrations_max: 100,
        ..Default::default()
    });
    for (group, nodes) in (1..).zip(&start.groups) {
        for n in 0..*nodes {
            log.apply(&miroir_core::cluster::Command::AddNode {
                node: support::node(&format!("http://{group}-{n}"), group, 1),
            });
        }
    }
    log.register_proxy("writer");
    log.plan_everything();
    log.create("books");
    log
}

/// Carries the acts out and checks every step; the commands so far are in the message of whatever fails.
fn walk(start: &Start, acts: &[Act]) -> (Log, Documents, Vec<String>) {
    let mut log = begin(start);
    let mut documents = Documents::default();
    documents.look(&log.state);
    let mut story = Vec::new();
    for act in acts {
        for command in act.commands(&log.state) {
            step(&mut log, &mut documents, &mut story, &command);
        }
    }
    (log, documents, story)
}

/// The end of a story; what went before is made again by the same acts.
fn told(story: &[String]) -> String {
    story[story.len().saturating_sub(60)..].join("\n")
}

/// Applies one command and checks everything that must hold after it.
fn step(
    log: &mut Log,
    documents: &mut Documents,
    story: &mut Vec<String>,
    command: &miroir_core::cluster::Command,
) -> miroir_core::cluster::Outcome {
    let before = log.state.clone();
    let outcome = log.apply(command);
    story.push(format!("{command:?}\n    -> {outcome:?}"));
    documents.follow(&before, command, &outcome, &log.state);
    let change = invariants::Change {
        before: &before,
        command,
        outcome: &outcome,
        after: &log.state,
        at: log.last(),
    };
    let broken = change.broken().or_else(|| documents.astray(&log.state));
    if let Some(broken) = broken {
        panic!("{broken}\nafter:\n{}", told(story));
    }
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_nothing_is_lost_and_the_cluster_comes_to_rest(
        start in start(),
        acts in proptest::collection::vec(acts::act(), 1..120),
    ) {
        let (mut log, mut documents, mut story) = walk(&start, &acts);
        settle::come_to_rest(&mut log, &mut documents, &mut story);
    }
}
