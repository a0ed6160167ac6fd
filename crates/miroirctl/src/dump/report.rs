//! What an import did.

use serde::Serialize;

use crate::format::count;
use crate::output::View;
use crate::table;

/// What was taken over, and what was not.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    indexes: Vec<Imported>,
    /// Keys that were made.
    pub keys: u64,
    /// Keys that were there.
    pub keys_there: u64,
    /// Experimental features that were switched on.
    pub features: Vec<String>,
    /// What was not taken over, in words.
    left: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Imported {
    uid: String,
    /// Documents of the dump.
    documents: u64,
    /// Documents that the index has now.
    there: u64,
    /// Whether it existed before.
    existed: bool,
}

impl Report {
    /// Adds an index.
    pub fn index(&mut self, uid: &str, documents: u64, there: u64, existed: bool) {
        self.indexes.push(Imported {
            uid: uid.to_owned(),
            documents,
            there,
            existed,
        });
    }

    /// Names something that was not taken over.
    pub fn left(&mut self, what: String) {
        self.left.push(what);
    }

    /// What is wrong, if anything is. An index that existed may hold more.
    pub fn complaint(&self) -> Option<String> {
        let wrong = |one: &&Imported| {
            one.there < one.documents || (!one.existed && one.there != one.documents)
        };
        let named: Vec<String> = self
            .indexes
            .iter()
            .filter(wrong)
            .map(|one| format!("`{}` has {} of {}", one.uid, one.there, one.documents))
            .collect();
        (!named.is_empty())
            .then(|| format!("documents are missing or too many: {}", named.join(", ")))
    }
}

impl View for Report {
    fn table(&self) -> String {
        let row = |one: &Imported| vec![one.uid.clone(), count(one.documents), count(one.there)];
        let rows = self.indexes.iter().map(row).collect();
        let indexes = table::list(&["INDEX", "DOCUMENTS", "THERE NOW"], rows, "no indexes");
        let mut lines = vec![indexes, String::new()];
        lines.push(format!(
            "keys: {} made, {} there before",
            self.keys, self.keys_there
        ));
        if !self.features.is_empty() {
            lines.push(format!(
                "features switched on: {}",
                self.features.join(", ")
            ));
        }
        if !self.left.is_empty() {
            lines.push("not taken over:".to_owned());
            lines.extend(
                self.left
                    .iter()
                    .map(|what| format!("  {}", table::text(what))),
            );
        }
        lines.join("\n")
    }
}
