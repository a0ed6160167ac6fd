//! Why the catalog did not answer as asked.

use miroir_core::cluster::Rejection;

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// The coordinators understood the command and refused it. It changed nothing.
    #[error(transparent)]
    Rejected(Box<Rejection>),
    /// No leader took the command within its time. It was certainly not carried out.
    #[error("no coordinator leads at the moment: {detail}")]
    NoLeader {
        /// What the last coordinator asked said.
        detail: String,
    },
    /// The command was sent and its answer is missing: it may have been carried out, or may be yet.
    #[error("the outcome of a command is unknown: {detail}")]
    Unknown {
        /// What cut the call short.
        detail: String,
    },
    /// A coordinator does not speak this protocol, or refuses the cluster token. Retrying does not help.
    #[error("the coordinators do not understand this proxy: {detail}")]
    Protocol {
        /// What is wrong.
        detail: String,
    },
}

impl CatalogError {
    /// Whether the same call, with the same request id, may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Rejected(rejection) => rejection.retryable(),
            Self::NoLeader { .. } | Self::Unknown { .. } => true,
            Self::Protocol { .. } => false,
        }
    }

    /// Whether the command may have been carried out in spite of the error.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Unknown { .. } => true,
            Self::Rejected(_) | Self::NoLeader { .. } | Self::Protocol { .. } => false,
        }
    }

    /// The refusal, if it is one.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::NoLeader { .. } | Self::Unknown { .. } | Self::Protocol { .. } => None,
        }
    }
}
