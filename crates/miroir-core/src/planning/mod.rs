//! What should happen next in the cluster, decided from its state alone.
//!
//! Planning is re-entrant: asked again on newer state it gives what is still to do, and a plan that the
//! log has outrun is refused by `apply`.

mod drain;
mod explain;
mod future;
mod group;
mod moves;
mod repair;
mod slots;
mod step;
mod writers;

pub use drain::{blocking_drain, is_empty};
pub use explain::{explain_shard, waits_for};
pub use group::{another_is_searched, not_in_sync, only_read_in};
pub use repair::{plan_repair, plan_repair_among};
pub use slots::grantable;
pub use step::{MOVES_MAX, Step, is_due, next_step, plan_operation};
pub use writers::assign_writers;
