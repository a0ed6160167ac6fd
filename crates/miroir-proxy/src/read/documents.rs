//! Documents as they are stored: one by its id, or a page of them.

use std::collections::BTreeSet;

use axum::http::Uri;
use bytes::Bytes;
use futures::future::join_all;
use miroir_core::hidden_field::{and_filter, shard_of, strip_document};
use miroir_core::id::ShardId;
use miroir_core::search::{DocumentSort, MergeError, Window, merge_documents, windows};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::cover::{Piece, Scope};
use super::fault::Fault;
use super::hydrate::refuse_foreign;
use super::search::unreadable;
use super::{Answer, Caller, Reads, choice};
use crate::error::HttpError;

/// How often a page is begun again because a node failed between telling its total and giving its
/// documents. Another copy may order them differently, so the whole page is read again.
const ATTEMPTS_MAX: usize = 4;

/// Which documents to list, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentsQuery {
    /// Documents to skip.
    pub offset: u64,
    /// Documents to return at most.
    pub limit: u64,
    /// The client's filter, of any JSON type.
    pub filter: Option<Value>,
    /// Only documents of these ids.
    pub ids: Option<Vec<String>>,
    /// The order, as the client writes it; empty for the nodes' own.
    pub sort: Vec<String>,
    /// What else the nodes are told: `fields`, `retrieveVectors`.
    pub passed: Map<String, Value>,
}

/// What a node says of a list without giving any of it.
#[derive(Deserialize)]
struct Counted {
    total: u64,
}

impl Reads {
    /// The document `id` of the index `uid`, as JSON. `query` is the client's, already checked.
    ///
    /// # Errors
    /// `document_not_found`; what else a node says to the client; `unavailable_shards`.
    pub async fn document(
        &self,
        uid: &str,
        id: &str,
        query: &Uri,
        caller: &Caller,
    ) -> Result<String, HttpError> {
        let mut begun = self.begin(uid, caller).await?;
        let shard = ShardId(shard_of(id, begun.scope.route.shard_count()));
        begun.scope.only = Some([shard].into());
        let key = choice::key(&[uid.as_bytes(), id.as_bytes()]);
        begun.scope.is_of(key, false);
        let parameters = query
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let path = format!(
            "/indexes/{}/documents/{}{parameters}",
            begun.scope.route.name,
            encode_segment(id)
        );
        let ask = |piece: Piece| {
            let path = &path;
            async move { self.get(&piece, path, caller).await }
        };
        let gathered = begun.scope.gather(self.upstream(), ask).await?;
        match gathered.answers.first() {
            Some((_, body)) => Ok(strip_document(text_of(body)?).into_owned()),
            None => Err(HttpError::index_not_found(uid)),
        }
    }

    /// A page of the documents of the index `uid`: the nodes' documents one after the other, each
    /// node's in its own order.
    ///
    /// # Errors
    /// What a node says to the client; `index_not_found`; `unavailable_shards`.
    pub async fn documents(
        &self,
        uid: &str,
        query: &DocumentsQuery,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let mut begun = self.begin_partial(uid, caller).await?;
        refuse_foreign(query.filter.as_ref())?;
        let key = choice::key(&[uid.as_bytes(), query.sticky().as_bytes()]);
        begun.scope.is_of(key, query.offset > 0);
        begun.scope.only = query.shards(begun.scope.route.shard_count());
        if !query.sort.is_empty() {
            let page = self.sorted_page(&begun.scope, query, caller).await?;
            return Ok(self.counted(page));
        }
        for _ in 0..ATTEMPTS_MAX {
            if let Some(page) = self.try_page(&mut begun.scope, query, caller).await? {
                return Ok(self.counted(page));
            }
        }
        let why = "nodes kept failing while a page was read";
        Err(HttpError::unavailable_shards(uid, "some shards", why))
    }

