//! Multi-search, facet search, similar documents, fields, and what else only reads.

use reqwest::Method;
use serde_json::{Value, json};

use std::sync::Arc;

use miroir_core::registry::{Collection, Entry, FEATURES, Registry};

use crate::search::{titles, version};
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, answer, error};

const KEY_UID: &str = "6062abda-a5aa-4414-ac91-ecd7944c0f8d";

/// A registry of these objects.
fn registry<const N: usize>(objects: [(Collection, &str, Value); N]) -> Arc<Registry> {
    let entry = |value| Entry {
        value,
        version: 1,
        created_at_ms: 1,
        updated_at_ms: 1,
    };
    let objects =
        objects.map(|(collection, name, value)| (collection, name.to_owned(), entry(value)));
    Arc::new(Registry::of(1, true, objects))
}

/// A key of these actions and indexes, as the registry keeps it.
fn key_of(actions: &[&str], indexes: &[&str]) -> Value {
    json!({
        "name": null, "description": null, "actions": actions, "indexes": indexes, "expiresAt": null,
    })
}

/// A proxy over two nodes with a shard each.
async fn over(a: &FakeNode, b: &FakeNode) -> Proxy {
    let layout = Layout::new(&[a.address, b.address]);
    Proxy::start(layout.shard(&[1]).shard(&[2]).build()).await
}

