//! Failover drills: real processes are killed, stopped, slowed, filled up and cut off from each other while clients write
//! and search and shards move. Whatever happens, an acknowledged write is on every copy in the end, a search is right
//! or refused, and a write is acknowledged or answered 503.

mod clock;
mod disk;
mod ends;
mod partitions;
mod quorum;
mod slow;
mod writer;

use std::time::Duration;

use miroir_dev::cluster::Options;
use miroir_tests::Trial;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// One cluster at a time: two at once would starve each other on a small machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Makes every move take long enough that harm can be done in the middle of it.
const SLOW_MOVES: &str =
    "migration-Copying=sleep(400);migration-CatchingUp=sleep(200);migration-Mirroring=sleep(200)";

/// How long writes are held: short, so that a drill sees them refused soon.
const HOLD: Duration = Duration::from_secs(4);

/// A small cluster whose shards move slowly.
fn options() -> Options {
    Options {
        nodes: 2,
        shards: 16,
        hold: HOLD,
        environment: vec![("FAILPOINTS".to_owned(), SLOW_MOVES.to_owned())],
        ..Trial::options(PROGRAM)
    }
}
