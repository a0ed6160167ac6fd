//! Miroir coordinator: Raft consensus, planner, migration actors, gRPC services.

pub mod raft;
pub mod storage;
