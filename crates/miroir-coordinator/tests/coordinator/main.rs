//! Whole coordinators in one process: real consensus, real gRPC, fake nodes.

mod admin;
mod cluster;
mod config;
mod fake_node;
mod leader_work;
mod proxy;
