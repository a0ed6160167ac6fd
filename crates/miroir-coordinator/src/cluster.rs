//! What the rest of the coordinator needs of consensus, small enough to be faked in tests.

use std::future::Future;

use miroir_core::cluster::{ClusterState, Command, Outcome};
use tokio::sync::watch;

use crate::raft::error::{ProposeError, ReadError};

/// The replicated state: read, watched and changed by commands alone.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// Looks at the newest applied state. `look` must be short: applying waits for it.
    fn read<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> R;

    /// The index of the last applied entry; changes whenever the state may have.
    fn applied(&self) -> watch::Receiver<u64>;

    /// Commits a command and answers what it did. A refused command is an `Ok` with a rejection.
    ///
    /// # Errors
    /// When it is not, or perhaps not, committed.
    fn propose(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Outcome, ProposeError>> + Send;

    /// Makes sure that this coordinator leads at this moment, by asking a majority.
    ///
    /// # Errors
    /// When it does not, or no majority answers.
    fn confirm_leadership(&self) -> impl Future<Output = Result<(), ReadError>> + Send;
}