/// A node that says `what` to requests whose path ends so, and nothing sensible to others.
async fn says(
    path: &'static str,
    what: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> FakeNode {
    FakeNode::start(move |seen| {
        let asked = seen.path.split('?').next().unwrap_or_default();
        match asked {
            "/version" => version("1.50.0"),
            asked if asked.ends_with(path) => what(seen),
            asked => error(404, "not_found", asked),
        }
    })
    .await
}

/// A node that finds one hit of this title and score for each query of a federated search.
async fn federates(title: &'static str, score: f64) -> FakeNode {
    says("/multi-search", move |seen| {
        let queries = seen.body["queries"].as_array().map_or(0, Vec::len);
        let hit = |position: usize| {
            json!({
                "title": title, "_miroir_shard": "†††",
                "_rankingScoreDetails": {
                    "words": {"order": 0, "matchingWords": 1, "maxMatchingWords": 1, "score": score},
                },
                "_federation": {
                    "indexUid": INDEX, "queriesPosition": position, "weightedRankingScore": score,
                },
            })
        };
        Answer::Json(
            200,
            json!({
                "hits": (0..queries.min(1)).map(hit).collect::<Vec<_>>(),
                "processingTimeMs": 1, "limit": 20, "offset": 0, "estimatedTotalHits": queries,
            }),
        )
    })
    .await
}

#[tokio::test]
async fn merged_searches_ask_every_node_once() {
    let a = federates("a", 0.2).await;
    let b = federates("b", 0.9).await;
    let proxy = over(&a, &b).await;
    let query = json!({"indexUid": INDEX, "q": "x"});
    let body = json!({"federation": {"limit": 1, "offset": 1}, "queries": [query, query]});
    let (status, body) = proxy.post("/multi-search", body).await;
    assert_eq!(status, 200, "{body}");
    // Of one query with as many words on both nodes, the node's order counts.
    assert_eq!(titles(&body), ["b"]);
    assert_eq!(
        body["hits"][0]["_federation"],
        json!({"indexUid": INDEX, "queriesPosition": 0, "weightedRankingScore": 0.9})
    );
    assert_eq!(body["estimatedTotalHits"], 4);
    assert!(!body.to_string().contains("_miroir_shard"), "{body}");
    for node in [&a, &b] {
        let seen = node.seen("/multi-search");
        assert_eq!(seen.len(), 1, "each node is asked once");
        assert_eq!(seen[0].body["federation"], json!({"offset": 0, "limit": 2}));
        assert_eq!(seen[0].body["queries"][1]["indexUid"], INDEX);
        assert_eq!(seen[0].headers["authorization"], "Bearer a-master-key");
    }
}

#[tokio::test]
async fn errors_of_one_search_name_its_position() {
    let node = FakeNode::start(|seen| match seen.path.as_str() {
        "/version" => version("1.50.0"),
        "/multi-search" => error(
            400,
            "invalid_search_filter",
            "Inside `.queries[0]`: Index `movies`: Attribute `x` is not filterable.",
        ),
        "/indexes/none/search" => error(404, "index_not_found", "Index `none` not found."),
        _ => error(400, "invalid_search_sort", "Attribute `y` is not sortable."),
    })
    .await;
    let proxy = Proxy::start(Layout::new(&[node.address]).shard(&[1]).build()).await;
    let table = [
        (
            json!({"queries": [{"indexUid": INDEX}]}),
            "invalid_search_sort",
            "Inside `.queries[0]`: Attribute `y` is not sortable.",
        ),
        (
            json!({"queries": [{"indexUid": "none"}, {"indexUid": INDEX, "useNetwork": true}]}),
            "index_not_found",
            "Inside `.queries[0]`: Index `none` not found.",
        ),
        (
            json!({"federation": {}, "queries": [{"indexUid": "none"}, {"indexUid": INDEX}]}),
            "invalid_search_filter",
            "Inside `.queries[1]`: Index `movies`: Attribute `x` is not filterable.",
        ),
        (
            json!({"federation": {}, "queries": [{"indexUid": "none"}]}),
            "index_not_found",
            "Inside `.queries[0]`: Index `none` not found.",
        ),
        (
            json!({"federation": {"facetsByIndex": {"none": ["a"]}}, "queries": []}),
            "index_not_found",
            "Inside `.federation.facetsByIndex.none`: Index `none` not found.\n - Note: index `none` is not used in queries",
        ),
        (
            json!({"federation": {}, "queries": [{"indexUid": INDEX, "page": 1}]}),
            "invalid_multi_search_query_pagination",
            "Inside `.queries[0]`: Using pagination options is not allowed in federated queries.\n - Hint: remove `page` from the query or remove `federation` from the request\n - Hint: pass `federation.limit` and `federation.offset` for pagination in federated search",
        ),
    ];
    for (body, code, message) in table {
        let (status, answer) = proxy.post("/multi-search", body.clone()).await;
        assert_eq!(
            (status, &answer["code"], &answer["message"]),
            (400, &json!(code), &json!(message)),
            "{body}"
        );
    }
    let (status, answer) = proxy.post("/multi-search", json!({"queries": []})).await;
    assert_eq!((status, answer), (200, json!({"results": []})));
    let empty = json!({"queries": [], "federation": {}});
    let (status, answer) = proxy.post("/multi-search", empty).await;
    assert_eq!((status, &answer["hits"]), (200, &json!([])));
    assert!(answer["requestUid"].is_string(), "{answer}");
}

#[tokio::test]
async fn the_slowest_node_tells_where_the_time_went() {
    let took = |ms: u32| {
        move |seen: &Seen| {
            assert_eq!(seen.body["showPerformanceDetails"], true);
            let details = json!({"search": format!("{ms}ms")});
            Answer::Json(
                200,
                json!({
                    "hits": [], "processingTimeMs": ms, "estimatedTotalHits": 0,
                    "performanceDetails": details,
                }),
            )
        }
    };
    let a = says("/search", took(9)).await;
    let b = says("/search", took(4)).await;
    let proxy = over(&a, &b).await;
    let query = json!({"indexUid": INDEX, "showPerformanceDetails": true});
    let (status, body) = proxy
        .post("/multi-search", json!({"queries": [query]}))
        .await;
    assert_eq!(status, 200, "{body}");
    let result = &body["results"][0];
    assert_eq!(result["indexUid"], INDEX);
    assert_eq!(result["performanceDetails"], json!({"search": "9ms"}));
}

#[tokio::test]
async fn facet_values_are_asked_of_every_shard_once() {
    use miroir_core::cluster::ReplicaState::{InSync, Stale};
    let values = |count: u32| {
        move |_: &Seen| {
            let hits = json!([{"value": "Action", "count": count}]);
            let answer = json!({"facetHits": hits, "facetQuery": "a", "processingTimeMs": 0});
            Answer::Json(200, answer)
        }
    };
    let a = says("/facet-search", values(2)).await;
    let b = says("/facet-search", values(3)).await;
    let layout = Layout::new(&[a.address, b.address])
        .shard(&[1])
        .shard_in(vec![(1, Stale), (2, InSync)]);
    let proxy = Proxy::start(layout.build()).await;
    let path = format!("/indexes/{INDEX}/facet-search");
    let query =
        json!({"facetName": "genre", "facetQuery": "a", "filter": "x = 1", "sort": ["ignored"]});
    let (status, body) = proxy.post(&path, query).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["facetHits"], json!([{"value": "Action", "count": 5}]));
    let asked = |node: &FakeNode| node.seen("/facet-search")[0].body.clone();
    assert_eq!(
        asked(&a),
        json!({"filter": ["_miroir_shard = \"†††\"", "x = 1"], "facetName": "genre", "facetQuery": "a"})
    );
    assert_eq!(asked(&b)["filter"], "x = 1");
    let (status, body) = proxy
        .post(&path, json!({"facetName": "_miroir_shard"}))
        .await;
    assert_eq!(
        (status, &body["code"]),
        (400, &json!("invalid_facet_search_facet_name"))
    );
}

