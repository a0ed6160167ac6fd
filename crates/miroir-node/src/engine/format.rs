//! `_formatted` and `_matchesPosition`: a hit with its matches highlighted and cropped.

use std::collections::{BTreeMap, BTreeSet};

use milli_core::tokenizer::Language;
use milli_core::{
    FieldId, FieldsIdsMap, FormatOptions, LocalizedAttributesRule, MatchBounds, MatcherBuilder,
    Object, PatternMatch, is_faceted_by,
};
use serde_json::Value;

use super::search_query::SearchQuery;
use super::select::{select, visit_leaves};

/// Where the query matches: per attribute path, byte ranges.
pub type MatchesPosition = BTreeMap<String, Vec<MatchBounds>>;

/// What a hit looks like once formatted.
pub struct Formatted {
    /// `_formatted`; empty when nothing is to be formatted.
    pub document: Object,
    /// `_matchesPosition`, if asked for.
    pub matches_position: Option<MatchesPosition>,
}

/// How the hits of one search are formatted.
pub struct Formatter<'a> {
    matcher: MatcherBuilder<'a>,
    /// Attributes of `_formatted`, with what is done to each.
    options: BTreeMap<FieldId, FormatOptions>,
    show_matches_position: bool,
    locales: Option<Vec<Language>>,
    localized: Vec<LocalizedAttributesRule>,
}

impl<'a> Formatter<'a> {
    /// A formatter for the query's options.
    pub fn new(
        mut matcher: MatcherBuilder<'a>,
        query: &SearchQuery,
        names: &FieldsIdsMap,
        displayed: &BTreeSet<FieldId>,
        retrieved: &BTreeSet<FieldId>,
        localized: Vec<LocalizedAttributesRule>,
    ) -> Self {
        matcher.crop_marker(query.crop_marker.clone());
        matcher.highlight_prefix(query.highlight_pre_tag.clone());
        matcher.highlight_suffix(query.highlight_post_tag.clone());
        let locales = query
            .locales
            .as_ref()
            .map(|l| l.iter().map(|locale| locale.0).collect());
        Self {
            matcher,
            options: options(query, names, displayed, retrieved),
            show_matches_position: query.show_matches_position,
            locales,
            localized,
        }
    }

    /// Formats one document, of which only displayed fields are left.
    pub fn format(
        &self,
        document: &Object,
        names: &FieldsIdsMap,
        displayed: &BTreeSet<FieldId>,
    ) -> Formatted {
        if self.options.is_empty() && !self.show_matches_position {
            return Formatted {
                document: Object::new(),
                matches_position: None,
            };
        }
        let active: Vec<(&str, FormatOptions)> = self
            .options
            .iter()
            .filter(|(_, options)| options.should_format())
            .filter_map(|(id, options)| Some((names.name(*id)?, *options)))
            .collect();
        let displayed: Vec<&str> = displayed.iter().filter_map(|id| names.name(*id)).collect();
        let mut positions = MatchesPosition::new();
        let mut formatted = document.clone();
        visit_leaves(&mut formatted, &displayed, &mut |path, indices, leaf| {
            let options = active
                .iter()
                .filter(|(name, _)| is_faceted_by(name, path) || is_faceted_by(path, name))
                .map(|(_, options)| *options)
                .reduce(FormatOptions::merge);
            let matches = self.format_leaf(path, indices, leaf, options);
            if !matches.is_empty() {
                // One path can have several leaves in an array; the last one with matches
                // is reported, as Meilisearch does.
                positions.insert(path.to_owned(), matches);
            }
        });
        let kept = self.options.keys().filter_map(|id| names.name(*id));
        Formatted {
            document: select(&formatted, kept),
            matches_position: self.show_matches_position.then_some(positions),
        }
    }

    /// Formats a scalar in place and answers where it matches. Numbers become strings.
    fn format_leaf(
        &self,
        path: &str,
        indices: &[usize],
        leaf: &mut Value,
        options: Option<FormatOptions>,
    ) -> Vec<MatchBounds> {
        let text = match leaf {
            Value::String(text) => std::mem::take(text),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Vec::new(),
        };
        let locales = self.locales.as_deref().or_else(|| {
            let rule = self
                .localized
                .iter()
                .find(|r| r.match_str(path) == PatternMatch::Match);
            rule.map(LocalizedAttributesRule::locales)
        });
        let mut matcher = self.matcher.build(&text, locales);
        let matches = if self.show_matches_position {
            matcher.matches(indices)
        } else {
            Vec::new()
        };
        let shown = options.map(|options| matcher.format(options).into_owned());
        *leaf = Value::String(shown.unwrap_or(text));
        matches
    }
}

fn options(
    query: &SearchQuery,
    names: &FieldsIdsMap,
    displayed: &BTreeSet<FieldId>,
    retrieved: &BTreeSet<FieldId>,
) -> BTreeMap<FieldId, FormatOptions> {
    let mut options: BTreeMap<FieldId, FormatOptions> = BTreeMap::new();
    let ids = |name: &str| -> Vec<FieldId> {
        if name == "*" {
            displayed.iter().copied().collect()
        } else {
            names
                .id(name)
                .filter(|id| displayed.contains(id))
                .into_iter()
                .collect()
        }
    };
    for name in query.attributes_to_highlight.iter().flatten() {
        for id in ids(name) {
            options.entry(id).or_default().highlight = true;
        }
    }
    for name in query.attributes_to_crop.iter().flatten() {
        let (name, length) = match name.rsplit_once(':') {
            Some((name, length)) => (name, length.parse().unwrap_or(query.crop_length)),
            None => (name.as_str(), query.crop_length),
        };
        for id in ids(name) {
            options.entry(id).or_default().crop = Some(length);
        }
    }
    if !options.is_empty() {
        for id in retrieved {
            options.entry(*id).or_default();
        }
    }
    options
}
