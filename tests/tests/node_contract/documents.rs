//! Documents: writing, deleting, and reading them back.

use super::pattern::{ABSENT, EXACTLY};
use super::script::{Step, check, delete, get, index, post, post_raw, put};
use serde_json::{Value, json};

const DOCUMENTS: &str = "/indexes/i/documents";

/// Reads everything the index holds.
fn holds(documents: Value) -> Step {
    let total = documents.as_array().map_or(0, Vec::len);
    get("/indexes/i/documents?limit=100").is(json!({
        "results": documents, "offset": 0, "limit": 100, "total": total, EXACTLY: true
    }))
}

fn added(received: u32, indexed: u32) -> Value {
    json!({
        "status": "succeeded", "type": "documentAdditionOrUpdate", "indexUid": "i",
        "details": { "receivedDocuments": received, "indexedDocuments": indexed },
        "error": null, "canceledBy": null
    })
}

#[tokio::test]
async fn documents_are_added_replaced_and_updated() {
    check(vec![
        post(
            DOCUMENTS,
            json!([{ "id": 1, "a": 1, "n": { "x": 1, "y": 1 } }]),
        )
        .task(added(1, 1)),
        post(DOCUMENTS, json!({ "id": 2, "a": 2 })).task(added(1, 1)),
        post_raw(
            DOCUMENTS,
            "application/x-ndjson",
            "{\"id\":3,\"a\":3}\n{\"id\":4}\n",
        )
        .task(added(2, 2)),
        post_raw(DOCUMENTS, "text/csv", "id,a:number,t\n5,5,\"x, y\"\n").task(added(1, 1)),
        post_raw(
            "/indexes/i/documents?csvDelimiter=;",
            "text/csv",
            "id;t\n6;x\n",
        )
        .task(added(1, 1)),
        post(DOCUMENTS, json!([])).task(added(0, 0)),
        put(DOCUMENTS, json!([{ "id": 1, "b": 1, "n": { "x": 2 } }])).task(added(1, 1)),
        post(DOCUMENTS, json!([{ "id": 2, "b": 2 }])).task(added(1, 1)),
        // The last of several documents with one id counts; 1 and "1" are one id.
        post(
            DOCUMENTS,
            json!([{ "id": 7, "a": 1 }, { "id": "7", "b": 1 }]),
        )
        .task(added(2, 1)),
        put(DOCUMENTS, json!([{ "id": 8, "a": 1 }, { "id": 8, "b": 1 }])).task(added(2, 1)),
        holds(json!([
            { "id": 1, "a": 1, "n": { "x": 2, "y": ABSENT }, "b": 1, EXACTLY: true },
            { "id": 2, "b": 2, EXACTLY: true },
            { "id": 3, "a": 3 }, { "id": 4 },
            { "id": "5", "a": 5, "t": "x, y" }, { "id": "6", "t": "x" },
            { "id": "7", "b": 1, "a": ABSENT }, { "id": 8, "a": 1, "b": 1 }
        ])),
    ])
    .await;
}

