//! The proxy's session and writes against a scripted coordinator and scripted nodes.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it looks for, and takes all else alike"
)]

mod calls;
mod catalog;
mod cluster;
mod coordinator;
mod failures;
mod node;
mod order;
mod repeats;
mod session;
mod tasks;
mod writers;
