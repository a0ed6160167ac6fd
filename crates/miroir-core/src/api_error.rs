//! An error as Meilisearch tells it to a client: a code, its HTTP status and type, a message.
//!
//! The proxy answers with it directly, or stores it as the error of a task.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Who is at fault, as the `type` of an error answer says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request must be changed.
    InvalidRequest,
    /// The key is missing, unknown or not allowed to do this.
    Auth,
    /// The machine, the disk or the network is in the way.
    System,
    /// A bug or a corrupted store.
    Internal,
}

impl ErrorKind {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Auth => "auth",
            Self::System => "system",
            Self::Internal => "internal",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal, $kind:ident;)*) => {
        /// A stable error name: Meilisearch's, and those of what only a cluster has. The list holds those that Miroir itself can raise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire, snake case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status of an answer with this code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Who is at fault.
            #[must_use]
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)* }
            }
        }
    };
}

codes! {
    /// An alias does not point where its change expects.
    AliasChanged = "alias_changed", 409, InvalidRequest;
    /// There is no such alias.
    AliasNotFound = "alias_not_found", 404, InvalidRequest;
    ApiKeyAlreadyExists = "api_key_already_exists", 409, InvalidRequest;
    ApiKeyNotFound = "api_key_not_found", 404, InvalidRequest;
    BadRequest = "bad_request", 400, InvalidRequest;
    BatchNotFound = "batch_not_found", 404, InvalidRequest;
    DocumentNotFound = "document_not_found", 404, InvalidRequest;
    DynamicSearchRuleNotFound = "dynamic_search_rule_not_found", 404, InvalidRequest;
    FacetSearchDisabled = "facet_search_disabled", 400, InvalidRequest;
    FeatureNotEnabled = "feature_not_enabled", 400, InvalidRequest;
    IdempotencyKeyInUse = "idempotency_key_in_use", 409, InvalidRequest;
    IdempotencyKeyReused = "idempotency_key_reused", 422, InvalidRequest;
    ImmutableIndexCreatedAt = "immutable_index_created_at", 400, InvalidRequest;
    ImmutableIndexUpdatedAt = "immutable_index_updated_at", 400, InvalidRequest;
    ImmutableApiKeyActions = "immutable_api_key_actions", 400, InvalidRequest;
    ImmutableApiKeyCreatedAt = "immutable_api_key_created_at", 400, InvalidRequest;
    ImmutableApiKeyExpiresAt = "immutable_api_key_expires_at", 400, InvalidRequest;
    ImmutableApiKeyIndexes = "immutable_api_key_indexes", 400, InvalidRequest;
    ImmutableApiKeyUid = "immutable_api_key_uid", 400, InvalidRequest;
    ImmutableApiKeyUpdatedAt = "immutable_api_key_updated_at", 400, InvalidRequest;
    ImmutableWebhook = "immutable_webhook", 400, InvalidRequest;
    ImmutableWebhookIsEditable = "immutable_webhook_is_editable", 400, InvalidRequest;
    ImmutableWebhookUuid = "immutable_webhook_uuid", 400, InvalidRequest;
    IndexAlreadyExists = "index_already_exists", 409, InvalidRequest;
    IndexNotFound = "index_not_found", 404, InvalidRequest;
    IndexPrimaryKeyAlreadyExists = "index_primary_key_already_exists", 400, InvalidRequest;
    IndexPrimaryKeyMultipleCandidatesFound = "index_primary_key_multiple_candidates_found", 400, InvalidRequest;
    IndexPrimaryKeyNoCandidateFound = "index_primary_key_no_candidate_found", 400, InvalidRequest;
    IndexScopedApiKeyWithGlobalAction = "index_scoped_api_key_with_global_action", 400, InvalidRequest;
    Internal = "internal", 500, Internal;
    InvalidApiKey = "invalid_api_key", 403, Auth;
    InvalidBatchUids = "invalid_batch_uids", 400, InvalidRequest;
    /// An alias cannot be pointed there.
    InvalidAliasTarget = "invalid_alias_target", 400, InvalidRequest;
    InvalidApiKeyActions = "invalid_api_key_actions", 400, InvalidRequest;
    InvalidApiKeyDescription = "invalid_api_key_description", 400, InvalidRequest;
    InvalidApiKeyExpiresAt = "invalid_api_key_expires_at", 400, InvalidRequest;
    InvalidApiKeyIndexes = "invalid_api_key_indexes", 400, InvalidRequest;
    InvalidApiKeyLimit = "invalid_api_key_limit", 400, InvalidRequest;
    InvalidApiKeyName = "invalid_api_key_name", 400, InvalidRequest;
    InvalidApiKeyOffset = "invalid_api_key_offset", 400, InvalidRequest;
    InvalidApiKeyUid = "invalid_api_key_uid", 400, InvalidRequest;
    InvalidContentType = "invalid_content_type", 415, InvalidRequest;
    InvalidDocumentCsvDelimiter = "invalid_document_csv_delimiter", 400, InvalidRequest;
    InvalidDocumentFields = "invalid_document_fields", 400, InvalidRequest;
    InvalidDocumentFilter = "invalid_document_filter", 400, InvalidRequest;
    InvalidDocumentId = "invalid_document_id", 400, InvalidRequest;
    InvalidDocumentIds = "invalid_document_ids", 400, InvalidRequest;
    InvalidDocumentLimit = "invalid_document_limit", 400, InvalidRequest;
    InvalidDocumentOffset = "invalid_document_offset", 400, InvalidRequest;
    InvalidDocumentRetrieveVectors = "invalid_document_retrieve_vectors", 400, InvalidRequest;
    InvalidDocumentSort = "invalid_document_sort", 400, InvalidRequest;
    InvalidDynamicSearchRuleActions = "invalid_dynamic_search_rule_actions", 400, InvalidRequest;
    InvalidDynamicSearchRuleActive = "invalid_dynamic_search_rule_active", 400, InvalidRequest;
    InvalidDynamicSearchRuleConditions = "invalid_dynamic_search_rule_conditions", 400, InvalidRequest;
    InvalidDynamicSearchRuleDescription = "invalid_dynamic_search_rule_description", 400, InvalidRequest;
    InvalidDynamicSearchRuleFilter = "invalid_dynamic_search_rule_filter", 400, InvalidRequest;
    InvalidDynamicSearchRuleFilterActive = "invalid_dynamic_search_rule_filter_active", 400, InvalidRequest;
    InvalidDynamicSearchRuleFilterQuery = "invalid_dynamic_search_rule_filter_query", 400, InvalidRequest;
    InvalidDynamicSearchRuleLimit = "invalid_dynamic_search_rule_limit", 400, InvalidRequest;
    InvalidDynamicSearchRuleOffset = "invalid_dynamic_search_rule_offset", 400, InvalidRequest;
    InvalidDynamicSearchRulePriority = "invalid_dynamic_search_rule_priority", 400, InvalidRequest;
    InvalidFacetSearchExhaustiveFacetCount = "invalid_facet_search_exhaustive_facet_count", 400, InvalidRequest;
    InvalidFacetSearchFacetName = "invalid_facet_search_facet_name", 400, InvalidRequest;
    InvalidFacetSearchQuery = "invalid_facet_search_query", 400, InvalidRequest;
    InvalidIdempotencyKey = "invalid_idempotency_key", 400, InvalidRequest;
    InvalidIndexCustomMetadata = "invalid_index_custom_metadata", 400, InvalidRequest;
    InvalidIndexFieldsFilter = "invalid_index_fields_filter", 400, InvalidRequest;
    InvalidIndexFieldsFilterAttributePatterns = "invalid_index_fields_filter_attribute_patterns", 400, InvalidRequest;
    InvalidIndexFieldsFilterDisplayed = "invalid_index_fields_filter_displayed", 400, InvalidRequest;
    InvalidIndexFieldsFilterDistinct = "invalid_index_fields_filter_distinct", 400, InvalidRequest;
    InvalidIndexFieldsFilterFilterable = "invalid_index_fields_filter_filterable", 400, InvalidRequest;
    InvalidIndexFieldsFilterRankingRule = "invalid_index_fields_filter_ranking_rule", 400, InvalidRequest;
    InvalidIndexFieldsFilterSearchable = "invalid_index_fields_filter_searchable", 400, InvalidRequest;
    InvalidIndexFieldsFilterSortable = "invalid_index_fields_filter_sortable", 400, InvalidRequest;
    InvalidIndexLimit = "invalid_index_limit", 400, InvalidRequest;
    InvalidIndexOffset = "invalid_index_offset", 400, InvalidRequest;
    InvalidIndexPrimaryKey = "invalid_index_primary_key", 400, InvalidRequest;
    InvalidIndexUid = "invalid_index_uid", 400, InvalidRequest;
    InvalidMultiSearchDistinct = "invalid_multi_search_distinct", 400, InvalidRequest;
    InvalidMultiSearchFacetOrder = "invalid_multi_search_facet_order", 400, InvalidRequest;
    InvalidMultiSearchFacetsByIndex = "invalid_multi_search_facets_by_index", 400, InvalidRequest;
    InvalidMultiSearchFederationOptions = "invalid_multi_search_federation_options", 400, InvalidRequest;
    InvalidMultiSearchMaxValuesPerFacet = "invalid_multi_search_max_values_per_facet", 400, InvalidRequest;
    InvalidMultiSearchMergeFacets = "invalid_multi_search_merge_facets", 400, InvalidRequest;
    InvalidMultiSearchQueryFacets = "invalid_multi_search_query_facets", 400, InvalidRequest;
    InvalidMultiSearchQueryPagination = "invalid_multi_search_query_pagination", 400, InvalidRequest;
    InvalidMultiSearchQueryPersonalization = "invalid_multi_search_query_personalization", 400, InvalidRequest;
    InvalidMultiSearchQueryPosition = "invalid_multi_search_query_position", 400, InvalidRequest;
    InvalidMultiSearchQueryRankingRules = "invalid_multi_search_query_ranking_rules", 400, InvalidRequest;
    InvalidMultiSearchQueryShowPerformanceDetails = "invalid_multi_search_query_show_performance_details", 400, InvalidRequest;
    InvalidMultiSearchRemote = "invalid_multi_search_remote", 400, InvalidRequest;
    InvalidMultiSearchWeight = "invalid_multi_search_weight", 400, InvalidRequest;
    InvalidRenderInput = "invalid_render_input", 400, InvalidRequest;
    InvalidRenderTemplate = "invalid_render_template", 400, InvalidRequest;
    InvalidSearchAttributesToCrop = "invalid_search_attributes_to_crop", 400, InvalidRequest;
    InvalidSearchAttributesToHighlight = "invalid_search_attributes_to_highlight", 400, InvalidRequest;
    InvalidSearchAttributesToRetrieve = "invalid_search_attributes_to_retrieve", 400, InvalidRequest;
    InvalidSearchAttributesToSearchOn = "invalid_search_attributes_to_search_on", 400, InvalidRequest;
    InvalidSearchCropLength = "invalid_search_crop_length", 400, InvalidRequest;
    InvalidSearchCropMarker = "invalid_search_crop_marker", 400, InvalidRequest;
    InvalidSearchDistinct = "invalid_search_distinct", 400, InvalidRequest;
    InvalidSearchEmbedder = "invalid_search_embedder", 400, InvalidRequest;
    InvalidSearchFacets = "invalid_search_facets", 400, InvalidRequest;
    InvalidSearchFilter = "invalid_search_filter", 400, InvalidRequest;
    InvalidSearchHighlightPostTag = "invalid_search_highlight_post_tag", 400, InvalidRequest;
    InvalidSearchHighlightPreTag = "invalid_search_highlight_pre_tag", 400, InvalidRequest;
    InvalidSearchHitsPerPage = "invalid_search_hits_per_page", 400, InvalidRequest;
    InvalidSearchHybridQuery = "invalid_search_hybrid_query", 400, InvalidRequest;
    InvalidSearchLimit = "invalid_search_limit", 400, InvalidRequest;
    InvalidSearchLocales = "invalid_search_locales", 400, InvalidRequest;
    InvalidSearchMatchingStrategy = "invalid_search_matching_strategy", 400, InvalidRequest;
    InvalidSearchOffset = "invalid_search_offset", 400, InvalidRequest;
    InvalidSearchPage = "invalid_search_page", 400, InvalidRequest;
    InvalidSearchPersonalize = "invalid_search_personalize", 400, InvalidRequest;
    InvalidSearchQ = "invalid_search_q", 400, InvalidRequest;
    InvalidSearchRankingScoreThreshold = "invalid_search_ranking_score_threshold", 400, InvalidRequest;
    InvalidSearchRetrieveVectors = "invalid_search_retrieve_vectors", 400, InvalidRequest;
    InvalidSearchSemanticRatio = "invalid_search_semantic_ratio", 400, InvalidRequest;
    InvalidSearchShowMatchesPosition = "invalid_search_show_matches_position", 400, InvalidRequest;
    InvalidSearchShowPerformanceDetails = "invalid_search_show_performance_details", 400, InvalidRequest;
    InvalidSearchShowRankingScore = "invalid_search_show_ranking_score", 400, InvalidRequest;
    InvalidSearchShowRankingScoreDetails = "invalid_search_show_ranking_score_details", 400, InvalidRequest;
    InvalidSearchSort = "invalid_search_sort", 400, InvalidRequest;
    InvalidSearchUseNetwork = "invalid_search_use_network", 400, InvalidRequest;
    InvalidSearchVector = "invalid_search_vector", 400, InvalidRequest;
    InvalidSession = "invalid_session", 400, InvalidRequest;
    InvalidSettingsDictionary = "invalid_settings_dictionary", 400, InvalidRequest;
    InvalidSettingsDisplayedAttributes = "invalid_settings_displayed_attributes", 400, InvalidRequest;
    InvalidSettingsDistinctAttribute = "invalid_settings_distinct_attribute", 400, InvalidRequest;
    InvalidSettingsEmbedders = "invalid_settings_embedders", 400, InvalidRequest;
    InvalidSettingsFacetSearch = "invalid_settings_facet_search", 400, InvalidRequest;
    InvalidSettingsFaceting = "invalid_settings_faceting", 400, InvalidRequest;
    InvalidSettingsFilterableAttributes = "invalid_settings_filterable_attributes", 400, InvalidRequest;
    InvalidSettingsForeignKeys = "invalid_settings_foreign_keys", 400, InvalidRequest;
    InvalidSettingsIndexChat = "invalid_settings_index_chat", 400, InvalidRequest;
    InvalidSettingsLocalizedAttributes = "invalid_settings_localized_attributes", 400, InvalidRequest;
    InvalidSettingsNonSeparatorTokens = "invalid_settings_non_separator_tokens", 400, InvalidRequest;
    InvalidSettingsPagination = "invalid_settings_pagination", 400, InvalidRequest;
    InvalidSettingsPrefixSearch = "invalid_settings_prefix_search", 400, InvalidRequest;
    InvalidSettingsProximityPrecision = "invalid_settings_proximity_precision", 400, InvalidRequest;
    InvalidSettingsRankingRules = "invalid_settings_ranking_rules", 400, InvalidRequest;
    InvalidSettingsSearchCutoffMs = "invalid_settings_search_cutoff_ms", 400, InvalidRequest;
    InvalidSettingsSearchableAttributes = "invalid_settings_searchable_attributes", 400, InvalidRequest;
    InvalidSettingsSeparatorTokens = "invalid_settings_separator_tokens", 400, InvalidRequest;
    InvalidSettingsSortableAttributes = "invalid_settings_sortable_attributes", 400, InvalidRequest;
    InvalidSettingsStopWords = "invalid_settings_stop_words", 400, InvalidRequest;
    InvalidSettingsSynonyms = "invalid_settings_synonyms", 400, InvalidRequest;
    InvalidSettingsTypoTolerance = "invalid_settings_typo_tolerance", 400, InvalidRequest;
    InvalidSimilarAttributesToRetrieve = "invalid_similar_attributes_to_retrieve", 400, InvalidRequest;
    InvalidSimilarEmbedder = "invalid_similar_embedder", 400, InvalidRequest;
    InvalidSimilarFilter = "invalid_similar_filter", 400, InvalidRequest;
    InvalidSimilarId = "invalid_similar_id", 400, InvalidRequest;
    InvalidSimilarLimit = "invalid_similar_limit", 400, InvalidRequest;
    InvalidSimilarOffset = "invalid_similar_offset", 400, InvalidRequest;
    InvalidSimilarRankingScoreThreshold = "invalid_similar_ranking_score_threshold", 400, InvalidRequest;
    InvalidSimilarRetrieveVectors = "invalid_similar_retrieve_vectors", 400, InvalidRequest;
    InvalidSimilarShowPerformanceDetails = "invalid_similar_show_performance_details", 400, InvalidRequest;
    InvalidSimilarShowRankingScore = "invalid_similar_show_ranking_score", 400, InvalidRequest;
    InvalidSimilarShowRankingScoreDetails = "invalid_similar_show_ranking_score_details", 400, InvalidRequest;
    InvalidSkipCreation = "invalid_skip_creation", 400, InvalidRequest;
    InvalidStatsShowInternalDatabaseSizes = "invalid_stats_show_internal_database_sizes", 400, InvalidRequest;
    InvalidStatsSizeFormat = "invalid_stats_size_format", 400, InvalidRequest;
    InvalidSwapDuplicateIndexFound = "invalid_swap_duplicate_index_found", 400, InvalidRequest;
    InvalidSwapIndexes = "invalid_swap_indexes", 400, InvalidRequest;
    InvalidSwapRename = "invalid_swap_rename", 400, InvalidRequest;
    InvalidTaskAfterEnqueuedAt = "invalid_task_after_enqueued_at", 400, InvalidRequest;
    InvalidTaskAfterFinishedAt = "invalid_task_after_finished_at", 400, InvalidRequest;
    InvalidTaskAfterStartedAt = "invalid_task_after_started_at", 400, InvalidRequest;
    InvalidTaskBeforeEnqueuedAt = "invalid_task_before_enqueued_at", 400, InvalidRequest;
    InvalidTaskBeforeFinishedAt = "invalid_task_before_finished_at", 400, InvalidRequest;
    InvalidTaskBeforeStartedAt = "invalid_task_before_started_at", 400, InvalidRequest;
    InvalidTaskCanceledBy = "invalid_task_canceled_by", 400, InvalidRequest;
    InvalidTaskFrom = "invalid_task_from", 400, InvalidRequest;
    InvalidTaskLimit = "invalid_task_limit", 400, InvalidRequest;
    InvalidTaskReverse = "invalid_task_reverse", 400, InvalidRequest;
    InvalidTaskStatuses = "invalid_task_statuses", 400, InvalidRequest;
    InvalidTaskTypes = "invalid_task_types", 400, InvalidRequest;
    InvalidTaskUids = "invalid_task_uids", 400, InvalidRequest;
    InvalidWebhookHeaders = "invalid_webhook_headers", 400, InvalidRequest;
    InvalidWebhookUrl = "invalid_webhook_url", 400, InvalidRequest;
    InvalidWebhookUuid = "invalid_webhook_uuid", 400, InvalidRequest;
    InvalidWebhooks = "invalid_webhooks", 400, InvalidRequest;
    MalformedPayload = "malformed_payload", 400, InvalidRequest;
    MissingApiKeyActions = "missing_api_key_actions", 400, InvalidRequest;
    MissingApiKeyExpiresAt = "missing_api_key_expires_at", 400, InvalidRequest;
    MissingApiKeyIndexes = "missing_api_key_indexes", 400, InvalidRequest;
    MissingAuthorizationHeader = "missing_authorization_header", 401, Auth;
    MissingContentType = "missing_content_type", 415, InvalidRequest;
    MissingDocumentFilter = "missing_document_filter", 400, InvalidRequest;
    MissingDocumentId = "missing_document_id", 400, InvalidRequest;
    MissingFacetSearchFacetName = "missing_facet_search_facet_name", 400, InvalidRequest;
    MissingIndexUid = "missing_index_uid", 400, InvalidRequest;
    MissingMasterKey = "missing_master_key", 401, Auth;
    MissingPayload = "missing_payload", 400, InvalidRequest;
    MissingSearchHybrid = "missing_search_hybrid", 400, InvalidRequest;
    MissingSwapIndexes = "missing_swap_indexes", 400, InvalidRequest;
    MissingTaskFilters = "missing_task_filters", 400, InvalidRequest;
    NotFound = "not_found", 404, InvalidRequest;
    NotFoundSimilarId = "not_found_similar_id", 400, InvalidRequest;
    PayloadTooLarge = "payload_too_large", 413, InvalidRequest;
    RemoteBadResponse = "remote_bad_response", 502, System;
    RemoteCouldNotSendRequest = "remote_could_not_send_request", 502, System;
    RemoteTimeout = "remote_timeout", 502, System;
    TaskNotFound = "task_not_found", 404, InvalidRequest;
    TooManySearchRequests = "too_many_search_requests", 503, System;
    UnavailableShards = "unavailable_shards", 503, System;
    UnsupportedMediaType = "unsupported_media_type", 415, InvalidRequest;
    WebhookNotFound = "webhook_not_found", 404, InvalidRequest;
}

