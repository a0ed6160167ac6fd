//! The writing proxies: lanes, registration, answers.

use miroir_core::cluster::Rejection;
use miroir_core::migration::Phase;

use crate::actions::Action;
use crate::bugs::Bugs;
use crate::model::Bound;
use crate::state::{COPIES, Content, Copy, DOCS, Flight, Part, Proxy, State, Task, Told};

/// What the writing proxies may do now.
pub fn actions(state: &State, bound: &Bound, out: &mut Vec<Action>) {
    for by in Proxy::WRITERS {
        let proxy = state.proxy(by);
        if may_send(state, by) && !proxy.table.closed && state.spent.writes < bound.writes {
            for doc in 0..usize::from(bound.docs).min(DOCS) {
                out.push(Action::Put(by, doc));
                out.push(Action::Delete(by, doc));
            }
        }
        for (n, flight) in proxy.flights.iter().enumerate() {
            lane_actions(state, bound, (by, n), out);
            if flight.settled {
                out.push(Action::Register(by, n));
            } else if !flight.parts.contains(&Part::Waiting) {
                out.push(Action::Settle(by, n));
            }
        }
        // In other phases nobody asks before the barrier, and by then all is reported.
        if proxy.contact && proxy.unreported != 0 && state.log.phase() == Phase::CatchingUp {
            out.push(Action::Report(by));
        }
        if may_acknowledge(state, by) {
            out.push(Action::Acknowledge(by));
        }
    }
}

fn lane_actions(state: &State, bound: &Bound, (by, n): (Proxy, usize), out: &mut Vec<Action>) {
    let flights = &state.proxy(by).flights;
    for copy in Copy::ALL {
        let at = |flight: &Flight| flight.parts[copy.index()];
        let is_next = flights[..n]
            .iter()
            .all(|earlier| at(earlier) != Part::Waiting);
        let faulty = state.spent.misses < bound.misses && state.spent.faults() < bound.faults;
        match at(&flights[n]) {
            Part::Waiting if is_next => {
                out.push(Action::Arrive(by, n, copy));
                if faulty {
                    out.push(Action::Miss(by, n, copy));
                }
            }
            Part::Took if faulty && !flights[n].settled => {
                out.push(Action::LoseAnswer(by, n, copy));
            }
            Part::None | Part::Waiting | Part::Took | Part::Missed | Part::Doubtful => {}
        }
    }
}

/// Whether a proxy routes writes: its table makes it the writer, and it was not declared lost. That it was not is
/// what its lease is for; while the lease runs it writes without hearing the leader.
fn may_send(state: &State, by: Proxy) -> bool {
    state.proxy(by).table.writer == Some(by) && !state.log.is_lost(by)
}

/// An acknowledgement says that all writes of older tables are registered. It counts when it comes from the writer.
fn may_acknowledge(state: &State, by: Proxy) -> bool {
    let proxy = state.proxy(by);
    let drained = proxy.fresh && proxy.flights.iter().all(|flight| flight.fresh);
    let counts = state.log.table().writer == Some(by) && !state.leader.writes_acknowledged;
    proxy.contact && drained && counts
}

/// Takes a client's write and routes it.
pub fn begin(state: &mut State, by: Proxy, (doc, put): (usize, bool)) {
    state.spent.writes += 1;
    let number = state.spent.writes;
    let content: Content = put.then_some(number);
    state.told[doc].push(Told {
        number,
        content,
        acknowledged: false,
    });
    let proxy = state.proxy_mut(by);
    let parts = proxy
        .table
        .targets
        .map(|target| if target { Part::Waiting } else { Part::None });
    proxy.flights.push(Flight {
        number,
        doc,
        content,
        records: proxy.table.records,
        fresh: proxy.fresh,
        parts,
        settled: false,
        acknowledged: false,
    });
}

/// A node enqueues a write's part.
pub fn arrive(state: &mut State, (by, n): (Proxy, usize), copy: Copy) {
    let flight = &mut state.proxy_mut(by).flights[n];
    flight.parts[copy.index()] = Part::Took;
    let (number, doc, content) = (flight.number, flight.doc, flight.content);
    let task = Task::Write {
        number,
        doc,
        content,
    };
    state.enqueue(copy, task);
}

/// The node does not have it, or its answer is lost.
pub fn fail(state: &mut State, (by, n): (Proxy, usize), copy: Copy, part: Part) {
    state.spent.misses += 1;
    state.proxy_mut(by).flights[n].parts[copy.index()] = part;
}

