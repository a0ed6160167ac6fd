//! What is in a dump, found out before anything of it is written anywhere.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::hidden_field::stored_shard;
use miroir_core::id::{IndexUid, ShardId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::archive::{Archive, Content, Damage, Place};

/// The version of dumps that is read: every Meilisearch 1.x writes it.
const VERSION: &str = "V6";

/// Kinds of tasks that change nothing that is taken over.
const HARMLESS: [&str; 7] = [
    "dumpCreation",
    "snapshotCreation",
    "taskCancelation",
    "tasksDeletion",
    "export",
    "upgradeDatabase",
    "indexCompaction",
];

/// What one file holds, but for the documents.
#[derive(Debug, Default)]
pub struct Contents {
    /// The version of the Meilisearch that wrote it.
    pub written_by: String,
    /// Its indexes, by their directory in the dump.
    pub indexes: BTreeMap<String, IndexContents>,
    /// Its API keys.
    pub keys: Vec<Value>,
    /// Its experimental features.
    pub features: BTreeMap<String, bool>,
    /// How many tasks were unfinished that would have changed an index.
    pub pending: u64,
    /// The tasks that wrote dumps.
    pub dump_tasks: BTreeSet<u32>,
    /// How many tasks it remembers.
    pub tasks: u64,
    /// How many webhooks it has.
    pub webhooks: usize,
    /// How many chat workspaces it has.
    pub chats: usize,
}

/// An index in a file.
#[derive(Debug)]
pub struct IndexContents {
    /// Its uid there.
    pub uid: IndexUid,
    /// The documents' id field.
    pub primary_key: Option<String>,
    /// Its settings there.
    pub settings: Value,
    /// How many documents there are, of each shard; of a plain dump all are under `None`.
    pub documents: BTreeMap<Option<ShardId>, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    dump_version: String,
    db_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexMetadata {
    uid: String,
    primary_key: Option<String>,
}

#[derive(Deserialize)]
struct QueuedTask {
    uid: u32,
    status: String,
    #[serde(rename = "type")]
    kind: Value,
}

/// What was read of an index so far.
#[derive(Default)]
struct Parts {
    metadata: Option<IndexMetadata>,
    settings: Option<Value>,
    documents: Option<BTreeMap<Option<ShardId>, u64>>,
}

#[derive(Default)]
struct Reading {
    found: Contents,
    metadata: bool,
    keys: bool,
    queue: bool,
    indexes: BTreeMap<String, Parts>,
}

impl Contents {
    /// Reads all of a file. `by_shard` counts documents by the shard that they say they are of.
    ///
    /// # Errors
    /// [`Damage`], when it is no dump, not whole, or not of the version that is read.
    pub fn read(archive: &Archive, by_shard: bool) -> Result<Self, Damage> {
        let mut reading = Reading::default();
        archive.walk(|place, content| reading.take(place, content, by_shard))?;
        reading.finish()
    }

    /// The index of that uid in this file, with its directory.
    pub fn index(&self, uid: &IndexUid) -> Option<(&String, &IndexContents)> {
        self.indexes.iter().find(|(_, index)| index.uid == *uid)
    }
}

impl Reading {
    fn take(
        &mut self,
        place: &Place,
        content: &mut Content<'_>,
        by_shard: bool,
    ) -> Result<(), Damage> {
        match place {
            Place::Metadata => self.metadata(content)?,
            Place::Keys => {
                self.keys = true;
                each(content, |key| {
                    self.found.keys.push(key);
                })?;
            }
            Place::Queue => {
                self.queue = true;
                each(content, |task| self.found.task(&task))?;
            }
            Place::Features => {
                let all: BTreeMap<String, Value> = content.json()?;
                let on = |(name, value): (String, Value)| Some((name, value.as_bool()?));
                self.found.features = all.into_iter().filter_map(on).collect();
            }
            Place::Webhooks => {
                let all: Value = content.json()?;
                self.found.webhooks = all["webhooks"].as_object().map_or(0, serde_json::Map::len);
            }
            Place::Chat => self.found.chats += 1,
            Place::IndexMetadata(name) => {
                self.index(name).metadata = Some(content.json()?);
            }
            Place::IndexSettings(name) => {
                self.index(name).settings = Some(content.json()?);
            }
            Place::Documents(name) => {
                let counted = count(content, by_shard)?;
                self.index(name).documents = Some(counted);
            }
            Place::Other => {}
        }
        Ok(())
    }

    fn metadata(&mut self, content: &mut Content<'_>) -> Result<(), Damage> {
        let metadata: Metadata = content.json()?;
        if metadata.dump_version != VERSION {
            return Err(Damage::new(format!(
                "this is a dump of version {}; only {VERSION} is read: load it into a newer Meilisearch and dump that",
                metadata.dump_version
            )));
        }
        self.found.written_by = metadata.db_version;
        self.metadata = true;
        Ok(())
    }

    fn index(&mut self, name: &str) -> &mut Parts {
        self.indexes.entry(name.to_owned()).or_default()
    }

    fn finish(self) -> Result<Contents, Damage> {
        for (there, name) in [
            (self.metadata, "metadata.json"),
            (self.keys, "keys.jsonl"),
            (self.queue, "tasks/queue.jsonl"),
        ] {
            if !there {
                return Err(Damage::new(format!(
                    "this is no whole dump: it has no `{name}`"
                )));
            }
        }
        let mut found = self.found;
        let mut uids = BTreeSet::new();
        for (name, parts) in self.indexes {
            let (Some(metadata), Some(settings), Some(documents)) =
                (parts.metadata, parts.settings, parts.documents)
            else {
                return Err(Damage::new(format!(
                    "this is no whole dump: of `indexes/{name}` a file is missing"
                )));
            };
            let uid = IndexUid::parse(&metadata.uid).map_err(|error| {
                Damage::new(format!("`indexes/{name}` has no uid of an index: {error}"))
            })?;
            if !uids.insert(uid.clone()) {
                return Err(Damage::new(format!("two of its indexes are named `{uid}`")));
            }
            let index = IndexContents {
                uid,
                primary_key: metadata.primary_key,
                settings,
                documents,
            };
            found.indexes.insert(name, index);
        }
        Ok(found)
    }
}

impl Contents {
    fn task(&mut self, task: &QueuedTask) {
        self.tasks += 1;
        // A kind with content is an object with one member of its name.
        let with_content = task.kind.as_object().and_then(|kind| kind.keys().next());
        let kind = with_content
            .map(String::as_str)
            .or_else(|| task.kind.as_str())
            .unwrap_or("");
        if kind == "dumpCreation" {
            self.dump_tasks.insert(task.uid);
        }
        let unfinished = matches!(task.status.as_str(), "enqueued" | "processing");
        if unfinished && !HARMLESS.contains(&kind) {
            self.pending += 1;
        }
    }
}

/// Reads every line as JSON.
fn each<T: serde::de::DeserializeOwned>(
    content: &mut Content<'_>,
    mut take: impl FnMut(T),
) -> Result<(), Damage> {
    let mut line = Vec::new();
    while content.line(&mut line)? {
        let read = serde_json::from_slice(&line);
        take(read.map_err(|error| content.wrong(&format!("is not as it should be: {error}")))?);
    }
    Ok(())
}

/// Counts documents, and makes sure that each is a JSON object.
fn count(
    content: &mut Content<'_>,
    by_shard: bool,
) -> Result<BTreeMap<Option<ShardId>, u64>, Damage> {
    let mut counts = BTreeMap::new();
    let mut line = Vec::new();
    while content.line(&mut line)? {
        let text = document(content, &line)?;
        let shard = by_shard.then(|| stored_shard(text)).flatten();
        *counts.entry(shard.map(ShardId)).or_default() += 1;
    }
    Ok(counts)
}

/// The text of a line that is one JSON object.
pub fn document<'a>(content: &Content<'_>, line: &'a [u8]) -> Result<&'a str, Damage> {
    let text = std::str::from_utf8(line).map_err(|_| content.wrong("is no UTF-8"))?;
    let text = text.trim();
    let json: Result<IgnoredAny, _> = serde_json::from_str(text);
    if json.is_err() || !text.starts_with('{') {
        return Err(content.wrong("is no JSON object"));
    }
    Ok(text)
}
