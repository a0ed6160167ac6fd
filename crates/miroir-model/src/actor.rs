//! The migration's actor, on the leader: what it does in each phase, step by step.
//!
//! Reading a document and sending it are two steps, and so are comparing and committing what was found: whatever
//! else happens may happen in between.

use miroir_core::migration::{Event, Phase};

use crate::actions::Action;
use crate::bugs::Bugs;
use crate::state::{Content, Copy, DOCS, Docs, Proxy, State, Task};

/// What is done once A has processed its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// Takes all ids of A and copies the documents.
    CopyAll,
    /// Copies the recorded ids.
    CopyPending,
    /// Compares these documents, one bit each.
    Compare(u8),
    /// Deletes the shard on A.
    Clear,
}

/// Where the actor is in its phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum At {
    /// Before the barrier.
    #[default]
    Start,
    /// Waits for C, and then for A, to process what they had enqueued; then compares these documents.
    DrainBoth(u8),
    /// Waits for A, then goes on.
    DrainSource(Then),
    /// Waits until C is drained, then deletes the shard on it.
    DrainTarget,
    /// Waits until the deletion is processed.
    Clearing,
    /// Documents to copy, one bit each; the next is to be read.
    Read(u8),
    /// What was read is to be sent.
    Send {
        /// Documents to copy after it.
        left: u8,
        /// Which document.
        doc: usize,
        /// What A had.
        content: Content,
    },
    /// A was read, C is next.
    Compare {
        /// What A had.
        of_a: Docs,
        /// The documents to compare, one bit each.
        suspects: u8,
    },
    /// Something is to be committed.
    Conclude(Event),
}

/// The actor's memory. It dies with the leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Actor {
    at: At,
    /// Tasks of the drained node that are still ahead.
    ahead: usize,
    /// The writer since whose session no recorded id can have been lost; without it the whole shard is compared.
    trusted: Option<Proxy>,
    /// Whether what is being copied was found by comparing the whole shard.
    whole: bool,
    /// Whether C missed a write that nobody recorded, and no comparison has begun since.
    missed: bool,
    /// Recorded ids that are still to be copied.
    pending: u8,
}

/// Every document, one bit each.
const WHOLE: u8 = (1 << DOCS) - 1;

impl Actor {
    /// The record has moved on, by an event: what was being done is no longer asked for.
    pub fn restart(&mut self, came_by: Option<Event>) {
        self.at = At::Start;
        // What the target missed was written while nobody recorded.
        self.missed |= came_by == Some(Event::TargetBehind);
        self.ahead = 0;
    }

    /// What is about to be sent to C.
    #[must_use]
    pub fn in_hand(&self) -> Option<Task> {
        match self.at {
            At::Send { doc, content, .. } => Some(Task::Copied { doc, content }),
            At::Start
            | At::DrainBoth(_)
            | At::DrainSource(_)
            | At::DrainTarget
            | At::Clearing
            | At::Read(_)
            | At::Compare { .. }
            | At::Conclude(_) => None,
        }
    }

    /// The bug: the actor of a new leader that believes to know what the old one knew, without knowing it.
    #[must_use]
    pub fn blind_successor(&self) -> Self {
        Self {
            trusted: self.trusted,
            ..Self::default()
        }
    }

    /// A node has processed a task.
    pub fn processed(&mut self, copy: Copy) {
        if self.drains() == Some(copy) {
            self.ahead = self.ahead.saturating_sub(1);
        }
    }

    fn drains(&self) -> Option<Copy> {
        match self.at {
            At::DrainSource(_) => Some(Copy::A),
            At::DrainTarget | At::DrainBoth(_) => Some(Copy::C),
            At::Start
            | At::Clearing
            | At::Read(_)
            | At::Send { .. }
            | At::Compare { .. }
            | At::Conclude(_) => None,
        }
    }
}

