//! The leader's actors, each on a replicated state in memory and on real nodes in this process.

mod moves;
mod node;
mod restless;
mod verify;
mod wiped;
mod world;
mod writer;
