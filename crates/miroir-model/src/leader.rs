//! What the leader does about proxies, and how leaders and proxies are lost.

use miroir_core::cluster::Control;
use miroir_core::migration::Event;

use crate::actions::Action;
use crate::actor;
use crate::bugs::Bugs;
use crate::log::Table;
use crate::model::Bound;
use crate::state::{COPIES, Copy, Leader, Proxy, State};

/// What may happen to the leader and to sessions now.
pub fn actions(state: &State, bound: &Bound, out: &mut Vec<Action>) {
    for proxy in Proxy::ALL {
        let known = state.proxy(proxy);
        let newest = known.table == seen_by(state, proxy) && known.fresh;
        if known.contact && !newest && follows(state, proxy) {
            out.push(Action::Follow(proxy));
        }
        let more = state.spent.losses < bound.losses && state.spent.faults() < bound.faults;
        if known.contact && proxy != Proxy::Second && more {
            out.push(Action::Disconnect(proxy));
        }
        if !known.contact && !state.log.is_lost(proxy) {
            out.push(Action::Lose(proxy));
        }
    }
    if state.log.is_lost(Proxy::Reader) && state.log.is_registered(Proxy::Reader) {
        out.push(Action::Forget(Proxy::Reader));
    }
    if state.log.table().writer.is_none() {
        let live = Proxy::WRITERS
            .into_iter()
            .filter(|proxy| state.proxy(*proxy).contact);
        out.extend(live.map(Action::Assign));
    }
    if state.spent.leaders < bound.leaders && state.spent.faults() < bound.faults {
        out.push(Action::LoseLeader);
    }
    if state.spent.orders < bound.orders && state.spent.faults() < bound.faults {
        if state.log.takes(Event::CancelAsked) {
            out.push(Action::Cancel);
        }
        if state.log.takes(Event::ReverseAsked) {
            out.push(Action::Reverse);
        }
    }
    if state.leader.late.is_some() {
        out.push(Action::ArriveLate);
    }
}

/// The newest table, as far as a proxy's part in the model goes: what the reader makes nothing of is left out.
fn seen_by(state: &State, proxy: Proxy) -> Table {
    let table = state.log.table();
    match proxy {
        Proxy::First | Proxy::Second => table,
        Proxy::Reader => Table {
            readable: table.readable,
            shown: table.shown,
            ..state.proxy(Proxy::Reader).table
        },
    }
}

/// A proxy that neither writes nor believes to is not followed any further; modelled writers do not read.
fn follows(state: &State, proxy: Proxy) -> bool {
    let of = |table: Table| proxy == Proxy::Reader || table.writer == Some(proxy);
    of(state.log.table()) || of(state.proxy(proxy).table)
}

/// A proxy goes over to the newest table. For the reader this means that no read by an older one is left.
pub fn follow(state: &mut State, proxy: Proxy) {
    let table = seen_by(state, proxy);
    let known = state.proxy_mut(proxy);
    known.table = table;
    known.fresh = true;
    known.fallen = [false; COPIES];
}

/// A proxy crashes or is cut off. Its lease runs on until it is declared lost.
pub fn disconnect(state: &mut State, proxy: Proxy) {
    state.spent.losses += 1;
    state.proxy_mut(proxy).contact = false;
}

/// The lease has certainly run out, and nothing that was sent before is still on its way.
pub fn lose(state: &mut State, bugs: Bugs, proxy: Proxy) {
    if !bugs.write_past_lease {
        state.proxy_mut(proxy).flights.clear();
    }
    state.proxy_mut(proxy).unreported = 0;
    state.commit(|log| log.lose(proxy));
}

/// A lost proxy has certainly stopped reading.
pub fn forget(state: &mut State, proxy: Proxy) {
    state.commit(|log| log.forget(proxy));
}

/// An operator's order is committed.
pub fn order(state: &mut State, control: Control) {
    state.spent.orders += 1;
    state.commit(|log| log.order(control));
}

/// Another leader begins: it remembers nothing, and waits until what the old one sent has arrived.
pub fn lose_leader(state: &mut State, bugs: Bugs) {
    state.spent.leaders += 1;
    let old = std::mem::take(&mut state.leader);
    if bugs.skip_takeover_wait {
        state.leader.late = old.actor.in_hand();
    }
    if bugs.forget_dirty_on_leader_change {
        state.leader = Leader {
            dirty: 0,
            actor: old.actor.blind_successor(),
            ..state.leader.clone()
        };
    }
}

/// What a deposed leader sent arrives behind the work of its successor.
pub fn arrive_late(state: &mut State) {
    if let Some(task) = state.leader.late.take() {
        state.enqueue(Copy::C, task);
    }
}

/// The actor's observation is committed, or refused and looked at again.
pub fn conclude(state: &mut State, event: Event) {
    if event == Event::Mismatch {
        actor::distrust(state);
    }
    if !state.commit(|log| log.advance(event)) {
        state.leader.actor.restart(None);
    }
}