/// What the actor may do now.
pub fn actions(state: &State, bugs: Bugs, out: &mut Vec<Action>) {
    let (actor, phase) = (&state.leader.actor, state.log.phase());
    match actor.at {
        At::Start if phase == Phase::Planned => out.push(Action::Conclude(Event::SlotGranted)),
        At::Start if !phase.is_final() && barrier_passed(state, bugs) => out.push(Action::Act),
        At::Start => {}
        At::Clearing => {
            if state.node(cleared(phase)).queue.is_empty() {
                out.push(Action::Act);
            }
        }
        At::Conclude(event) => {
            out.push(Action::Conclude(event));
            let more = event == Event::CaughtUp && state.leader.dirty != 0;
            if event == Event::Mismatch || more {
                out.push(Action::LookAgain);
            }
        }
        At::DrainBoth(_) | At::DrainSource(_) | At::DrainTarget => {
            let skipped = bugs.copy_before_drain && actor.drains() == Some(Copy::A);
            if actor.ahead == 0 || skipped {
                out.push(Action::Act);
            }
        }
        At::Read(_) | At::Send { .. } | At::Compare { .. } => out.push(Action::Act),
    }
    // Whatever takes too long behind a fence lifts it.
    if phase == Phase::Fenced && actor.at != At::Conclude(Event::FenceOverrun) {
        out.push(Action::Conclude(Event::FenceOverrun));
    }
}

/// Whether nobody acts by a table older than the phase.
fn barrier_passed(state: &State, bugs: Bugs) -> bool {
    let barrier = state.log.phase().row().barrier;
    let writes = !barrier.covers_writes()
        || bugs.start_without_write_barrier
        || state.log.table().writer.is_none()
        || state.leader.writes_acknowledged;
    let reads = !barrier.covers_reads()
        || bugs.skip_read_barrier
        || !state.log.is_registered(Proxy::Reader)
        || state.proxy(Proxy::Reader).fresh;
    writes && reads
}

/// The copy that a phase clears.
fn cleared(phase: Phase) -> Copy {
    if phase == Phase::Cleaning {
        Copy::A
    } else {
        Copy::C
    }
}

/// The actor's next step.
pub fn act(state: &mut State, bugs: Bugs) {
    match state.leader.actor.at {
        At::Start => start(state, bugs),
        At::DrainBoth(suspects) => drain_source(state, Then::Compare(suspects)),
        At::DrainTarget => clear(state, Copy::C),
        At::DrainSource(then) => source_drained(state, bugs, then),
        At::Clearing => {
            let cleaned = state.log.phase() != Phase::Preparing;
            let event = if cleaned {
                Event::Cleaned
            } else {
                Event::TargetClean
            };
            go(state, At::Conclude(event));
        }
        At::Read(0) => copied(state, bugs),
        At::Read(left) => {
            let doc = left.trailing_zeros() as usize;
            let left = left & !(1 << doc);
            let content = state.node(Copy::A).docs[doc];
            go(state, At::Send { left, doc, content });
        }
        At::Send { left, doc, content } => {
            state.enqueue(Copy::C, Task::Copied { doc, content });
            go(state, At::Read(left));
        }
        At::Compare { of_a, suspects } => compared(state, of_a, suspects),
        At::Conclude(_) => {}
    }
}

fn go(state: &mut State, at: At) {
    state.leader.actor.at = at;
}

/// Begins to wait for what A has enqueued until now.
fn drain_source(state: &mut State, then: Then) {
    state.leader.actor.ahead = state.node(Copy::A).queue.len();
    go(state, At::DrainSource(then));
}

/// Begins to wait for C, and for A after it.
fn drain_both(state: &mut State, suspects: u8) {
    state.leader.actor.ahead = state.node(Copy::C).queue.len();
    go(state, At::DrainBoth(suspects));
}

/// Deletes the shard, if there is anything of it.
fn clear(state: &mut State, copy: Copy) {
    if state.node(copy).docs != [None; DOCS] {
        state.enqueue(copy, Task::Clear);
    }
    go(state, At::Clearing);
}

/// The barrier is passed.
fn start(state: &mut State, bugs: Bugs) {
    match state.log.phase() {
        Phase::Preparing | Phase::Dropping => {
            state.leader.actor = Actor {
                at: At::DrainTarget,
                ahead: state.node(Copy::C).queue.len(),
                ..Actor::default()
            };
        }
        Phase::Copying => {
            state.leader.actor.trusted = state.writer_in_contact();
            state.leader.actor.pending = 0;
            drain_source(state, Then::CopyAll);
        }
        Phase::CatchingUp => catch_up(state, bugs),
        Phase::Fenced => {
            collect(state, bugs);
            if state.leader.actor.trusted.is_some() {
                drain_source(state, Then::CopyPending);
            } else {
                go(state, At::Conclude(Event::FenceOverrun));
            }
        }
        Phase::Mirroring => drain_both(state, WHOLE),
        Phase::CutOver | Phase::Reversing => go(state, At::Conclude(Event::ReadsMoved)),
        Phase::Holding => go(state, At::Conclude(Event::WindowOver)),
        Phase::Cleaning => drain_source(state, Then::Clear),
        Phase::Planned | Phase::Done | Phase::Cancelled => {}
    }
}

