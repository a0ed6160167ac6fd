//! What went wrong, as a gRPC status: the only place that decides codes.

use miroir_core::cluster::{Outcome, Rejection};
use miroir_proto::{ConvertError, LEADER_METADATA, REJECTION_METADATA};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::raft::error::{LeaderHint, MembershipError, ProposeError, ReadError, StepDownError};

/// Metadata key that says that an answer was read without asking a leader.
pub const STALE_METADATA: &str = "miroir-stale";

/// The status of a proposal without outcome.
#[must_use]
pub fn of_propose(error: &ProposeError) -> Status {
    let text = error.to_string();
    match error {
        ProposeError::NotLeader { leader } => not_leader(text, leader.as_ref()),
        ProposeError::UnknownOutcome { .. } => Status::deadline_exceeded(text),
        ProposeError::TooLarge { .. } => Status::invalid_argument(text),
        ProposeError::Overloaded => Status::resource_exhausted(text),
        ProposeError::Encoding(_) => Status::internal(text),
        ProposeError::Stopped { .. } => Status::unavailable(text),
    }
}

/// The status of a read that could not be shown to be up to date.
#[must_use]
pub fn of_read(error: &ReadError) -> Status {
    let text = error.to_string();
    match error {
        ReadError::NotLeader { leader } => not_leader(text, leader.as_ref()),
        ReadError::NoQuorum { .. } | ReadError::Stopped { .. } => Status::unavailable(text),
    }
}

/// The status of leadership that was not given up.
#[must_use]
pub fn of_step_down(error: &StepDownError) -> Status {
    let text = error.to_string();
    match error {
        StepDownError::NotLeader { leader } => not_leader(text, leader.as_ref()),
        StepDownError::OtherTerm { .. } | StepDownError::AlreadySilent | StepDownError::Alone => {
            Status::failed_precondition(text)
        }
    }
}

/// The status of a failed change of members.
#[must_use]
pub fn of_membership(error: &MembershipError) -> Status {
    let text = error.to_string();
    match error {
        MembershipError::AlreadyInitialized => Status::already_exists(text),
        MembershipError::Invalid(_) => Status::invalid_argument(text),
        MembershipError::Unsuitable { .. } | MembershipError::InProgress(_) => {
            Status::failed_precondition(text)
        }
        MembershipError::NotLeader { leader } => not_leader(text, leader.as_ref()),
        MembershipError::UnknownOutcome(_) => Status::deadline_exceeded(text),
        MembershipError::Stopped { .. } => Status::unavailable(text),
    }
}

/// The status of a refused command, which carries the refusal itself as JSON.
#[must_use]
pub fn of_rejection(rejection: &Rejection) -> Status {
    let code = match rejection {
        Rejection::AlreadyInitialised { .. }
        | Rejection::NodeExists { .. }
        | Rejection::IndexExists(_) => Code::AlreadyExists,
        Rejection::Invalid(_) => Code::InvalidArgument,
        Rejection::UnknownGroup { .. }
        | Rejection::UnknownNode(_)
        | Rejection::UnknownIndex(_)
        | Rejection::UnknownShard { .. }
        | Rejection::UnknownOperation(_)
        | Rejection::UnknownMigration(_) => Code::NotFound,
        Rejection::NotInitialised
        | Rejection::Draining { .. }
        | Rejection::NotDraining(_)
        | Rejection::LastNode { .. }
        | Rejection::LastGroup(_)
        | Rejection::Blocked { .. }
        | Rejection::Conflict { .. }
        | Rejection::Moving { .. }
        | Rejection::Finished(_)
        | Rejection::AlreadyPaused(_)
        | Rejection::NotPaused(_)
        | Rejection::TooLate { .. }
        | Rejection::UnknownProxy(_)
        | Rejection::OtherIncarnation(_)
        | Rejection::TooFewNodes { .. }
        | Rejection::PrimaryKeyExists { .. }
        | Rejection::NotWriter { .. }
        | Rejection::TooFewInSync { .. }
        | Rejection::StalePlan(_)
        | Rejection::StaleStep { .. }
        | Rejection::Repeated { .. }
        | Rejection::KeyReused
        | Rejection::Registry(_)
        | Rejection::Illegal(_) => Code::FailedPrecondition,
    };
    let mut status = Status::new(code, rejection.to_string());
    let json = rejection_json(rejection);
    status.metadata_mut().insert_bin(
        REJECTION_METADATA,
        MetadataValue::from_bytes(json.as_bytes()),
    );
    status
}

