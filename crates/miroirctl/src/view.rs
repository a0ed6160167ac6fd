//! The documents that commands print. Their fields are an interface for scripts: snake case, ids
//! as numbers, states and phases under the names of the documentation, `null` for what is not known.

mod change;
mod cluster;
mod dump;
mod index;
mod migration;
mod node;
mod operation;
mod place;
mod verification;
mod watched;

pub use change::Changed;
pub use cluster::{Coordinators, EndpointStatus, Initialised, Proxies, Status};
pub use dump::DumpShown;
pub use index::{IndexShown, Indexes};
pub use migration::{MigrationShown, Migrations};
pub use node::{Added, Groups, NodeShown, Nodes};
pub use operation::{OperationShown, Operations};
pub use place::{Explained, PolicyShown, Shards};
pub use verification::Verification;
pub use watched::Watched;

/// Protobuf's empty text, and zero as an id, stand for "none".
fn some_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