impl Code {
    /// The code of that name, if it is one that Miroir can raise.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

/// An error for a client. It serialises to Meilisearch's envelope: `message`, `code`, `type`, `link`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong and what to do, for people.
    pub message: String,
}

impl ApiError {
    /// An error with this code and text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// The page that documents the code.
    #[must_use]
    pub fn link(&self) -> String {
        format!("https://docs.meilisearch.com/errors#{}", self.code.name())
    }

    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self.code.kind() {
            ErrorKind::System => true,
            ErrorKind::InvalidRequest | ErrorKind::Auth | ErrorKind::Internal => false,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut envelope = serializer.serialize_struct("ApiError", 4)?;
        envelope.serialize_field("message", &self.message)?;
        envelope.serialize_field("code", self.code.name())?;
        envelope.serialize_field("type", self.code.kind().name())?;
        envelope.serialize_field("link", &self.link())?;
        envelope.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_is_meilisearchs() {
        let error = ApiError::new(Code::IndexNotFound, "Index `movies` not found.");
        assert_eq!(
            serde_json::to_string(&error).expect("a string"),
            r#"{"message":"Index `movies` not found.","code":"index_not_found","type":"invalid_request","link":"https://docs.meilisearch.com/errors#index_not_found"}"#
        );
        assert_eq!(error.status(), 404);
    }

    #[test]
    fn names_are_unique_and_found_again() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(*code));
        }
        assert_eq!(Code::from_name("no_such_code"), None);
    }
}
