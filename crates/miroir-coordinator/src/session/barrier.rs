//! Barriers: waiting until nobody acts by an older table.
//!
//! A barrier has no deadline. Who cannot wait goes back a phase; nobody goes on.

use miroir_core::cluster::ClusterState;
use miroir_core::id::{Epoch, Incarnation, IndexUid};

use super::Sessions;
use crate::bug::{self, Bug};
use crate::cluster::Cluster;

/// Barriers over the sessions and the replicated state.
#[derive(Debug, Clone)]
pub struct Barriers<C> {
    cluster: C,
    sessions: Sessions,
}

impl<C: Cluster> Barriers<C> {
    /// Barriers of this cluster.
    pub fn new(cluster: C, sessions: Sessions) -> Self {
        Self { cluster, sessions }
    }

    /// Waits until every write to the index that was routed by a table older than `epoch` has ended.
    ///
    /// Holds at once for an index without a writer: the last one's lease has certainly run out, or it left
    /// with nothing under way, and the next one will route by a table that is newer than its own assignment.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn writes(&self, uid: &IndexUid, incarnation: Incarnation, epoch: Epoch) {
        self.wait(|state| writes_passed(state, &self.sessions, (uid, incarnation), epoch))
            .await;
    }

    /// Waits until every read of any proxy that was routed by a table older than `epoch` has ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn reads(&self, epoch: Epoch) {
        self.wait(|state| reads_passed(state, &self.sessions, epoch))
            .await;
    }

    /// Waits until every proxy that may still write takes new requests by a table of `epoch` or newer. What began by
    /// an older one may still be under way. A proxy whose lease has run out may read by an older one for as long as it
    /// is cut off, as it may in other respects.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn tables(&self, epoch: Epoch) {
        self.wait(|state| tables_passed(state, &self.sessions, epoch))
            .await;
    }

    /// Whether [`reads`](Self::reads) would end at once, in a state that is being looked at.
    pub fn reads_have_passed(&self, state: &ClusterState, epoch: Epoch) -> bool {
        reads_passed(state, &self.sessions, epoch)
    }

    async fn wait(&self, passed: impl Fn(&ClusterState) -> bool) {
        let mut applied = self.cluster.applied();
        let mut sessions = self.sessions.changes();
        loop {
            applied.mark_unchanged();
            sessions.mark_unchanged();
            if self.cluster.read(&passed) {
                return;
            }
            tokio::select! {
                alive = applied.changed() => if alive.is_err() { std::future::pending::<()>().await },
                _ = sessions.changed() => {}
            }
        }
    }
}

fn writes_passed(
    state: &ClusterState,
    sessions: &Sessions,
    (uid, incarnation): (&IndexUid, Incarnation),
    epoch: Epoch,
) -> bool {
    let Some(index) = state
        .indexes
        .get(uid)
        .filter(|index| index.incarnation == incarnation)
    else {
        return true;
    };
    match index.writer {
        None => true,
        Some(writer) => sessions
            .view(writer)
            .is_some_and(|view| view.writes_epoch >= epoch),
    }
}

fn tables_passed(state: &ClusterState, sessions: &Sessions, epoch: Epoch) -> bool {
    let mut alive = state.proxies.values().filter(|proxy| !proxy.lost);
    // Neither goes past the proxy's table, whatever is under way.
    alive.all(|proxy| {
        let view = sessions.view(proxy.id);
        view.is_some_and(|view| view.writes_epoch.max(view.reads_epoch) >= epoch)
    })
}