#[tokio::test]
async fn the_owner_of_a_document_judges_and_others_search_by_its_vector() {
    let behaviour = |name: &'static str| {
        move |seen: &Seen| {
            let found = |id: &str, score: f64| {
                let hit = json!({"title": id, "_rankingScore": score, "_miroir_shard": "†††"});
                json!({"hits": [hit], "processingTimeMs": 1, "estimatedTotalHits": 1})
            };
            match seen.path.split('?').next().unwrap_or_default() {
                "/version" => version("1.50.0"),
                path if path.ends_with("/similar") && seen.body["embedder"] == "none" => error(
                    400,
                    "invalid_similar_embedder",
                    "Cannot find embedder with name `none`.",
                ),
                path if path.ends_with("/similar") => Answer::Json(200, found("owner's", 0.5)),
                path if path.contains("/documents/") => Answer::Json(
                    200,
                    json!({"_vectors": {"e": {"embeddings": [[0.5, 1.0]], "regenerate": false}}}),
                ),
                path if path.ends_with("/search") => Answer::Json(200, found("other's", 0.75)),
                path => error(500, "internal", &format!("{name} {path}")),
            }
        }
    };
    let a = FakeNode::start(behaviour("a")).await;
    let b = FakeNode::start(behaviour("b")).await;
    let proxy = over(&a, &b).await;
    let path = format!("/indexes/{INDEX}/similar");
    let (status, body) = proxy.get(&format!("{path}?id=7&embedder=e&limit=5")).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body,
        json!({
            "hits": [{"title": "other's"}, {"title": "owner's"}], "id": "7", "processingTimeMs": 1,
            "limit": 5, "offset": 0, "estimatedTotalHits": 2,
        })
    );
    let asked = |part: &str| [a.seen(part), b.seen(part)].concat();
    assert_eq!(asked("/similar").len(), 1, "only the owner is asked for it");
    let search = &asked("/search")[0].body;
    assert_eq!(
        (&search["vector"], &search["hybrid"]),
        (
            &json!([0.5, 1.0]),
            &json!({"embedder": "e", "semanticRatio": 1.0})
        )
    );
    let (status, body) = proxy
        .post(&path, json!({"id": 7, "embedder": "none"}))
        .await;
    assert_eq!(
        (status, &body["code"]),
        (400, &json!("invalid_similar_embedder"))
    );
    assert_eq!(
        asked("/search").len(),
        1,
        "a refusal of the owner is enough"
    );
}

#[tokio::test]
async fn fields_of_all_nodes_are_listed_once_and_by_name() {
    let fields = |names: &'static [&'static str]| {
        move |_: &Seen| {
            let names = names
                .iter()
                .map(|name| json!({"name": name, "displayed": {"enabled": true}}));
            let names: Vec<Value> = names.collect();
            Answer::Json(
                200,
                json!({"results": names, "offset": 0, "limit": 9, "total": 2}),
            )
        }
    };
    let a = says("/fields", fields(&["_miroir_shard", "title", "id"])).await;
    let b = says("/fields", fields(&["_miroir_shard", "id", "genre"])).await;
    let proxy = over(&a, &b).await;
    let path = format!("/indexes/{INDEX}/fields");
    let body = json!({"offset": 1, "limit": 1, "filter": {"displayed": true}});
    let (status, body) = proxy.post(&path, body).await;
    assert_eq!(
        (status, body),
        (
            200,
            json!({
                "results": [{"name": "id", "displayed": {"enabled": true}}],
                "offset": 1, "limit": 1, "total": 3,
            })
        )
    );
    assert_eq!(
        a.seen("/fields")[0].body["filter"],
        json!({"displayed": true})
    );
}

#[tokio::test]
async fn documents_in_an_order_are_merged_by_what_they_hold() {
    let sorted = |years: &'static [u32]| {
        move |seen: &Seen| {
            let documents = years
                .iter()
                .map(|year| json!({"id": year % 100, "year": year}));
            let documents: Vec<Value> = documents.collect();
            assert_eq!(seen.body["sort"], json!(["year:desc"]));
            Answer::Json(
                200,
                json!({"results": documents, "offset": 0, "limit": 4, "total": 7}),
            )
        }
    };
    let a = says("/documents/fetch", sorted(&[2001, 1995])).await;
    let b = says("/documents/fetch", sorted(&[2010, 1999])).await;
    let proxy = over(&a, &b).await;
    let path = format!("/indexes/{INDEX}/documents?sort=year:desc&offset=1&limit=2&fields=id");
    let (status, body) = proxy.get(&path).await;
    assert_eq!(
        (status, body),
        (
            200,
            json!({"results": [{"id": 1}, {"id": 99}], "offset": 1, "limit": 2, "total": 14})
        )
    );
    let asked = &a.seen("/fetch")[0].body;
    assert_eq!(
        (&asked["limit"], &asked["fields"]),
        (&json!(3), &json!(["id", "year"]))
    );
}

