//! The node's flags: Meilisearch's, so that a script can swap one binary for the other.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};

/// Flags of the embedded node, as Meilisearch spells them.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeArgs {
    /// Address and port to listen on; port 0 lets the system choose.
    #[arg(long, env = "MEILI_HTTP_ADDR", default_value = "127.0.0.1:7700")]
    pub http_addr: String,

    /// Secret that grants everything. Without one, every route but /keys is open.
    #[arg(long, env = "MEILI_MASTER_KEY", hide_env_values = true)]
    pub master_key: Option<String>,

    /// Directory of the database. Created when absent.
    #[arg(long, env = "MEILI_DB_PATH", default_value = "./data.ms")]
    pub db_path: PathBuf,

    /// Directory that dumps are written to. Nodes must not share one.
    #[arg(long, env = "MEILI_DUMP_DIR", default_value = "dumps/")]
    pub dump_dir: PathBuf,

    /// Accepted for compatibility: this node never sends analytics.
    #[arg(long, env = "MEILI_NO_ANALYTICS", num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub no_analytics: bool,

    /// `development` or `production`; production requires a master key of at least 16 bytes.
    #[arg(long, env = "MEILI_ENV", default_value = "development")]
    pub env: String,

    /// Memory the indexer may use, in bytes or with a unit ("512 MiB"). Half of it bounds a batch.
    #[arg(long, env = "MEILI_MAX_INDEXING_MEMORY")]
    pub max_indexing_memory: Option<String>,

    /// Threads the indexer may use; at most the number of cores.
    #[arg(long, env = "MEILI_MAX_INDEXING_THREADS")]
    pub max_indexing_threads: Option<usize>,

    /// `OFF`, `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    #[arg(long, env = "MEILI_LOG_LEVEL", default_value = "INFO")]
    pub log_level: String,

    /// Largest request body, in bytes or with a unit ("100 MB").
    #[arg(long, env = "MEILI_HTTP_PAYLOAD_SIZE_LIMIT", default_value = "100 MB")]
    pub http_payload_size_limit: String,
}

/// A validated configuration. Build it from [`NodeArgs`] or, in tests, from the defaults.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Address to listen on.
    pub http_addr: SocketAddr,
    /// Secret that grants everything.
    pub master_key: Option<String>,
    /// Directory of the database.
    pub db_path: PathBuf,
    /// Directory that dumps are written to.
    pub dump_dir: PathBuf,
    /// Memory the indexer may use, bytes.
    pub max_indexing_memory_bytes: usize,
    /// Threads the indexer may use.
    pub max_indexing_threads: usize,
    /// Largest request body, bytes.
    pub http_payload_limit_bytes: usize,
}

/// Default memory budget of the indexer: small, because several nodes share one machine here.
const DEFAULT_INDEXING_MEMORY_BYTES: usize = 256 << 20;

/// Default limit of a request body, as Meilisearch's.
const DEFAULT_PAYLOAD_LIMIT_BYTES: usize = 100_000_000;

impl NodeConfig {
    /// A configuration with defaults for everything but the address and the directory.
    pub fn new(http_addr: SocketAddr, db_path: PathBuf) -> Self {
        Self {
            http_addr,
            master_key: None,
            dump_dir: db_path.join("dumps"),
            db_path,
            max_indexing_memory_bytes: DEFAULT_INDEXING_MEMORY_BYTES,
            max_indexing_threads: cores(),
            http_payload_limit_bytes: DEFAULT_PAYLOAD_LIMIT_BYTES,
        }
    }
}

impl TryFrom<NodeArgs> for NodeConfig {
    type Error = anyhow::Error;

    fn try_from(args: NodeArgs) -> anyhow::Result<Self> {
        let http_addr = resolve(&args.http_addr)?;
        check_master_key(&args.env, args.master_key.as_deref())?;
        let mut config = Self::new(http_addr, args.db_path);
        config.dump_dir = args.dump_dir;
        config.master_key = args.master_key.filter(|key| !key.is_empty());
        if let Some(memory) = &args.max_indexing_memory {
            config.max_indexing_memory_bytes =
                parse_bytes(memory).context("invalid --max-indexing-memory")?;
        }
        if let Some(threads) = args.max_indexing_threads {
            config.max_indexing_threads = threads.clamp(1, cores());
        }
        config.http_payload_limit_bytes = parse_bytes(&args.http_payload_size_limit)
            .context("invalid --http-payload-size-limit")?;
        Ok(config)
    }
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    address
        .to_socket_addrs()
        .with_context(|| format!("invalid --http-addr `{address}`: expected host:port"))?
        .next()
        .with_context(|| format!("--http-addr `{address}` resolves to no address"))
}

fn check_master_key(env: &str, master_key: Option<&str>) -> anyhow::Result<()> {
    match (env, master_key) {
        ("development", _) => Ok(()),
        ("production", Some(key)) if key.len() >= 16 => Ok(()),
        ("production", _) => bail!("--env production needs a --master-key of at least 16 bytes"),
        (other, _) => bail!("invalid --env `{other}`: expected development or production"),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Parses `1048576`, `100 MB`, `1.5GiB`: decimal units are powers of 1000, `i` units of 1024.
fn parse_bytes(text: &str) -> anyhow::Result<usize> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .with_context(|| format!("`{text}` is not a size"))?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        other => bail!("`{other}` is not a unit of size; use B, KB, KiB, MB, MiB, GB or GiB"),
    };
    Ok((number * factor as f64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_with_decimal_and_binary_units() {
        for (text, bytes) in [
            ("100 MB", 100_000_000),
            ("1048576", 1 << 20),
            ("512MiB", 512 << 20),
            ("1.5 GiB", 3 << 29),
            ("10kb", 10_000),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "MB", "12 potatoes", "-1"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn production_needs_a_long_master_key() {
        assert!(check_master_key("production", None).is_err());
        assert!(check_master_key("production", Some("short")).is_err());
        assert!(check_master_key("production", Some("a-sixteen-byte-k")).is_ok());
        assert!(check_master_key("development", None).is_ok());
        assert!(check_master_key("staging", None).is_err());
    }
}
