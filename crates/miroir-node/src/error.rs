//! Meilisearch's error codes and the envelope every error is answered with.
//!
//! The table below is the single place where a code's name, type and HTTP status live. Codes are
//! public API of Meilisearch: SDKs and Miroir's proxy switch on them.

use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// A type that stands for one error code, so that a request field can name the code its
/// validation failure is reported under.
pub trait CodeMarker {
    /// The code this marker stands for.
    const CODE: Code;
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $kind:literal, $status:ident;)*) => {
        /// A Meilisearch error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is documented by its public name")]
        pub enum Code { $($variant),* }

        impl Code {
            /// The code as clients see it, in snake case.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// The error's `type`: `invalid_request`, `auth`, `system` or `internal`.
            pub fn kind(self) -> &'static str {
                match self { $(Code::$variant => $kind),* }
            }

            /// The HTTP status a synchronous answer with this code carries.
            pub fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status),* }
            }
        }

        /// One marker type per code, for request fields.
        pub mod marker {
            use super::{Code, CodeMarker};
            $(
                #[derive(Debug)]
                #[expect(missing_docs, reason = "stands for the code of the same name")]
                pub struct $variant;
                impl CodeMarker for $variant { const CODE: Code = Code::$variant; }
            )*
        }
    };
}

codes! {
    ApiKeyAlreadyExists = "api_key_already_exists", "invalid_request", CONFLICT;
    ApiKeyNotFound = "api_key_not_found", "invalid_request", NOT_FOUND;
    BadRequest = "bad_request", "invalid_request", BAD_REQUEST;
    DatabaseSizeLimitReached = "database_size_limit_reached", "internal", INTERNAL_SERVER_ERROR;
    DocumentNotFound = "document_not_found", "invalid_request", NOT_FOUND;
    FacetSearchDisabled = "facet_search_disabled", "invalid_request", BAD_REQUEST;
    FeatureNotEnabled = "feature_not_enabled", "invalid_request", BAD_REQUEST;
    ImmutableApiKeyActions = "immutable_api_key_actions", "invalid_request", BAD_REQUEST;
    ImmutableApiKeyCreatedAt = "immutable_api_key_created_at", "invalid_request", BAD_REQUEST;
    ImmutableApiKeyExpiresAt = "immutable_api_key_expires_at", "invalid_request", BAD_REQUEST;
    ImmutableApiKeyIndexes = "immutable_api_key_indexes", "invalid_request", BAD_REQUEST;
    ImmutableApiKeyKey = "immutable_api_key_key", "invalid_request", BAD_REQUEST;
    ImmutableApiKeyUid = "immutable_api_key_uid", "invalid_request", BAD_REQUEST;
    ImmutableApiKeyUpdatedAt = "immutable_api_key_updated_at", "invalid_request", BAD_REQUEST;
    ImmutableIndexCreatedAt = "immutable_index_created_at", "invalid_request", BAD_REQUEST;
    ImmutableIndexUid = "immutable_index_uid", "invalid_request", BAD_REQUEST;
    ImmutableIndexUpdatedAt = "immutable_index_updated_at", "invalid_request", BAD_REQUEST;
    IndexAlreadyExists = "index_already_exists", "invalid_request", CONFLICT;
    IndexNotFound = "index_not_found", "invalid_request", NOT_FOUND;
    IndexPrimaryKeyAlreadyExists = "index_primary_key_already_exists", "invalid_request", BAD_REQUEST;
    IndexPrimaryKeyMultipleCandidatesFound = "index_primary_key_multiple_candidates_found", "invalid_request", BAD_REQUEST;
    IndexPrimaryKeyNoCandidateFound = "index_primary_key_no_candidate_found", "invalid_request", BAD_REQUEST;
    Internal = "internal", "internal", INTERNAL_SERVER_ERROR;
    InvalidApiKey = "invalid_api_key", "auth", FORBIDDEN;
    InvalidApiKeyActions = "invalid_api_key_actions", "invalid_request", BAD_REQUEST;
    InvalidApiKeyDescription = "invalid_api_key_description", "invalid_request", BAD_REQUEST;
    InvalidApiKeyExpiresAt = "invalid_api_key_expires_at", "invalid_request", BAD_REQUEST;
    InvalidApiKeyIndexes = "invalid_api_key_indexes", "invalid_request", BAD_REQUEST;
    InvalidApiKeyLimit = "invalid_api_key_limit", "invalid_request", BAD_REQUEST;
    InvalidApiKeyName = "invalid_api_key_name", "invalid_request", BAD_REQUEST;
    InvalidApiKeyOffset = "invalid_api_key_offset", "invalid_request", BAD_REQUEST;
    InvalidApiKeyUid = "invalid_api_key_uid", "invalid_request", BAD_REQUEST;
    InvalidBatchUids = "invalid_batch_uids", "invalid_request", BAD_REQUEST;
    InvalidContentType = "invalid_content_type", "invalid_request", UNSUPPORTED_MEDIA_TYPE;
    InvalidDocumentCsvDelimiter = "invalid_document_csv_delimiter", "invalid_request", BAD_REQUEST;
    InvalidDocumentFields = "invalid_document_fields", "invalid_request", BAD_REQUEST;
    InvalidDocumentFilter = "invalid_document_filter", "invalid_request", BAD_REQUEST;
    InvalidDocumentGeoField = "invalid_document_geo_field", "invalid_request", BAD_REQUEST;
    InvalidDocumentId = "invalid_document_id", "invalid_request", BAD_REQUEST;
    InvalidDocumentIds = "invalid_document_ids", "invalid_request", BAD_REQUEST;
    InvalidDocumentLimit = "invalid_document_limit", "invalid_request", BAD_REQUEST;
    InvalidDocumentOffset = "invalid_document_offset", "invalid_request", BAD_REQUEST;
    InvalidDocumentRetrieveVectors = "invalid_document_retrieve_vectors", "invalid_request", BAD_REQUEST;
    InvalidFacetSearchFacetName = "invalid_facet_search_facet_name", "invalid_request", BAD_REQUEST;
    InvalidIndexCustomMetadata = "invalid_index_custom_metadata", "invalid_request", BAD_REQUEST;
    InvalidIndexLimit = "invalid_index_limit", "invalid_request", BAD_REQUEST;
    InvalidIndexOffset = "invalid_index_offset", "invalid_request", BAD_REQUEST;
    InvalidIndexPrimaryKey = "invalid_index_primary_key", "invalid_request", BAD_REQUEST;
    InvalidIndexUid = "invalid_index_uid", "invalid_request", BAD_REQUEST;
    InvalidSearchAttributesToCrop = "invalid_search_attributes_to_crop", "invalid_request", BAD_REQUEST;
    InvalidSearchAttributesToHighlight = "invalid_search_attributes_to_highlight", "invalid_request", BAD_REQUEST;
    InvalidSearchAttributesToRetrieve = "invalid_search_attributes_to_retrieve", "invalid_request", BAD_REQUEST;
    InvalidSearchAttributesToSearchOn = "invalid_search_attributes_to_search_on", "invalid_request", BAD_REQUEST;
    InvalidSearchCropLength = "invalid_search_crop_length", "invalid_request", BAD_REQUEST;
    InvalidSearchCropMarker = "invalid_search_crop_marker", "invalid_request", BAD_REQUEST;
    InvalidSearchDistinct = "invalid_search_distinct", "invalid_request", BAD_REQUEST;
    InvalidSearchEmbedder = "invalid_search_embedder", "invalid_request", BAD_REQUEST;
    InvalidSearchFacets = "invalid_search_facets", "invalid_request", BAD_REQUEST;
    InvalidSearchFilter = "invalid_search_filter", "invalid_request", BAD_REQUEST;
    InvalidSearchHighlightPostTag = "invalid_search_highlight_post_tag", "invalid_request", BAD_REQUEST;
    InvalidSearchHighlightPreTag = "invalid_search_highlight_pre_tag", "invalid_request", BAD_REQUEST;
    InvalidSearchHitsPerPage = "invalid_search_hits_per_page", "invalid_request", BAD_REQUEST;
    InvalidSearchHybridQuery = "invalid_search_hybrid_query", "invalid_request", BAD_REQUEST;
    InvalidSearchLimit = "invalid_search_limit", "invalid_request", BAD_REQUEST;
    InvalidSearchLocales = "invalid_search_locales", "invalid_request", BAD_REQUEST;
    InvalidSearchMatchingStrategy = "invalid_search_matching_strategy", "invalid_request", BAD_REQUEST;
    InvalidSearchOffset = "invalid_search_offset", "invalid_request", BAD_REQUEST;
    InvalidSearchPage = "invalid_search_page", "invalid_request", BAD_REQUEST;
    InvalidSearchQ = "invalid_search_q", "invalid_request", BAD_REQUEST;
    InvalidSearchRankingScoreThreshold = "invalid_search_ranking_score_threshold", "invalid_request", BAD_REQUEST;
    InvalidSearchRetrieveVectors = "invalid_search_retrieve_vectors", "invalid_request", BAD_REQUEST;
    InvalidSearchSemanticRatio = "invalid_search_semantic_ratio", "invalid_request", BAD_REQUEST;
    InvalidSearchShowMatchesPosition = "invalid_search_show_matches_position", "invalid_request", BAD_REQUEST;
    InvalidSearchShowRankingScore = "invalid_search_show_ranking_score", "invalid_request", BAD_REQUEST;
    InvalidSearchShowRankingScoreDetails = "invalid_search_show_ranking_score_details", "invalid_request", BAD_REQUEST;
    InvalidSearchSort = "invalid_search_sort", "invalid_request", BAD_REQUEST;
    InvalidSearchVector = "invalid_search_vector", "invalid_request", BAD_REQUEST;
    InvalidSettingsDictionary = "invalid_settings_dictionary", "invalid_request", BAD_REQUEST;
    InvalidSettingsDisplayedAttributes = "invalid_settings_displayed_attributes", "invalid_request", BAD_REQUEST;
    InvalidSettingsDistinctAttribute = "invalid_settings_distinct_attribute", "invalid_request", BAD_REQUEST;
    InvalidSettingsEmbedders = "invalid_settings_embedders", "invalid_request", BAD_REQUEST;
    InvalidSettingsFacetSearch = "invalid_settings_facet_search", "invalid_request", BAD_REQUEST;
    InvalidSettingsFaceting = "invalid_settings_faceting", "invalid_request", BAD_REQUEST;
    InvalidSettingsFilterableAttributes = "invalid_settings_filterable_attributes", "invalid_request", BAD_REQUEST;
    InvalidSettingsLocalizedAttributes = "invalid_settings_localized_attributes", "invalid_request", BAD_REQUEST;
    InvalidSettingsNonSeparatorTokens = "invalid_settings_non_separator_tokens", "invalid_request", BAD_REQUEST;
    InvalidSettingsPagination = "invalid_settings_pagination", "invalid_request", BAD_REQUEST;
    InvalidSettingsPrefixSearch = "invalid_settings_prefix_search", "invalid_request", BAD_REQUEST;
    InvalidSettingsProximityPrecision = "invalid_settings_proximity_precision", "invalid_request", BAD_REQUEST;
    InvalidSettingsRankingRules = "invalid_settings_ranking_rules", "invalid_request", BAD_REQUEST;
    InvalidSettingsSearchCutoffMs = "invalid_settings_search_cutoff_ms", "invalid_request", BAD_REQUEST;
    InvalidSettingsSearchableAttributes = "invalid_settings_searchable_attributes", "invalid_request", BAD_REQUEST;
    InvalidSettingsSeparatorTokens = "invalid_settings_separator_tokens", "invalid_request", BAD_REQUEST;
    InvalidSettingsSortableAttributes = "invalid_settings_sortable_attributes", "invalid_request", BAD_REQUEST;
    InvalidSettingsStopWords = "invalid_settings_stop_words", "invalid_request", BAD_REQUEST;
    InvalidSettingsSynonyms = "invalid_settings_synonyms", "invalid_request", BAD_REQUEST;
    InvalidSettingsTypoTolerance = "invalid_settings_typo_tolerance", "invalid_request", BAD_REQUEST;
    InvalidSimilarEmbedder = "invalid_similar_embedder", "invalid_request", BAD_REQUEST;
    InvalidStoreFile = "invalid_store_file", "internal", INTERNAL_SERVER_ERROR;
    InvalidTaskAfterEnqueuedAt = "invalid_task_after_enqueued_at", "invalid_request", BAD_REQUEST;
    InvalidTaskAfterFinishedAt = "invalid_task_after_finished_at", "invalid_request", BAD_REQUEST;
    InvalidTaskAfterStartedAt = "invalid_task_after_started_at", "invalid_request", BAD_REQUEST;
    InvalidTaskBeforeEnqueuedAt = "invalid_task_before_enqueued_at", "invalid_request", BAD_REQUEST;
    InvalidTaskBeforeFinishedAt = "invalid_task_before_finished_at", "invalid_request", BAD_REQUEST;
    InvalidTaskBeforeStartedAt = "invalid_task_before_started_at", "invalid_request", BAD_REQUEST;
    InvalidTaskCanceledBy = "invalid_task_canceled_by", "invalid_request", BAD_REQUEST;
    InvalidTaskFrom = "invalid_task_from", "invalid_request", BAD_REQUEST;
    InvalidTaskLimit = "invalid_task_limit", "invalid_request", BAD_REQUEST;
    InvalidTaskReverse = "invalid_task_reverse", "invalid_request", BAD_REQUEST;
    InvalidTaskStatuses = "invalid_task_statuses", "invalid_request", BAD_REQUEST;
    InvalidTaskTypes = "invalid_task_types", "invalid_request", BAD_REQUEST;
    InvalidTaskUids = "invalid_task_uids", "invalid_request", BAD_REQUEST;
    InvalidVectorDimensions = "invalid_vector_dimensions", "invalid_request", BAD_REQUEST;
    InvalidVectorsType = "invalid_vectors_type", "invalid_request", BAD_REQUEST;
    IoError = "io_error", "system", UNPROCESSABLE_ENTITY;
    MalformedPayload = "malformed_payload", "invalid_request", BAD_REQUEST;
    MaxFieldsLimitExceeded = "max_fields_limit_exceeded", "invalid_request", BAD_REQUEST;
    MissingApiKeyActions = "missing_api_key_actions", "invalid_request", BAD_REQUEST;
    MissingApiKeyExpiresAt = "missing_api_key_expires_at", "invalid_request", BAD_REQUEST;
    MissingApiKeyIndexes = "missing_api_key_indexes", "invalid_request", BAD_REQUEST;
    MissingAuthorizationHeader = "missing_authorization_header", "auth", UNAUTHORIZED;
    MissingContentType = "missing_content_type", "invalid_request", UNSUPPORTED_MEDIA_TYPE;
    MissingDocumentFilter = "missing_document_filter", "invalid_request", BAD_REQUEST;
    MissingDocumentId = "missing_document_id", "invalid_request", BAD_REQUEST;
    MissingFacetSearchFacetName = "missing_facet_search_facet_name", "invalid_request", BAD_REQUEST;
    MissingIndexUid = "missing_index_uid", "invalid_request", BAD_REQUEST;
    MissingMasterKey = "missing_master_key", "auth", UNAUTHORIZED;
    MissingPayload = "missing_payload", "invalid_request", BAD_REQUEST;
    MissingSearchHybrid = "missing_search_hybrid", "invalid_request", BAD_REQUEST;
    NoSpaceLeftOnDevice = "no_space_left_on_device", "system", UNPROCESSABLE_ENTITY;
    NotFound = "not_found", "invalid_request", NOT_FOUND;
    MethodNotAllowed = "method_not_allowed", "invalid_request", METHOD_NOT_ALLOWED;
    PayloadTooLarge = "payload_too_large", "invalid_request", PAYLOAD_TOO_LARGE;
    TaskNotFound = "task_not_found", "invalid_request", NOT_FOUND;
    TooManyOpenFiles = "too_many_open_files", "system", UNPROCESSABLE_ENTITY;
    TooManySearchRequests = "too_many_search_requests", "system", SERVICE_UNAVAILABLE;
    TooManyVectors = "too_many_vectors", "invalid_request", BAD_REQUEST;
    VectorEmbeddingError = "vector_embedding_error", "invalid_request", BAD_REQUEST;
}

