//! Miroir coordinator: Raft consensus, planner, migration actors, gRPC services.

pub mod cluster;
pub mod migration;
pub mod raft;
pub mod session;
pub mod storage;