fn reads_passed(state: &ClusterState, sessions: &Sessions, epoch: Epoch) -> bool {
    if bug::is_on(Bug::SkipReadBarrier) {
        return true;
    }
    state.proxies.keys().all(|proxy| {
        sessions
            .view(*proxy)
            .is_some_and(|view| view.reads_epoch >= epoch)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miroir_core::cluster::{Command, NewIndex, NodeSpec, Outcome, Policy};
    use miroir_core::id::{GroupId, ProxyId};

    use super::*;
    use crate::session::LeaseRules;

    /// A cluster of one node and two proxies, the first of which writes `books`.
    fn state() -> (ClusterState, ProxyId, ProxyId, Incarnation) {
        let mut state = ClusterState::default();
        let mut at = 0;
        let mut apply = |command: &Command| {
            at += 1;
            state.apply(at, 0, command)
        };
        let policy = Policy {
            default_shards: 4,
            ..Policy::default()
        };
        apply(&Command::Bootstrap {
            cluster_id: "c".to_owned(),
            policy,
        });
        let node = NodeSpec {
            url: "http://127.0.0.1:1".to_owned(),
            group: GroupId(1),
            zone: None,
            weight: 1,
            version: "1.15.0".to_owned(),
        };
        apply(&Command::AddNode { node });
        let mut register = |name: &str| {
            let (instance, url) = (name.to_owned(), format!("http://{name}"));
            let outcome = apply(&Command::RegisterProxy {
                instance,
                name: name.to_owned(),
                url,
            });
            let Outcome::ProxyRegistered(id) = outcome else {
                panic!("{outcome:?}")
            };
            id
        };
        let (writer, reader) = (register("a"), register("b"));
        let created = apply(&Command::CreateIndex(NewIndex {
            uid: books(),
            primary_key: None,
            shards: None,
            replication_factor: None,
            writer: Some(writer),
            task: None,
        }));
        let Outcome::IndexCreated { incarnation, .. } = created else {
            panic!("{created:?}")
        };
        (state, writer, reader, incarnation)
    }

    fn books() -> IndexUid {
        IndexUid::parse("books").expect("valid")
    }

    fn sessions() -> Sessions {
        Sessions::new(LeaseRules {
            lease: Duration::from_secs(3),
            static_reads: Duration::from_secs(600),
            late_request: Duration::from_millis(500),
            read_timeout: Duration::from_secs(30),
        })
    }

    #[test]
    fn a_write_barrier_waits_for_the_writer_alone() {
        let ((mut state, writer, reader, incarnation), sessions) = (state(), sessions());
        let uid = books();
        let passed =
            |state: &ClusterState| writes_passed(state, &sessions, (&uid, incarnation), Epoch(9));
        assert!(!passed(&state), "the writer has not called yet");
        let of_reader = sessions.opened(reader).expect("not condemned");
        sessions.acknowledged(reader, of_reader, Epoch(9), Epoch(9));
        assert!(!passed(&state), "another proxy's word is worth nothing");
        let of_writer = sessions.opened(writer).expect("not condemned");
        sessions.acknowledged(writer, of_writer, Epoch(8), Epoch(9));
        assert!(!passed(&state), "an older epoch does not do");
        sessions.acknowledged(writer, of_writer, Epoch(9), Epoch(9));
        assert!(passed(&state));
        sessions.begin_leadership();
        assert!(!passed(&state), "a new leader has heard nothing");
        state.apply(20, 0, &Command::LoseProxy { proxy: writer });
        assert!(passed(&state), "a lost writer writes no more");
    }

    #[test]
    fn new_names_are_waited_for_at_every_proxy_that_may_write() {
        let ((mut state, writer, reader, _), sessions) = (state(), sessions());
        let passed = |state: &ClusterState| tables_passed(state, &sessions, Epoch(9));
        let of_writer = sessions.opened(writer).expect("not condemned");
        // An old read is still under way, new requests go by the new table.
        sessions.acknowledged(writer, of_writer, Epoch(9), Epoch(5));
        assert!(!passed(&state), "the other has not called yet");
        let of_reader = sessions.opened(reader).expect("not condemned");
        sessions.acknowledged(reader, of_reader, Epoch(8), Epoch(8));
        assert!(
            !passed(&state),
            "the other takes requests by an older table"
        );
        state.apply(20, 0, &Command::LoseProxy { proxy: reader });
        assert!(passed(&state), "a lost proxy writes no more");
    }

    #[test]
    fn a_read_barrier_waits_for_every_proxy_even_a_lost_one() {
        let ((mut state, writer, reader, _), sessions) = (state(), sessions());
        let of_reader = sessions.opened(reader).expect("not condemned");
        sessions.acknowledged(reader, of_reader, Epoch(0), Epoch(9));
        assert!(!reads_passed(&state, &sessions, Epoch(9)));
        state.apply(20, 0, &Command::LoseProxy { proxy: writer });
        assert!(
            !reads_passed(&state, &sessions, Epoch(9)),
            "it may still read by its last table"
        );
        state.apply(21, 0, &Command::ForgetProxy { proxy: writer });
        assert!(reads_passed(&state, &sessions, Epoch(9)));
        assert!(!reads_passed(&state, &sessions, Epoch(10)));
    }
}
