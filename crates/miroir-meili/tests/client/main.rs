//! The client against a scripted node on loopback.

mod fake;
mod fate;
mod requests;
