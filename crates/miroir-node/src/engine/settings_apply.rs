//! Writing settings into an index.

use milli_core::index::PrefixSearch;
use milli_core::proximity::ProximityPrecision;
use milli_core::update::Setting;
use milli_core::update::Settings as Builder;
use milli_core::{Index, OrderBy};

use super::registry::Engine;
use super::settings::{
    FacetOrder, Faceting, MinWordSize, Pagination, Precision, Prefixes, Settings, TypoTolerance,
};

/// Hands one setting over: `$value` to `$set`, or `$reset` when the client sent null.
macro_rules! hand_over {
    ($setting:expr, $value:ident => $set:expr, $reset:expr) => {
        match $setting {
            Setting::Set($value) => $set,
            Setting::Reset => $reset,
            Setting::NotSet => (),
        }
    };
}

/// Applies the settings inside a transaction, reindexing documents where that is needed.
pub fn apply<'i>(
    engine: &Engine,
    index: &'i Index,
    wtxn: &mut milli_core::heed::RwTxn<'i>,
    settings: Settings,
    should_abort: impl Fn() -> bool + Sync,
) -> milli_core::Result<()> {
    let mut builder = Builder::new(wtxn, index, &engine.indexer);
    let settings = apply_attributes(&mut builder, settings);
    let settings = apply_words(&mut builder, settings);
    apply_behaviour(&mut builder, settings);
    builder.execute(
        |step| tracing::trace!(?step, "applying settings"),
        should_abort,
    )
}

/// Sets the primary key of an index.
pub fn set_primary_key<'i>(
    engine: &Engine,
    index: &'i Index,
    wtxn: &mut milli_core::heed::RwTxn<'i>,
    primary_key: String,
) -> milli_core::Result<()> {
    let mut builder = Builder::new(wtxn, index, &engine.indexer);
    builder.set_primary_key(primary_key);
    builder.execute(|_| (), || false)
}

/// `["*"]` means all attributes, which the engine stores as "not restricted".
fn unless_wildcard(setting: Setting<Vec<String>>) -> Setting<Vec<String>> {
    let is_wildcard = setting
        .as_ref()
        .set()
        .is_some_and(|names| names.iter().any(|name| name == "*"));
    if is_wildcard { Setting::Reset } else { setting }
}

fn apply_attributes(builder: &mut Builder<'_, '_, '_>, mut settings: Settings) -> Settings {
    let s = &mut settings;
    hand_over!(unless_wildcard(take(&mut s.displayed_attributes)),
        names => builder.set_displayed_fields(names), builder.reset_displayed_fields());
    hand_over!(unless_wildcard(take(&mut s.searchable_attributes)),
        names => builder.set_searchable_fields(names), builder.reset_searchable_fields());
    hand_over!(take(&mut s.filterable_attributes),
        rules => builder.set_filterable_fields(rules), builder.reset_filterable_fields());
    hand_over!(take(&mut s.sortable_attributes),
        names => builder.set_sortable_fields(names.into_iter().collect()),
        builder.reset_sortable_fields());
    hand_over!(take(&mut s.ranking_rules),
        rules => builder.set_criteria(rules.into_iter().map(|rule| rule.0).collect()),
        builder.reset_criteria());
    hand_over!(take(&mut s.distinct_attribute),
        name => builder.set_distinct_field(name), builder.reset_distinct_field());
    hand_over!(take(&mut s.localized_attributes),
        rules => builder.set_localized_attributes_rules(rules.into_iter().map(Into::into).collect()),
        builder.reset_localized_attributes_rules());
    settings
}

fn apply_words(builder: &mut Builder<'_, '_, '_>, mut settings: Settings) -> Settings {
    let s = &mut settings;
    hand_over!(take(&mut s.stop_words),
        words => builder.set_stop_words(words), builder.reset_stop_words());
    hand_over!(take(&mut s.non_separator_tokens),
        tokens => builder.set_non_separator_tokens(tokens), builder.reset_non_separator_tokens());
    hand_over!(take(&mut s.separator_tokens),
        tokens => builder.set_separator_tokens(tokens), builder.reset_separator_tokens());
    hand_over!(take(&mut s.dictionary),
        words => builder.set_dictionary(words), builder.reset_dictionary());
    hand_over!(take(&mut s.synonyms),
        synonyms => builder.set_synonyms(synonyms), builder.reset_synonyms());
    settings
}