#[tokio::test]
async fn metadata_and_skipping_are_kept_where_they_exist() {
    let metadata = "customMetadata=a%20b%26%C3%A9";
    let tagged = json!({ "customMetadata": "a b&é", "status": "succeeded" });
    let mut script = index("i", json!({ "filterableAttributes": ["a"] }));
    script.push(post(DOCUMENTS, json!([{ "id": 1 }])).task(json!({ "customMetadata": ABSENT })));
    script.extend(
        [
            post(
                &format!("{DOCUMENTS}?{metadata}"),
                json!([{ "id": 1, "a": 1 }]),
            )
            .task(tagged.clone()),
            post(&format!("{DOCUMENTS}/delete-batch?{metadata}"), json!([5])).task(tagged.clone()),
            post(
                &format!("{DOCUMENTS}/delete?{metadata}"),
                json!({ "filter": "a = 9" }),
            )
            .task(tagged.clone()),
            delete(&format!("{DOCUMENTS}/9?{metadata}")).task(tagged.clone()),
            delete(&format!("{DOCUMENTS}?{metadata}")).task(tagged),
        ]
        .map(|step| step.when(|version| version.has_custom_metadata())),
    );
    script.extend([
        post(DOCUMENTS, json!([{ "id": 1, "a": 1 }]))
            .succeeds()
            .may_differ("/answer")
            .may_differ("/task"),
        // Documents that are left out count as indexed all the same.
        put(
            &format!("{DOCUMENTS}?skipCreation=true"),
            json!([{ "id": 1, "b": 1 }, { "id": 2 }]),
        )
        .task(added(2, 2))
        .when(|version| version.has_skip_creation()),
        post(
            &format!("{DOCUMENTS}?skipCreation=true"),
            json!([{ "id": 1, "c": 1 }, { "id": 2 }]),
        )
        .task(added(2, 2))
        .when(|version| version.has_skip_creation()),
        holds(json!([{ "id": 1, "c": 1, "b": ABSENT }]))
            .when(|version| version.has_skip_creation()),
    ]);
    check(script).await;
}

#[tokio::test]
async fn documents_are_deleted() {
    let ids: Vec<Value> = (1..=12)
        .map(|id| json!({ "id": id, "even": id % 2 == 0 }))
        .collect();
    let deleted = |provided: u32, filter: Value, count: Value| {
        json!({
            "status": "succeeded", "type": "documentDeletion",
            "details": {
                "providedIds": provided, "originalFilter": filter, "deletedDocuments": count
            }
        })
    };
    let by_filter =
        |filter: Value| post("/indexes/i/documents/delete", json!({ "filter": filter }));
    let mut script = index("i", json!({ "filterableAttributes": ["even", "id"] }));
    script.extend([
        post(DOCUMENTS, Value::Array(ids)).task(added(12, 12)),
        delete("/indexes/i/documents/1").task(deleted(1, Value::Null, json!(1))),
        delete("/indexes/i/documents/1").task(deleted(1, Value::Null, json!(0))),
        delete("/indexes/nothing/documents/1").fails("index_not_found"),
        // An integer and its digits are one id; a float is its own text, and matches none.
        post(
            "/indexes/i/documents/delete-batch",
            json!([2, "3", 4.0, "none"]),
        )
        .task(deleted(4, Value::Null, json!(2))),
        post("/indexes/i/documents/delete-batch", json!([])).task(deleted(
            0,
            Value::Null,
            json!(0),
        )),
        by_filter(json!("id = 5")).task(deleted(0, json!("\"id = 5\""), json!(1))),
        by_filter(json!([["id = 6", "id = 7"], "even = true"])).task(deleted(
            0,
            json!("[[\"id = 6\",\"id = 7\"],\"even = true\"]"),
            json!(1),
        )),
        by_filter(json!("id = 999")).task(deleted(0, json!("\"id = 999\""), json!(0))),
        by_filter(json!("unknown = 1")).fails("invalid_document_filter"),
        by_filter(json!("id = ")).refused(400, "invalid_document_filter"),
        by_filter(json!(12)).refused(400, "invalid_document_filter"),
        by_filter(json!("")).refused(400, "invalid_document_filter"),
        post("/indexes/i/documents/delete", json!({})).refused(400, "missing_document_filter"),
        post("/indexes/i/documents/delete-batch", json!({ "id": 1 })).refused(400, "bad_request"),
        post(
            "/indexes/nothing/documents/delete",
            json!({ "filter": "id = 1" }),
        )
        .fails("index_not_found"),
        holds(json!([
            { "id": 4 }, { "id": 7 }, { "id": 8 }, { "id": 9 }, { "id": 10 }, { "id": 11 },
            { "id": 12 }
        ])),
        delete(DOCUMENTS).task(json!({
            "status": "succeeded", "type": "documentDeletion", "details": { "deletedDocuments": 7 }
        })),
        delete(DOCUMENTS).succeeds(),
        holds(json!([])),
    ]);
    check(script).await;
}