/// The error object of Meilisearch, in an answer or in a failed task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, for people.
    pub message: String,
    /// The code's name, for programs.
    pub code: String,
    /// The code's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the code is documented.
    pub link: String,
}

/// A failure with the code it is reported under: the body of an answer, or a task's `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The code, which also fixes the HTTP status.
    pub code: Code,
    /// What went wrong, for people.
    pub message: String,
}

impl ApiError {
    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if code == Code::IoError {
            message.push_str(
                ". This error generally happens when you have no space left on device or when \
                 your database doesn't have read or write right.",
            );
        }
        Self { code, message }
    }

    /// `Index `uid` not found.`
    pub fn index_not_found(uid: &str) -> Self {
        Self::new(Code::IndexNotFound, format!("Index `{uid}` not found."))
    }

    /// An error of the engine, prefixed by the index it happened in as Meilisearch does.
    pub fn in_index(uid: &str, error: impl Into<ApiError>) -> Self {
        let error = error.into();
        Self {
            code: error.code,
            message: format!("Index `{uid}`: {}", error.message),
        }
    }

    /// The error under another code, if it has this one: filters are reported under the code of
    /// the request they came with.
    pub fn recoded(self, from: Code, to: Code) -> Self {
        let code = if self.code == from { to } else { self.code };
        Self { code, ..self }
    }

    /// The envelope as JSON clients see it.
    pub fn body(&self) -> ErrorBody {
        let code = self.code.name();
        ErrorBody {
            message: self.message.clone(),
            code: code.to_owned(),
            kind: self.code.kind().to_owned(),
            link: format!("https://docs.meilisearch.com/errors#{code}"),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(self.body())).into_response();
        if self.code.status() == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::new(io_code(&error), error.to_string())
    }
}

