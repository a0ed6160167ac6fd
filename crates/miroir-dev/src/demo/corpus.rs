//! The documents that are loaded: a real corpus, one JSON object a line.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};

/// A sample that is built in, so that the demo needs no file.
const SAMPLE: &str = include_str!("../../data/packages-sample.ndjson");

/// A document of the corpus.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// As it was read.
    pub text: String,
    /// Its fields.
    pub fields: Arc<Map<String, Value>>,
}

/// The corpus.
#[derive(Debug)]
pub struct Corpus {
    documents: Vec<Document>,
    quiet: (String, u64),
}

impl Corpus {
    /// Reads a file, or the sample that is built in.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no document with a text `id`, naming the line.
    pub fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        match file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                Self::parse(&text).with_context(|| format!("{}", file.display()))
            }
            None => Self::parse(SAMPLE),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        for (number, line) in (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let fields: Map<String, Value> = serde_json::from_str(line)
                .with_context(|| format!("line {number} is not a JSON object"))?;
            let Some(id) = fields.get("id").and_then(Value::as_str) else {
                bail!("line {number} has no `id` that is a text");
            };
            documents.push(Document {
                id: id.to_owned(),
                text: line.to_owned(),
                fields: Arc::new(fields),
            });
        }
        ensure!(!documents.is_empty(), "there is no document");
        let mut sections: BTreeMap<&str, u64> = BTreeMap::new();
        for document in &documents {
            *sections.entry(section(&document.fields)).or_default() += 1;
        }
        // Meilisearch counts and returns no more hits than `pagination.maxTotalHits`, 1000.
        let countable = sections.into_iter().filter(|(_, count)| *count < 1_000);
        let largest = countable.max_by_key(|(_, count)| *count);
        let (name, count) =
            largest.context("there is no section of less than a thousand documents")?;
        let quiet = (name.to_owned(), count);
        Ok(Self { documents, quiet })
    }

    /// All documents.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The section that no write touches, and how many documents it has: what searches must count exactly.
    #[must_use]
    pub fn quiet_section(&self) -> (&str, u64) {
        (&self.quiet.0, self.quiet.1)
    }

    /// Documents that writes may change.
    pub fn changeable(&self) -> impl Iterator<Item = &Document> {
        self.documents
            .iter()
            .filter(|document| section(&document.fields) != self.quiet.0)
    }

    /// The settings that the searches need.
    #[must_use]
    pub fn settings(&self) -> Value {
        json!({
            "filterableAttributes": ["section", "priority", "tags"],
            "sortableAttributes": ["installed_size"],
            "searchableAttributes": ["name", "summary", "tags"],
        })
    }
}

fn section(fields: &Map<String, Value>) -> &str {
    fields
        .get("section")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_sound_and_leaves_something_to_change() {
        let corpus = Corpus::read(None).expect("the sample");
        let (section, count) = corpus.quiet_section();
        assert!(!section.is_empty() && count > 50);
        assert_eq!(
            corpus.changeable().count() as u64 + count,
            corpus.documents().len() as u64
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = Corpus::parse("{\"id\":\"a\"}\n\n{\"name\":1}\n").expect_err("no id");
        assert!(error.to_string().contains("line 3"), "{error}");
        assert!(
            Corpus::parse("{\"id\":\"a\"}\n[1]\n")
                .expect_err("no object")
                .to_string()
                .contains("line 2")
        );
        assert!(Corpus::parse("\n").is_err());
    }
}
