//! What there is: nodes, proxies, the leader's memory, and what clients were told.

use std::collections::VecDeque;

use miroir_core::cluster::ReplicaState;

use crate::actor::Actor;
use crate::log::{Log, Table};

/// Copies of the moving shard.
pub const COPIES: usize = 2;
/// Proxies: two that may write, one that reads.
pub const PROXIES: usize = 3;
/// Most documents.
pub const DOCS: usize = 2;

/// One of the two copies, or the node that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Copy {
    /// The source.
    A,
    /// The target.
    C,
}

impl Copy {
    /// Both.
    pub const ALL: [Self; COPIES] = [Self::A, Self::C];

    /// Its place in arrays.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// The writer at first.
    First,
    /// Its successor.
    Second,
    /// The one that only reads.
    Reader,
}

impl Proxy {
    /// All of them.
    pub const ALL: [Self; PROXIES] = [Self::First, Self::Second, Self::Reader];
    /// Those that may write.
    pub const WRITERS: [Self; 2] = [Self::First, Self::Second];

    /// Its place in arrays.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A document's content: the number of the write that put it, 0 for what was there before all; `None` for absent.
pub type Content = Option<u8>;
/// What a copy holds, by document.
pub type Docs = [Content; DOCS];

/// What a node has enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// A client's write, by its number.
    Write {
        /// Its number.
        number: u8,
        /// Which document.
        doc: usize,
        /// What it makes of it.
        content: Content,
    },
    /// A document as the actor read it on A.
    Copied {
        /// Which document.
        doc: usize,
        /// What it was.
        content: Content,
    },
    /// The deletion of the shard.
    Clear,
}

/// A node: what it shows, and what it will process, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// What searches find.
    pub docs: Docs,
    /// What is enqueued.
    pub queue: VecDeque<Task>,
}

impl Node {
    /// Processes the oldest task.
    pub fn process(&mut self) {
        if let Some(task) = self.queue.pop_front() {
            run(&mut self.docs, task);
        }
    }

    /// What it will hold once everything is processed.
    #[must_use]
    pub fn settled(&self) -> Docs {
        let mut docs = self.docs;
        for task in &self.queue {
            run(&mut docs, *task);
        }
        docs
    }
}

fn run(docs: &mut Docs, task: Task) {
    match task {
        Task::Write { doc, content, .. } | Task::Copied { doc, content } => docs[doc] = content,
        Task::Clear => *docs = [None; DOCS],
    }
}

/// How far a write has got at one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// It is not for this copy.
    None,
    /// It waits in the lane.
    Waiting,
    /// The node has enqueued it and said so.
    Took,
    /// The node certainly does not have it.
    Missed,
    /// The node has it, but its answer was lost: the copy is treated as one that missed it.
    Doubtful,
}

/// A write under way at its writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Its number.
    pub number: u8,
    /// Which document.
    pub doc: usize,
    /// What it makes of it.
    pub content: Content,
    /// Whether the table that routes it records dirty ids.
    pub records: bool,
    /// Whether that table is of the present phase, or newer than it.
    pub fresh: bool,
    /// How far it has got.
    pub parts: [Part; COPIES],
    /// Whether all nodes have answered, and it waits for its registration.
    pub settled: bool,
    /// Whether the client has its answer already, which only a bug makes true.
    pub acknowledged: bool,
}

/// What a proxy knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyState {
    /// The table that it routes by. The reader's stands for the oldest that any of its reads goes by.
    pub table: Table,
    /// Whether that table is of the present phase, or newer than it.
    pub fresh: bool,
    /// Copies that were taken out of use since that table was made. Counted for the reader alone.
    pub fallen: [bool; COPIES],
    /// Whether it hears the leader.
    pub contact: bool,
    /// Ids that it recorded and has not reported, one bit each.
    pub unreported: u8,
    /// The writes under way, oldest first.
    pub flights: Vec<Flight>,
}

/// What the leader remembers. It dies with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Leader {
    /// Whether the writer has acknowledged the present phase.
    pub writes_acknowledged: bool,
    /// Ids that were reported and not taken by the actor.
    pub dirty: u8,
    /// The migration's actor.
    pub actor: Actor,
    /// What a deposed leader sent and what has not arrived yet; only a bug lets it.
    pub late: Option<Task>,
}

