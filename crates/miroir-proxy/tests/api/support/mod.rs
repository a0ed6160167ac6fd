//! A proxy between coordinators and nodes that do what a test says.

mod coordinator;
mod node;
mod proxy;
mod table;

pub use coordinator::Coordinator;
pub use node::{Answer, FakeNode, Seen, error};
pub use proxy::{KEY, Proxy, TOKEN, answer};
pub use table::{INDEX, Layout};
