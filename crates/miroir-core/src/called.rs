//! What nodes say of an index by the name that it has there, told to clients who know it by its uid.

use std::borrow::Cow;

use serde_json::Value;

use crate::id::IndexUid;

/// An index that nodes call otherwise than clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// What nodes call it.
    pub name: IndexUid,
    /// The uid that clients know it by.
    pub uid: IndexUid,
}

impl Alias {
    /// A node's message about a search, with the uid wherever it names the index.
    #[must_use]
    pub fn retell(&self, message: &str) -> String {
        let (name, uid) = (&self.name, &self.uid);
        let told = message.replace(&format!("ndex `{name}`"), &format!("ndex `{uid}`"));
        let place = |index| format!(".facetsByIndex.{index}`");
        told.replace(&place(name), &place(uid))
    }

    /// Puts the uid in the place of the name that a node's object has as its `indexUid`.
    pub fn tell(&self, object: &mut Value) {
        if let Some(index) = object.get_mut("indexUid")
            && index.as_str() == Some(self.name.as_str())
        {
            *index = Value::from(self.uid.as_str());
        }
    }
}

/// A node's message with the uid in the place of the node's name for the index. Meilisearch names an index at the
/// beginning of a message; what stands further on may be a document's or a client's own.
#[must_use]
pub fn told_of<'a>(message: &'a str, uid: Option<&IndexUid>) -> Cow<'a, str> {
    const BEGINNING: &str = "Index `";
    let after = message.strip_prefix(BEGINNING);
    match (after.and_then(|after| after.split_once('`')), uid) {
        (Some((name, rest)), Some(uid)) if name != uid.as_str() => {
            Cow::Owned(format!("{BEGINNING}{uid}`{rest}"))
        }
        (Some(_) | None, _) => Cow::Borrowed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_told_of_by_uids_wherever_its_index_is_named() {
        let uid = |text| IndexUid::parse(text).expect("valid");
        let alias = Alias {
            name: uid("books"),
            uid: uid("films"),
        };
        let message = "Inside `.queries[0]`: Index `books`: `books`. Inside `.federation.facetsByIndex.books`: index `books`, index `books-1`";
        let expected = "Inside `.queries[0]`: Index `films`: `books`. Inside `.federation.facetsByIndex.films`: index `films`, index `books-1`";
        assert_eq!(alias.retell(message), expected);
    }

    #[test]
    fn only_the_index_that_a_message_begins_with_is_told_by_its_uid() {
        let uid = IndexUid::parse("films").expect("valid");
        let table = [
            ("Index `books` not found.", "Index `films` not found."),
            (
                "Index `books-12`: Document `books` has no id.",
                "Index `films`: Document `books` has no id.",
            ),
            ("Index `films`: no.", "Index `films`: no."),
            (
                "The filter `books` is wrong.",
                "The filter `books` is wrong.",
            ),
            ("Index `books", "Index `books"),
        ];
        for (message, expected) in table {
            assert_eq!(told_of(message, Some(&uid)), expected);
            assert_eq!(told_of(message, None), message);
        }
    }
}
