//! Puts documents of other indexes into the hits of a search, where the settings of its index name foreign keys.
//!
//! A node could only put in those that it holds itself, so nodes do not know the keys. The documents are read after the
//! merge, by id and by the table that the search began with: one request to each node that holds some of them.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::search::hydrate::{
    Documents, FOREIGN_KEYS, ForeignKey, Keys, by_id, foreign_ids, hydrated,
};
use miroir_core::search::{SearchSettings, Window};
use serde_json::{Map, Value, json};

use super::cover::Piece;
use super::documents::DocumentsQuery;
use super::search::unreadable;
use super::{Answer, Begun, Caller, Reads};
use crate::error::HttpError;

/// The foreign keys of an index, while the feature is on.
pub(super) fn keys_of(begun: &Begun) -> Vec<ForeignKey> {
    if begun.scope.table.registry.feature(FOREIGN_KEYS) {
        ForeignKey::of(&begun.scope.route.settings)
    } else {
        Vec::new()
    }
}

impl Reads {
    /// A search's answer with the documents in it that its hits name.
    ///
    /// # Errors
    /// `index_not_found` when documents are named of an index that there is not; `unavailable_shards`.
    pub(super) async fn hydrate(
        &self,
        begun: &Begun,
        answer: Answer,
        keys: &Keys,
    ) -> Result<Answer, HttpError> {
        if keys.values().all(Vec::is_empty) {
            return Ok(answer);
        }
        let mut documents = Documents::new();
        for (uid, ids) in foreign_ids(&answer.body, keys).map_err(unreadable)? {
            let found = self.foreign_documents(begun, &uid, ids).await?;
            documents.insert(uid, found);
        }
        Ok(Answer {
            body: hydrated(&answer.body, keys, &documents).map_err(unreadable)?,
            missing: answer.missing,
        })
    }

    /// What clients are shown of the documents of these ids, as far as there are such.
    async fn foreign_documents(
        &self,
        begun: &Begun,
        uid: &str,
        ids: BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, HttpError> {
        let route = begun.scope.table.index(uid).cloned();
        let route = route.ok_or_else(|| HttpError::index_not_found(uid))?;
        // Without a primary key there are no documents.
        let Some(primary_key) = route.primary_key.clone() else {
            return Ok(BTreeMap::new());
        };
        let displayed = SearchSettings::from_settings(&route.settings).displayed;
        let shows_id = displayed
            .as_ref()
            .is_none_or(|names| names.contains(&primary_key));
        let query = query(ids, displayed, &primary_key);
        let mut scope = self.scope_beside(begun, route);
        scope.only = query.shards(scope.route.shard_count());
        let window = Window {
            offset: 0,
            limit: query.limit,
        };
        let (scope, query) = (&scope, &query);
        let ask = |piece: Piece| async move {
            let caller = Caller::nobody();
            self.fetch(scope, &piece, query, window, &caller).await
        };
        let gathered = scope.gather(self.upstream(), ask).await?;
        let pages = gathered.answers.iter();
        let pages: Vec<&[u8]> = pages.map(|(_, body)| body.as_ref()).collect();
        by_id(&pages, &primary_key, shows_id).map_err(unreadable)
    }
}

/// Asks for these documents, as far as they are displayed, and for their ids.
fn query(
    ids: BTreeSet<String>,
    displayed: Option<Vec<String>>,
    primary_key: &str,
) -> DocumentsQuery {
    let mut passed = Map::new();
    if let Some(mut names) = displayed {
        if !names.iter().any(|name| name == primary_key) {
            names.push(primary_key.to_owned());
        }
        passed.insert("fields".to_owned(), json!(names));
    }
    DocumentsQuery {
        offset: 0,
        limit: ids.len() as u64,
        filter: None,
        ids: Some(ids.into_iter().collect()),
        sort: Vec::new(),
        passed,
    }
}

/// Whether a filter asks for documents by those of another index, which only `_foreign(...)` does.
fn uses_foreign(filter: &Value) -> bool {
    match filter {
        Value::String(text) => without_quoted(text).contains("_foreign("),
        Value::Array(parts) => parts.iter().any(uses_foreign),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// A filter's text without blanks and without what stands in quotes.
fn without_quoted(text: &str) -> String {
    let mut quote = None;
    let mut escaped = false;
    let mut kept = String::new();
    for letter in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if letter.is_whitespace() => {}
            None => kept.push(letter),
        }
    }
    kept
}

/// Refuses a filter on the documents of another index.
///
/// # Errors
/// `feature_not_enabled`.
pub(super) fn refuse_foreign(filter: Option<&Value>) -> Result<(), HttpError> {
    use miroir_core::api_error::{ApiError, Code};
    if !filter.is_some_and(uses_foreign) {
        return Ok(());
    }
    let message = "`_foreign(...)` filters are not supported by this Miroir cluster: a node would look only into the documents of the other index that it holds itself. Search the other index first, and filter by the ids of what it finds.";
    Err(ApiError::new(Code::FeatureNotEnabled, message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_filters_are_told_from_words_in_quotes() {
        let table = [
            (json!("_foreign(author, name = Bob)"), true),
            (json!("a = 1 AND _foreign ( author, name = Bob)"), true),
            (json!(["a = 1", ["b = 2", "_foreign(x, y = 1)"]]), true),
            (json!("a = '_foreign(x, y = 1)'"), false),
            (json!(r#"a = "say \"hi\" _foreign(" OR b = 1"#), false),
            (json!("_foreigner = 1"), false),
            (json!(null), false),
        ];
        for (filter, expected) in table {
            assert_eq!(refuse_foreign(Some(&filter)).is_err(), expected, "{filter}");
        }
        assert!(refuse_foreign(None).is_ok());
    }

    #[test]
    fn ids_are_asked_for_beside_what_is_displayed() {
        let ids = || BTreeSet::from(["1".to_owned(), "2".to_owned()]);
        let all = query(ids(), None, "id");
        assert_eq!((all.limit, all.passed.get("fields")), (2, None));
        let some = query(ids(), Some(vec!["name".to_owned()]), "id");
        assert_eq!(some.passed["fields"], json!(["name", "id"]));
    }
}
