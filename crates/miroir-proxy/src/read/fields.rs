//! The fields of an index, and what each of them can be used for.

use std::collections::BTreeMap;

use miroir_core::api_error::{ApiError, Code};
use miroir_core::body;
use miroir_core::hidden_field;
use miroir_core::search::MergeError;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::cover::Piece;
use super::search::unreadable;
use super::{Caller, Reads, choice};
use crate::error::HttpError;

const DEFAULT_LIMIT: u64 = 20;
/// More fields than an index can have.
const ALL_FIELDS: u32 = 1 << 17;
const FILTER: &str = ".filter";
const FLAGS: [(&str, Code); 6] = [
    ("displayed", Code::InvalidIndexFieldsFilterDisplayed),
    ("searchable", Code::InvalidIndexFieldsFilterSearchable),
    ("sortable", Code::InvalidIndexFieldsFilterSortable),
    ("distinct", Code::InvalidIndexFieldsFilterDistinct),
    ("rankingRule", Code::InvalidIndexFieldsFilterRankingRule),
    ("filterable", Code::InvalidIndexFieldsFilterFilterable),
];

/// Which fields to list, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldsQuery {
    offset: u64,
    limit: u64,
    filter: Option<Value>,
}

#[derive(Deserialize)]
struct Page {
    results: Vec<Map<String, Value>>,
}

impl FieldsQuery {
    /// Reads the body.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_json(content: &[u8]) -> Result<Self, ApiError> {
        let mut members = body::parse_object(content)?;
        let names = ["offset", "limit", "filter"];
        body::only(&members, "", &names, Code::BadRequest)?;
        let count = |name: &str, code, default| match members.get(name) {
            Some(value) => body::count(value, &format!(".{name}"), code),
            None => Ok(default),
        };
        let offset = count("offset", Code::InvalidIndexOffset, 0)?;
        let limit = count("limit", Code::InvalidIndexLimit, DEFAULT_LIMIT)?;
        let filter = members.remove("filter").filter(|filter| !filter.is_null());
        if let Some(filter) = &filter {
            check_filter(filter)?;
        }
        Ok(Self {
            offset,
            limit,
            filter,
        })
    }
}

fn check_filter(filter: &Value) -> Result<(), ApiError> {
    let code = Code::InvalidIndexFieldsFilter;
    let members = body::object(filter.clone(), FILTER, code)?;
    let flags = FLAGS.iter().map(|(name, _)| *name);
    let names: Vec<&str> = std::iter::once("attributePatterns").chain(flags).collect();
    body::only(&members, FILTER, &names, code)?;
    let given = |name: &str| members.get(name).filter(|value| !value.is_null());
    if let Some(patterns) = given("attributePatterns") {
        let code = Code::InvalidIndexFieldsFilterAttributePatterns;
        body::texts(patterns, ".filter.attributePatterns", code)?;
    }
    for (name, code) in FLAGS {
        if let Some(value) = given(name) {
            body::flag(value, &format!("{FILTER}.{name}"), code)?;
        }
    }
    Ok(())
}

impl Reads {
    /// A page of the fields of the index `uid`, by name: those that any node has documents with.
    ///
    /// # Errors
    /// What a node says to the client; `index_not_found`; `unavailable_shards`.
    pub async fn fields(
        &self,
        uid: &str,
        query: &FieldsQuery,
        caller: &Caller,
    ) -> Result<Value, HttpError> {
        let mut begun = self.begin(uid, caller).await?;
        let key = choice::key(&[uid.as_bytes(), b"fields"]);
        begun.scope.is_of(key, false);
        let path = format!("/indexes/{}/fields", begun.scope.route.name);
        let all = json!({"offset": 0, "limit": ALL_FIELDS, "filter": query.filter});
        let ask = |piece: Piece| {
            let (path, all) = (&path, &all);
            async move { self.post(&piece, path, all, caller).await }
        };
        let gathered = begun.scope.gather(self.upstream(), ask).await?;
        let mut fields: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (position, (_, page)) in gathered.answers.iter().enumerate() {
            let page: Page = serde_json::from_slice(page).map_err(|error| {
                let detail = error.to_string();
                unreadable(MergeError::Unreadable { position, detail })
            })?;
            for field in page.results {
                let name = field
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                if !hidden_field::is_reserved(name) {
                    fields.entry(name.to_owned()).or_insert(field);
                }
            }
        }
        let total = fields.len();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let page = fields.into_values().skip(count(query.offset));
        let page: Vec<_> = page.take(count(query.limit)).collect();
        Ok(json!({
            "results": page, "offset": query.offset, "limit": query.limit, "total": total,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            (json!([]), Code::BadRequest, "expected an object"),
            (json!({"foo": 1}), Code::BadRequest, "Unknown field `foo`"),
            (json!({"limit": "a"}), Code::InvalidIndexLimit, "`.limit`"),
            (
                json!({"offset": null}),
                Code::InvalidIndexOffset,
                "`.offset`",
            ),
            (
                json!({"filter": 1}),
                Code::InvalidIndexFieldsFilter,
                "expected an object",
            ),
            (
                json!({"filter": {"x": 1}}),
                Code::InvalidIndexFieldsFilter,
                "Unknown field `x` inside `.filter`: expected one of `attributePatterns`, `displayed`",
            ),
            (
                json!({"filter": {"attributePatterns": [1]}}),
                Code::InvalidIndexFieldsFilterAttributePatterns,
                "`.filter.attributePatterns[0]`",
            ),
            (
                json!({"filter": {"sortable": "a"}}),
                Code::InvalidIndexFieldsFilterSortable,
                "`.filter.sortable`",
            ),
        ];
        for (body, code, text) in table {
            let error = FieldsQuery::from_json(body.to_string().as_bytes()).expect_err(text);
            assert_eq!(error.code, code, "{error}");
            assert!(error.message.contains(text), "{error}");
        }
        let query = FieldsQuery::from_json(br#"{"filter":null}"#).expect("valid");
        assert_eq!((query.offset, query.limit, query.filter), (0, 20, None));
    }
}
