//! Progress of migrations as a stream.

use std::time::Duration;

use async_stream::stream;
use futures::Stream;
use miroir_core::cluster::ClusterState;
use miroir_core::id::OperationId;
use miroir_proto::v1;
use tonic::Status;

use super::work;
use crate::actor::Context;
use crate::cluster::Cluster;

/// Changes closer together than this make one message.
const COALESCE: Duration = Duration::from_millis(200);

/// The unfinished migrations, again after every change, until none is left: a last message then lists none and
/// tells how many are done.
pub fn watch(
    ctx: Context,
    operation: Option<OperationId>,
) -> impl Stream<Item = Result<v1::ListMigrationsReply, Status>> + Send {
    stream! {
        let mut applied = ctx.cluster.applied();
        let mut last = None;
        loop {
            applied.mark_unchanged();
            let at_ms = ctx.clock.now_ms();
            let (mut reply, over) = ctx.read(|state| {
                (work::migrations(state, operation, true, at_ms), is_over(state, operation))
            });
            work::add_paces(&mut reply.migrations, &ctx.paces);
            let told = timeless(&reply);
            if over || last.as_ref() != Some(&told) {
                last = Some(told);
                yield Ok(reply);
            }
            if over {
                return;
            }
            tokio::time::sleep(COALESCE).await;
            if applied.changed().await.is_err() {
                yield Err(Status::unavailable("this coordinator is stopping"));
                return;
            }
        }
    }
}

/// A report without what changes by the passing of time alone.
fn timeless(reply: &v1::ListMigrationsReply) -> v1::ListMigrationsReply {
    let mut told = reply.clone();
    told.at_ms = 0;
    for migration in &mut told.migrations {
        (migration.documents_per_s, migration.eta_ms) = (None, None);
    }
    told
}

/// An operation that is accepted has no migration yet, and is not over for that.
fn is_over(state: &ClusterState, operation: Option<OperationId>) -> bool {
    let mut concerned = state
        .operations
        .values()
        .filter(|known| operation.is_none_or(|id| known.id == id));
    concerned.all(|known| known.state.is_final())
}
