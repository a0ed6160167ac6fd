//! The real program against scripted coordinators.

mod changes;
mod dumps;
mod operations;
mod reads;
mod support;
mod usage;
mod verifying;
mod watching;
