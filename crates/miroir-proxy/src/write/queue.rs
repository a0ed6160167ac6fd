//! The order of one index's writes, shard by shard. A pure data structure.
//!
//! Every operation takes a ticket and stands in the line of each shard it touches. A shard's line moves only at
//! its head, so a part that is held keeps later parts of its own shard waiting, and no others. What touches all
//! shards stands in every line and goes when it is at the head of all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use miroir_core::id::ShardId;

/// An operation's place in the order of arrival.
pub(super) type Ticket = u64;

/// What an operation touches, and how it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Some shards, each on its own.
    Shards(BTreeSet<ShardId>),
    /// All shards, together.
    All,
    /// All shards, together, and later operations wait until it is [finished](Queue::finish).
    Step,
    /// As `Step`, and it waits until everything before it is registered. No fence holds it.
    Alone,
}

/// Parts that may be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    /// The operation.
    pub(super) ticket: Ticket,
    /// The shards whose parts may go.
    pub(super) shards: Vec<ShardId>,
    /// Whether no part of it is left waiting.
    pub(super) last: bool,
}

#[derive(Debug)]
struct Waiting {
    scope: Scope,
    /// Lines it still stands in.
    lines: usize,
    /// It was handed out and is not finished.
    working: bool,
}

/// The lines of one index.
#[derive(Debug)]
pub(super) struct Queue {
    lines: Vec<VecDeque<Ticket>>,
    waiting: BTreeMap<Ticket, Waiting>,
}

impl Queue {
    /// Empty lines for an index of `shard_count` shards.
    pub(super) fn new(shard_count: u16) -> Self {
        Self {
            lines: vec![VecDeque::new(); usize::from(shard_count)],
            waiting: BTreeMap::new(),
        }
    }

    /// Adds an operation. Tickets must grow. Shards the index does not have are left out.
    pub(super) fn push(&mut self, ticket: Ticket, scope: Scope) {
        debug_assert!(
            self.waiting
                .last_key_value()
                .is_none_or(|(last, _)| *last < ticket)
        );
        let mut lines = 0;
        for (line, shard) in self.lines.iter_mut().zip((0..=u16::MAX).map(ShardId)) {
            let touched = match &scope {
                Scope::Shards(shards) => shards.contains(&shard),
                Scope::All | Scope::Step | Scope::Alone => true,
            };
            if touched {
                line.push_back(ticket);
                lines += 1;
            }
        }
        if lines > 0 {
            self.waiting.insert(
                ticket,
                Waiting {
                    scope,
                    lines,
                    working: false,
                },
            );
        }
    }

