//! Whole coordinators in one process: real consensus, real gRPC, fake nodes.

mod admin;
mod changes;
mod cluster;
mod config;
mod dry_run;
mod fake_node;
mod http;
mod leader_work;
mod operations;
mod proxy;
mod rules;
mod webhooks;
