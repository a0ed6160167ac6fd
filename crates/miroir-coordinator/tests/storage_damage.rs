//! Damaged, foreign and half-written storage: a clear error or a consistent state, never a
//! panic and never a silent new start.

use std::fs;
use std::path::Path;

use miroir_coordinator::raft::types::{
    Entry, LogId, Membership, SnapshotMeta, StoredMembership, Vote,
};
use miroir_coordinator::storage::layout::{FORMAT, Meta, chunk_key, log_key, seal};
use miroir_coordinator::storage::memory::MemoryDisk;
use miroir_coordinator::storage::{Identity, Storage, StoreError};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn identity() -> Identity {
    Identity {
        cluster_id: "damage".into(),
        coordinator_id: 1,
    }
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
    let entry = |index| Entry {
        log_id: log_id(index),
        payload: EntryPayload::Blank,
    };
    range.map(entry).collect()
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(index)),
        last_membership: StoredMembership::new(None, Membership::default()),
        snapshot_id: format!("snapshot-{index}"),
    }
}

const SNAPSHOT_BYTES: usize = 100_000;

fn snapshot(index: u64) -> bytes::Bytes {
    vec![index as u8; SNAPSHOT_BYTES].into()
}

/// Entries 0 to 19, a vote, a snapshot up to 9, purged up to 4, committed up to 14.
async fn fill(storage: &Storage) {
    let mut log = storage.log.clone();
    log.save_vote(&Vote::new(1, 1)).await.expect("healthy");
    log.blocking_append(entries(0..20)).await.expect("healthy");
    log.save_committed(Some(log_id(14))).await.expect("healthy");
    storage
        .snapshots
        .save(&meta(9), &snapshot(9))
        .await
        .expect("healthy");
    log.purge(log_id(4)).await.expect("healthy");
    storage.close().await;
}

async fn filled_disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    fill(&open(&disk).expect("a new storage")).await;
    open(&disk).expect("healthy").close().await;
    disk
}

fn open(disk: &MemoryDisk) -> Result<Storage, StoreError> {
    Storage::open(Box::new(disk.open()), &identity())
}

fn put(disk: &MemoryDisk, key: Vec<u8>, value: Vec<u8>) {
    use miroir_coordinator::storage::kv::{Batch, Kv};
    let mut batch = Batch::new();
    batch.put(key, value);
    let kv = disk.open();
    kv.apply(&batch).expect("healthy");
    kv.sync().expect("healthy");
}

fn assert_corrupt(opened: Result<Storage, StoreError>, names: &str) {
    match opened {
        Err(error @ StoreError::Corrupt { .. }) => {
            assert!(error.to_string().contains(names), "{error}");
            assert!(!error.retryable());
        }
        other => panic!("{names}: {other:?}"),
    }
}

#[tokio::test]
async fn every_damaged_row_is_found_and_named() {
    let rows = [
        (Meta::Format.key(), "format"),
        (Meta::Marker.key(), "marker"),
        (Meta::Vote.key(), "vote"),
        (Meta::Purged.key(), "purged"),
        (Meta::Committed.key(), "committed"),
        (Meta::Snapshot.key(), "snapshot"),
        (log_key(5, 0), "log entry 5"),
        (log_key(19, 0), "log entry 19"),
        (chunk_key(1, 0), "snapshot-9"),
        (chunk_key(1, 3), "snapshot-9"),
    ];
    for (key, names) in rows {
        let disk = filled_disk().await;
        assert!(disk.damage(&key), "{names}: no such row");
        assert_corrupt(open(&disk), names);
    }
}

#[tokio::test]
async fn every_lost_row_that_matters_is_noticed() {
    let rows = [
        (Meta::Marker.key(), "marker"),
        (Meta::Purged.key(), "log entry 0"),
        (Meta::Snapshot.key(), "no snapshot covers"),
        (log_key(5, 0), "log entry 5"),
        (log_key(12, 0), "log entry 12"),
        (chunk_key(1, 0), "snapshot-9"),
        (chunk_key(1, 3), "snapshot-9"),
    ];
    for (key, names) in rows {
        let disk = filled_disk().await;
        assert!(disk.lose(&key), "{names}: no such row");
        assert_corrupt(open(&disk), names);
    }
    // The end of the log is missed as far as it was committed.
    let disk = filled_disk().await;
    for index in 14..20 {
        assert!(disk.lose(&log_key(index, 0)));
    }
    assert_corrupt(open(&disk), "up to 14 were committed");
}

