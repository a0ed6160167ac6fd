//! The settings object of an index, as clients write and read it.
//!
//! Every setting is `Set`, `Reset` (the client sent `null`) or `NotSet` (absent).

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::str::FromStr;

use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, ValuePointerRef,
    take_cf_content,
};
use milli_core::update::{Setting, validate_embedding_settings};
use milli_core::vector::settings::EmbeddingSettings;
use milli_core::{Criterion, FilterableAttributesRule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::locale::LocalizedAttributes;
use crate::error::{ApiError, marker};
use crate::validate::{InvalidJson, Problem};

/// Most hits a search can reach when `pagination.maxTotalHits` is not set.
pub const DEFAULT_MAX_TOTAL_HITS: usize = 1000;

/// All settings of an index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Deserr)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields)]
#[expect(missing_docs, reason = "named and documented as in Meilisearch's API")]
pub struct Settings {
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsDisplayedAttributes>)]
    pub displayed_attributes: Setting<Vec<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsSearchableAttributes>)]
    pub searchable_attributes: Setting<Vec<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsFilterableAttributes>)]
    pub filterable_attributes: Setting<Vec<FilterableAttributesRule>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsSortableAttributes>)]
    pub sortable_attributes: Setting<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsRankingRules>)]
    pub ranking_rules: Setting<Vec<RankingRule>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsStopWords>)]
    pub stop_words: Setting<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsNonSeparatorTokens>)]
    pub non_separator_tokens: Setting<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsSeparatorTokens>)]
    pub separator_tokens: Setting<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsDictionary>)]
    pub dictionary: Setting<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsSynonyms>)]
    pub synonyms: Setting<BTreeMap<String, Vec<String>>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsDistinctAttribute>)]
    pub distinct_attribute: Setting<String>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsProximityPrecision>)]
    pub proximity_precision: Setting<Precision>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsTypoTolerance>)]
    pub typo_tolerance: Setting<TypoTolerance>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsFaceting>)]
    pub faceting: Setting<Faceting>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsPagination>)]
    pub pagination: Setting<Pagination>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsEmbedders>)]
    pub embedders: Setting<BTreeMap<String, Setting<EmbeddingSettings>>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsSearchCutoffMs>)]
    pub search_cutoff_ms: Setting<u64>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsLocalizedAttributes>)]
    pub localized_attributes: Setting<Vec<LocalizedAttributes>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsFacetSearch>)]
    pub facet_search: Setting<bool>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default, error = InvalidJson<marker::InvalidSettingsPrefixSearch>)]
    pub prefix_search: Setting<Prefixes>,
}

impl Settings {
    /// The settings `DELETE /settings` asks for: everything reset.
    pub fn reset() -> Self {
        Self {
            displayed_attributes: Setting::Reset,
            searchable_attributes: Setting::Reset,
            filterable_attributes: Setting::Reset,
            sortable_attributes: Setting::Reset,
            ranking_rules: Setting::Reset,
            stop_words: Setting::Reset,
            non_separator_tokens: Setting::Reset,
            separator_tokens: Setting::Reset,
            dictionary: Setting::Reset,
            synonyms: Setting::Reset,
            distinct_attribute: Setting::Reset,
            proximity_precision: Setting::Reset,
            typo_tolerance: Setting::Reset,
            faceting: Setting::Reset,
            pagination: Setting::Reset,
            embedders: Setting::Reset,
            search_cutoff_ms: Setting::Reset,
            localized_attributes: Setting::Reset,
            facet_search: Setting::Reset,
            prefix_search: Setting::Reset,
        }
    }

    /// Checks what only the engine can check before the settings are enqueued, and fills in
    /// what it infers.
    pub fn validated(mut self) -> Result<Self, ApiError> {
        if let Setting::Set(embedders) = &mut self.embedders {
            for (name, settings) in embedders.iter_mut() {
                *settings = validate_embedding_settings(std::mem::take(settings), name)?;
            }
        }
        Ok(self)
    }

    /// The settings as clients see them.
    pub fn view(&self) -> Value {
        present(serde_json::to_value(self).unwrap_or_default())
    }
}

/// Settings in JSON as clients see them: reset attribute lists are shown as `["*"]`, and API keys
/// of embedders are hidden.
pub fn present(mut settings: Value) -> Value {
    for wildcard in ["displayedAttributes", "searchableAttributes"] {
        if settings.get(wildcard).is_some_and(Value::is_null) {
            settings[wildcard] = serde_json::json!(["*"]);
        }
    }
    if let Some(embedders) = settings.get_mut("embedders").and_then(Value::as_object_mut) {
        embedders.values_mut().for_each(hide_api_keys);
    }
    settings
}

