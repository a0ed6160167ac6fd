//! A log that tests write commands to.

use miroir_core::cluster::{
    ClusterState, Command, Index, NewIndex, NewTask, NodeSpec, Outcome, Policy, Rejection,
    ReplicaState, TaskKind, TaskPart, Write,
};
use miroir_core::id::{
    GroupId, IndexUid, MigrationId, NodeId, OperationId, ProxyId, ShardId, TaskUid,
};
use miroir_core::migration::{Event, Phase};
use miroir_core::planning::{plan_operation, plan_repair};
use serde_json::json;

/// The proxy that writes every index.
pub const WRITER: ProxyId = ProxyId(1);

/// An index uid.
pub fn uid(text: &str) -> IndexUid {
    IndexUid::parse(text).expect("a valid uid")
}

/// A node as an operator describes it.
pub fn node(url: &str, group: u32, weight: u32) -> NodeSpec {
    NodeSpec {
        url: url.to_owned(),
        group: GroupId(group),
        zone: None,
        weight,
        version: "1.15.0".to_owned(),
    }
}

/// A state and how far its log has got.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub state: ClusterState,
    last: u64,
}

impl Log {
    /// An initialised cluster without nodes.
    pub fn initialised(policy: Policy) -> Self {
        let mut log = Self::default();
        log.apply(&Command::Bootstrap {
            cluster_id: "test".to_owned(),
            policy,
        });
        log
    }

    /// A cluster of `nodes` nodes with the index `books`, written by [`WRITER`].
    pub fn with_books(nodes: u32, shards: u16, rf: u8) -> Self {
        Self::with_policy_and_books(Policy::default(), nodes, shards, rf)
    }

    /// The same, under another policy.
    pub fn with_policy_and_books(policy: Policy, nodes: u32, shards: u16, rf: u8) -> Self {
        let policy = Policy {
            default_shards: shards,
            default_replication_factor: rf,
            ..policy
        };
        let mut log = Self::initialised(policy);
        for n in 1..=nodes {
            log.apply(&Command::AddNode {
                node: node(&format!("http://node-{n}"), 1, 1),
            });
        }
        assert_eq!(log.register_proxy("writer"), WRITER);
        log.plan_everything();
        let created = log.create("books");
        assert!(
            matches!(created, Outcome::IndexCreated { .. }),
            "{created:?}"
        );
        log
    }

    /// Applies a command as the next entry.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        self.last += 1;
        self.state.apply(self.last, self.last * 10, command)
    }

    /// The place in the log of the last entry.
    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn register_proxy(&mut self, name: &str) -> ProxyId {
        let (instance, url) = (name.to_owned(), format!("http://{name}"));
        let outcome = self.apply(&Command::RegisterProxy {
            instance,
            name: name.to_owned(),
            url,
        });
        let Outcome::ProxyRegistered(id) = outcome else {
            panic!("{outcome:?}")
        };
        id
    }

    pub fn create(&mut self, name: &str) -> Outcome {
        self.apply(&Command::CreateIndex(NewIndex {
            uid: uid(name),
            primary_key: Some("id".to_owned()),
            shards: None,
            replication_factor: None,
            writer: Some(WRITER),
            task: None,
        }))
    }

    pub fn index(&self, name: &str) -> &Index {
        &self.state.indexes[&uid(name)]
    }

    /// Plans every operation that can be planned.
    pub fn plan_everything(&mut self) {
        while let Some((operation, moves)) = plan_operation(&self.state) {
            let planned = self.apply(&Command::Plan {
                operation: Some(operation),
                moves,
            });
            assert!(matches!(planned, Outcome::Planned { .. }), "{planned:?}");
        }
    }

    /// Adds a node and answers the first of its migrations.
    pub fn start_a_move(&mut self) -> MigrationId {
        self.apply(&Command::AddNode {
            node: node("http://new", 1, 1),
        });
        self.plan_everything();
        self.state
            .unfinished_migrations()
            .next()
            .expect("something moves")
            .id
    }

    /// The oldest migration that is not finished.
    pub fn first_unfinished(&self) -> Option<MigrationId> {
        self.state
            .unfinished_migrations()
            .next()
            .map(|record| record.id)
    }

    pub fn advance(&mut self, id: MigrationId, event: Event) {
        let step = self.state.migrations[&id].step;
        let advanced = self.apply(&Command::Advance { id, step, event });
        assert!(matches!(advanced, Outcome::Advanced(_)), "{advanced:?}");
    }

    /// Advances a migration without trouble until it is in `phase`.
    pub fn advance_to(&mut self, id: MigrationId, phase: Phase) {
        while self.state.migrations[&id].phase != phase {
            let event = match self.state.migrations[&id].phase {
                Phase::Planned => Event::SlotGranted,
                Phase::Preparing => Event::TargetClean,
                Phase::Copying => Event::Copied,
                Phase::CatchingUp => Event::CaughtUp,
                Phase::Fenced => Event::FenceDrained,
                Phase::Mirroring => Event::Verified,
                Phase::CutOver => Event::ReadsMoved,
                Phase::Holding => Event::WindowOver,
                Phase::Cleaning => Event::Cleaned,
                Phase::Reversing => Event::ReadsMoved,
                Phase::Dropping => Event::Cleaned,
                Phase::Done | Phase::Cancelled => panic!("{phase} is not ahead"),
            };
            self.advance(id, event);
        }
    }

    /// Copies of shards on each node, in order of node.
    pub fn copies_by_node(&self) -> Vec<usize> {
        let holds = |node: NodeId| {
            self.index("books")
                .placement
                .iter()
                .filter(|s| s.on(node).is_some())
                .count()
        };
        self.state.nodes.keys().map(|node| holds(*node)).collect()
    }

    /// Invariant 2: of every shard and group exactly as many copies are read as there should be.
    pub fn check_every_shard_is_read_once(&self) {
        for (shard, placement) in self.index("books").shards() {
            assert_eq!(
                placement.readable().count(),
                1,
                "shard {shard}: {placement:?}"
            );
        }
    }
}

