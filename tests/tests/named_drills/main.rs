//! The drills by name: every operation on a running cluster while clients write and search. No client may notice; and
//! afterwards every acknowledged write is on every copy, and nothing is there twice.
//!
//! The drills share a cluster, one at a time; each first gives it the nodes that it needs.

mod control;
mod copies;
mod groups;
mod guards;
mod nodes;
mod placement;
mod restart;
mod support;

use miroir_dev::cluster::Options;
use miroir_tests::{Shared, Trial};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// The cluster of the drills that do no harm to a coordinator or proxy for good.
static STAGE: Shared = Shared::new(options);

/// A number of shards that three and four nodes cannot share evenly.
const SHARDS: u16 = 18;

fn options() -> Options {
    Options {
        nodes: 2,
        shards: SHARDS,
        ..Trial::options(PROGRAM)
    }
}
