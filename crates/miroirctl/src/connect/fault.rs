//! What a failed call says: whom to ask next, that the cluster refused, or that nobody knows.

use std::error::Error as _;

use miroir_core::cluster::Rejection;
use miroir_proto::{LEADER_METADATA, REJECTION_METADATA};
use tonic::{Code, Status};

use super::with_scheme;
use crate::exit::Error;
use crate::format;

/// A failed call, as far as the caller has to tell failures apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// This coordinator did not take it, and certainly changed nothing.
    Elsewhere {
        /// Why.
        what: String,
        /// The leader it named.
        leader: Option<String>,
    },
    /// The cluster refused. Asking again changes nothing.
    Refused {
        /// The refusal, with what to do.
        what: String,
        /// The refusal itself, when it comes from the log.
        rejection: Option<Rejection>,
        /// Something has to come about first, without anything being asked for differently.
        not_yet: bool,
    },
    /// It may have been done.
    Unknown {
        /// Why nobody knows.
        what: String,
    },
}

impl Fault {
    /// Reads a status.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        // A status that was made here, out of an error, was not answered by anyone.
        if status.source().is_some() {
            return Self::Unknown {
                what: root_cause(status),
            };
        }
        let what = format::one_line(status.message());
        match status.code() {
            Code::Unavailable => Self::Elsewhere {
                what,
                leader: leader(status),
            },
            Code::ResourceExhausted => Self::Elsewhere { what, leader: None },
            Code::Unauthenticated => Self::refusal(format!(
                "{what} (give the coordinators' token in --token-file or MIROIR_CLUSTER_TOKEN)"
            )),
            Code::Unimplemented => Self::refusal(
                "what answers there is no coordinator, or one of another version".to_owned(),
            ),
            Code::FailedPrecondition => {
                let rejection = rejection(status);
                let not_yet = rejection.is_none();
                Self::Refused {
                    what,
                    rejection,
                    not_yet,
                }
            }
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::OutOfRange => Self::Refused {
                what,
                rejection: rejection(status),
                not_yet: false,
            },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::DataLoss => Self::Unknown {
                what: format!("{:?}: {what}", status.code()),
            },
        }
    }

    fn refusal(what: String) -> Self {
        Self::Refused {
            what,
            rejection: None,
            not_yet: false,
        }
    }

    /// What happened, in words.
    #[must_use]
    pub fn what(&self) -> &str {
        match self {
            Self::Elsewhere { what, .. } | Self::Refused { what, .. } | Self::Unknown { what } => {
                what
            }
        }
    }

    /// Whether the same request may be sent again, to another coordinator.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Elsewhere { .. } | Self::Unknown { .. } => true,
            Self::Refused { .. } => false,
        }
    }
}

impl From<Fault> for Option<Error> {
    /// The error that ends a command at once, if it is one.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused {
                what, rejection, ..
            } => Some(Error::Refused { what, rejection }),
            Fault::Elsewhere { .. } | Fault::Unknown { .. } => None,
        }
    }
}

fn leader(status: &Status) -> Option<String> {
    let named = status.metadata().get(LEADER_METADATA)?.to_str().ok()?;
    (!named.trim().is_empty()).then(|| with_scheme(named))
}

fn rejection(status: &Status) -> Option<Rejection> {
    let bytes = status
        .metadata()
        .get_bin(REJECTION_METADATA)?
        .to_bytes()
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The innermost cause: a transport error's own text is only `transport error`.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format::one_line(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::id::NodeId;
    use tonic::metadata::MetadataValue;

    #[test]
    fn who_does_not_lead_names_the_leader() {
        let mut status = Status::unavailable("does not lead");
        let what = "does not lead".to_owned();
        assert_eq!(
            Fault::of(&status),
            Fault::Elsewhere {
                what: what.clone(),
                leader: None
            }
        );
        status
            .metadata_mut()
            .insert(LEADER_METADATA, MetadataValue::from_static("b:2/"));
        let leader = Some("http://b:2".to_owned());
        assert_eq!(Fault::of(&status), Fault::Elsewhere { what, leader });
    }

    #[test]
    fn a_refusal_from_the_log_is_read_back() {
        let rejection = Rejection::NodeExists {
            url: "http://n".to_owned(),
            node: NodeId(7),
        };
        let json = serde_json::to_vec(&rejection).expect("plain data");
        let mut status = Status::already_exists("a node at http://n is already there");
        status
            .metadata_mut()
            .insert_bin(REJECTION_METADATA, MetadataValue::from_bytes(&json));
        let Fault::Refused {
            rejection: found, ..
        } = Fault::of(&status)
        else {
            panic!("not refused")
        };
        assert_eq!(found, Some(rejection));
    }

    #[test]
    fn only_what_was_certainly_not_done_is_called_so() {
        let retry = |code| Fault::of(&Status::new(code, "x")).retryable();
        for code in [
            Code::Unavailable,
            Code::ResourceExhausted,
            Code::DeadlineExceeded,
            Code::Internal,
        ] {
            assert!(retry(code), "{code:?}");
        }
        for code in [
            Code::InvalidArgument,
            Code::Unauthenticated,
            Code::Unimplemented,
        ] {
            assert!(!retry(code), "{code:?}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        assert_eq!(
            Fault::of(&broken),
            Fault::Unknown {
                what: "connection reset".to_owned()
            }
        );
    }
}
