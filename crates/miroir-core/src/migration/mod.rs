//! Building one replica of one shard: the only way data moves between nodes.
//!
//! A migration is a committed record. [`Phase`] says where it stands, [`Event`] what may move it on,
//! [`Phase::after`] which pairs of the two are legal, and [`Record::next_action`] what an actor has to do
//! now. A new leader asks again and goes on; nothing else remembers where a move had got to.

mod event;
mod pace;
mod phase;
mod record;

pub use event::{Event, IllegalEvent};
pub use pace::{Pace, PaceBounds, Signals, Strain};
pub use phase::{Barrier, Phase, Row, table};
pub use record::{Action, Comparison, Kind, PhaseChange, Progress, Record};