fn read_fixture() -> Vec<Step> {
    let settings = json!({
        "filterableAttributes": ["n", "t", "deep.er"], "displayedAttributes": ["id"]
    });
    let mut script = index("i", settings);
    script.push(
        post(
            DOCUMENTS,
            json!([
                { "id": "b", "n": 1, "t": "Red", "deep": { "er": 1, "z": 2 } },
                { "id": "a", "n": 2, "t": "green" },
                { "id": 3, "n": 3, "t": null, "list": [{ "x": 1 }, { "x": 2 }] },
                { "id": 4, "n": 4 }
            ]),
        )
        .task(added(4, 4)),
    );
    script
}

#[tokio::test]
async fn documents_are_read_by_page_and_field() {
    let list = |query: &str| get(&format!("{DOCUMENTS}?{query}"));
    let mut script = read_fixture();
    script.extend([
        // What is displayed in searches does not matter here; the order is that of arrival.
        list("").is(json!({
            "results": [
                { "id": "b", "n": 1, "t": "Red", "deep": { "er": 1, "z": 2 }, EXACTLY: true },
                { "id": "a", "n": 2 }, { "id": 3 }, { "id": 4 }
            ],
            "offset": 0, "limit": 20, "total": 4
        })),
        list("offset=1&limit=2").is(json!({
            "results": [{ "id": "a" }, { "id": 3 }], "offset": 1, "limit": 2, "total": 4
        })),
        list("offset=9").is(json!({ "results": [], "offset": 9, "total": 4 })),
        list("limit=0").is(json!({ "results": [], "limit": 0, "total": 4 })),
        list("fields=id,deep.er&limit=1").is(json!({
            "results": [{ "id": "b", "deep": { "er": 1, EXACTLY: true }, EXACTLY: true }]
        })),
        list("fields=list.x&offset=2&limit=1").is(json!({
            "results": [{ "list": [{ "x": 1 }, { "x": 2 }], EXACTLY: true }]
        })),
        list("fields=*&limit=1").is(json!({ "results": [{ "id": "b", "n": 1 }] })),
        list("fields=").is(json!({ "total": 4 })),
        list("filter=n%20%3E%202").is(json!({ "results": [{ "id": 3 }, { "id": 4 }], "total": 2 })),
        list("limit=x").refused(400, "invalid_document_limit"),
        list("offset=-1").refused(400, "invalid_document_offset"),
        list("retrieveVectors=2").refused(400, "invalid_document_retrieve_vectors"),
        list("other=1").refused(400, "bad_request"),
        list("filter=z%20%3D%201").refused(400, "invalid_document_filter"),
        get("/indexes/nothing/documents").refused(404, "index_not_found"),
        get("/indexes/i/documents/b").is(json!({ "id": "b", "n": 1, "t": "Red" })),
        get("/indexes/i/documents/3?fields=t,n").is(json!({ "t": null, "n": 3, EXACTLY: true })),
        get("/indexes/i/documents/nobody").refused(404, "document_not_found"),
        get("/indexes/nothing/documents/b").refused(404, "index_not_found"),
    ]);
    check(script).await;
}