/// The refusal as the JSON object that proxies read.
#[must_use]
pub fn rejection_json(rejection: &Rejection) -> String {
    serde_json::to_string(rejection).expect("a rejection is plain data with string keys")
}

/// The status of a message that makes no sense.
#[must_use]
pub fn of_convert(error: &ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The status of an outcome that the command cannot have. A bug, or a request id that was used
/// for two different requests.
#[must_use]
pub fn of_unexpected(outcome: &Outcome) -> Status {
    match outcome {
        Outcome::Rejected(rejection) => of_rejection(rejection),
        Outcome::Done
        | Outcome::NodeAdded { .. }
        | Outcome::GroupAdded { .. }
        | Outcome::Accepted(_)
        | Outcome::Controlled { .. }
        | Outcome::ProxyRegistered(_)
        | Outcome::IndexCreated { .. }
        | Outcome::SettingsChanged { .. }
        | Outcome::TaskRegistered(_)
        | Outcome::WritesRegistered(_)
        | Outcome::Planned { .. }
        | Outcome::Advanced(_) => Status::invalid_argument(
            "the request id was used before, for a request of another kind",
        ),
    }
}

/// "Ask the leader", with its address if it is known.
#[must_use]
pub fn not_leader(text: impl Into<String>, leader: Option<&LeaderHint>) -> Status {
    let mut status = Status::unavailable(text);
    let url = leader.and_then(|leader| MetadataValue::try_from(&leader.api_url).ok());
    if let Some(url) = url {
        status.metadata_mut().insert(LEADER_METADATA, url);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::id::{IndexUid, NodeId};

    fn uid() -> IndexUid {
        IndexUid::parse("movies").expect("a uid")
    }

    #[test]
    fn a_refusal_keeps_its_code_text_and_json() {
        let table = [
            (Rejection::IndexExists(uid()), Code::AlreadyExists),
            (Rejection::UnknownIndex(uid()), Code::NotFound),
            (Rejection::NotInitialised, Code::FailedPrecondition),
            (Rejection::Invalid("no".to_owned()), Code::InvalidArgument),
            (
                Rejection::NodeExists {
                    url: "http://a".to_owned(),
                    node: NodeId(1),
                },
                Code::AlreadyExists,
            ),
        ];
        for (rejection, code) in table {
            let status = of_rejection(&rejection);
            assert_eq!(
                (status.code(), status.message()),
                (code, rejection.to_string().as_str())
            );
            let bytes = status
                .metadata()
                .get_bin(REJECTION_METADATA)
                .expect("the refusal");
            let bytes = bytes.to_bytes().expect("binary metadata");
            assert_eq!(
                serde_json::from_slice::<Rejection>(&bytes).expect("JSON"),
                rejection
            );
        }
    }

    #[test]
    fn who_does_not_lead_says_who_does() {
        let leader = LeaderHint {
            id: 2,
            api_url: "http://127.0.0.1:7712".to_owned(),
        };
        let status = of_propose(&ProposeError::NotLeader {
            leader: Some(leader),
        });
        assert_eq!(status.code(), Code::Unavailable);
        let hint = status
            .metadata()
            .get(LEADER_METADATA)
            .and_then(|v| v.to_str().ok());
        assert_eq!(hint, Some("http://127.0.0.1:7712"));
        let status = of_propose(&ProposeError::NotLeader { leader: None });
        assert!(status.metadata().get(LEADER_METADATA).is_none());
    }
}
