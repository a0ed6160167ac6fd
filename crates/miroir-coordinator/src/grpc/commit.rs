//! Committing what a client asked for.

use miroir_core::cluster::{Command, Outcome};
use tonic::Status;
use uuid::Uuid;

use super::status;
use crate::machine::Handle;
use crate::raft::RequestId;

/// The request id that a client sent: a UUID in any of its spellings. An empty one is a fresh id, for clients
/// that do not repeat themselves.
///
/// # Errors
/// `INVALID_ARGUMENT` for a text that is no UUID.
pub fn request_id(text: &str) -> Result<RequestId, Status> {
    if text.is_empty() {
        return Ok(RequestId::random());
    }
    let parsed = Uuid::try_parse(text);
    parsed
        .map(|uuid| RequestId(uuid.as_u128()))
        .map_err(|_| Status::invalid_argument(format!("request_id `{text}` is not a UUID")))
}

/// Commits `command` under the client's request id. A refusal is an error here.
///
/// # Errors
/// The status to answer.
pub async fn commit(cluster: &Handle, id: &str, command: &Command) -> Result<Outcome, Status> {
    let proposed = cluster.propose_as(request_id(id)?, command).await;
    let outcome = proposed.map_err(|error| status::of_propose(&error))?;
    if let Outcome::Rejected(rejection) = &outcome {
        return Err(status::of_rejection(rejection));
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids() {
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let parsed = request_id(id).expect("a UUID");
        assert_eq!(
            parsed,
            request_id(&id.replace('-', "")).expect("the same UUID")
        );
        assert_eq!(
            parsed,
            request_id(&id.to_uppercase()).expect("the same UUID")
        );
        assert_ne!(
            request_id("").expect("a fresh one"),
            request_id("").expect("another")
        );
        let error = request_id("again").expect_err("no UUID");
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        assert!(error.message().contains("again"), "{error}");
    }
}