/// A write as its client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Told {
    /// Its number.
    pub number: u8,
    /// What it makes of the document.
    pub content: Content,
    /// Whether it was acknowledged.
    pub acknowledged: bool,
}

/// What has been spent of the bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Writes begun.
    pub writes: u8,
    /// Proxies lost.
    pub losses: u8,
    /// Leaders lost.
    pub leaders: u8,
    /// Answers or requests lost between a writer and a node.
    pub misses: u8,
    /// Orders of an operator.
    pub orders: u8,
}

impl Spent {
    /// Everything out of the ordinary.
    #[must_use]
    pub fn faults(self) -> u8 {
        self.losses + self.leaders + self.misses + self.orders
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// What is committed.
    pub log: Log,
    /// The nodes of A and C.
    pub nodes: [Node; COPIES],
    /// The proxies.
    pub proxies: [ProxyState; PROXIES],
    /// The leader.
    pub leader: Leader,
    /// By document, every write that may still show, oldest first.
    pub told: [Vec<Told>; DOCS],
    /// What has been spent of the bound.
    pub spent: Spent,
}

impl State {
    /// A copy's node.
    #[must_use]
    pub fn node(&self, copy: Copy) -> &Node {
        &self.nodes[copy.index()]
    }

    /// A proxy.
    #[must_use]
    pub fn proxy(&self, proxy: Proxy) -> &ProxyState {
        &self.proxies[proxy.index()]
    }

    /// A proxy, to be changed.
    pub fn proxy_mut(&mut self, proxy: Proxy) -> &mut ProxyState {
        &mut self.proxies[proxy.index()]
    }

    /// The committed writer, if the leader has a session with it.
    #[must_use]
    pub fn writer_in_contact(&self) -> Option<Proxy> {
        let writer = self.log.table().writer?;
        self.proxy(writer).contact.then_some(writer)
    }

    /// Changes the log and lets everybody notice: after a change of phase no table is of the present phase, and the
    /// actor begins anew. Where no barrier will ask, tables count as fresh: what makes no difference makes no state.
    pub fn commit<T>(&mut self, change: impl FnOnce(&mut Log) -> T) -> T {
        let (step, writer) = (self.log.step(), self.log.table().writer);
        let answer = change(&mut self.log);
        if self.log.step() != step {
            let barrier = self.log.phase().row().barrier;
            for by in Proxy::WRITERS {
                let proxy = self.proxy_mut(by);
                proxy.fresh = !barrier.covers_writes();
                proxy
                    .flights
                    .iter_mut()
                    .for_each(|flight| flight.fresh = !barrier.covers_writes());
            }
            self.proxy_mut(Proxy::Reader).fresh = !barrier.covers_reads();
            self.leader.writes_acknowledged = !barrier.covers_writes();
            let came_by = self.log.history().last().map(|change| change.event);
            self.leader.actor.restart(came_by);
        }
        if self.log.table().writer != writer {
            self.leader.writes_acknowledged = false;
        }
        for copy in Copy::ALL {
            let state = self.log.copy(copy);
            let out = matches!(state, Some(ReplicaState::Building | ReplicaState::Stale));
            let reader = self.proxy_mut(Proxy::Reader);
            reader.fallen[copy.index()] |= out && reader.table.readable[copy.index()];
        }
        answer
    }

    /// Puts a task into a node's queue.
    pub fn enqueue(&mut self, copy: Copy, task: Task) {
        self.nodes[copy.index()].queue.push_back(task);
    }

    /// Whether some node has not processed a write yet.
    #[must_use]
    pub fn is_queued(&self, number: u8) -> bool {
        let of_write = |task: &Task| matches!(task, Task::Write { number: n, .. } if *n == number);
        self.nodes
            .iter()
            .any(|node| node.queue.iter().any(of_write))
    }

    /// Forgets writes that a later one, which a client knows to be done, has replaced for good.
    pub fn prune(&mut self) {
        for doc in 0..DOCS {
            let done = |told: &Told| told.acknowledged && !self.is_queued(told.number);
            let newest = self.told[doc]
                .iter()
                .filter(|told| done(told))
                .map(|told| told.number)
                .max();
            if let Some(newest) = newest {
                self.told[doc].retain(|told| told.number >= newest);
            }
        }
    }
}
