//! An exhaustive model of the move protocol: every order in which its steps can happen, within a bound.
//!
//! The committed state is the real one: [`log::Log`] drives `miroir_core`'s `ClusterState` with real commands, and
//! the tables by which modelled proxies route are the real routing tables. So the phase table, what a missed write
//! does, and what the loss of a proxy does are checked as they run. Modelled are the parts that act on it: nodes with
//! their queues, writers with their lanes, a reading proxy, the leader's memory and the migration's actor.
//!
//! `docs/model.md` says what is modelled, what is abstracted, the bound and what was measured.

pub mod actions;
pub mod actor;
pub mod bugs;
pub mod leader;
pub mod log;
pub mod model;
pub mod properties;
pub mod state;
pub mod writer;

pub use bugs::Bugs;
pub use model::{Bound, MoveModel};

/// The steps of a path, one a line, each with the phase that it leads to.
#[must_use]
pub fn steps(path: stateright::Path<state::State, actions::Action>) -> String {
    let line = |(n, (state, action)): (usize, (state::State, Option<actions::Action>))| {
        let action = action.map_or_else(|| "end".to_owned(), |action| format!("{action:?}"));
        format!("{n:>3} [{}] {action}", state.log.phase())
    };
    let lines: Vec<_> = path.into_vec().into_iter().enumerate().map(line).collect();
    lines.join("\n")
}
