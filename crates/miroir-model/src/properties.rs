//! What must always hold, and what must be possible, lest the model be empty.

use miroir_core::cluster::ReplicaState;
use miroir_core::migration::{Event, Phase};
use stateright::Property;

use crate::model::MoveModel;
use crate::state::{Content, Copy, DOCS, Docs, Proxy, State, Task, Told};

/// An acknowledged write is on every copy in sync, or will be when its node has processed its queue.
pub const ACKNOWLEDGED: &str = "an acknowledged write is on every copy in sync";
/// Copies in sync hold the same once nothing is under way.
pub const EQUAL: &str = "copies in sync are equal";
/// A search shows each document as often as it exists, and nothing older than what is known to be done.
pub const READS: &str = "a search shows every document once";
/// No read goes to a copy that is given up for another, or deleted.
pub const CLEANED: &str = "a copy is deleted only after every reader has left it";
/// Only the committed writer can have a write registered, and routes never go back.
pub const ONE_WRITER: &str = "writers never overlap";
/// In a finished move C holds every acknowledged write and A nothing; in a cancelled one C holds nothing.
pub const DONE: &str = "done means moved, cancelled means undone";

/// The properties of the protocol.
#[must_use]
pub fn all() -> Vec<Property<MoveModel>> {
    vec![
        Property::always(ACKNOWLEDGED, |_, state: &State| {
            acknowledged_writes_are_kept(state)
        }),
        Property::always(EQUAL, |_, state: &State| copies_in_sync_are_equal(state)),
        Property::always(READS, |_, state: &State| searches_are_right(state)),
        Property::always(CLEANED, |_, state: &State| {
            nobody_reads_what_was_given_up(state)
        }),
        Property::always(ONE_WRITER, |_, state: &State| writers_do_not_overlap(state)),
        Property::always(DONE, |_, state: &State| done_means_moved(state)),
        Property::sometimes("a move is done", |_, state: &State| {
            state.log.phase() == Phase::Done
        }),
        Property::sometimes("a fence is lifted", |_, state: &State| {
            happened(state, Event::FenceOverrun)
        }),
        Property::sometimes(
            "a move goes back for a missed write or a lost writer",
            |_, state: &State| happened(state, Event::TargetBehind),
        ),
        Property::sometimes(
            "a move is done after its writer was lost",
            |_, state: &State| state.log.phase() == Phase::Done && state.log.is_lost(Proxy::First),
        ),
        Property::sometimes(
            "a move is done after its leader was lost",
            |_, state: &State| state.log.phase() == Phase::Done && state.spent.leaders > 0,
        ),
        Property::sometimes("reads are put back", |_, state: &State| {
            state.log.phase() == Phase::Reversing
        }),
        Property::sometimes("a move is undone", |_, state: &State| {
            state.log.phase() == Phase::Cancelled
        }),
        Property::sometimes("a write is behind the move", |_, state: &State| {
            let mut told = state.told.iter().flatten();
            state.log.phase() == Phase::Done
                && told.any(|told| told.acknowledged && told.number > 0)
        }),
    ]
}

fn happened(state: &State, event: Event) -> bool {
    state
        .log
        .history()
        .iter()
        .any(|change| change.event == event)
}

/// Whether a document may be so: as the newest write left it that satisfies `counts`, or any later one.
fn is_allowed(told: &[Told], content: Content, counts: impl Fn(&Told) -> bool) -> bool {
    let newest = told
        .iter()
        .filter(|told| counts(told))
        .map(|told| told.number)
        .max();
    let since = newest.unwrap_or_default();
    told.iter()
        .any(|told| told.number >= since && told.content == content)
}

fn keeps_acknowledged(state: &State, copy: Copy) -> bool {
    let docs = state.node(copy).settled();
    (0..DOCS).all(|doc| is_allowed(&state.told[doc], docs[doc], |told| told.acknowledged))
}

