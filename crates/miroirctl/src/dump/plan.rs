//! What is taken over from which file: decided before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use miroir_core::dump::{Choice, Manifest, ManifestIndex};
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_core::settings;
use serde_json::Value;

use super::archive::Archive;
use super::contents::{Contents, IndexContents};
use super::refused;
use crate::exit::Error;

/// What is written to the cluster, and from where.
#[derive(Debug, Default)]
pub struct Plan {
    /// The indexes to be written.
    pub indexes: Vec<PlannedIndex>,
    /// The files to read documents from.
    pub sources: Vec<Source>,
    /// API keys, as the dump has them.
    pub keys: Vec<Value>,
    /// Experimental features that are on.
    pub features: Vec<String>,
    /// What is not taken over, in words.
    pub left: Vec<String>,
}

/// An index to be written.
#[derive(Debug)]
pub struct PlannedIndex {
    /// Its uid.
    pub uid: IndexUid,
    /// The documents' id field, if known.
    pub primary_key: Option<String>,
    /// Its settings, as a client gives them; `None` leaves the defaults.
    pub settings: Option<Value>,
    /// How many documents it gets.
    pub documents: u64,
}

/// A file to read documents from.
#[derive(Debug)]
pub struct Source {
    /// The file.
    pub archive: Archive,
    /// What is taken of the indexes in it, by their directories.
    pub takes: BTreeMap<String, Take>,
}

/// What is taken of an index in a file.
#[derive(Debug)]
pub struct Take {
    /// The place in [`Plan::indexes`] of the index that gets it.
    pub index: usize,
    /// Whether documents have the hidden field, which is taken out.
    pub hidden: bool,
    /// The shards whose documents are taken; `None` is every document.
    pub shards: Option<BTreeSet<ShardId>>,
}

/// Plans to take over the dump of one Meilisearch.
///
/// # Errors
/// When the file is no whole dump, when it has unfinished tasks that are not to be ignored, or when settings in it
/// cannot be used.
pub fn plain(file: PathBuf, ignore_pending: bool) -> Result<Plan, Error> {
    let archive = Archive::at(file);
    let contents = read(&archive, false)?;
    if contents.pending > 0 && !ignore_pending {
        return Err(refused(format!(
            "{} holds {} tasks that were unfinished, and what they were to do is not in its documents; have them finish \
             and dump again, or leave them out with --ignore-pending",
            archive.path().display(),
            contents.pending
        )));
    }
    let mut plan = Plan::default();
    if contents.pending > 0 {
        let what = format!("{} tasks that were unfinished", contents.pending);
        plan.left.push(what);
    }
    plan.common(&contents);
    let mut takes = BTreeMap::new();
    for (directory, index) in &contents.indexes {
        let read = settings::from_dump(&index.settings, None);
        if read.of_a_node {
            plan.left.push(format!(
                "what other nodes hold: index `{}` is of a node of a Miroir cluster (see --manifest)",
                index.uid
            ));
        }
        let take = Take {
            index: plan.indexes.len(),
            hidden: read.of_a_node,
            shards: None,
        };
        takes.insert(directory.clone(), take);
        let settings = plan.settings(&index.uid, read)?;
        plan.indexes.push(PlannedIndex {
            uid: index.uid.clone(),
            primary_key: index.primary_key.clone(),
            settings: Some(settings),
            documents: index.documents.values().sum(),
        });
    }
    plan.sources.push(Source { archive, takes });
    Ok(plan)
}

/// Plans to take over the dump of a cluster: of every shard one node's documents.
///
/// # Errors
/// When a file is no whole dump or another node's, or when the files together lack something.
pub fn of_cluster(manifest: &Manifest, files: Vec<(NodeId, PathBuf)>) -> Result<Plan, Error> {
    let given: BTreeSet<NodeId> = files.iter().map(|(node, _)| *node).collect();
    let chosen = manifest.choose(&given).map_err(|uncovered| {
        refused(format!(
            "no dump given holds {uncovered} in sync; give the dumps of those nodes too"
        ))
    })?;
    let mut plan = Plan::default();
    let mut at_hand = BTreeMap::new();
    for (node, file) in files {
        let archive = Archive::at(file);
        let contents = read(&archive, true)?;
        is_of(manifest, node, &archive, &contents)?;
        if at_hand.is_empty() {
            plan.common(&contents);
        }
        at_hand.insert(node, (archive, contents, BTreeMap::new()));
    }
    for index in &manifest.indexes {
        plan.of_nodes(index, &chosen, &mut at_hand)?;
    }
    for (archive, _, takes) in at_hand.into_values() {
        plan.sources.push(Source { archive, takes });
    }
    Ok(plan)
}

