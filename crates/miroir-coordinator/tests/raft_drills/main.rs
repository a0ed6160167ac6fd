//! Consensus over real gRPC on loopback: several coordinators in this process.

mod basics;
mod cluster;
mod disks;
mod elections;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
