//! The model as the checker sees it.

use miroir_core::cluster::Control;
use miroir_core::migration::Kind;
use stateright::{Model, Property};

use crate::actions::Action;
use crate::bugs::Bugs;
use crate::log::Log;
use crate::state::{COPIES, Copy, DOCS, Leader, Node, Part, ProxyState, Spent, State, Told};
use crate::{actor, leader, properties, writer};

/// How much may happen. The space within it is searched completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Whether the target replaces A, or is one more copy.
    pub kind: Kind,
    /// Documents, 1 or 2. The first is there from the beginning, acknowledged.
    pub docs: u8,
    /// Writes of clients, each a put or a deletion of either document.
    pub writes: u8,
    /// Everything out of the ordinary, together: losses, misses and orders.
    pub faults: u8,
    /// Proxies that crash or are cut off: the first writer, or the reader.
    pub losses: u8,
    /// Leaders that are replaced.
    pub leaders: u8,
    /// Requests or answers lost between a writer and a node.
    pub misses: u8,
    /// Orders of an operator: to cancel, or to put reads back.
    pub orders: u8,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            kind: Kind::Move,
            docs: 1,
            writes: 2,
            faults: 1,
            losses: 1,
            leaders: 1,
            misses: 1,
            orders: 1,
        }
    }
}

/// One shard moves from A to C while clients write and read.
#[derive(Debug, Clone, Copy, Default)]
pub struct MoveModel {
    /// How much may happen.
    pub bound: Bound,
    /// What is done wrong.
    pub bugs: Bugs,
}

impl Model for MoveModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let log = Log::new(self.bound.kind);
        let proxy = ProxyState {
            table: log.table(),
            fresh: false,
            contact: true,
            fallen: [false; COPIES],
            unreported: 0,
            flights: Vec::new(),
        };
        let there = Told {
            number: 0,
            content: Some(0),
            acknowledged: true,
        };
        let absent = Told {
            content: None,
            ..there
        };
        let mut nodes: [Node; COPIES] = std::array::from_fn(|_| Node::default());
        nodes[Copy::A.index()].docs[0] = Some(0);
        let mut told: [Vec<Told>; DOCS] = std::array::from_fn(|_| vec![absent]);
        told[0] = vec![there];
        vec![State {
            log,
            nodes,
            proxies: std::array::from_fn(|_| proxy.clone()),
            leader: Leader::default(),
            told,
            spent: Spent::default(),
        }]
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        writer::actions(state, &self.bound, out);
        leader::actions(state, &self.bound, out);
        actor::actions(state, self.bugs, out);
        let busy = Copy::ALL
            .into_iter()
            .filter(|copy| !state.node(*copy).queue.is_empty());
        out.extend(busy.map(Action::Process));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let (s, bugs) = (&mut state, self.bugs);
        match action {
            Action::Put(by, doc) => writer::begin(s, by, (doc, true)),
            Action::Delete(by, doc) => writer::begin(s, by, (doc, false)),
            Action::Arrive(by, n, copy) => writer::arrive(s, (by, n), copy),
            Action::Miss(by, n, copy) => writer::fail(s, (by, n), copy, Part::Missed),
            Action::LoseAnswer(by, n, copy) => writer::fail(s, (by, n), copy, Part::Doubtful),
            Action::Settle(by, n) => writer::settle(s, bugs, (by, n)),
            Action::Register(by, n) => writer::register(s, bugs, (by, n)),
            Action::Report(by) => writer::report(s, by),
            Action::Acknowledge(by) => writer::acknowledge(s, by),
            Action::Follow(proxy) => leader::follow(s, proxy),
            Action::Disconnect(proxy) => leader::disconnect(s, proxy),
            Action::Lose(proxy) => leader::lose(s, bugs, proxy),
            Action::Forget(proxy) => leader::forget(s, proxy),
            Action::Assign(proxy) => s.commit(|log| log.assign(proxy)),
            Action::Cancel => leader::order(s, Control::Cancel),
            Action::Reverse => leader::order(s, Control::Reverse),
            Action::LoseLeader => leader::lose_leader(s, bugs),
            Action::ArriveLate => leader::arrive_late(s),
            Action::Process(copy) => {
                s.nodes[copy.index()].process();
                s.leader.actor.processed(copy);
            }
            Action::Act => actor::act(s, bugs),
            Action::LookAgain => actor::look_again(s),
            Action::Conclude(event) => leader::conclude(s, event),
        }
        state.prune();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
