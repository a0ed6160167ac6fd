//! From wherever a walk has led: lifted pauses, actors without trouble, and everything comes to rest.

use miroir_core::cluster::{
    ClusterState, Command, Control, CutStep, GroupState, OperationState, Outcome,
};
use miroir_core::migration::Phase;
use miroir_core::planning::{Step, grantable, next_step, plan_repair};

use super::acts::{forward, new_writer, plan_operation};
use super::documents::Documents;
use super::{step, told};
use crate::support::Log;

/// Rounds in which anything that can come to an end does.
const ROUNDS_MAX: usize = 900;

pub fn come_to_rest(log: &mut Log, documents: &mut Documents, story: &mut Vec<String>) {
    let mut carry_out = |log: &mut Log, command: &Command| {
        let outcome = step(log, documents, story, command);
        let refused = matches!(outcome, Outcome::Rejected(_));
        assert!(!refused, "nothing is in the way\n{}", told(story));
    };
    for command in lifted(&log.state) {
        carry_out(log, &command);
    }
    for _ in 0..ROUNDS_MAX {
        let commands = next(&log.state);
        if commands.is_empty() {
            let restless = restless(&log.state);
            assert_eq!(restless, None, "{}", told(story));
            return;
        }
        for command in commands {
            carry_out(log, &command);
        }
    }
    panic!("it never comes to rest:\n{}", told(story));
}

fn lifted(state: &ClusterState) -> Vec<Command> {
    let mut commands = Vec::new();
    if state.hold.is_some() {
        commands.push(Command::SetHold { reason: None });
    }
    // The next leader ends a hold that it finds, if only because it takes too long.
    let cuts = state
        .broadcasts
        .iter()
        .filter_map(|one| Some((one.task, one.cut.as_ref()?)));
    commands.extend(cuts.map(|(task, cut)| Command::Cut {
        task,
        attempt: cut.attempts,
        step: CutStep::Release {
            failure: Some(serde_json::json!({"message": "too busy"})),
        },
    }));
    let control = Control::Resume;
    let operations = state
        .operations
        .values()
        .filter(|o| o.paused && !o.state.is_final());
    commands.extend(operations.map(|o| Command::ControlOperation { id: o.id, control }));
    let migrations = state.unfinished_migrations().filter(|m| m.paused);
    commands.extend(migrations.map(|m| Command::ControlMigration { id: m.id, control }));
    commands.extend(new_writer(state, 0));
    commands
}

/// One command of each kind that there is something to do of.
fn next(state: &ClusterState) -> Vec<Command> {
    if let Some(command) = plan_operation(state) {
        return vec![command];
    }
    if let Some(id) = grantable(state).first() {
        return vec![Command::Advance {
            id: *id,
            step: state.migrations[id].step,
            event: forward(Phase::Planned).expect("not final"),
        }];
    }
    let working = state
        .unfinished_migrations()
        .find(|m| m.phase != Phase::Planned);
    if let Some(record) = working {
        return vec![work(state, record)];
    }
    let moves = plan_repair(state);
    if !moves.is_empty() {
        return vec![Command::Plan {
            operation: None,
            moves,
        }];
    }
    // A pin, an excuse or a lost shard keeps an operation waiting; only an operator can help then.
    let waiting = next_step(state).filter(|(_, step)| *step == Step::Wait);
    let hopeless = waiting.map(|(id, _)| Command::ControlOperation {
        id,
        control: Control::Cancel,
    });
    let blocked = state
        .unfinished_migrations()
        .next()
        .map(|m| Command::ControlMigration {
            id: m.id,
            control: Control::Cancel,
        });
    hopeless.or(blocked).into_iter().collect()
}

/// What the actor of a migration does, when every node answers.
fn work(state: &ClusterState, record: &miroir_core::migration::Record) -> Command {
    let shard = state
        .active_migration(&record.index, record.shard)
        .and_then(|_| state.indexes.get(&record.index)?.shard(record.shard));
    let readable = |node| shard.is_some_and(|s| s.readable().any(|r| r.node == node));
    let reads_source = matches!(
        record.phase,
        Phase::Copying | Phase::CatchingUp | Phase::Fenced | Phase::Mirroring
    );
    let (id, step) = (record.id, record.step);
    if reads_source && !readable(record.source) {
        let other = shard.and_then(|s| s.readable().find(|r| r.node != record.target));
        return match other {
            Some(other) => Command::ChangeSource {
                id,
                step,
                source: other.node,
            },
            None => Command::ControlMigration {
                id,
                control: Control::Cancel,
            },
        };
    }
    let mirrors = shard
        .and_then(|s| s.on(record.target))
        .is_some_and(|r| r.state.takes_writes());
    let event = if record.phase == Phase::Mirroring && !mirrors {
        miroir_core::migration::Event::TargetBehind
    } else {
        forward(record.phase).expect("not final")
    };
    Command::Advance { id, step, event }
}

/// What is not at rest though nobody proposes anything.
fn restless(state: &ClusterState) -> Option<String> {
    if state.writes_held {
        return Some("writes are held".to_owned());
    }
    if let Some(o) = state.operations.values().find(|o| !o.state.is_final()) {
        return Some(format!(
            "operation {} ({}) is {:?}",
            o.id,
            o.kind.name(),
            o.state
        ));
    }
    let searchable = state
        .groups
        .values()
        .filter(|g| g.state == GroupState::Searchable);
    for group in searchable {
        let room = state.members(group.id).count();
        for index in state.indexes.values() {
            let wanted = usize::from(index.replication_factor).min(room);
            for (shard, placement) in index.shards() {
                let here = placement.readable().filter(|r| r.group == group.id).count();
                if placement.readable().next().is_some() && here < wanted {
                    return Some(format!(
                        "shard {shard} of {} has {here} copies in group {}, not {wanted}: {placement:?}",
                        index.uid, group.id
                    ));
                }
            }
        }
    }
    let cancelling = |o: &&miroir_core::cluster::Operation| o.state == OperationState::Cancelling;
    let left = state.operations.values().find(cancelling);
    left.map(|o| format!("operation {} is being given up for ever", o.id))
}