type AtHand = BTreeMap<NodeId, (Archive, Contents, BTreeMap<String, Take>)>;

impl Plan {
    /// Takes, or names, what there is once in a dump.
    fn common(&mut self, contents: &Contents) {
        self.keys.clone_from(&contents.keys);
        let on = contents.features.iter().filter(|(_, on)| **on);
        self.features = on.map(|(name, _)| name.clone()).collect();
        let counted = [
            (contents.tasks, "finished tasks and batches"),
            (contents.webhooks as u64, "webhooks"),
            (contents.chats as u64, "chat workspaces"),
        ];
        for (count, what) in counted {
            if count > 0 {
                self.left.push(format!("{what} ({count})"));
            }
        }
    }

    /// Plans an index of a cluster.
    fn of_nodes(
        &mut self,
        index: &ManifestIndex,
        chosen: &Choice,
        at_hand: &mut AtHand,
    ) -> Result<(), Error> {
        let mut planned = PlannedIndex {
            uid: index.uid.clone(),
            primary_key: index.primary_key.clone(),
            settings: None,
            documents: 0,
        };
        for node in chosen.nodes(&index.uid) {
            let Some((archive, contents, takes)) = at_hand.get_mut(&node) else {
                continue;
            };
            let Some((directory, there)) = contents.index(&index.name) else {
                return Err(refused(format!(
                    "{} has no index `{}`, of which node {node} had a copy in sync: the dump or the manifest is another one",
                    archive.path().display(),
                    index.name
                )));
            };
            let shards: BTreeSet<ShardId> = (0..)
                .map(ShardId)
                .take(index.shards.len())
                .filter(|shard| chosen.takes(&index.uid, *shard, node))
                .collect();
            planned.documents += counted(there, &shards);
            if planned.settings.is_none() {
                let read = settings::from_dump(&there.settings, index.max_values_per_facet);
                planned.settings = Some(self.settings(&index.uid, read)?);
            }
            let take = Take {
                index: self.indexes.len(),
                hidden: true,
                shards: Some(shards),
            };
            takes.insert(directory.clone(), take);
        }
        self.indexes.push(planned);
        Ok(())
    }

    /// The settings, if Miroir takes them: what is refused later would leave half an import behind.
    fn settings(&mut self, uid: &IndexUid, read: settings::Dumped) -> Result<Value, Error> {
        settings::validate(&read.settings).map_err(|error| {
            refused(format!(
                "the settings of index `{uid}` cannot be taken over: {}",
                error.message
            ))
        })?;
        for name in read.left {
            self.left.push(format!("setting `{name}` of index `{uid}`"));
        }
        Ok(read.settings)
    }
}

fn read(archive: &Archive, by_shard: bool) -> Result<Contents, Error> {
    Contents::read(archive, by_shard).map_err(|damage| {
        let what = damage.in_file(archive.path());
        refused(format!("{what}; nothing was written"))
    })
}

/// Makes sure that a file is the dump that a node wrote for the manifest's task.
fn is_of(
    manifest: &Manifest,
    node: NodeId,
    archive: &Archive,
    contents: &Contents,
) -> Result<(), Error> {
    let known = manifest.nodes.get(&node);
    if known.is_some_and(|known| contents.dump_tasks.contains(&known.node_task)) {
        return Ok(());
    }
    let file = archive.path().display();
    Err(refused(match known {
        None => format!("the manifest knows of no dump of node {node}"),
        Some(known) => format!(
            "{file} is not the dump that node {node} wrote: its task {} is not in it",
            known.node_task
        ),
    }))
}

fn counted(index: &IndexContents, shards: &BTreeSet<ShardId>) -> u64 {
    let taken = index
        .documents
        .iter()
        .filter(|(shard, _)| shard.is_some_and(|shard| shards.contains(&shard)));
    taken.map(|(_, count)| count).sum()
}
