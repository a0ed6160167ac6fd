//! Races with the cutover: while a shard moves, and in every phase of the move, a client does what could go wrong there.
//!
//! A named failpoint holds the move in the phase that matters; the client acts, and what it was told is done must show
//! through every proxy while the move stands still; then the move goes on to its end. After that every document on
//! every copy, and through every proxy, must be what was acknowledged.
//!
//! The moves of one race, one for each phase, have an index each and run at the same time. Races that kill nothing share
//! a cluster.

mod deaths;
mod documents;
mod indexes;
mod race;
mod spans;
mod walk;

use miroir_dev::cluster::Options;
use miroir_tests::{Shared, Trial};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// The cluster of the races that kill nothing.
static STAGE: Shared = Shared::new(|| Options {
    coordinators: 1,
    ..options()
});

/// Two copies of every shard, and a node without one that it can move to.
fn options() -> Options {
    Options {
        nodes: 3,
        replication_factor: 2,
        shards: 4,
        ..Trial::options(PROGRAM)
    }
}
