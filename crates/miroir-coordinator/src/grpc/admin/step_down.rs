//! Having the leader give leadership up, for a drill.

use std::time::Duration;

use miroir_proto::v1;
use tonic::Status;

use crate::actor::Context;
use crate::grpc::status;
use crate::raft::step_down::SILENCE_MAX;

/// Has this leader be silent until another leads, or until the time is over.
///
/// # Errors
/// The status to answer; then nothing was done.
pub fn step_down(
    ctx: &Context,
    request: &v1::StepDownRequest,
) -> Result<v1::StepDownReply, Status> {
    let consensus = ctx.cluster.consensus();
    let patience = match request.for_ms {
        0 => Duration::from_millis(2 * consensus.config().timings.failover_ms()).min(SILENCE_MAX),
        ms => Duration::from_millis(ms),
    };
    if patience > SILENCE_MAX {
        return Err(Status::invalid_argument(format!(
            "for_ms must be at most {}",
            SILENCE_MAX.as_millis()
        )));
    }
    consensus
        .step_down(request.term, patience)
        .map_err(|error| status::of_step_down(&error))?;
    Ok(v1::StepDownReply {
        coordinator: consensus.id(),
        for_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
    })
}
