//! The proxy's session and writes against a scripted coordinator and scripted nodes.

mod cluster;
mod coordinator;
mod failures;
mod node;
mod order;
mod session;
mod tasks;
mod writers;
