//! The node over real HTTP: in process, and as a program that is killed.

mod auth;
mod common;
mod crash;
mod documents;
mod search;
mod settings;
mod tasks;