#[tokio::test]
async fn documents_are_fetched_by_filter_and_id() {
    let fetch = |body: Value| post("/indexes/i/documents/fetch", body);
    let found = |ids: Value| {
        let results: Vec<Value> = ids
            .as_array()
            .into_iter()
            .flatten()
            .map(|id| json!({ "id": id }))
            .collect();
        json!({ "total": results.len(), "results": results })
    };
    let mut script = read_fixture();
    script.extend([
        fetch(json!({})).is(json!({ "offset": 0, "limit": 20, "total": 4 })),
        fetch(json!({ "offset": 2, "limit": 1 })).is(json!({
            "results": [{ "id": 3 }], "offset": 2, "limit": 1, "total": 4
        })),
        fetch(json!({ "limit": 1_000_000_000, "fields": ["id"] })).is(json!({
            "results": [
                { "id": "b", EXACTLY: true }, { "id": "a", EXACTLY: true },
                { "id": 3, EXACTLY: true }, { "id": 4, EXACTLY: true }
            ],
            "total": 4
        })),
        fetch(json!({ "filter": "n > 1 AND n < 4" })).is(found(json!(["a", 3]))),
        fetch(json!({ "filter": [["n = 1", "n = 4"], "n < 3"] })).is(found(json!(["b"]))),
        fetch(json!({ "filter": "t = RED" })).is(found(json!(["b"]))),
        fetch(json!({ "filter": "t IS NULL" })).is(found(json!([3]))),
        fetch(json!({ "filter": "t EXISTS" })).is(found(json!(["b", "a", 3]))),
        fetch(json!({ "filter": "NOT t EXISTS" })).is(found(json!([4]))),
        fetch(json!({ "filter": "n IN [1, 3]" })).is(found(json!(["b", 3]))),
        fetch(json!({ "filter": "n 2 TO 3" })).is(found(json!(["a", 3]))),
        fetch(json!({ "filter": "deep.er = 1" })).is(found(json!(["b"]))),
        // By id: unknown ones are left out, and the order is the index's.
        fetch(json!({ "ids": [3, "b", "nobody"] })).is(found(json!(["b", 3]))),
        fetch(json!({ "ids": ["4", "4"], "fields": ["n"] }))
            .is(json!({ "results": [{ "n": 4, EXACTLY: true }], "total": 1 })),
        fetch(json!({ "ids": [] })).is(found(json!([]))),
        fetch(json!({ "ids": ["a", 3], "filter": "n = 3" })).is(found(json!([3]))),
        fetch(json!({ "ids": ["a", 3], "limit": 1 }))
            .is(json!({ "results": [{ "id": "a" }], "total": 2 })),
        fetch(json!({ "retrieveVectors": true, "ids": ["a"] }))
            .is(json!({ "results": [{ "id": "a", "_vectors": {} }] })),
        fetch(json!({ "filter": "z = 1" })).refused(400, "invalid_document_filter"),
        fetch(json!({ "filter": "n >" })).refused(400, "invalid_document_filter"),
        fetch(json!({ "ids": "a" })).refused(400, "invalid_document_ids"),
        fetch(json!({ "ids": [1.5] })).refused(400, "invalid_document_ids"),
        fetch(json!({ "fields": "a" })).refused(400, "invalid_document_fields"),
        fetch(json!({ "limit": -1 })).refused(400, "invalid_document_limit"),
        fetch(json!({ "offset": "1" })).refused(400, "invalid_document_offset"),
        fetch(json!({ "retrieveVectors": 1 })).refused(400, "invalid_document_retrieve_vectors"),
        fetch(json!({ "other": 1 })).refused(400, "bad_request"),
        post("/indexes/nothing/documents/fetch", json!({})).refused(404, "index_not_found"),
    ]);
    check(script).await;
}

/// What comes back is what a copy to another node will hold.
#[tokio::test]
async fn values_survive_a_round_trip() {
    let text = r#"{"id":"x","zero":0,"max":18446744073709551615,"min":-9223372036854775808,
        "half":0.5,"tiny":1e-7,"trailing":1.10,"minus":-0.0,"text":"é\u0000\n\"","empty":"",
        "null":null,"yes":true,"list":[1,[2,{}]],"object":{"b":{"a":1},"a":[]},"":"no name",
        "dotted.name":1,"日本":"語"}"#;
    check(vec![
        post_raw(DOCUMENTS, "application/json", text).task(added(1, 1)),
        get("/indexes/i/documents/x").is(json!({
            "id": "x", "zero": 0, "max": u64::MAX, "min": i64::MIN, "half": 0.5, "tiny": 1e-7,
            "trailing": 1.1, "minus": -0.0, "text": "é\u{0}\n\"", "empty": "", "null": null,
            "yes": true, "list": [1, [2, {}]], "object": { "b": { "a": 1 }, "a": [] },
            "": "no name", "dotted.name": 1, "日本": "語"
        })),
    ])
    .await;
}