#[tokio::test]
async fn answers_are_packed_as_the_client_asks() {
    let node = says("/search", |_| {
        let hits: Vec<Value> = (0..50)
            .map(|id| json!({"id": id, "title": "again"}))
            .collect();
        Answer::Json(200, json!({"hits": hits, "estimatedTotalHits": 50}))
    })
    .await;
    let proxy = Proxy::start(Layout::new(&[node.address]).shard(&[1]).build()).await;
    let path = format!("/indexes/{INDEX}/search");
    for (accepted, expected) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("deflate", Some("deflate")),
        ("br;q=0.1, gzip", Some("gzip")),
        ("identity", None),
    ] {
        let request = proxy.request(Method::GET, &path);
        let request = request.header("accept-encoding", accepted);
        let answer = request.send().await.expect("an answer");
        let encoding = answer.headers().get("content-encoding");
        let encoding = encoding.map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(encoding.as_deref(), expected, "{accepted}");
        let length = answer.bytes().await.expect("a body").len();
        assert_eq!(
            length < 1000,
            expected.is_some(),
            "{accepted}: {length} bytes"
        );
    }
}

#[tokio::test]
async fn metrics_and_templates_are_for_those_who_may() {
    let node = FakeNode::start(|seen| match seen.path.as_str() {
        "/version" => version("1.50.0"),
        "/stats" => Answer::Json(
            200,
            json!({"databaseSize": 7, "usedDatabaseSize": 5, "lastUpdate": null, "indexes": {}}),
        ),
        "/render-template" => Answer::Json(200, json!({"template": "a", "rendered": "b"})),
        path if path.ends_with("/stats") => Answer::Json(200, json!({"numberOfDocuments": 3})),
        _ => Answer::Json(200, json!({"results": [], "total": 3})),
    })
    .await;
    let mut table = Layout::new(&[node.address]).shard(&[1]).build();
    let off = Proxy::start(table.clone()).await;
    let (status, body) = off.get("/metrics").await;
    assert_eq!(
        (status, &body["code"]),
        (400, &json!("feature_not_enabled"))
    );
    let features = (
        Collection::ExperimentalFeatures,
        FEATURES,
        json!({"metrics": true}),
    );
    let key = (
        Collection::Keys,
        KEY_UID,
        key_of(&["search", "metrics.get"], &["movies"]),
    );
    table.registry = registry([features, key]);
    let proxy = Proxy::start(table).await;
    let (_, shown) = proxy.get(&format!("/keys/{KEY_UID}")).await;
    let shown = shown["key"].as_str().expect("a value").to_owned();
    let as_key = |method: Method, path: &str| proxy.anonymous(method, path).bearer_auth(&shown);
    let (status, body) = answer(as_key(Method::GET, "/metrics")).await;
    assert_eq!(
        (status, &body["code"]),
        (403, &json!("invalid_api_key")),
        "not of all indexes"
    );
    let other = json!({"queries": [{"indexUid": INDEX}, {"indexUid": "books"}]});
    let request = as_key(Method::POST, "/multi-search").json(&other);
    let (status, body) = answer(request).await;
    assert_eq!(
        (status, &body["message"]),
        (
            403,
            &json!("Inside `.queries[1]`: The provided API key is invalid.")
        )
    );
    let request = as_key(Method::POST, "/render-template").json(&json!({"template": {}}));
    assert_eq!(
        answer(request).await.0,
        403,
        "documents and settings are not for it"
    );
    let (status, body) = answer(proxy.anonymous(Method::GET, "/metrics")).await;
    assert_eq!(
        (status, &body["code"]),
        (401, &json!("missing_authorization_header"))
    );
    let answer = proxy
        .request(Method::GET, "/metrics")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4"
    );
    let text = answer.text().await.expect("text");
    for line in [
        "meilisearch_db_size_bytes 7",
        "meilisearch_index_docs_count{index=\"movies\"} 3",
        "# TYPE miroir_proxy_partial_answers_total counter\nmiroir_proxy_partial_answers_total 0\n",
        "miroir_proxy_hedges_sent_total 0\n",
        "miroir_proxy_hedges_won_total 0\n",
        "miroir_proxy_hedges_out_of_budget_total 0\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let inline = json!({"template": {"kind": "inlineDocumentTemplate", "inline": "a"}});
    assert_eq!(
        proxy.post("/render-template", inline).await,
        (200, json!({"template": "a", "rendered": "b"}))
    );
    let near =
        json!({"template": {"kind": "documentTemplate", "indexUid": INDEX, "embedder": "e"}});
    assert_eq!(proxy.post("/render-template", near).await.0, 200);
    let nowhere =
        json!({"template": {"kind": "documentTemplate", "indexUid": "none", "embedder": "e"}});
    assert_eq!(proxy.post("/render-template", nowhere).await.0, 404);
}