fn apply_behaviour(builder: &mut Builder<'_, '_, '_>, settings: Settings) {
    hand_over!(settings.proximity_precision,
        precision => builder.set_proximity_precision(match precision {
            Precision::ByWord => ProximityPrecision::ByWord,
            Precision::ByAttribute => ProximityPrecision::ByAttribute,
        }),
        builder.reset_proximity_precision());
    apply_typos(builder, settings.typo_tolerance);
    apply_faceting(builder, settings.faceting);
    hand_over!(settings.pagination, pagination => {
        let Pagination { max_total_hits } = pagination;
        hand_over!(max_total_hits, hits => builder.set_pagination_max_total_hits(hits.into()),
            builder.reset_pagination_max_total_hits())
    }, builder.reset_pagination_max_total_hits());
    hand_over!(settings.embedders,
        embedders => builder.set_embedder_settings(embedders), builder.reset_embedder_settings());
    hand_over!(settings.search_cutoff_ms,
        cutoff_ms => builder.set_search_cutoff(cutoff_ms), builder.reset_search_cutoff());
    hand_over!(settings.facet_search,
        enabled => builder.set_facet_search(enabled), builder.reset_facet_search());
    hand_over!(settings.prefix_search,
        prefixes => builder.set_prefix_search(match prefixes {
            Prefixes::IndexingTime => PrefixSearch::IndexingTime,
            Prefixes::Disabled => PrefixSearch::Disabled,
        }),
        builder.reset_prefix_search());
}

fn apply_typos(builder: &mut Builder<'_, '_, '_>, typos: Setting<TypoTolerance>) {
    let everything = TypoTolerance {
        enabled: Setting::Reset,
        min_word_size_for_typos: Setting::Reset,
        disable_on_words: Setting::Reset,
        disable_on_attributes: Setting::Reset,
        disable_on_numbers: Setting::Reset,
    };
    let typos = match typos {
        Setting::Set(typos) => typos,
        Setting::Reset => everything,
        Setting::NotSet => return,
    };
    hand_over!(typos.enabled,
        enabled => builder.set_autorize_typos(enabled), builder.reset_authorize_typos());
    let sizes = match typos.min_word_size_for_typos {
        Setting::Set(sizes) => sizes,
        Setting::Reset => MinWordSize {
            one_typo: Setting::Reset,
            two_typos: Setting::Reset,
        },
        Setting::NotSet => MinWordSize::default(),
    };
    hand_over!(sizes.one_typo, length => builder.set_min_word_len_one_typo(length),
        builder.reset_min_word_len_one_typo());
    hand_over!(sizes.two_typos, length => builder.set_min_word_len_two_typos(length),
        builder.reset_min_word_len_two_typos());
    hand_over!(typos.disable_on_words,
        words => builder.set_exact_words(words), builder.reset_exact_words());
    hand_over!(typos.disable_on_attributes,
        names => builder.set_exact_attributes(names.into_iter().collect()),
        builder.reset_exact_attributes());
    hand_over!(typos.disable_on_numbers,
        disabled => builder.set_disable_on_numbers(disabled), builder.reset_disable_on_numbers());
}

fn apply_faceting(builder: &mut Builder<'_, '_, '_>, faceting: Setting<Faceting>) {
    let faceting = match faceting {
        Setting::Set(faceting) => faceting,
        Setting::Reset => Faceting {
            max_values_per_facet: Setting::Reset,
            sort_facet_values_by: Setting::Reset,
        },
        Setting::NotSet => return,
    };
    hand_over!(faceting.max_values_per_facet,
        most => builder.set_max_values_per_facet(most), builder.reset_max_values_per_facet());
    hand_over!(faceting.sort_facet_values_by, orders => {
        let orders = orders.into_iter().map(|(name, order)| (name, engine_order(order)));
        builder.set_sort_facet_values_by(orders.collect());
    }, builder.reset_sort_facet_values_by());
}

fn engine_order(order: FacetOrder) -> OrderBy {
    match order {
        FacetOrder::Alpha => OrderBy::Lexicographic,
        FacetOrder::Count => OrderBy::Count,
    }
}

fn take<T>(setting: &mut Setting<T>) -> Setting<T> {
    std::mem::take(setting)
}
