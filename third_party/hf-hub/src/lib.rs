//! The part of `hf-hub`'s interface that `milli-core` names, without the downloads behind it.
//!
//! `milli-core` depends on `hf-hub` with default features, which link the system's OpenSSL: a
//! fresh machine would need its headers and `pkg-config` to build, and its shared library to
//! run, for embedding models that the embedded node does not offer. Here every use of the hub is
//! an error that says so; embeddings that clients bring along are not affected.

/// What kind of thing a repository holds.
#[derive(Clone, Copy, Debug)]
pub enum RepoType {
    /// A model.
    Model,
}

/// A repository of the hub.
#[derive(Clone, Debug)]
pub struct Repo;

impl Repo {
    /// A model at its newest revision.
    #[must_use]
    pub fn model(_id: String) -> Self {
        Self
    }

    /// A repository at a revision.
    #[must_use]
    pub fn with_revision(_id: String, _kind: RepoType, _revision: String) -> Self {
        Self
    }
}

/// Access to the hub.
pub mod api {
    /// Blocking access.
    pub mod sync {
        use std::path::PathBuf;

        use crate::Repo;

        /// Why the hub could not be used.
        #[derive(Debug, thiserror::Error)]
        pub enum ApiError {
            /// This build does not contact the hub.
            #[error("this build does not download models: bring embeddings along (`userProvided`)")]
            Unavailable,
            /// Never made here; `milli-core` looks for it when a file of a model is missing.
            #[error("request error: {0}")]
            RequestError(#[from] Box<ureq::Error>),
        }

        /// A client of the hub; there is none in this build.
        #[derive(Debug)]
        pub struct Api {}

        impl Api {
            /// # Errors
            /// Always [`ApiError::Unavailable`].
            pub fn new() -> Result<Self, ApiError> {
                Err(ApiError::Unavailable)
            }

            /// The files of one repository.
            #[must_use]
            pub fn repo(&self, _repo: Repo) -> ApiRepo {
                ApiRepo {}
            }
        }

        /// The files of one repository.
        #[derive(Debug)]
        pub struct ApiRepo {}

        impl ApiRepo {
            /// # Errors
            /// Always [`ApiError::Unavailable`].
            pub fn get(&self, _file: &str) -> Result<PathBuf, ApiError> {
                Err(ApiError::Unavailable)
            }
        }
    }
}
