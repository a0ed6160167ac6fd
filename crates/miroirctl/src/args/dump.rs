//! Dumps: what is made of them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands on dumps.
#[derive(Debug, Clone, Subcommand)]
pub enum DumpCommand {
    /// Write dumps into a cluster of any size, through a proxy: exits 1 when not every document is there in the end
    Import(ImportArgs),
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
