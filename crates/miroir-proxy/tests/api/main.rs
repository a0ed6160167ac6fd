//! The proxy as its clients see it: real HTTP and gRPC, with nodes and coordinators that do what a
//! test says, and with real nodes.

mod documents;
mod equal;
mod failures;
mod front;
mod listed;
mod search;
mod statistics;
mod support;
mod unseen;
