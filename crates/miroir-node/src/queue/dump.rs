//! Writing a dump of the node, as Meilisearch does: version V6, a tar packed with gzip.
//!
//! Tasks are done in order, so a dump holds what was enqueued before it and nothing else. Of the queue it tells its own
//! task alone: no other is unfinished at that point.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use milli_core::Index;
use serde_json::{Map, Value, json};
use tar::{Builder, Header};
use time::OffsetDateTime;
use time::macros::format_description;

use super::process::Run;
use super::task::{Task, timestamp};
use crate::VERSION;
use crate::engine::documents::{Browse, browse};
use crate::engine::settings_read;
use crate::engine::stats::index_view;
use crate::engine::vectors::VECTORS;
use crate::error::{ApiError, Code};

/// Documents read at a time.
const PAGE: usize = 1_000;

type Archive = Builder<GzEncoder<BufWriter<File>>>;

impl Run<'_> {
    /// Writes the dump; answers its uid, which is when it began.
    pub(super) fn dump(&self, task: &Task) -> Result<String, ApiError> {
        let uid = self
            .stamp
            .started_at
            .format(format_description!(
                "[year][month][day]-[hour][minute][second][subsecond digits:3]"
            ))
            .map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        let directory = self.engine.dumps();
        std::fs::create_dir_all(directory)?;
        // Nobody takes an unfinished file for a dump.
        let unfinished = directory.join(format!("{uid}.tmp"));
        let packer = GzEncoder::new(
            BufWriter::new(File::create(&unfinished)?),
            Compression::fast(),
        );
        let mut archive = Builder::new(packer);
        self.write_common(&mut archive, task)?;
        let scratch = directory.join(format!("{uid}.documents"));
        for (name, index) in self.engine.all() {
            write_index(&mut archive, &name, &index, &scratch)?;
        }
        archive.into_inner()?.finish()?.flush()?;
        std::fs::rename(&unfinished, directory.join(format!("{uid}.dump")))?;
        Ok(uid)
    }

    fn write_common(&self, archive: &mut Archive, task: &Task) -> Result<(), ApiError> {
        let now = timestamp(OffsetDateTime::now_utc());
        let metadata = json!({"dumpVersion": "V6", "dbVersion": VERSION, "dumpDate": now});
        put(archive, "metadata.json", &metadata.to_string())?;
        let keys: Vec<Value> = self.queue.store.keys()?;
        let keys: String = keys.iter().map(|key| format!("{key}\n")).collect();
        put(archive, "keys.jsonl", &keys)?;
        let own = json!({
            "uid": task.uid, "batchUid": self.stamp.batch_uid, "indexUid": null, "status": "succeeded",
            "type": {"dumpCreation": {"keys": [], "instance_uid": null}},
            "enqueuedAt": timestamp(task.enqueued_at), "startedAt": timestamp(self.stamp.started_at),
            "finishedAt": now,
        });
        put(archive, "tasks/queue.jsonl", &format!("{own}\n"))?;
        put(archive, "experimental-features.json", "{}")
    }
}

fn write_index(
    archive: &mut Archive,
    uid: &str,
    index: &Index,
    scratch: &Path,
) -> Result<(), ApiError> {
    let view = json!(index_view(uid.to_owned(), index)?);
    put(
        archive,
        &format!("indexes/{uid}/metadata.json"),
        &view.to_string(),
    )?;
    let settings = {
        let rtxn = index.read_txn()?;
        settings_read::read(index, &rtxn)?.view()
    };
    put(
        archive,
        &format!("indexes/{uid}/settings.json"),
        &settings.to_string(),
    )?;
    // An entry begins with its size, which is known once everything was read.
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(scratch)?;
    let mut lines = BufWriter::new(&mut file);
    let mut page = Browse {
        limit: PAGE,
        retrieve_vectors: true,
        ..Browse::default()
    };
    loop {
        let (_, mut documents) = browse(index, &page)?;
        for document in &mut documents {
            // As in Meilisearch, a document without vectors says nothing of them.
            let vectors = document.get(VECTORS).and_then(Value::as_object);
            if vectors.is_some_and(Map::is_empty) {
                document.shift_remove(VECTORS);
            }
            writeln!(lines, "{}", json!(document))?;
        }
        if documents.len() < PAGE {
            break;
        }
        page.offset += PAGE;
    }
    lines.flush()?;
    drop(lines);
    file.rewind()?;
    archive.append_file(format!("indexes/{uid}/documents.jsonl"), &mut file)?;
    Ok(std::fs::remove_file(scratch)?)
}

fn put(archive: &mut Archive, path: &str, text: &str) -> Result<(), ApiError> {
    let mut header = Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, path, text.as_bytes())?)
}