#[tokio::test]
async fn another_owner_or_format_is_refused() {
    let disk = filled_disk().await;
    for (cluster_id, coordinator_id) in [("damage", 2), ("elsewhere", 1)] {
        let other = Identity {
            cluster_id: cluster_id.into(),
            coordinator_id,
        };
        let refused = Storage::open(Box::new(disk.open()), &other).expect_err("not its owner");
        assert!(
            matches!(refused, StoreError::WrongOwner { .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains(cluster_id), "{refused}");
    }
    let newer = FORMAT + 1;
    put(&disk, Meta::Format.key(), seal(&newer.to_be_bytes()));
    let refused = open(&disk).expect_err("another format");
    assert!(
        matches!(refused, StoreError::Format { found, .. } if found == newer),
        "{refused}"
    );
}

#[tokio::test]
async fn the_storage_keeps_its_identity_and_a_new_one_gets_another() {
    let disk = MemoryDisk::new();
    let first = open(&disk).expect("new");
    assert!(first.created);
    let again = open(&disk).expect("opens");
    assert!(!again.created);
    assert_eq!(first.marker, again.marker);
    let other = open(&MemoryDisk::new()).expect("new");
    assert_ne!(first.marker.storage_id, other.marker.storage_id);
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_or_acknowledged() {
    let disk = MemoryDisk::new();
    let storage = open(&disk).expect("new");
    let mut log = storage.log.clone();
    log.blocking_append(entries(0..3)).await.expect("healthy");
    disk.fail_syncs_after(0);
    log.blocking_append(entries(3..5))
        .await
        .expect_err("the disk fails");
    // A second sync would succeed and report data as durable that may be gone.
    disk.fail_syncs_after(u64::MAX);
    let syncs = disk.syncs();
    let refused = log.save_vote(&Vote::new(7, 1)).await.expect_err("poisoned");
    assert!(refused.to_string().contains("earlier failure"), "{refused}");
    log.blocking_append(entries(5..6))
        .await
        .expect_err("poisoned");
    storage.close().await;
    assert_eq!(disk.syncs(), syncs);
    assert!(storage.failure().borrow().is_some());

    disk.crash();
    let storage = open(&disk).expect("opens");
    let mut log = storage.log.clone();
    assert_eq!(
        log.try_get_log_entries(..).await.expect("readable").len(),
        3
    );
    assert_eq!(log.read_vote().await.expect("readable"), None);
}

/// Loses power at every step of writing a snapshot over an older one.
#[tokio::test]
async fn a_crash_while_a_snapshot_is_written_leaves_the_old_or_the_new_one() {
    for syncs in 0..4 {
        let disk = filled_disk().await;
        let storage = open(&disk).expect("healthy");
        disk.fail_syncs_after(syncs);
        let saved = storage.snapshots.save(&meta(14), &snapshot(14)).await;
        storage.close().await;
        disk.crash();
        disk.fail_syncs_after(u64::MAX);
        let storage = open(&disk).expect("a consistent storage");
        let found = storage
            .snapshots
            .load()
            .await
            .expect("readable")
            .expect("one of them");
        let index = found.meta.last_log_id.expect("not empty").index;
        assert_eq!(*found.snapshot, snapshot(index), "after {syncs} syncs");
        assert!(
            saved.is_err() || index == 14,
            "acknowledged after {syncs} syncs, then lost"
        );
        assert!(
            index == 14 || syncs < 2,
            "{syncs} syncs were enough for the new one"
        );
        // Remains of the interrupted one do not stay.
        let used = storage.size_bytes().await.expect("healthy");
        assert!(used < 2 * SNAPSHOT_BYTES as u64, "{used} bytes");
    }
}

#[tokio::test]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let disk = filled_disk().await;
    let storage = open(&disk).expect("healthy");
    storage
        .snapshots
        .save(&meta(7), &snapshot(7))
        .await
        .expect("ignored");
    let found = storage
        .snapshots
        .load()
        .await
        .expect("readable")
        .expect("there is one");
    assert_eq!(found.meta, meta(9));
}

#[tokio::test]
async fn an_entry_of_many_rows_comes_back_whole_or_is_missed() {
    use miroir_coordinator::raft::types::{LogCommand, Proposal, RequestId};
    let large = Entry {
        log_id: log_id(0),
        payload: EntryPayload::Normal(LogCommand {
            at_ms: 1,
            proposals: vec![Proposal {
                request_id: RequestId(1),
                command: vec![7; 200_000].into(),
            }],
        }),
    };
    let disk = MemoryDisk::new();
    let storage = open(&disk).expect("new");
    let mut log = storage.log.clone();
    log.blocking_append([large.clone()]).await.expect("healthy");
    storage.close().await;
    let storage = open(&disk).expect("opens");
    let mut log = storage.log.clone();
    assert_eq!(
        log.try_get_log_entries(..).await.expect("readable"),
        [large]
    );
    storage.close().await;
    for part in [0, 3, 6] {
        let disk = disk.clone();
        assert!(disk.lose(&log_key(0, part)), "part {part}");
        assert_corrupt(open(&disk), "log entry 0");
    }
}

async fn filled_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let storage = Storage::open_dir(dir.path(), &identity()).expect("a new storage");
    fill(&storage).await;
    // Opened once more, so that the engine has a page table on disk.
    let storage = Storage::open_dir(dir.path(), &identity()).expect("opens");
    storage.close().await;
    dir
}

/// What a crash inside the engine's own open leaves behind.
#[tokio::test]
async fn an_unfinished_page_table_does_not_keep_the_storage_shut() {
    let dir = filled_dir().await;
    let planted = dir.path().join("sled/snap.00000000FFFFFFFF.generating");
    fs::write(&planted, b"").expect("planted");
    let storage = Storage::open_dir(dir.path(), &identity()).expect("opens");
    let mut log = storage.log.clone();
    assert_eq!(
        log.try_get_log_entries(..).await.expect("readable").len(),
        15
    );
    assert!(!planted.exists());
}

/// Flips and cuts in the engine's files: an error, or a state without holes that belongs to
/// this coordinator.
#[tokio::test]
async fn damaged_files_give_an_error_or_a_consistent_state() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let healthy = filled_dir().await;
    let (mut refused, mut opened) = (0, 0);
    for round in 0..24 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        copy_dir(healthy.path(), dir.path());
        let harm = harm_a_file(&dir.path().join("sled"), &mut rng);
        match Storage::open_dir(dir.path(), &identity()) {
            Err(error) => {
                refused += 1;
                println!("round {round}: {harm}: {error}");
            }
            Ok(storage) => {
                opened += 1;
                let mut log = storage.log.clone();
                let found = log.try_get_log_entries(..).await.expect("readable");
                let first = found.first().map_or(0, |e| e.log_id.index);
                assert_eq!(found, entries(first..first + found.len() as u64), "{harm}");
                storage.close().await;
            }
        }
    }
    println!("{refused} refused, {opened} opened");
    assert!(refused > 0, "no damage was noticed");
}

fn harm_a_file(dir: &Path, rng: &mut StdRng) -> String {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    let path = &files[rng.random_range(0..files.len())];
    let mut bytes = fs::read(path).expect("readable");
    // The database file is mostly empty; harm what is written.
    let used = bytes.iter().rposition(|b| *b != 0).map_or(1, |at| at + 1);
    let at = rng.random_range(0..used);
    let how = if rng.random_bool(0.5) {
        bytes.truncate(at);
        "cut"
    } else {
        bytes[at] ^= 1 << rng.random_range(0..8);
        "flipped"
    };
    fs::write(path, bytes).expect("writable");
    format!("{how} {} at {at} of {used}", path.display())
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("created");
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
