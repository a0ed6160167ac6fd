//! Random commands that mean something in the state they meet.

use miroir_core::cluster::{
    AppliedSettings, ClusterState, Command, Control, CutStep, Index, IndexSwap, NewIndex, NewTask,
    TaskKind, Write,
};
use miroir_core::id::{GroupId, IndexUid, MigrationId, NodeId, OperationId, ProxyId, ShardId};
use miroir_core::migration::{Event, Phase, Record};
use miroir_core::planning::{Step, assign_writers, next_step, plan_repair};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{self, uid};

/// Numbers from which a command is made.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    what: What,
    a: u16,
    b: u16,
    c: u16,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Forward,
    AnyEvent,
    ChangeSource,
    PlanOperation,
    PlanRepair,
    ControlMigration,
    ControlOperation,
    Nodes,
    Groups,
    Wishes,
    Missed,
    Proxies,
    Indexes,
    Swaps,
    Losses,
    Dumps,
}

pub fn act() -> impl Strategy<Value = Act> {
    let what = prop_oneof![
        20 => Just(What::Forward),
        4 => Just(What::AnyEvent),
        1 => Just(What::ChangeSource),
        10 => Just(What::PlanOperation),
        4 => Just(What::PlanRepair),
        3 => Just(What::ControlMigration),
        3 => Just(What::ControlOperation),
        5 => Just(What::Nodes),
        3 => Just(What::Groups),
        5 => Just(What::Wishes),
        4 => Just(What::Missed),
        2 => Just(What::Proxies),
        1 => Just(What::Indexes),
        1 => Just(What::Swaps),
        2 => Just(What::Losses),
        3 => Just(What::Dumps),
    ];
    let number = || any::<u16>();
    (what, number(), number(), number()).prop_map(|(what, a, b, c)| Act { what, a, b, c })
}

/// The event that takes a migration on, when nothing goes wrong.
pub fn forward(phase: Phase) -> Option<Event> {
    Some(match phase {
        Phase::Planned => Event::SlotGranted,
        Phase::Preparing => Event::TargetClean,
        Phase::Copying => Event::Copied,
        Phase::CatchingUp => Event::CaughtUp,
        Phase::Fenced => Event::FenceDrained,
        Phase::Mirroring => Event::Verified,
        Phase::CutOver | Phase::Reversing => Event::ReadsMoved,
        Phase::Holding => Event::WindowOver,
        Phase::Cleaning | Phase::Dropping => Event::Cleaned,
        Phase::Done | Phase::Cancelled => return None,
    })
}

fn pick<T>(from: impl IntoIterator<Item = T>, n: u16) -> Option<T> {
    let mut all: Vec<T> = from.into_iter().collect();
    (!all.is_empty()).then(|| all.swap_remove(usize::from(n) % all.len()))
}

impl Act {
    /// What it comes to in a state; nothing when it means nothing there.
    pub fn commands(self, state: &ClusterState) -> Vec<Command> {
        let one = match self.what {
            What::Forward => self.forward(state),
            What::AnyEvent => self.any_event(state),
            What::ChangeSource => self.change_source(state),
            What::PlanOperation => plan_operation(state),
            What::PlanRepair => self.plan_repair(state),
            What::ControlMigration => Some(Command::ControlMigration {
                id: MigrationId(1 + u64::from(self.a) % (state.migrations.len() as u64 + 2)),
                control: self.control(),
            }),
            What::ControlOperation => Some(Command::ControlOperation {
                id: OperationId(1 + u64::from(self.a) % (state.operations.len() as u64 + 2)),
                control: self.control(),
            }),
            What::Nodes => Some(self.nodes(state)),
            What::Groups => Some(self.groups(state)),
            What::Wishes => Some(self.wishes(state)),
            What::Missed => self.missed(state),
            What::Proxies => return self.proxies(state),
            What::Indexes => self.indexes(state),
            What::Swaps => Some(self.swaps()),
            What::Losses => return self.losses(state),
            What::Dumps => self.dumps(state),
        };
        one.into_iter().collect()
    }

    fn record(self, state: &ClusterState) -> Option<&Record> {
        pick(state.unfinished_migrations(), self.a)
    }

    fn forward(self, state: &ClusterState) -> Option<Command> {
        let record = self.record(state)?;
        Some(Command::Advance {
            id: record.id,
            step: record.step,
            event: forward(record.phase)?,
        })
    }

    fn any_event(self, state: &ClusterState) -> Option<Command> {
        let record = self.record(state)?;
        // Only `apply` itself abandons a migration, and only a command that names a copy changes the source.
        let asked = |event: &Event| !matches!(event, Event::Abandoned | Event::SourceChanged);
        let legal = |event: &Event| record.phase.after(*event, record.kind).is_ok();
        let events = Event::ALL.into_iter().filter(|e| asked(e) && legal(e));
        Some(Command::Advance {
            id: record.id,
            step: record.step,
            event: pick(events, self.b)?,
        })
    }

    fn change_source(self, state: &ClusterState) -> Option<Command> {
        let record = self.record(state)?;
        Some(Command::ChangeSource {
            id: record.id,
            step: record.step,
            source: self.node(state, self.b),
        })
    }