/// All nodes have answered: the id is recorded, by the table that routed the write or by the newest known, and the
/// answers are judged.
pub fn settle(state: &mut State, bugs: Bugs, (by, n): (Proxy, usize)) {
    let proxy = state.proxy_mut(by);
    let records = proxy.flights[n].records || proxy.table.records;
    let flight = &mut proxy.flights[n];
    if records {
        proxy.unreported |= 1 << flight.doc;
    }
    let has = |part: Part| flight.parts.contains(&part);
    if has(Part::Took) {
        flight.settled = true;
    } else if has(Part::Doubtful) {
        let differ = copies_differ(
            &proxy.flights[n],
            bugs,
            proxy.table.readable,
            proxy.table.targets,
        );
        proxy.flights.remove(n);
        if differ {
            resign(state, by);
        }
    } else {
        // It is certainly nowhere, and the client is told so.
        let flight = proxy.flights.remove(n);
        state.told[flight.doc].retain(|told| told.number != flight.number);
    }
}

/// Whether two copies that may be read differ if those that missed the write stay as they are.
fn copies_differ(
    flight: &Flight,
    bugs: Bugs,
    readable: [bool; COPIES],
    targets: [bool; COPIES],
) -> bool {
    // A copy that takes writes may be read by the newest table, also where the writer does not know it yet.
    let in_use = if bugs.trust_later_comparison {
        readable
    } else {
        targets
    };
    let is = |copy: usize, parts: &[Part]| in_use[copy] && parts.contains(&flight.parts[copy]);
    (0..COPIES).any(|one| {
        is(one, &[Part::Took, Part::Doubtful])
            && (0..COPIES).any(|other| other != one && is(other, &[Part::Missed, Part::Doubtful]))
    })
}

/// Gives the identity up: clients are told nothing, lanes stop, and the leader will declare the proxy lost.
fn resign(state: &mut State, by: Proxy) {
    let proxy = state.proxy_mut(by);
    proxy.contact = false;
    proxy.flights.clear();
    proxy.unreported = 0;
    proxy.table.writer = None;
}

/// The write is committed with the copies that missed it, and its client is answered.
pub fn register(state: &mut State, bugs: Bugs, (by, n): (Proxy, usize)) {
    let flight = state.proxy(by).flights[n].clone();
    let missed: Vec<Copy> = Copy::ALL
        .into_iter()
        .filter(|copy| matches!(flight.parts[copy.index()], Part::Missed | Part::Doubtful))
        .collect();
    if bugs.ack_before_eject && !missed.is_empty() {
        return register_in_two(state, (by, n), &missed);
    }
    let answer = state.commit(|log| log.register(by, &missed));
    state.proxy_mut(by).flights.remove(n);
    match answer {
        Ok(()) => acknowledge_write(state, &flight),
        Err(Rejection::TooFewInSync { .. }) => {
            let table = state.proxy(by).table;
            if copies_differ(&flight, bugs, table.readable, table.targets) {
                resign(state, by);
            }
        }
        // Somebody else writes by now: the client is told that the outcome is unknown.
        Err(_) => {}
    }
}

/// The bug: the client is answered by a first command, the copies are taken out of use by a second.
fn register_in_two(state: &mut State, (by, n): (Proxy, usize), missed: &[Copy]) {
    if state.proxy(by).flights[n].acknowledged {
        state.proxy_mut(by).flights.remove(n);
        for copy in missed {
            state.commit(|log| log.eject(*copy));
        }
    } else if state.commit(|log| log.register(by, &[])).is_ok() {
        let flight = &mut state.proxy_mut(by).flights[n];
        flight.acknowledged = true;
        let flight = flight.clone();
        acknowledge_write(state, &flight);
    }
}

fn acknowledge_write(state: &mut State, flight: &Flight) {
    let told = state.told[flight.doc]
        .iter_mut()
        .find(|told| told.number == flight.number);
    if let Some(told) = told {
        told.acknowledged = true;
    }
}

/// Recorded ids reach the leader.
pub fn report(state: &mut State, by: Proxy) {
    state.leader.dirty |= std::mem::take(&mut state.proxy_mut(by).unreported);
}

/// The present phase is acknowledged; what was recorded goes before.
pub fn acknowledge(state: &mut State, by: Proxy) {
    report(state, by);
    state.leader.writes_acknowledged = true;
}
