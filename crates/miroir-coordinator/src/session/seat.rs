//! Whether this coordinator may hold sessions.

use tokio::sync::watch;

/// This coordinator's part in the cluster, as far as sessions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// It leads, and the memory of sessions is that of this leadership.
    Leader,
    /// It does not lead.
    Follower {
        /// The leader's API address, if known.
        leader: Option<String>,
    },
}

/// Follows the seat. Set to [`Seat::Leader`] only after [`super::Sessions::begin_leadership`].
pub type SeatWatch = watch::Receiver<Seat>;