fn acknowledged_writes_are_kept(state: &State) -> bool {
    let in_sync = |copy: &Copy| state.log.copy(*copy) == Some(ReplicaState::InSync);
    Copy::ALL
        .into_iter()
        .filter(in_sync)
        .all(|copy| keeps_acknowledged(state, copy))
}

/// A write that is under way may be on one copy only, and so may that of a writer whose lease has not run out yet.
fn copies_in_sync_are_equal(state: &State) -> bool {
    let both = Copy::ALL
        .into_iter()
        .all(|copy| state.log.copy(copy) == Some(ReplicaState::InSync));
    let quiet = Proxy::WRITERS.into_iter().all(|by| {
        let proxy = state.proxy(by);
        proxy.flights.is_empty() && (proxy.contact || state.log.is_lost(by))
    });
    !both || !quiet || state.node(Copy::A).settled() == state.node(Copy::C).settled()
}

/// Whatever copy the reader prefers, no document is found twice, and what is found is no older than what is known to
/// be done.
fn searches_are_right(state: &State) -> bool {
    let table = state.proxy(Proxy::Reader).table;
    let right = |preferred: Copy| {
        let Some(shown) = table.shown[preferred.index()] else {
            return false;
        };
        let asked: Vec<Docs> = Copy::ALL
            .into_iter()
            .filter(|copy| shown[copy.index()])
            .map(|copy| state.node(copy).docs)
            .collect();
        let mut readable = [preferred].into_iter().chain(Copy::ALL);
        let chosen = readable.find(|copy| table.readable[copy.index()]);
        (0..DOCS).all(|doc| is_found_once(state, doc, (&asked, chosen)))
    };
    !reads(state) || Copy::ALL.into_iter().all(right)
}

/// A copy that was taken out of use since the reader's table was made may show an older state: the table that does it
/// is committed first, but a write that the copy lacks is acknowledged without waiting for readers to hear of it.
fn is_found_once(state: &State, doc: usize, (asked, chosen): (&[Docs], Option<Copy>)) -> bool {
    let mut found = asked.iter().filter_map(|docs| docs[doc]);
    let content = found.next();
    let once = found.next().is_none();
    let done = |told: &Told| told.acknowledged && !state.is_queued(told.number);
    let fallen = state.proxy(Proxy::Reader).fallen;
    let late = chosen.is_some_and(|copy| fallen[copy.index()]);
    once && (late || is_allowed(&state.told[doc], content, done))
}

fn reads(state: &State) -> bool {
    state.log.is_registered(Proxy::Reader)
}

fn nobody_reads_what_was_given_up(state: &State) -> bool {
    let table = state.proxy(Proxy::Reader).table;
    let fallen = state.proxy(Proxy::Reader).fallen;
    let given_up = |copy: Copy| {
        let gone = state.log.copy(copy).is_none() && !fallen[copy.index()];
        gone || state.node(copy).queue.contains(&Task::Clear)
    };
    let mut read = Copy::ALL
        .into_iter()
        .filter(|copy| table.readable[copy.index()]);
    !reads(state) || !read.any(given_up)
}

fn writers_do_not_overlap(state: &State) -> bool {
    let writer = state.log.table().writer;
    Proxy::WRITERS
        .into_iter()
        .all(|by| state.proxy(by).flights.is_empty() || writer == Some(by))
}

fn done_means_moved(state: &State) -> bool {
    let replaced = state.log.copy(Copy::A).is_none();
    let done = state.log.phase() == Phase::Done && replaced;
    let empty = state.node(Copy::A).settled() == [None; DOCS];
    let in_sync = state.log.copy(Copy::C) == Some(ReplicaState::InSync);
    let moved = empty && in_sync && keeps_acknowledged(state, Copy::C);
    let undone = state.node(Copy::C).settled() == [None; DOCS];
    (!done || moved) && (state.log.phase() != Phase::Cancelled || undone)
}