/// A write of one document.
fn document_write(log: &Log, missed: Vec<(ShardId, NodeId)>) -> Write {
    Write {
        uid: uid("books"),
        incarnation: log.index("books").incarnation,
        task: NewTask {
            kind: TaskKind::DocumentAdditionOrUpdate,
            details: json!({"receivedDocuments": 1}),
            custom_metadata: None,
            failure: None,
            idempotency: None,
        },
        parts: vec![TaskPart {
            node: NodeId(1),
            node_task: 7,
            counts: true,
        }],
        missed,
    }
}

/// Registers a write that some copies missed.
pub fn register(
    log: &mut Log,
    proxy: ProxyId,
    missed: Vec<(ShardId, NodeId)>,
) -> Result<TaskUid, Rejection> {
    let write = document_write(log, missed);
    let outcome = log.apply(&Command::RegisterWrites {
        proxy,
        writes: vec![write],
    });
    let Outcome::WritesRegistered(mut results) = outcome else {
        panic!("{outcome:?}")
    };
    results.remove(0)
}

/// Applies a command that has to be refused, and checks that it changed nothing.
pub fn refused(log: &mut Log, command: &Command) -> Rejection {
    let before = log.state.clone();
    let outcome = log.apply(command);
    let Outcome::Rejected(rejection) = outcome else {
        panic!("{command:?} answered {outcome:?}")
    };
    assert_eq!(log.state, before, "{command:?} changed the state");
    rejection
}

/// Applies a command that begins an operation.
pub fn accepted(log: &mut Log, command: &Command) -> OperationId {
    let outcome = log.apply(command);
    let Outcome::Accepted(operation) = outcome else {
        panic!("{command:?} answered {outcome:?}")
    };
    operation
}

/// A change of how many copies `books` has.
pub fn copies(replication_factor: u8) -> Command {
    Command::ChangeReplicationFactor {
        uid: uid("books"),
        replication_factor,
    }
}

impl Log {
    /// Has actors and planner do everything there is to do, without trouble.
    pub fn finish_everything(&mut self) {
        self.plan_everything();
        while let Some(id) = self.first_unfinished() {
            let event = crate::walk::forward(self.state.migrations[&id].phase);
            self.advance(id, event.expect("not finished"));
            self.plan_everything();
        }
    }

    /// Plans the repairs there are and answers the first of their migrations.
    pub fn plan_repairs(&mut self) -> MigrationId {
        let planned = self.apply(&Command::Plan {
            operation: None,
            moves: plan_repair(&self.state),
        });
        let Outcome::Planned { migrations, .. } = planned else {
            panic!("{planned:?}")
        };
        migrations[0]
    }

    /// A node that held `books` says that it knows nothing of it.
    pub fn forgets(&mut self, node: NodeId) {
        let incarnation = self.index("books").incarnation;
        let created_at = "then".to_owned();
        self.apply(&Command::IndexSeen {
            uid: uid("books"),
            incarnation,
            node,
            created_at: created_at.clone(),
        });
        let lost = self.apply(&Command::IndexLost {
            uid: uid("books"),
            incarnation,
            node,
            created_at,
        });
        assert_eq!(lost, Outcome::Done);
    }

    /// The state of the copy of a shard on a node.
    pub fn copy(&self, shard: ShardId, node: NodeId) -> Option<ReplicaState> {
        let placement = self.index("books").shard(shard)?;
        placement.on(node).map(|copy| copy.state)
    }
}