/// Keeps at most the first five characters of each `apiKey`, as Meilisearch does.
fn hide_api_keys(settings: &mut Value) {
    let Some(settings) = settings.as_object_mut() else {
        return;
    };
    for (name, value) in settings.iter_mut() {
        match (name.as_str(), &mut *value) {
            ("apiKey", Value::String(secret)) => {
                let (kept, mask) = match secret.len() {
                    0..10 => (0, "XXX..."),
                    10..20 => (2, "XXXX..."),
                    20..30 => (3, "XXXXX..."),
                    _ => (5, "XXXXXX..."),
                };
                *secret = secret.chars().take(kept).chain(mask.chars()).collect();
            }
            ("searchEmbedder" | "indexingEmbedder", nested) => hide_api_keys(nested),
            _ => (),
        }
    }
}

/// A ranking rule: `words`, `typo`, …, or `field:asc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RankingRule(pub Criterion);

impl TryFrom<String> for RankingRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Criterion::from_str(&text)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

impl From<RankingRule> for String {
    fn from(rule: RankingRule) -> Self {
        rule.0.to_string()
    }
}

impl<E> Deserr<E> for RankingRule
where
    E: DeserializeError + MergeWithError<Problem>,
{
    fn deserialize_from_value<V: IntoValue>(
        value: deserr::Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, E> {
        let text = String::deserialize_from_value(value, location)?;
        Self::try_from(text)
            .map_err(|error| take_cf_content(E::merge(None, Problem(error), location)))
    }
}

/// Precision of the proximity ranking rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase")]
#[deserr(rename_all = camelCase)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub enum Precision {
    #[default]
    ByWord,
    ByAttribute,
}

/// When words are prepared for prefix search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase")]
#[deserr(rename_all = camelCase)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub enum Prefixes {
    #[default]
    IndexingTime,
    Disabled,
}

/// Order of the values of a facet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(rename_all = "camelCase")]
#[deserr(rename_all = camelCase)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub enum FacetOrder {
    #[default]
    Alpha,
    Count,
}

/// When and where typos are tolerated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[deserr(error = InvalidJson<marker::InvalidSettingsTypoTolerance>, rename_all = camelCase, deny_unknown_fields)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub struct TypoTolerance {
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub enabled: Setting<bool>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub min_word_size_for_typos: Setting<MinWordSize>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub disable_on_words: Setting<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub disable_on_attributes: Setting<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub disable_on_numbers: Setting<bool>,
}

/// From which length on a word may contain one or two typos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[deserr(
    error = InvalidJson<marker::InvalidSettingsTypoTolerance>,
    rename_all = camelCase,
    deny_unknown_fields,
    validate = check_word_sizes -> InvalidJson<marker::InvalidSettingsTypoTolerance>
)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub struct MinWordSize {
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub one_typo: Setting<u8>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub two_typos: Setting<u8>,
}

fn check_word_sizes<E: DeserializeError>(
    sizes: MinWordSize,
    location: ValuePointerRef<'_>,
) -> Result<MinWordSize, E> {
    if let (Setting::Set(one), Setting::Set(two)) = (sizes.one_typo, sizes.two_typos)
        && one > two
    {
        let msg = format!(
            "`minWordSizeForTypos` setting is invalid. `oneTypo` and `twoTypos` fields should be \
             between `0` and `255`, and `twoTypos` should be greater or equals to `oneTypo` but \
             found `oneTypo: {one}` and twoTypos: {two}`."
        );
        let error =
            E::error::<std::convert::Infallible>(None, ErrorKind::Unexpected { msg }, location);
        return Err(take_cf_content(error));
    }
    Ok(sizes)
}

/// How many facet values are answered, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[deserr(rename_all = camelCase, deny_unknown_fields)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub struct Faceting {
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub max_values_per_facet: Setting<usize>,
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub sort_facet_values_by: Setting<BTreeMap<String, FacetOrder>>,
}

/// How far a search can page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Deserr)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[deserr(rename_all = camelCase, deny_unknown_fields)]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub struct Pagination {
    #[serde(default, skip_serializing_if = "Setting::is_not_set")]
    #[deserr(default)]
    pub max_total_hits: Setting<NonZeroUsize>,
}
