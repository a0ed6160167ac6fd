//! Turning what a search found into the hits clients see.

use std::collections::BTreeSet;

use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::score_details::ScoreDetails;
use milli_core::tokenizer::TokenizerBuilder;
use milli_core::{
    FieldId, FieldsIdsMap, Index, MatcherBuilder, MatchingWords, Object, Result, all_obkv_to_json,
};
use serde_json::{Value, json};

use super::format::Formatter;
use super::geo::insert_distance;
use super::search_query::SearchQuery;
use super::select::select;
use super::vectors::{VECTORS, insert_vectors};

/// The documents and scores a search found, in order.
pub struct Found<'a> {
    /// Internal ids.
    pub documents_ids: &'a [u32],
    /// One list of scores per id.
    pub scores: &'a [Vec<ScoreDetails>],
    /// Words to highlight.
    pub matching_words: MatchingWords,
}

/// Builds the hits of a search.
pub fn build(
    index: &Index,
    rtxn: &RoTxn<'_>,
    query: &SearchQuery,
    found: Found<'_>,
) -> Result<Vec<Value>> {
    let dictionary = index.dictionary(rtxn)?;
    let dictionary: Option<Vec<&str>> = dictionary
        .as_ref()
        .map(|words| words.iter().map(String::as_str).collect());
    let separators = index.allowed_separators(rtxn)?;
    let separators: Option<Vec<&str>> = separators
        .as_ref()
        .map(|tokens| tokens.iter().map(String::as_str).collect());
    let mut tokenizer = TokenizerBuilder::<Vec<u8>>::default();
    tokenizer.create_char_map(true);
    if let Some(separators) = &separators {
        tokenizer.separators(separators);
    }
    if let Some(dictionary) = &dictionary {
        tokenizer.words_dict(dictionary);
    }
    let matcher = MatcherBuilder::new(found.matching_words, tokenizer.into_tokenizer());
    let attributes = Attributes::new(index, rtxn, query)?;
    let formatter = Formatter::new(
        matcher,
        query,
        &attributes.names,
        &attributes.displayed,
        &attributes.retrieved,
        index.localized_attributes_rules(rtxn)?.unwrap_or_default(),
    );
    let maker = HitMaker {
        index,
        rtxn,
        query,
        attributes,
        formatter,
    };
    found
        .documents_ids
        .iter()
        .zip(found.scores)
        .map(|(docid, scores)| maker.hit(*docid, scores))
        .collect()
}

/// Which attributes of the index a hit may show, and which it shows.
struct Attributes {
    names: FieldsIdsMap,
    displayed: BTreeSet<FieldId>,
    retrieved: BTreeSet<FieldId>,
    /// Present when `_vectors` is to be shown.
    embedders: Option<Vec<IndexEmbeddingConfig>>,
}

impl Attributes {
    fn new(index: &Index, rtxn: &RoTxn<'_>, query: &SearchQuery) -> Result<Self> {
        let names = index.fields_ids_map(rtxn)?;
        let restricted = index.displayed_fields_ids(rtxn)?;
        let vectors_are_displayed = match index.displayed_fields(rtxn)? {
            Some(displayed) => displayed.contains(&VECTORS),
            None => true,
        };
        let displayed: BTreeSet<FieldId> = match restricted {
            Some(ids) => ids.into_iter().collect(),
            None => names.iter().map(|(id, _)| id).collect(),
        };
        let retrieved = match &query.attributes_to_retrieve {
            Some(wanted) if wanted.iter().all(|name| name != "*") => wanted
                .iter()
                .filter_map(|name| names.id(name))
                .filter(|id| displayed.contains(id))
                .collect(),
            _ => displayed.clone(),
        };
        let embedders = if query.retrieve_vectors && vectors_are_displayed {
            Some(index.embedding_configs(rtxn)?)
        } else {
            None
        };
        Ok(Self {
            names,
            displayed,
            retrieved,
            embedders,
        })
    }

    fn names_of<'a>(&'a self, ids: &'a BTreeSet<FieldId>) -> impl Iterator<Item = &'a str> {
        ids.iter().filter_map(|id| self.names.name(*id))
    }
}

struct HitMaker<'a> {
    index: &'a Index,
    rtxn: &'a RoTxn<'a>,
    query: &'a SearchQuery,
    attributes: Attributes,
    formatter: Formatter<'a>,
}

impl HitMaker<'_> {
    fn hit(&self, docid: u32, scores: &[ScoreDetails]) -> Result<Value> {
        let attributes = &self.attributes;
        let stored = self.index.document(self.rtxn, docid)?;
        let everything = all_obkv_to_json(stored, &attributes.names)?;
        let displayed = select(&everything, attributes.names_of(&attributes.displayed));
        let mut hit = self.retrieved(docid, &displayed)?;
        let formatted = self
            .formatter
            .format(&displayed, &attributes.names, &attributes.displayed);
        if let Some(sort) = &self.query.sort {
            insert_distance(sort, &mut hit);
        }
        if !formatted.document.is_empty() {
            hit.insert("_formatted".to_owned(), Value::Object(formatted.document));
        }
        if let Some(positions) = formatted.matches_position {
            hit.insert("_matchesPosition".to_owned(), json!(positions));
        }
        if self.query.show_ranking_score {
            let score = ScoreDetails::global_score(scores.iter());
            hit.insert("_rankingScore".to_owned(), json!(score));
        }
        if self.query.show_ranking_score_details {
            let details = ScoreDetails::to_json_map(scores.iter());
            hit.insert("_rankingScoreDetails".to_owned(), Value::Object(details));
        }
        Ok(Value::Object(hit))
    }

    fn retrieved(&self, docid: u32, displayed: &Object) -> Result<Object> {
        let attributes = &self.attributes;
        let names = attributes.names_of(&attributes.retrieved);
        match &attributes.embedders {
            Some(embedders) => {
                let mut hit = select(displayed, names.chain([VECTORS]));
                insert_vectors(self.index, self.rtxn, embedders, docid, &mut hit)?;
                Ok(hit)
            }
            None => Ok(select(displayed, names.filter(|name| *name != VECTORS))),
        }
    }
}
