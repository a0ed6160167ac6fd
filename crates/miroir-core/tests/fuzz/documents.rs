//! Bodies of documents and of deletions.

use std::collections::BTreeSet;

use miroir_core::document::{
    Batch, ContentType, Split, parse_delete_batch, resolve_primary_key, split_ids,
};
use miroir_core::hidden_field;
use serde_json::Value;

use crate::run::fuzz;

const SHARDS: u16 = 16;

const BODIES: [&str; 9] = [
    r#"[{"id":1,"title":"Carol","_geo":{"lat":1.5,"lng":"2"}},{"id":"b-2","n":12345678901234567890}]"#,
    r#"{"id":7,"nested":{"id":[1,2,{"x":null}]},"_vectors":{"e":[0.1,0.2]}}"#,
    "{\"id\":1}\n{\"id\":2,\"t\":\"a\\nb\"}\n\n{\"id\":3}",
    r#"[{"bookId":1,"authorId":2}]"#,
    "id:number,title,price:number,ok:boolean\n1,\"a, \"\"quoted\"\"\",2.5,true\n2,,,\n",
    "id;title\n1;x\n",
    r#"[{"id":1,"id":2,"a":1.10,"a":1e5}]"#,
    "[]",
    r#"[{"a.id":1,"a":{"id":3}}]"#,
];

const IDS: [&str; 5] = [
    r#"[1,2,"three",-4]"#,
    r#"["007",7,18446744073709551615]"#,
    "[]",
    r#"[1.0,true,null,{"a":1}]"#,
    r#"["*"]"#,
];

#[test]
fn documents() {
    let formats = [
        ContentType::Json,
        ContentType::Ndjson,
        ContentType::Csv { delimiter: b',' },
        ContentType::Csv { delimiter: b';' },
    ];
    let mut accepted = 0_u64;
    fuzz("documents", &BODIES, |body, _| {
        for format in formats {
            accepted += u64::from(place(body, format).is_some());
        }
    });
    assert!(
        accepted > 0,
        "no mutation was a batch: the mutations are too wild"
    );
}

/// Places a batch, and checks what a placed batch promises.
fn place(body: &[u8], format: ContentType) -> Option<()> {
    let batch = Batch::parse(body, format).ok()?;
    let key = resolve_primary_key(None, None, &batch).ok()??;
    let split = Split::new(&batch, &key, SHARDS).ok()?;
    assert_eq!(split.documents().len(), batch.len());
    let ids: BTreeSet<&str> = split.documents().iter().map(|d| d.id.as_str()).collect();
    assert_eq!(split.distinct_ids(), ids.len());
    for document in split.documents() {
        assert!(document.shard < SHARDS);
        assert_eq!(document.shard, hidden_field::shard_of(&document.id, SHARDS));
    }
    // Every shard's body is the lines of its documents, each one JSON object with the shard in it.
    let mut lines = 0;
    for shard in split.shards() {
        let text = String::from_utf8(split.ndjson(|wanted| wanted == shard)).expect("UTF-8");
        for line in text.lines() {
            let object: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let code = object[hidden_field::NAME]
                .as_str()
                .and_then(hidden_field::decode);
            assert_eq!(code, Some(shard), "{line}");
            let stripped = hidden_field::strip_document(line);
            let stripped: Value = serde_json::from_str(&stripped).expect("still an object");
            assert!(stripped.get(hidden_field::NAME).is_none(), "{line}");
            lines += 1;
        }
    }
    assert_eq!(lines, batch.len());
    Some(())
}

#[test]
fn deletions() {
    fuzz("deletions", &IDS, |body, _| {
        let Ok(ids) = parse_delete_batch(body) else {
            return;
        };
        let parts = split_ids(&ids, SHARDS);
        for (shard, part) in &parts {
            assert!(*shard < SHARDS && !part.is_empty());
            assert!(
                part.iter()
                    .all(|id| hidden_field::shard_of(id, SHARDS) == *shard)
            );
        }
    });
}
