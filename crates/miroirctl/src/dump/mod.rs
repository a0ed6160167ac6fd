//! `dump import`: writes dumps into a cluster, through one of its proxies.
//!
//! Files are read twice: once to make sure that they are whole and that everything needed is in them, and once to write.
//! Nothing is written before the first reading has ended well. Documents are written as additions, so that an import that
//! was broken off can be repeated.

mod archive;
mod contents;
mod feed;
mod plan;
mod report;
mod rights;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use miroir_core::dump::Manifest;
use miroir_core::id::NodeId;

use crate::args::ImportArgs;
use crate::exit::Error;
use crate::output::Output;
use crate::proxy::{Failure, Proxy};
use plan::{Plan, PlannedIndex};
use report::Report;
use target::Target;

/// Imports one dump, or the dumps of a cluster's nodes.
///
/// # Errors
/// When something is refused, which is before anything was written, or goes wrong: then the error says what was written.
pub async fn import(args: &ImportArgs, output: &mut Output) -> Result<(), Error> {
    let proxy = Proxy::at(&args.proxy, args.proxy_key_file.as_deref())?;
    let wanted = args.clone();
    let plan = tokio::task::spawn_blocking(move || make_plan(&wanted)).await;
    let plan = plan.map_err(|error| Error::Local(format!("reading the dump failed: {error}")))?;
    let mut import = Import {
        plan: Arc::new(plan?),
        target: Target::new(proxy, Duration::from_secs(args.stalled_after_s)),
        existing: BTreeSet::new(),
        sent: Vec::new(),
        report: Report::default(),
    };
    import.sent.resize(import.plan.indexes.len(), 0);
    import.look(args.into_existing).await?;
    let ended = tokio::select! {
        ended = import.write() => ended,
        _ = tokio::signal::ctrl_c() => Err("the import was interrupted".to_owned()),
    };
    if let Err(what) = ended {
        return Err(refused(format!("{what}; {}", import.written())));
    }
    output.print(&import.report)?;
    match import.report.complaint() {
        Some(what) => Err(refused(what)),
        None => Ok(()),
    }
}

fn make_plan(args: &ImportArgs) -> Result<Plan, Error> {
    match (&args.manifest, args.files.as_slice()) {
        (None, [file]) => plan::plain(PathBuf::from(file), args.ignore_pending),
        (None, _) => Err(Error::Usage(
            "one dump is imported at a time; the dumps of a cluster's nodes need --manifest"
                .to_owned(),
        )),
        (Some(manifest), files) => {
            let shown = manifest.display();
            let text = std::fs::read_to_string(manifest)
                .map_err(|error| Error::Usage(format!("cannot read {shown}: {error}")))?;
            let manifest: Manifest = serde_json::from_str(&text)
                .map_err(|error| Error::Usage(format!("{shown} is no manifest: {error}")))?;
            plan::of_cluster(&manifest, of_nodes(files)?)
        }
    }
}

/// Reads `NODE=FILE`.
fn of_nodes(files: &[String]) -> Result<Vec<(NodeId, PathBuf)>, Error> {
    let mut read = Vec::new();
    let mut nodes = BTreeSet::new();
    for text in files {
        let parsed = text
            .split_once('=')
            .and_then(|(node, file)| Some((NodeId(node.parse().ok()?), PathBuf::from(file))));
        let Some((node, file)) = parsed else {
            return Err(Error::Usage(format!(
                "`{text}` is not of the form NODE=FILE"
            )));
        };
        if !nodes.insert(node) {
            return Err(Error::Usage(format!("node {node} is given twice")));
        }
        read.push((node, file));
    }
    Ok(read)
}

/// An import under way.
struct Import {
    plan: Arc<Plan>,
    target: Target,
    /// The indexes that were there, by their places in the plan.
    existing: BTreeSet<usize>,
    /// How many documents of each index the cluster has taken.
    sent: Vec<u64>,
    report: Report,
}

impl Import {
    /// Makes sure that no index is in the way.
    async fn look(&mut self, into_existing: bool) -> Result<(), Error> {
        let mut in_the_way = Vec::new();
        let plan = Arc::clone(&self.plan);
        for (at, index) in plan.indexes.iter().enumerate() {
            let what = format!("look for index `{}`", index.uid);
            let found = self.target.index(&index.uid).await;
            let found = found.map_err(|failure| self.target.proxy().unusable(&what, &failure))?;
            let Some(there) = found else { continue };
            let primary_key = there["primaryKey"].as_str();
            let of_dump = index.primary_key.as_deref();
            if primary_key.is_some() && of_dump.is_some() && primary_key != of_dump {
                return Err(refused(format!(
                    "index `{}` exists and has another primary key; nothing was written",
                    index.uid
                )));
            }
            self.existing.insert(at);
            in_the_way.push(format!("`{}`", index.uid));
        }
        if in_the_way.is_empty() || into_existing {
            return Ok(());
        }
        Err(refused(format!(
            "{} exist already; write into them with --into-existing; nothing was written",
            in_the_way.join(", ")
        )))
    }

    async fn write(&mut self) -> Result<(), String> {
        let plan = Arc::clone(&self.plan);
        let said = |what: &str| {
            let what = what.to_owned();
            move |failure: Failure| format!("{what}: {}", failure.message)
        };
        for what in &plan.left {
            self.report.left(what.clone());
        }
        rights::features(&plan.features, &self.target, &mut self.report)
            .await
            .map_err(said("features cannot be switched on"))?;
        rights::keys(&plan.keys, &self.target, &mut self.report)
            .await
            .map_err(said("keys cannot be made"))?;
        for index in &plan.indexes {
            let what = format!("index `{}` cannot be made as it was", index.uid);
            self.target.prepare(index).await.map_err(said(&what))?;
        }
        let mut pieces = feed::begin(Arc::clone(&plan));
        while let Some(piece) = pieces.recv().await {
            let piece = piece?;
            let uid = &plan.indexes[piece.index].uid;
            let sent = self.target.documents(uid, piece.lines).await;
            sent.map_err(said(&format!("documents of index `{uid}` are not taken")))?;
            self.sent[piece.index] += piece.documents;
        }
        self.target
            .finish()
            .await
            .map_err(said("documents are not indexed"))?;
        for (at, index) in plan.indexes.iter().enumerate() {
            let what = format!("index `{}` cannot be counted", index.uid);
            let there = self.target.count(&index.uid).await.map_err(said(&what))?;
            let existed = self.existing.contains(&at);
            self.report
                .index(index.uid.as_str(), index.documents, there, existed);
        }
        Ok(())
    }

    /// What was written, for whom it was broken off.
    fn written(&self) -> String {
        let taken = |(index, sent): (&PlannedIndex, &u64)| {
            format!("{sent} of {} documents of `{}`", index.documents, index.uid)
        };
        let all: Vec<String> = self
            .plan
            .indexes
            .iter()
            .zip(&self.sent)
            .filter(|(_, sent)| **sent > 0)
            .map(taken)
            .collect();
        let all = if all.is_empty() {
            "no document".to_owned()
        } else {
            all.join(", ")
        };
        format!(
            "written so far: {all}; indexes, keys and features may have been made; repeat it with --into-existing"
        )
    }
}

/// What is refused, or went wrong.
fn refused(what: String) -> Error {
    Error::Refused {
        what,
        rejection: None,
    }
}
