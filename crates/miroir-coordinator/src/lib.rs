//! Miroir coordinator: Raft consensus, planner, migration actors, gRPC services.

pub mod actor;
pub mod app;
mod bug;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod error;
pub mod grpc;
pub mod http;
pub mod machine;
pub mod migration;
pub mod nodes;
pub mod raft;
pub mod session;
pub mod storage;
pub mod supervise;
