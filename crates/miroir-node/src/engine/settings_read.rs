//! Reading the settings of an index.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use milli_core::heed::RoTxn;
use milli_core::index::PrefixSearch;
use milli_core::proximity::ProximityPrecision;
use milli_core::update::Setting;
use milli_core::{DEFAULT_VALUES_PER_FACET, Index, InternalError, OrderBy, Result};

use super::settings::{
    DEFAULT_MAX_TOTAL_HITS, FacetOrder, Faceting, MinWordSize, Pagination, Precision, Prefixes,
    RankingRule, Settings, TypoTolerance,
};

/// All settings of the index, defaults filled in.
pub fn read(index: &Index, rtxn: &RoTxn<'_>) -> Result<Settings> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let rules = index.criteria(rtxn)?.into_iter().map(RankingRule).collect();
    let precision = match index.proximity_precision(rtxn)?.unwrap_or_default() {
        ProximityPrecision::ByWord => Precision::ByWord,
        ProximityPrecision::ByAttribute => Precision::ByAttribute,
    };
    let prefixes = match index.prefix_search(rtxn)?.unwrap_or_default() {
        PrefixSearch::IndexingTime => Prefixes::IndexingTime,
        PrefixSearch::Disabled => Prefixes::Disabled,
    };
    let embedders = index.embedding_configs(rtxn)?;
    let embedders = embedders
        .into_iter()
        .map(|e| (e.name, Setting::Set(e.config.into())))
        .collect();
    let localized = index.localized_attributes_rules(rtxn)?;
    Ok(Settings {
        displayed_attributes: or_reset(index.displayed_fields(rtxn)?.map(owned)),
        searchable_attributes: or_reset(index.user_defined_searchable_fields(rtxn)?.map(owned)),
        filterable_attributes: Setting::Set(index.filterable_attributes_rules(rtxn)?),
        sortable_attributes: Setting::Set(index.sortable_fields(rtxn)?.into_iter().collect()),
        ranking_rules: Setting::Set(rules),
        stop_words: Setting::Set(stop_words(index, rtxn)?),
        non_separator_tokens: Setting::Set(index.non_separator_tokens(rtxn)?.unwrap_or_default()),
        separator_tokens: Setting::Set(index.separator_tokens(rtxn)?.unwrap_or_default()),
        dictionary: Setting::Set(index.dictionary(rtxn)?.unwrap_or_default()),
        synonyms: Setting::Set(index.user_defined_synonyms(rtxn)?),
        distinct_attribute: or_reset(index.distinct_field(rtxn)?.map(str::to_owned)),
        proximity_precision: Setting::Set(precision),
        typo_tolerance: Setting::Set(typo_tolerance(index, rtxn)?),
        faceting: Setting::Set(faceting(index, rtxn)?),
        pagination: Setting::Set(pagination(index, rtxn)?),
        embedders: Setting::Set(embedders),
        search_cutoff_ms: or_reset(index.search_cutoff(rtxn)?),
        localized_attributes: or_reset(
            localized.map(|rules| rules.into_iter().map(Into::into).collect()),
        ),
        facet_search: Setting::Set(index.facet_search(rtxn)?),
        prefix_search: Setting::Set(prefixes),
    })
}

fn or_reset<T>(value: Option<T>) -> Setting<T> {
    value.map_or(Setting::Reset, Setting::Set)
}

fn stop_words(index: &Index, rtxn: &RoTxn<'_>) -> Result<BTreeSet<String>> {
    match index.stop_words(rtxn)? {
        Some(words) => Ok(words
            .stream()
            .into_strs()
            .map_err(InternalError::Fst)?
            .into_iter()
            .collect()),
        None => Ok(BTreeSet::new()),
    }
}

fn typo_tolerance(index: &Index, rtxn: &RoTxn<'_>) -> Result<TypoTolerance> {
    let words = match index.exact_words(rtxn)? {
        Some(words) => words
            .stream()
            .into_strs()
            .map_err(InternalError::Fst)?
            .into_iter()
            .collect(),
        None => BTreeSet::new(),
    };
    let attributes = index
        .exact_attributes(rtxn)?
        .into_iter()
        .map(str::to_owned)
        .collect();
    let disabled = index.disabled_typos_terms(rtxn)?;
    Ok(TypoTolerance {
        enabled: Setting::Set(index.authorize_typos(rtxn)?),
        min_word_size_for_typos: Setting::Set(MinWordSize {
            one_typo: Setting::Set(index.min_word_len_one_typo(rtxn)?),
            two_typos: Setting::Set(index.min_word_len_two_typos(rtxn)?),
        }),
        disable_on_words: Setting::Set(words),
        disable_on_attributes: Setting::Set(attributes),
        disable_on_numbers: Setting::Set(disabled.disable_on_numbers),
    })
}

fn faceting(index: &Index, rtxn: &RoTxn<'_>) -> Result<Faceting> {
    let most = index
        .max_values_per_facet(rtxn)?
        .map_or(DEFAULT_VALUES_PER_FACET, |n| n as usize);
    let orders = index
        .sort_facet_values_by(rtxn)?
        .into_iter()
        .map(|(name, order)| {
            let order = match order {
                OrderBy::Lexicographic => FacetOrder::Alpha,
                OrderBy::Count => FacetOrder::Count,
            };
            (name, order)
        });
    Ok(Faceting {
        max_values_per_facet: Setting::Set(most),
        sort_facet_values_by: Setting::Set(orders.collect()),
    })
}

fn pagination(index: &Index, rtxn: &RoTxn<'_>) -> Result<Pagination> {
    let stored = index
        .pagination_max_total_hits(rtxn)?
        .map(|hits| hits as usize);
    let hits = NonZeroUsize::new(stored.unwrap_or(DEFAULT_MAX_TOTAL_HITS));
    Ok(Pagination {
        max_total_hits: or_reset(hits),
    })
}
