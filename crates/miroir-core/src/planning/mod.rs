//! What should happen next in the cluster, decided from its state alone.
//!
//! Planning is re-entrant: asked again on newer state it gives what is still to do, and a plan that the
//! log has outrun is refused by `apply`.

mod moves;
mod slots;
mod writers;

pub use moves::{plan_operation, plan_repair};
pub use slots::grantable;
pub use writers::assign_writers;
