//! The two calls the compiler cannot check: opening an LMDB environment and mapping a file.
//!
//! Both are sound only while nobody else changes the files underneath. The node's lock file
//! (see [`crate::lock`]) keeps other nodes out, and nothing else writes in its directory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Mmap, MmapMut};
use milli_core::heed::{Env, EnvOpenOptions, WithoutTls};

/// Most read transactions at once in one environment: more than requests run at once.
pub const MAX_READERS: u32 = 1024;

/// Opens (or creates) an LMDB environment in a directory that exists.
pub fn open_env(
    path: &Path,
    map_size: usize,
    max_dbs: u32,
) -> milli_core::heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options
        .map_size(map_size)
        .max_dbs(max_dbs)
        .max_readers(MAX_READERS);
    #[expect(unsafe_code, reason = "the directory belongs to this process alone")]
    // SAFETY: heed refuses to open one path twice, and the node's lock keeps other processes out.
    let env = unsafe { options.open(path) }?;
    Ok(env)
}

/// Maps a payload file for reading.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    #[expect(
        unsafe_code,
        reason = "payload files are written once, then only read and unlinked"
    )]
    // SAFETY: a payload file is complete before its task is stored, and never written again.
    let map = unsafe { Mmap::map(&file) }?;
    Ok(map)
}

/// The same kind of mapping over a copy in memory, for payloads that are not in a file.
pub fn map_copy(content: &[u8]) -> io::Result<Mmap> {
    let mut map = MmapMut::map_anon(content.len())?;
    map.copy_from_slice(content);
    map.make_read_only()
}