impl From<milli_core::heed::Error> for ApiError {
    fn from(error: milli_core::heed::Error) -> Self {
        milli_core::Error::from(error).into()
    }
}

impl From<milli_core::Error> for ApiError {
    fn from(error: milli_core::Error) -> Self {
        Self::new(milli_code(&error), error.to_string())
    }
}

/// Linux errno values Meilisearch gives codes of their own.
fn io_code(error: &std::io::Error) -> Code {
    match error.raw_os_error() {
        Some(5) => Code::IoError,
        Some(24) => Code::TooManyOpenFiles,
        Some(28) => Code::NoSpaceLeftOnDevice,
        _ => Code::Internal,
    }
}

fn milli_code(error: &milli_core::Error) -> Code {
    match error {
        milli_core::Error::InternalError(_) => Code::Internal,
        milli_core::Error::IoError(error) => io_code(error),
        milli_core::Error::UserError(error) => user_code(error),
    }
}

fn user_code(error: &milli_core::UserError) -> Code {
    use milli_core::UserError as U;
    match error {
        U::SerdeJson(_)
        | U::EnvAlreadyOpened
        | U::DocumentLimitReached
        | U::UnknownInternalDocumentId { .. } => Code::Internal,
        U::InvalidStoreFile => Code::InvalidStoreFile,
        U::NoSpaceLeftOnDevice => Code::NoSpaceLeftOnDevice,
        U::MaxDatabaseSizeReached => Code::DatabaseSizeLimitReached,
        U::AttributeLimitReached => Code::MaxFieldsLimitExceeded,
        U::InvalidFilter(_)
        | U::InvalidFilterExpression(..)
        | U::FilterOperatorNotAllowed { .. } => Code::InvalidSearchFilter,
        U::MissingDocumentId { .. } => Code::MissingDocumentId,
        U::InvalidDocumentId { .. } | U::TooManyDocumentIds { .. } => Code::InvalidDocumentId,
        U::MissingDocumentField(_) => Code::InvalidDocumentFields,
        U::NoPrimaryKeyCandidateFound => Code::IndexPrimaryKeyNoCandidateFound,
        U::MultiplePrimaryKeyCandidatesFound { .. } => Code::IndexPrimaryKeyMultipleCandidatesFound,
        U::PrimaryKeyCannotBeChanged(_) => Code::IndexPrimaryKeyAlreadyExists,
        U::InvalidDistinctAttribute { .. } => Code::InvalidSearchDistinct,
        U::SortRankingRuleMissing | U::InvalidSortableAttribute { .. } | U::SortError(_) => {
            Code::InvalidSearchSort
        }
        U::InvalidFacetsDistribution { .. } => Code::InvalidSearchFacets,
        U::InvalidSearchableAttribute { .. } => Code::InvalidSearchAttributesToSearchOn,
        U::InvalidFacetSearchFacetName { .. } => Code::InvalidFacetSearchFacetName,
        U::CriterionError(_) => Code::InvalidSettingsRankingRules,
        U::InvalidGeoField { .. } => Code::InvalidDocumentGeoField,
        U::InvalidVectorDimensions { .. } | U::InvalidIndexingVectorDimensions { .. } => {
            Code::InvalidVectorDimensions
        }
        U::InvalidVectorsMapType { .. } | U::InvalidVectorsEmbedderConf { .. } => {
            Code::InvalidVectorsType
        }
        U::TooManyVectors(_, _) => Code::TooManyVectors,
        U::InvalidMinTypoWordLenSetting(_, _) => Code::InvalidSettingsTypoTolerance,
        U::InvalidSearchEmbedder(_) => Code::InvalidSearchEmbedder,
        U::InvalidSimilarEmbedder(_) => Code::InvalidSimilarEmbedder,
        U::VectorEmbeddingError(_) | U::DocumentEmbeddingError(_) => Code::VectorEmbeddingError,
        U::DocumentEditionCannotModifyPrimaryKey
        | U::DocumentEditionDocumentMustBeObject
        | U::DocumentEditionRuntimeError(_)
        | U::DocumentEditionCompilationError(_) => Code::Internal,
        U::InvalidPrompt(_)
        | U::InvalidPromptForEmbeddings(..)
        | U::TooManyEmbedders(_)
        | U::InvalidFieldForSource { .. }
        | U::InvalidOpenAiModel { .. }
        | U::MissingFieldForSource { .. }
        | U::InvalidOpenAiModelDimensions { .. }
        | U::InvalidOpenAiModelDimensionsMax { .. }
        | U::InvalidSourceForNested { .. }
        | U::MissingSourceForNested { .. }
        | U::InvalidSettingsEmbedder { .. }
        | U::InvalidSettingsDimensions { .. }
        | U::InvalidDisableBinaryQuantization { .. }
        | U::InvalidSettingsDocumentTemplateMaxBytes { .. }
        | U::InvalidUrl { .. } => Code::InvalidSettingsEmbedders,
    }
}