    /// A page in the client's order: every node gives its own up to the end of the page.
    async fn sorted_page(
        &self,
        scope: &Scope,
        query: &DocumentsQuery,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let sort = DocumentSort::parse(&query.sort);
        let beyond = query.beyond(&sort);
        let mut widened = query.clone();
        if let Some(Value::Array(fields)) = widened.passed.get_mut("fields") {
            fields.extend(beyond.iter().map(|name| Value::from(*name)));
        }
        let widened = &widened;
        let end = Window {
            offset: 0,
            limit: query.offset.saturating_add(query.limit),
        };
        let ask =
            |piece: Piece| async move { self.fetch(scope, &piece, widened, end, caller).await };
        let gathered = scope.gather(self.upstream(), ask).await?;
        let pages = gathered.answers.iter();
        let pages: Vec<&[u8]> = pages.map(|(_, body)| body.as_ref()).collect();
        let totals = pages.iter().map(|page| total_of(page));
        let total = totals.sum::<Result<u64, HttpError>>()?;
        let merged = sort.merge(&pages, &beyond, (query.offset, query.limit), total);
        let merged = merged.map_err(unreadable)?;
        Ok(Answer::without(merged, gathered.missing))
    }

    /// `None` when a node failed after it had told its total; it is in `scope.failed` then.
    async fn try_page(
        &self,
        scope: &mut Scope,
        query: &DocumentsQuery,
        caller: &Caller,
    ) -> Result<Option<Answer>, HttpError> {
        let here: &Scope = scope;
        // One node alone gives its page at once; of several, the totals say who gives what.
        let ask = |piece: Piece| {
            let window = match piece.sole {
                true => Window {
                    offset: query.offset,
                    limit: query.limit,
                },
                false => Window {
                    offset: 0,
                    limit: 0,
                },
            };
            async move { self.fetch(here, &piece, query, window, caller).await }
        };
        let gathered = here.gather(self.upstream(), ask).await?;
        let totals = gathered.answers.iter().map(|(_, body)| total_of(body));
        let totals: Vec<u64> = totals.collect::<Result<_, _>>()?;
        let total = totals.iter().sum();
        let missing = gathered.missing.clone();
        let join = |pages: &[&[u8]]| {
            let merged = merge_documents(pages, query.offset, query.limit, total);
            let merged = merged.map_err(unreadable)?;
            Ok(Answer::without(merged, missing.clone()))
        };
        if gathered.is_sole() {
            let pages: Vec<&[u8]> = gathered
                .answers
                .iter()
                .map(|(_, body)| body.as_ref())
                .collect();
            return join(&pages).map(Some);
        }
        let wanted = windows(&totals, query.offset, query.limit);
        let asked = gathered
            .answers
            .iter()
            .zip(wanted)
            .filter_map(|((piece, _), window)| {
                let window = window?;
                let piece = Piece {
                    deadline: here.deadline,
                    ..piece.clone()
                };
                Some(async move {
                    let page = self.fetch(here, &piece, query, window, caller).await;
                    (piece.node, page)
                })
            });
        let mut pages = Vec::new();
        for (node, page) in join_all(asked).await {
            match page {
                Ok(page) => pages.push(page),
                Err(Fault::Refused(error)) => return Err(error),
                Err(Fault::Failed(why)) => {
                    scope.failed.insert(node, why);
                    return Ok(None);
                }
                Err(Fault::Absent) => {
                    scope
                        .failed
                        .insert(node, "the node lost the index".to_owned());
                    return Ok(None);
                }
            }
        }
        let pages: Vec<&[u8]> = pages.iter().map(AsRef::as_ref).collect();
        join(&pages).map(Some)
    }

    pub(super) async fn fetch(
        &self,
        scope: &Scope,
        piece: &Piece,
        query: &DocumentsQuery,
        window: Window,
        caller: &Caller,
    ) -> Result<Bytes, Fault> {
        let body = query.body(piece, window).map_err(Fault::Refused)?;
        let path = format!("/indexes/{}/documents/fetch", scope.route.name);
        self.post(piece, &path, &body, caller).await
    }
}

impl DocumentsQuery {
    /// Everything, unfiltered, for counting.
    pub(super) fn all() -> Self {
        Self {
            offset: 0,
            limit: 0,
            filter: None,
            ids: None,
            sort: Vec::new(),
            passed: Map::new(),
        }
    }