    /// Takes out everything that may go now, in order of arrival. `open` tells whether a shard takes writes;
    /// `quiet` whether every operation taken before is registered.
    pub(super) fn take(
        &mut self,
        open: impl Fn(ShardId) -> bool,
        quiet: impl Fn() -> bool,
    ) -> Vec<Ready> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut heads: BTreeSet<Ticket> = self
            .lines
            .iter()
            .filter_map(|line| line.front().copied())
            .collect();
        while let Some(ticket) = heads.pop_first() {
            let at_head: Vec<ShardId> = self.at_head(ticket);
            let Some(waiting) = self.waiting.get_mut(&ticket) else {
                continue;
            };
            let of_all = || at_head.len() == waiting.lines;
            let all_open = || at_head.iter().all(|shard| open(*shard));
            let shards = match waiting.scope {
                _ if waiting.working => continue,
                Scope::Shards(_) => at_head.into_iter().filter(|shard| open(*shard)).collect(),
                Scope::All if of_all() && all_open() => at_head,
                Scope::Step if of_all() && all_open() => at_head,
                Scope::Alone if of_all() && ready.is_empty() && quiet() => at_head,
                Scope::All | Scope::Step | Scope::Alone => continue,
            };
            if shards.is_empty() {
                continue;
            }
            if matches!(waiting.scope, Scope::Step | Scope::Alone) {
                waiting.working = true;
                ready.push(Ready {
                    ticket,
                    shards,
                    last: true,
                });
                continue;
            }
            waiting.lines -= shards.len();
            let last = waiting.lines == 0;
            if last {
                self.waiting.remove(&ticket);
            }
            for shard in &shards {
                let line = &mut self.lines[usize::from(shard.0)];
                line.pop_front();
                heads.extend(line.front());
            }
            ready.push(Ready {
                ticket,
                shards,
                last,
            });
        }
        ready
    }

    /// Operations of which some part still waits, in order of arrival.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Ticket> {
        self.waiting.keys().copied()
    }

    /// Lets operations behind a `Step` or `Alone` go on.
    pub(super) fn finish(&mut self, ticket: Ticket) {
        self.cancel(ticket);
    }

    /// Takes an operation out of every line it still stands in.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        if self.waiting.remove(&ticket).is_some() {
            for line in &mut self.lines {
                line.retain(|other| *other != ticket);
            }
        }
    }

    fn at_head(&self, ticket: Ticket) -> Vec<ShardId> {
        let heads = self.lines.iter().zip((0..=u16::MAX).map(ShardId));
        heads
            .filter(|(line, _)| line.front() == Some(&ticket))
            .map(|(_, shard)| shard)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shards(shards: &[u16]) -> Scope {
        Scope::Shards(shards.iter().copied().map(ShardId).collect())
    }

    fn go(queue: &mut Queue, closed: &[u16], quiet: bool) -> Vec<(Ticket, Vec<u16>, bool)> {
        let ready = queue.take(|shard| !closed.contains(&shard.0), || quiet);
        ready
            .into_iter()
            .map(|r| (r.ticket, r.shards.iter().map(|s| s.0).collect(), r.last))
            .collect()
    }

    #[test]
    fn a_fence_holds_the_parts_of_its_shard_only() {
        let mut queue = Queue::new(3);
        queue.push(1, shards(&[0, 1]));
        queue.push(2, shards(&[1]));
        queue.push(3, shards(&[2]));
        assert_eq!(
            go(&mut queue, &[1], false),
            [(1, vec![0], false), (3, vec![2], true)]
        );
        assert_eq!(go(&mut queue, &[1], false), []);
        assert_eq!(
            go(&mut queue, &[], false),
            [(1, vec![1], true), (2, vec![1], true)]
        );
        assert_eq!(queue.waiting().next(), None);
    }

    #[test]
    fn what_touches_all_waits_for_all_and_holds_what_comes_after() {
        let mut queue = Queue::new(2);
        queue.push(1, shards(&[1]));
        queue.push(2, Scope::All);
        queue.push(3, shards(&[0]));
        assert_eq!(go(&mut queue, &[1], false), []);
        assert_eq!(
            go(&mut queue, &[], false),
            [
                (1, vec![1], true),
                (2, vec![0, 1], true),
                (3, vec![0], true)
            ]
        );
    }

    #[test]
    fn a_step_goes_alone_until_it_is_finished() {
        let mut queue = Queue::new(2);
        queue.push(1, Scope::Step);
        queue.push(2, shards(&[0]));
        assert_eq!(go(&mut queue, &[0], false), []);
        assert_eq!(go(&mut queue, &[], false), [(1, vec![0, 1], true)]);
        assert_eq!(go(&mut queue, &[], false), [], "handed out once");
        queue.finish(1);
        assert_eq!(go(&mut queue, &[], false), [(2, vec![0], true)]);
    }

    #[test]
    fn what_goes_alone_waits_until_all_before_it_is_registered() {
        let mut queue = Queue::new(1);
        queue.push(1, shards(&[0]));
        queue.push(2, Scope::Alone);
        assert_eq!(go(&mut queue, &[], true), [(1, vec![0], true)]);
        assert_eq!(go(&mut queue, &[], false), []);
        assert_eq!(
            go(&mut queue, &[0], true),
            [(2, vec![0], true)],
            "a fence does not hold it"
        );
    }

    #[test]
    fn a_cancelled_operation_lets_the_next_go() {
        let mut queue = Queue::new(2);
        queue.push(1, Scope::All);
        queue.push(2, shards(&[0]));
        assert_eq!(go(&mut queue, &[1], false), []);
        queue.cancel(1);
        assert_eq!(go(&mut queue, &[1], false), [(2, vec![0], true)]);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Push(Scope),
        Close(u16),
        Open(u16),
    }

    const SHARDS: u16 = 4;

    fn event() -> impl Strategy<Value = Event> {
        let some =
            proptest::collection::btree_set((0..SHARDS).prop_map(ShardId), 1..=usize::from(SHARDS));
        prop_oneof![
            4 => some.prop_map(|shards| Event::Push(Scope::Shards(shards))),
            1 => Just(Event::Push(Scope::All)),
            1 => Just(Event::Push(Scope::Step)),
            2 => (0..SHARDS).prop_map(Event::Close),
            2 => (0..SHARDS).prop_map(Event::Open),
        ]
    }

    proptest! {
        /// Whatever is fenced when: every part goes exactly once, each shard in order of arrival, never
        /// through a closed shard, and what touches all shards goes at once.
        #[test]
        fn order_is_kept_whatever_is_fenced(events in proptest::collection::vec(event(), 1..60)) {
            let mut queue = Queue::new(SHARDS);
            let mut closed = BTreeSet::new();
            let mut scopes: BTreeMap<Ticket, Scope> = BTreeMap::new();
            let mut went: Vec<Vec<Ticket>> = vec![Vec::new(); usize::from(SHARDS)];
            let mut drive = |queue: &mut Queue, closed: &BTreeSet<u16>, scopes: &BTreeMap<Ticket, Scope>| {
                loop {
                    let ready = queue.take(|shard| !closed.contains(&shard.0), || false);
                    if ready.is_empty() {
                        return Ok(());
                    }
                    for one in ready {
                        for shard in &one.shards {
                            prop_assert!(!closed.contains(&shard.0));
                            went[usize::from(shard.0)].push(one.ticket);
                        }
                        let scope = &scopes[&one.ticket];
                        if !matches!(scope, Scope::Shards(_)) {
                            prop_assert_eq!(one.shards.len(), usize::from(SHARDS));
                        }
                        if *scope == Scope::Step {
                            queue.finish(one.ticket);
                        }
                    }
                }
            };
            let mut ticket = 0;
            for event in events {
                match event {
                    Event::Push(scope) => {
                        ticket += 1;
                        scopes.insert(ticket, scope.clone());
                        queue.push(ticket, scope);
                    }
                    Event::Close(shard) => { closed.insert(shard); }
                    Event::Open(shard) => { closed.remove(&shard); }
                }
                drive(&mut queue, &closed, &scopes)?;
            }
            drive(&mut queue, &BTreeSet::new(), &scopes)?;
            for (line, shard) in went.iter().zip((0..SHARDS).map(ShardId)) {
                let touches = |scope: &Scope| match scope {
                    Scope::Shards(shards) => shards.contains(&shard),
                    Scope::All | Scope::Step | Scope::Alone => true,
                };
                let expected: Vec<Ticket> =
                    scopes.iter().filter(|(_, scope)| touches(scope)).map(|(ticket, _)| *ticket).collect();
                prop_assert_eq!(line, &expected);
            }
        }
    }
}
