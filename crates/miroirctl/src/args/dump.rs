//! Dumps: what is made of them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uuid::Uuid;

/// Commands on dumps.
#[derive(Debug, Clone, Subcommand)]
pub enum DumpCommand {
    /// Have every node write a dump of one moment of the whole cluster, wait for them, and tell their manifest
    Create(CreateDumpArgs),
    /// Tell the manifest of one of the newest dumps of the cluster
    Manifest(ManifestArgs),
    /// Write dumps into a cluster of any size, through a proxy: exits 1 when not every document is there in the end
    Import(ImportArgs),
}

/// A dump to be taken.
#[derive(Debug, Clone, Args)]
pub struct CreateDumpArgs {
    /// File to write the manifest to, which imports need
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// How long nodes may take to write their dumps, in seconds; they go on afterwards
    #[arg(
        long,
        value_name = "S",
        default_value_t = 3_600,
        value_parser = clap::value_parser!(u64).range(1..=604_800)
    )]
    pub within_s: u64,
    /// Id of the request: the same dump asked for again with the same id is taken once; random by default
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<Uuid>,
}

/// A dump that was taken.
#[derive(Debug, Clone, Args)]
pub struct ManifestArgs {
    /// Its task
    pub task: u32,
    /// File to write the manifest to, which imports need
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// Dumps to be imported.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The dump of a Meilisearch; with --manifest, the dumps of a cluster's nodes with their ids
    #[arg(required = true, value_name = "FILE|NODE=FILE")]
    pub files: Vec<String>,
    /// Manifest of a cluster's dump, which says what of which node's dump counts
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Proxy of the cluster to write to: http://host:port
    #[arg(long, value_name = "URL")]
    pub proxy: String,
    /// File that holds the key to show the proxy; without it, MIROIR_PROXY_KEY
    #[arg(long, value_name = "FILE")]
    pub proxy_key_file: Option<PathBuf>,
    /// Write into indexes that exist: documents with the same ids are replaced, settings changed
    #[arg(long)]
    pub into_existing: bool,
    /// Leave out what tasks that were unfinished were to do; a cluster's manifest knows by itself
    #[arg(long, conflicts_with = "manifest")]
    pub ignore_pending: bool,
    /// How long nothing may get on before the import is given up, in seconds
    #[arg(
        long,
        value_name = "S",
        default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub stalled_after_s: u64,
}