    fn plan_repair(self, state: &ClusterState) -> Option<Command> {
        let mut moves = plan_repair(state);
        moves.truncate(1 + usize::from(self.a % 4));
        (!moves.is_empty()).then_some(Command::Plan {
            operation: None,
            moves,
        })
    }

    fn control(self) -> Control {
        match self.b % 6 {
            0 => Control::Pause,
            1 => Control::Resume,
            2 | 3 => Control::Cancel,
            4 => Control::Reverse,
            _ => Control::Throttle {
                docs_per_s: (!self.c.is_multiple_of(3)).then_some(u32::from(self.c % 2)),
                bytes_per_s: None,
            },
        }
    }

    /// Most often a node that there is.
    fn node(self, state: &ClusterState, n: u16) -> NodeId {
        let known = pick(state.nodes.keys().copied(), n / 16);
        known
            .filter(|_| !n.is_multiple_of(16))
            .unwrap_or(NodeId(u64::from(n / 16 % 12)))
    }

    fn index(self, state: &ClusterState) -> Option<&Index> {
        pick(state.indexes.values(), self.c)
    }

    fn shard(self, index: &Index) -> ShardId {
        ShardId(self.a % index.shard_count())
    }

    fn nodes(self, state: &ClusterState) -> Command {
        let node = self.node(state, self.b);
        match self.a % 8 {
            0 | 1 if state.nodes.len() < 6 => Command::AddNode {
                node: support::node(
                    &format!("http://new-{}", self.c % 32),
                    1 + u32::from(self.b % 3),
                    1 + u32::from(self.c % 2),
                ),
            },
            0 | 2 => Command::DrainNode { node },
            3 => Command::UndrainNode { node },
            4 => Command::RemoveNode { node, force: false },
            5 => Command::RemoveNode { node, force: true },
            _ => Command::ReplaceLost { node },
        }
    }

    fn groups(self, state: &ClusterState) -> Command {
        let group = GroupId(1 + u32::from(self.b % 4));
        if self.a.is_multiple_of(2) && state.groups.len() < 3 && state.nodes.len() < 6 {
            let nodes = (0..=self.c % 2)
                .map(|n| support::node(&format!("http://grown-{}-{n}", self.b), 0, 1));
            return Command::AddGroup {
                nodes: nodes.collect(),
            };
        }
        Command::RemoveGroup { group }
    }

    fn wishes(self, state: &ClusterState) -> Command {
        let index = self.index(state);
        let named = index.map_or_else(|| uid("books"), |index| index.uid.clone());
        let shard = index.map_or(ShardId(0), |index| self.shard(index));
        let holder = index
            .and_then(|i| pick(&i.shard(shard)?.replicas, self.b))
            .map(|r| r.node);
        match self.b % 8 {
            0 | 1 => Command::ChangeReplicationFactor {
                uid: named,
                replication_factor: u8::try_from(self.a % 4).expect("small"),
            },
            2 => Command::Rebalance {
                uid: self.a.is_multiple_of(2).then_some(named),
            },
            3 | 4 => Command::MoveShard {
                uid: named,
                shard,
                from: holder.unwrap_or(NodeId(1)),
                to: self.node(state, self.c),
            },
            5 => Command::Pin {
                uid: named,
                shard,
                node: holder,
                pinned: true,
            },
            6 => Command::Pin {
                uid: named,
                shard,
                node: None,
                pinned: false,
            },
            _ => Command::SetHold {
                reason: self.a.is_multiple_of(2).then(|| "because".to_owned()),
            },
        }
    }

    fn missed(self, state: &ClusterState) -> Option<Command> {
        let index = self.index(state)?;
        let shard = self.shard(index);
        let copies = index.shard(shard)?.replicas.iter().enumerate();
        let missed: Vec<_> = copies
            .filter(|(n, _)| self.b >> n & 1 == 1)
            .map(|(_, r)| (shard, r.node))
            .collect();
        let first = missed.first().copied();
        if let (Some((shard, node)), true) = (first, self.c.is_multiple_of(8)) {
            return Some(Command::EjectReplica {
                uid: index.name().clone(),
                incarnation: index.incarnation,
                shard,
                node,
            });
        }
        Some(Command::RegisterWrites {
            proxy: index.writer?,
            writes: vec![Write {
                uid: index.name().clone(),
                incarnation: index.incarnation,
                task: task(TaskKind::DocumentAdditionOrUpdate),
                parts: Vec::new(),
                missed,
            }],
        })
    }

    fn proxies(self, state: &ClusterState) -> Vec<Command> {
        let proxy = pick(state.proxies.keys().copied(), self.b).unwrap_or(ProxyId(99));
        match self.a % 4 {
            0 => vec![Command::LoseProxy { proxy }],
            1 => vec![Command::ForgetProxy { proxy }],
            _ => new_writer(state, self.c),
        }
    }

