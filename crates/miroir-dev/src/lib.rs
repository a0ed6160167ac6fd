//! A whole Miroir cluster on one machine: every part a process of its own, so that killing one is real.
//!
//! [`cluster`] lays out and runs the processes, [`admin`] speaks to the coordinators, [`demo`] is the main job
//! end to end: a cluster takes another node while clients write and search and the leader is killed.

pub mod admin;
pub mod cli;
pub mod cluster;
pub mod demo;
