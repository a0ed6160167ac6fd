//! Dumps that are built here, whole and broken.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use miroir_core::dump::{ManifestIndex, ManifestNode};
use miroir_core::hidden_field::encode;
use miroir_core::id::{Epoch, IndexUid, TaskUid};
use miroir_core::settings::to_node;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::plan::{of_cluster, plain};
use super::*;

/// Files of a dump, in the order of the archive.
type Files = Vec<(String, String)>;

/// A dump with one index `books`; its parts come in an order that no reader would choose.
fn dump(settings: &Value, documents: &str, tasks: &str) -> Files {
    let file = |name: &str, text: String| (name.to_owned(), text);
    let metadata = json!({"uid": "books", "primaryKey": "id", "createdAt": "x", "updatedAt": "x"});
    vec![
        file("indexes/books/documents.jsonl", documents.to_owned()),
        file("tasks/queue.jsonl", tasks.to_owned()),
        file("indexes/books/settings.json", settings.to_string()),
        file("./keys.jsonl", "{\"uid\":\"k\"}\n".to_owned()),
        file("indexes/books/metadata.json", metadata.to_string()),
        file("metadata.json", version("V6")),
        file(
            "experimental-features.json",
            r#"{"metrics":true,"network":false}"#.to_owned(),
        ),
        file(
            "webhooks.json",
            r#"{"webhooks":{"a":{"url":"x"}}}"#.to_owned(),
        ),
    ]
}

fn version(version: &str) -> String {
    json!({"dumpVersion": version, "dbVersion": "1.50.0", "dumpDate": "x"}).to_string()
}

fn task(uid: u32, status: &str, kind: &Value) -> String {
    format!(
        "{}\n",
        json!({"uid": uid, "status": status, "type": kind, "enqueuedAt": "x"})
    )
}

fn tar_of(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        // Set without the builder's own check of paths.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, text.as_bytes()).expect("in memory");
    }
    builder.into_inner().expect("in memory")
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(tar).expect("in memory");
    packer.finish().expect("in memory")
}

