//! Everything that can happen.

use miroir_core::migration::Event;

use crate::state::{Copy, Proxy};

/// One step of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A client puts a document; this proxy routes the write.
    Put(Proxy, usize),
    /// A client deletes a document.
    Delete(Proxy, usize),
    /// The oldest waiting request of a lane arrives at its node: the proxy, which write of it, where.
    Arrive(Proxy, usize, Copy),
    /// It never arrives.
    Miss(Proxy, usize, Copy),
    /// It has arrived, but what became of it cannot be found out.
    LoseAnswer(Proxy, usize, Copy),
    /// All nodes have answered a write.
    Settle(Proxy, usize),
    /// A write is registered, which acknowledges it.
    Register(Proxy, usize),
    /// A writer reports the ids that it recorded.
    Report(Proxy),
    /// The writer acknowledges the present phase.
    Acknowledge(Proxy),
    /// A proxy goes over to the newest table.
    Follow(Proxy),
    /// A proxy crashes, or is cut off from the leader.
    Disconnect(Proxy),
    /// The leader declares a proxy lost.
    Lose(Proxy),
    /// The leader forgets a lost proxy.
    Forget(Proxy),
    /// A proxy becomes the writer.
    Assign(Proxy),
    /// An operator cancels the move.
    Cancel,
    /// An operator puts reads back.
    Reverse,
    /// Another leader begins.
    LoseLeader,
    /// What a deposed leader sent arrives.
    ArriveLate,
    /// A node processes its oldest task.
    Process(Copy),
    /// The actor does its next step.
    Act,
    /// The actor looks once more instead of committing what it saw.
    LookAgain,
    /// The actor's observation is committed.
    Conclude(Event),
}