    fn indexes(self, state: &ClusterState) -> Option<Command> {
        let name = ["books", "films", "plays"][usize::from(self.b % 3)];
        let Some(index) = state.index_called(&uid(name)) else {
            let departed = pick(&state.departed, self.c / 2);
            if let (Some(departed), true) = (departed, self.a.is_multiple_of(2)) {
                return Some(Command::IndexPurged {
                    uid: departed.uid.clone(),
                    incarnation: departed.incarnation,
                    node: pick(departed.waiting.iter().copied(), self.a)?,
                    node_task: None,
                });
            }
            return Some(Command::CreateIndex(NewIndex {
                uid: uid(name),
                primary_key: None,
                shards: Some(1 + self.a % 8),
                replication_factor: Some(1 + u8::try_from(self.c % 2).expect("small")),
                writer: state.proxies.keys().next_back().copied(),
                task: None,
            }));
        };
        if self.a % 4 == 3 {
            return Some(Command::SettingsEnqueued {
                uid: index.name().clone(),
                incarnation: index.incarnation,
                proxy: index.writer?,
                applied: vec![AppliedSettings {
                    node: self.node(state, self.c),
                    version: 1,
                    node_task: 1,
                }],
                task: None,
            });
        }
        Some(Command::DeleteIndex {
            uid: index.name().clone(),
            incarnation: index.incarnation,
            proxy: index.writer?,
            called: None,
            task: task(TaskKind::IndexDeletion),
        })
    }

    /// A dump of the whole cluster, or what takes one on; now and then by one who saw an earlier attempt.
    fn dumps(self, state: &ClusterState) -> Option<Command> {
        let oldest = state.broadcasts.iter().find(|one| one.cut.is_some());
        let Some((cut, task)) = oldest.and_then(|one| Some((one.cut.as_ref()?, one.task))) else {
            return Some(Command::Broadcast {
                uid: None,
                task: task(TaskKind::DumpCreation),
            });
        };
        let attempt = cut
            .attempts
            .saturating_sub(u32::from(self.a.is_multiple_of(8)));
        let some = || {
            let all = state.nodes.keys().copied();
            all.filter(|node| node.0 % 7 != u64::from(self.c % 7))
        };
        let step = match self.b % 8 {
            0 => CutStep::Release {
                failure: self
                    .c
                    .is_multiple_of(4)
                    .then(|| json!({"message": "too busy"})),
            },
            1 | 2 => CutStep::Hold,
            3..=5 => CutStep::Reached {
                drained: some().collect(),
            },
            _ => CutStep::Sent {
                asked: some().map(|node| (node, 1)).collect(),
            },
        };
        Some(Command::Cut {
            task,
            attempt,
            step,
        })
    }

    fn swaps(self) -> Command {
        let other = if self.b.is_multiple_of(2) {
            "films"
        } else {
            "plays"
        };
        let pair = [uid("books"), uid(other)];
        let (first, second) = (usize::from(self.a % 2), usize::from(1 - self.a % 2));
        let swap = IndexSwap {
            indexes: (pair[first].clone(), pair[second].clone()),
            rename: self.c.is_multiple_of(2),
        };
        Command::SwapIndexes {
            swaps: vec![swap],
            idempotency: None,
        }
    }

    /// A node that forgets what it held of an index, after it was seen to hold it.
    fn losses(self, state: &ClusterState) -> Vec<Command> {
        let Some(index) = self.index(state) else {
            return Vec::new();
        };
        let (uid, incarnation) = (index.name().clone(), index.incarnation);
        let node = self.node(state, self.b);
        let known = index.nodes.get(&node).and_then(|n| n.created_at.clone());
        let created_at = known.unwrap_or_else(|| "then".to_owned());
        vec![
            Command::IndexSeen {
                uid: uid.clone(),
                incarnation,
                node,
                created_at: created_at.clone(),
            },
            Command::IndexLost {
                uid,
                incarnation,
                node,
                created_at,
            },
        ]
    }
}

/// What the operation whose turn it is needs next; every proxy is taken to have moved on.
pub fn plan_operation(state: &ClusterState) -> Option<Command> {
    let (operation, step) = next_step(state)?;
    let moves = match step {
        Step::Move(moves) => moves,
        Step::Complete | Step::CompleteAfterReads(_) => Vec::new(),
        Step::Wait => return None,
    };
    Some(Command::Plan {
        operation: Some(operation),
        moves,
    })
}

/// Another proxy, and the indexes without a writer given to one that lives.
pub fn new_writer(state: &ClusterState, n: u16) -> Vec<Command> {
    let live = state
        .proxies
        .values()
        .filter(|p| !p.lost)
        .map(|p| p.id)
        .collect();
    let assigned = assign_writers(state, &live).into_iter();
    let assign = |(uid, incarnation, proxy): (IndexUid, _, _)| Command::AssignWriter {
        uid,
        incarnation,
        proxy,
    };
    let register = Command::RegisterProxy {
        instance: format!("run-{n}"),
        name: "writer".to_owned(),
        url: "http://writer".to_owned(),
    };
    assigned.map(assign).chain([register]).collect()
}

pub fn task(kind: TaskKind) -> NewTask {
    NewTask {
        kind,
        details: json!({}),
        custom_metadata: None,
        failure: None,
        idempotency: None,
    }
}
