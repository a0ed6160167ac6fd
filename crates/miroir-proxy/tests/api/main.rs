//! The proxy as its clients see it: real HTTP and gRPC, with nodes and coordinators that do what a
//! test says, and with real nodes.

mod documents;
mod equal;
mod equal_routes;
mod failures;
mod foreign;
mod front;
mod hedging;
mod keys;
mod listed;
mod partial;
mod pins;
mod read_routes;
mod search;
mod sessions;
mod settings_change;
mod statistics;
mod support;
mod unseen;
