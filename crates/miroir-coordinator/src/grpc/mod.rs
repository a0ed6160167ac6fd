//! The gRPC services, and everything that turns protobuf into core types and back.

pub mod admin;
pub mod auth;
pub mod catalog;
pub mod commit;
mod dump;
pub mod health;
pub mod routing;
pub mod server;
pub mod status;
