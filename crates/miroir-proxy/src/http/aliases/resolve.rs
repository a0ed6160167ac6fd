//! Puts the uid of an index where a request names an alias, before anything else looks at it.
//!
//! Keys and tenant tokens are therefore judged by the index that is meant: an alias gives no right.

use std::str::FromStr as _;

use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Uri};
use miroir_core::registry::Registry;
use miroir_core::search::MultiSearch;

use crate::http::Server;
use crate::http::auth::is_forwarded;

const INDEXES: &str = "/indexes/";

/// Rewrites the path of a request below `/indexes/{alias}`.
///
/// What another proxy sends on names the index that it was judged by, whatever has that name as an alias by now.
pub async fn in_path(State(server): State<Server>, mut request: Request) -> Request {
    if is_forwarded(&server, request.headers()) {
        return request;
    }
    let is_current = !server.parts().control.lease_left().is_zero();
    let registry = server.registry();
    if let Some(uri) = rewritten(&registry, request.method(), request.uri()) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(ByAlias { is_current });
    }
    request
}

/// Marks a request that named an alias.
#[derive(Debug, Clone, Copy)]
pub struct ByAlias {
    /// Whether the proxy had a lease when it looked: a change of the alias is then not answered before it is known here.
    pub is_current: bool,
}

fn rewritten(registry: &Registry, method: &Method, uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(INDEXES)?;
    let (name, below) = match rest.split_once('/') {
        Some((name, below)) => (name, Some(below)),
        None => (rest, None),
    };
    // What an index is, and what it is called, is changed under its own uid.
    if below.is_none() && !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let target = registry.alias(name)?;
    let mut path = format!("{INDEXES}{target}");
    if let Some(below) = below {
        path.push('/');
        path.push_str(below);
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_str(&path).ok()?);
    Uri::from_parts(parts).ok()
}

/// Replaces the aliases that searches name.
pub fn in_queries(registry: &Registry, request: &mut MultiSearch) {
    for query in request.queries.iter_mut().flatten() {
        if let Some(target) = registry.alias(query.index.as_str()) {
            query.index = target;
        }
    }
    let Some(federation) = &mut request.federation else {
        return;
    };
    let facets = std::mem::take(&mut federation.facets_by_index).into_iter();
    federation.facets_by_index = facets
        .map(|(index, facets)| (registry.alias(index.as_str()).unwrap_or(index), facets))
        .collect();
}

#[cfg(test)]
mod tests {
    use miroir_core::id::IndexUid;
    use miroir_core::registry::{Alias, Collection, Entry};

    use super::*;

    fn registry() -> Registry {
        let alias = Alias::new(IndexUid::parse("books-2").expect("a uid"), 0);
        let entry = Entry {
            value: serde_json::to_value(alias).expect("plain data"),
            version: 1,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        Registry::of(1, true, [(Collection::Aliases, "books".to_owned(), entry)])
    }

    #[test]
    fn paths_are_rewritten_where_an_alias_stands() {
        let table = [
            ("GET", "/indexes/books", Some("/indexes/books-2")),
            ("DELETE", "/indexes/books", None),
            ("PATCH", "/indexes/books", None),
            (
                "POST",
                "/indexes/books/search?x=1",
                Some("/indexes/books-2/search?x=1"),
            ),
            (
                "DELETE",
                "/indexes/books/documents/a%2Fb",
                Some("/indexes/books-2/documents/a%2Fb"),
            ),
            ("GET", "/indexes/books-2", None),
            ("GET", "/indexes/", None),
            ("GET", "/indexes", None),
            ("GET", "/tasks/books", None),
        ];
        for (method, path, expected) in table {
            let method = Method::from_str(method).expect("a method");
            let uri = Uri::from_str(path).expect("a path");
            let found = rewritten(&registry(), &method, &uri);
            assert_eq!(
                found.map(|uri| uri.to_string()).as_deref(),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn searches_are_of_the_index_that_is_meant() {
        let body = br#"{"federation":{"facetsByIndex":{"books":["a"],"films":["b"]}},
            "queries":[{"indexUid":"books","q":"x"},{"indexUid":"films"}]}"#;
        let mut request = MultiSearch::from_json(body).expect("valid");
        in_queries(&registry(), &mut request);
        let uids: Vec<String> = request
            .queries
            .iter()
            .flatten()
            .map(|one| one.index.to_string())
            .collect();
        assert_eq!(uids, ["books-2", "films"]);
        let facets = request.federation.expect("federated").facets_by_index;
        let facets: Vec<&str> = facets.keys().map(IndexUid::as_str).collect();
        assert_eq!(facets, ["books-2", "films"]);
    }
}