fn write(directory: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

fn good() -> Files {
    dump(
        &json!({"stopWords": ["a"]}),
        "{\"id\":1}\n{\"id\":2}\n",
        &task(0, "succeeded", &json!("documentClear")),
    )
}

async fn documents(plan: Plan) -> Vec<(usize, u64, String)> {
    let mut pieces = feed::begin(Arc::new(plan));
    let mut all = Vec::new();
    while let Some(piece) = pieces.recv().await {
        let piece = piece.expect("a sound file");
        let lines = String::from_utf8(piece.lines.to_vec()).expect("UTF-8");
        all.push((piece.index, piece.documents, lines));
    }
    all
}

#[tokio::test]
async fn a_plain_dump_is_planned_and_its_numbers_keep_every_digit() {
    let directory = TempDir::new().expect("a directory");
    let text = "{\"id\":1,\"n\":12345678901234567890123,\"f\":1.10}\n\n{\"id\":2,\"f\":1e400}";
    let settings = json!({"stopWords": ["a"], "chat": {"description": "x"}});
    let path = write(
        &directory,
        "a.dump",
        &packed(&tar_of(&dump(&settings, text, ""))),
    );
    let plan = plain(path, false).expect("a whole dump");
    assert_eq!(plan.indexes.len(), 1);
    let index = &plan.indexes[0];
    assert_eq!(
        (
            index.uid.as_str(),
            index.documents,
            index.primary_key.as_deref()
        ),
        ("books", 2, Some("id"))
    );
    assert_eq!(index.settings, Some(json!({"stopWords": ["a"]})));
    assert_eq!(plan.keys, [json!({"uid": "k"})]);
    assert_eq!(plan.features, ["metrics"]);
    assert_eq!(
        plan.left,
        ["webhooks (1)", "setting `chat` of index `books`"]
    );
    let expected = text.replace("\n\n", "\n") + "\n";
    assert_eq!(documents(plan).await, [(0, 2, expected)]);
}

#[test]
fn what_is_not_whole_is_refused_and_named() {
    let whole = tar_of(&good());
    let with = |at: usize, name: &str, text: &str| {
        let mut files = good();
        files[at] = (name.to_owned(), text.to_owned());
        packed(&tar_of(&files))
    };
    let also = |name: &str, text: &str| {
        let mut files = good();
        files.push((name.to_owned(), text.to_owned()));
        packed(&tar_of(&files))
    };
    let cut = packed(&whole);
    let mut flipped = cut.clone();
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    let pending = task(7, "enqueued", &json!({"documentImport": {}}));
    let mut link = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    link.append_link(&mut header, "metadata.json", "/etc/passwd")
        .expect("in memory");
    let table = [
        (b"PK\x03\x04".to_vec(), "not packed with gzip"),
        (Vec::new(), "not packed with gzip"),
        (cut[..cut.len() / 2].to_vec(), "truncated"),
        (cut[..cut.len() - 4].to_vec(), "truncated"),
        (flipped, "damaged"),
        (packed(&whole[..whole.len() - 1_024]), "truncated"),
        (packed(&whole[..1_536]), "truncated"),
        (packed(&[7; 2_048]), "damaged"),
        (
            packed(&link.into_inner().expect("in memory")),
            "neither a file",
        ),
        (with(5, "metadata.json", &version("V5")), "version V5"),
        (
            with(5, "metadata.json", "{}"),
            "`metadata.json` is not as it should be",
        ),
        (with(5, "x", "{}"), "no `metadata.json`"),
        (with(3, "x", ""), "no `keys.jsonl`"),
        (with(1, "x", ""), "no `tasks/queue.jsonl`"),
        (with(2, "x", ""), "of `indexes/books` a file is missing"),
        (
            with(1, "tasks/queue.jsonl", &pending),
            "1 tasks that were unfinished",
        ),
        (
            with(1, "tasks/queue.jsonl", "{\n"),
            "line 1 of `tasks/queue.jsonl`",
        ),
        (
            with(0, "indexes/books/documents.jsonl", "{}\n[]\n"),
            "line 2 of `indexes/books/documents.jsonl` is no JSON object",
        ),
        (
            with(0, "indexes/books/documents.jsonl", "{}\n{\"a\":\n"),
            "is no JSON object",
        ),
        (
            with(2, "indexes/books/settings.json", r#"{"stopWords":1}"#),
            "settings of index `books`",
        ),
        (
            with(4, "indexes/books/metadata.json", r#"{"uid":"../x"}"#),
            "no uid of an index",
        ),
        (also("../evil", ""), "`../evil` is absurd"),
        (also("indexes/../../evil", ""), "is absurd"),
        (also("/etc/evil", ""), "is absurd"),
        (
            also("metadata.json", &version("V6")),
            "`metadata.json` is in it twice",
        ),
    ];
    let directory = TempDir::new().expect("a directory");
    for (at, (bytes, expected)) in table.iter().enumerate() {
        let path = write(&directory, &at.to_string(), bytes);
        let refused = plain(path, false).expect_err(expected).to_string();
        assert!(refused.contains(expected), "{at}: {refused}");
    }
    let missing = plain(directory.path().join("none"), false).expect_err("no file");
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
}

#[test]
fn unfinished_tasks_are_left_out_only_when_asked_for() {
    let directory = TempDir::new().expect("a directory");
    let tasks = task(1, "processing", &json!("documentClear"))
        + &task(2, "enqueued", &json!({"dumpCreation": {}}));
    let files = dump(&json!({}), "{\"id\":1}\n", &tasks);
    let path = write(&directory, "a", &packed(&tar_of(&files)));
    assert!(plain(path.clone(), false).is_err());
    let plan = plain(path, true).expect("to be ignored");
    assert!(
        plan.left
            .contains(&"1 tasks that were unfinished".to_owned())
    );
}

#[test]
fn a_line_without_end_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("long");
    let file = std::fs::File::create(&path).expect("a file");
    let size = (100 << 20) + 10;
    let mut header = tar::Header::new_gnu();
    header
        .set_path("indexes/a/documents.jsonl")
        .expect("a path");
    header.set_size(size);
    header.set_cksum();
    let mut builder = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    builder
        .append(&header, std::io::Read::take(std::io::repeat(b'x'), size))
        .expect("written");
    builder
        .into_inner()
        .and_then(GzEncoder::finish)
        .expect("written");
    let refused = plain(path, false).expect_err("too long").to_string();
    assert!(
        refused.contains("line 1 of `indexes/a/documents.jsonl` is longer"),
        "{refused}"
    );
}

/// A document as a node stores it.
fn stored(id: u32, shard: u16) -> String {
    format!("{{\"_miroir_shard\":\"{}\",\"id\":{id}}}\n", encode(shard))
}

/// Two shards: node 1 has both, node 2 has the second, and remains of the first that are nobody's.
fn cluster(directory: &TempDir) -> (Manifest, Vec<(NodeId, PathBuf)>) {
    let uid = |uid: &str| IndexUid::parse(uid).expect("valid");
    let settings = to_node(&json!({"faceting": {"maxValuesPerFacet": 20}}));
    let files = |documents: String, dump_task| {
        let tasks = task(dump_task, "succeeded", &json!({"dumpCreation": {}}))
            + &task(90, "enqueued", &json!("documentClear"));
        packed(&tar_of(&dump(&settings, &documents, &tasks)))
    };
    let first = files(stored(1, 0) + &stored(2, 1), 8);
    let second = files(stored(7, 0) + &stored(2, 1) + &stored(3, 1), 9);
    let node = |node_task| ManifestNode {
        url: "http://a:1".to_owned(),
        node_task,
        dump_uid: None,
    };
    let (one, two) = (NodeId(1), NodeId(2));
    let manifest = Manifest {
        cluster_id: "c".to_owned(),
        task_uid: TaskUid(1),
        epoch: Epoch(1),
        nodes: [(one, node(8)), (two, node(9))].into(),
        indexes: vec![
            ManifestIndex {
                uid: uid("shop"),
                name: uid("books"),
                primary_key: Some("id".to_owned()),
                max_values_per_facet: Some(20),
                on_nodes: true,
                shards: vec![[one].into(), [two].into()],
            },
            ManifestIndex {
                uid: uid("unused"),
                name: uid("unused"),
                primary_key: None,
                max_values_per_facet: None,
                on_nodes: false,
                shards: vec![[].into()],
            },
        ],
    };
    let given = vec![
        (one, write(directory, "1", &first)),
        (two, write(directory, "2", &second)),
    ];
    (manifest, given)
}

#[tokio::test]
async fn of_every_shard_one_nodes_documents_are_taken_under_the_indexs_uid() {
    let directory = TempDir::new().expect("a directory");
    let (manifest, files) = cluster(&directory);
    let plan = of_cluster(&manifest, files).expect("everything is there");
    let planned: Vec<(&str, u64)> = plan
        .indexes
        .iter()
        .map(|index| (index.uid.as_str(), index.documents))
        .collect();
    assert_eq!(planned, [("shop", 3), ("unused", 0)]);
    let settings = plan.indexes[0].settings.as_ref().expect("of a node");
    assert_eq!(settings["faceting"]["maxValuesPerFacet"], 20);
    assert_eq!(settings["filterableAttributes"], json!([]));
    assert_eq!(plan.indexes[1].settings, None);
    let mut all = documents(plan).await;
    all.sort();
    assert_eq!(
        all,
        [
            (0, 1, "{\"id\":1}\n".to_owned()),
            (0, 2, "{\"id\":2}\n{\"id\":3}\n".to_owned())
        ]
    );
}

#[test]
fn what_the_nodes_dumps_lack_is_named() {
    let directory = TempDir::new().expect("a directory");
    let (manifest, files) = cluster(&directory);
    let refused = |manifest: &Manifest, files: Vec<(NodeId, PathBuf)>| {
        of_cluster(manifest, files)
            .expect_err("refused")
            .to_string()
    };
    let one_only = refused(&manifest, files[..1].to_vec());
    assert!(
        one_only.contains("shard 1 of `shop` (node 2)"),
        "{one_only}"
    );
    let swapped = vec![
        (NodeId(1), files[1].1.clone()),
        (NodeId(2), files[0].1.clone()),
    ];
    let swapped = refused(&manifest, swapped);
    assert!(
        swapped.contains("is not the dump that node 1 wrote"),
        "{swapped}"
    );
    let mut other = manifest.clone();
    other.indexes[0].name = IndexUid::parse("films").expect("valid");
    let other = refused(&other, files.clone());
    assert!(other.contains("has no index `films`"), "{other}");
    let mut strange = files;
    strange.push((NodeId(5), Path::new("/none").to_owned()));
    assert!(refused(&manifest, strange).contains("cannot be read"));
}

#[test]
fn files_of_nodes_are_given_with_their_ids() {
    let read =
        |texts: &[&str]| of_nodes(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
    let good = read(&["1=a=b", "22=/c"]).expect("valid");
    assert_eq!(good, [(NodeId(1), "a=b".into()), (NodeId(22), "/c".into())]);
    for bad in [&["a"][..], &["x=a"], &["1=a", "1=b"], &["=a"]] {
        assert!(matches!(read(bad), Err(Error::Usage(_))), "{bad:?}");
    }
}