    /// What the merge needs beyond the client's `fields`.
    fn beyond<'a>(&self, sort: &'a DocumentSort) -> Vec<&'a str> {
        let fields = self.passed.get("fields").and_then(Value::as_array);
        let Some(fields) = fields else {
            return Vec::new();
        };
        let names = fields.iter().filter_map(Value::as_str).map(str::to_owned);
        sort.beyond(&names.collect::<Vec<_>>())
    }

    /// What pages of one list have in common.
    fn sticky(&self) -> String {
        json!([self.filter, self.ids, self.sort]).to_string()
    }

    /// The shards that can hold the documents asked for, when ids are given.
    pub(super) fn shards(&self, shard_count: u16) -> Option<BTreeSet<ShardId>> {
        let ids = self.ids.as_ref().filter(|ids| !ids.is_empty())?;
        Some(
            ids.iter()
                .map(|id| ShardId(shard_of(id, shard_count)))
                .collect(),
        )
    }

    /// The body for one node.
    pub(super) fn body(&self, piece: &Piece, window: Window) -> Result<Value, HttpError> {
        let mut body = self.passed.clone();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("offset", window.offset.into());
        put("limit", window.limit.into());
        if let Some(ids) = &self.ids {
            put("ids", json!(ids));
        }
        if !self.sort.is_empty() {
            put("sort", json!(self.sort));
        }
        match (piece.filter(), &self.filter) {
            (Some(hidden), filter) => {
                put("filter", and_filter(filter.as_ref(), &hidden)?);
            }
            (None, Some(filter)) => {
                put("filter", filter.clone());
            }
            (None, None) => {}
        }
        Ok(Value::Object(body))
    }
}

/// How many documents a node's page is a part of.
pub(super) fn total_of(body: &[u8]) -> Result<u64, HttpError> {
    let counted: Counted = serde_json::from_slice(body).map_err(|error| {
        unreadable(MergeError::Unreadable {
            position: 0,
            detail: error.to_string(),
        })
    })?;
    Ok(counted.total)
}

fn text_of(body: &[u8]) -> Result<&str, HttpError> {
    std::str::from_utf8(body).map_err(|error| {
        unreadable(MergeError::Unreadable {
            position: 0,
            detail: error.to_string(),
        })
    })
}

/// A path segment with everything but letters, digits, `-` and `_` escaped. A segment of dots
/// would be taken for a step up even when escaped, so those get a form that no id has either.
fn encode_segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    match text {
        "." | ".." => format!("%20{out}"),
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn piece(holds_nothing_else: bool) -> Piece {
        Piece {
            node: miroir_core::id::NodeId(1),
            shards: [ShardId(0)].into(),
            holds_nothing_else,
            sole: false,
            again: false,
            deadline: Instant::now(),
        }
    }

    #[test]
    fn bodies_carry_both_filters() {
        let window = Window {
            offset: 3,
            limit: 2,
        };
        let query = DocumentsQuery {
            filter: Some(json!("a = 1 OR b = 2")),
            ids: Some(vec!["7".to_owned()]),
            ..DocumentsQuery::all()
        };
        let filtered = query.body(&piece(false), window).expect("valid");
        assert_eq!(
            filtered["filter"],
            json!(["_miroir_shard = \"†††\"", "a = 1 OR b = 2"])
        );
        assert_eq!(
            (&filtered["offset"], &filtered["limit"]),
            (&json!(3), &json!(2))
        );
        assert_eq!(filtered["ids"], json!(["7"]));
        let whole = query.body(&piece(true), window).expect("valid");
        assert_eq!(whole["filter"], json!("a = 1 OR b = 2"));
        let all = DocumentsQuery::all()
            .body(&piece(true), window)
            .expect("valid");
        assert_eq!(all, json!({"offset": 3, "limit": 2}));
    }

    #[test]
    fn ids_in_paths_are_escaped() {
        let table = [
            ("a-1_B", "a-1_B"),
            ("a b/é", "a%20b%2F%C3%A9"),
            ("..", "%20%2E%2E"),
            ("", ""),
        ];
        for (id, segment) in table {
            assert_eq!(encode_segment(id), segment);
        }
    }
}