/// One round of catching up: by the recorded ids, or by comparing everything. Without a writer there is no round.
fn catch_up(state: &mut State, bugs: Bugs) {
    if std::mem::take(&mut state.leader.actor.missed) && !bugs.keep_trust_after_miss {
        state.leader.actor.trusted = None;
    }
    collect(state, bugs);
    let writer = state.writer_in_contact();
    let actor = &mut state.leader.actor;
    actor.whole = actor.trusted.is_none();
    if !actor.whole {
        drain_source(state, Then::CopyPending);
    } else if writer.is_some() {
        // Ids recorded from here on count; the session is looked at again before they are used.
        actor.trusted = writer;
        actor.pending = 0;
        drain_both(state, WHOLE);
    }
}

/// Takes what was reported, and notices when some of it may have been lost.
fn collect(state: &mut State, bugs: Bugs) {
    let session = state.writer_in_contact();
    let dirty = std::mem::take(&mut state.leader.dirty);
    let actor = &mut state.leader.actor;
    actor.pending |= dirty;
    if bugs.forget_dirty_on_writer_change && actor.trusted.is_some() {
        actor.trusted = session.or(actor.trusted);
    } else if session != actor.trusted {
        actor.trusted = None;
    }
}

fn source_drained(state: &mut State, bugs: Bugs, then: Then) {
    let of_a = state.node(Copy::A).docs;
    match then {
        Then::CopyAll => {
            let ids = (0..DOCS).filter(|doc| of_a[*doc].is_some());
            let ids = ids.fold(0, |ids, doc| ids | 1 << doc);
            go(state, At::Read(ids));
        }
        Then::CopyPending => go(state, At::Read(state.leader.actor.pending)),
        Then::Compare(_) if bugs.skip_verification && state.log.phase() == Phase::Mirroring => {
            go(state, At::Conclude(Event::Verified));
        }
        Then::Compare(suspects) => go(state, At::Compare { of_a, suspects }),
        Then::Clear => clear(state, Copy::A),
    }
}

/// C is read as well. While catching up, what differs is copied; in a mirror nothing should.
fn compared(state: &mut State, of_a: Docs, suspects: u8) {
    let of_c = state.node(Copy::C).docs;
    let differs = |doc: &usize| suspects & 1 << doc != 0 && of_a[*doc] != of_c[*doc];
    let found = (0..DOCS)
        .filter(differs)
        .fold(0, |found, doc| found | 1 << doc);
    let at = match (state.log.phase(), found) {
        (Phase::Mirroring, 0) => At::Conclude(Event::Verified),
        (Phase::Mirroring, _) => At::Conclude(Event::Mismatch),
        _ => At::Read(found),
    };
    if at == At::Conclude(Event::Mismatch) {
        state.leader.actor.pending = found;
    }
    go(state, at);
}

/// Everything that was to be copied is enqueued on C.
fn copied(state: &mut State, bugs: Bugs) {
    let phase = state.log.phase();
    if phase == Phase::CatchingUp && state.leader.actor.whole {
        return go(state, At::Start);
    }
    state.leader.actor.pending = 0;
    let event = if phase == Phase::Copying {
        Event::Copied
    } else if phase == Phase::CatchingUp {
        Event::CaughtUp
    } else {
        // A writer that was lost meanwhile has taken what it had not reported with it.
        collect(state, bugs);
        let actor = &state.leader.actor;
        let all = actor.trusted.is_some() && actor.pending == 0;
        if all {
            Event::FenceDrained
        } else {
            Event::FenceOverrun
        }
    };
    go(state, At::Conclude(event));
}

/// What was found is not committed: the documents that differ are compared again, for one copy may have been ahead;
/// or another round of catching up begins, for more was written.
pub fn look_again(state: &mut State) {
    if state.log.phase() == Phase::Mirroring {
        let suspects = std::mem::take(&mut state.leader.actor.pending);
        drain_both(state, suspects);
    } else {
        go(state, At::Start);
    }
}

/// A difference that stays: nothing that is known of what was written is trusted.
pub fn distrust(state: &mut State) {
    state.leader.actor.trusted = None;
    state.leader.actor.pending = 0;
}
