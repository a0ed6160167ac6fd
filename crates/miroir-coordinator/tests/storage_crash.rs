//! Kills a process that appends, again and again, also while it opens its storage. Whatever
//! it had reported as durable must be there afterwards.
//!
//! `MIROIR_KILL_ROUNDS` sets the rounds (30 by default), `MIROIR_KILL_SEED` repeats a run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use miroir_coordinator::raft::types::{
    Entry, LogCommand, LogId, Membership, Proposal, RequestId, SnapshotMeta, StoredMembership, Vote,
};
use miroir_coordinator::storage::{Identity, Storage};
use openraft::storage::{RaftLogReaderExt, RaftLogStorage, RaftLogStorageExt};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DIR: &str = "MIROIR_KILL_DIR";
const CHILD_SEED: &str = "MIROIR_KILL_CHILD_SEED";

fn identity() -> Identity {
    Identity {
        cluster_id: "kill".into(),
        coordinator_id: 1,
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

/// Content follows from position, so that the parent can check it without a record.
fn entry(term: u64, index: u64) -> Entry {
    let mut content = StdRng::seed_from_u64(term << 32 | index);
    // Mostly small, sometimes several rows.
    let bytes = if content.random_bool(0.1) {
        100_000
    } else {
        200
    };
    let filler: Vec<u8> = (0..content.random_range(0..bytes))
        .map(|_| content.random())
        .collect();
    let proposal = Proposal {
        request_id: RequestId(u128::from(index)),
        command: filler.into(),
    };
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(LogCommand {
            at_ms: index,
            proposals: vec![proposal],
        }),
    }
}

fn say(line: &str) {
    // The dot shows that a kill has not cut the line short.
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line} .").expect("the parent reads");
    out.flush().expect("the parent reads");
}

/// The child: not a test of its own, but run by re-executing this binary.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let seed = std::env::var(CHILD_SEED)
        .expect("a seed")
        .parse()
        .expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(append_for_ever(Path::new(&dir), seed));
}

async fn append_for_ever(dir: &Path, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let storage = Storage::open_dir(dir, &identity()).expect("the storage opens");
    let mut log = storage.log.clone();
    let vote = log.read_vote().await.expect("a vote");
    let term = vote.map_or(1, |v| v.leader_id.term + 1);
    log.save_vote(&Vote::new_committed(term, 1))
        .await
        .expect("saved");
    say(&format!("vote {term}"));
    let state = log.get_log_state().await.expect("a state");
    let mut next = state.last_log_id.map_or(0, |id| id.index + 1);
    loop {
        match rng.random_range(0..20) {
            0 if next > 2 => {
                let floor = log.read_committed().await.expect("a position");
                let from = floor
                    .map_or(0, |id| id.index + 1)
                    .max(next.saturating_sub(3));
                if from < next {
                    // Said before it begins: from now on these entries may be gone.
                    say(&format!("truncate {from}"));
                    log.truncate(log_id(term, from)).await.expect("truncated");
                    next = from;
                }
            }
            1 if next > 0 => {
                let last = log.get_log_id(next - 1).await;
                if let Ok(last) = last {
                    log.save_committed(Some(last)).await.expect("queued");
                }
            }
            2 if next > 10 => snapshot_and_purge(&storage, &mut rng).await,
            _ => {
                let count = rng.random_range(1..6);
                let entries: Vec<_> = (next..next + count).map(|i| entry(term, i)).collect();
                log.blocking_append(entries).await.expect("appended");
                say(&format!("entries {term} {next} {}", next + count - 1));
                next += count;
            }
        }
    }
}

async fn snapshot_and_purge(storage: &Storage, rng: &mut StdRng) {
    let mut log = storage.log.clone();
    let Some(committed) = log.read_committed().await.expect("a position") else {
        return;
    };
    let meta = SnapshotMeta {
        last_log_id: Some(committed),
        last_membership: StoredMembership::new(None, Membership::default()),
        snapshot_id: format!("snapshot-{}", committed.index),
    };
    let data = vec![committed.index as u8; rng.random_range(0..300_000)];
    storage
        .snapshots
        .save(&meta, &data.into())
        .await
        .expect("saved");
    say(&format!("snapshot {}", committed.index));
    log.purge(committed).await.expect("purged");
}

/// What the children have reported as durable.
#[derive(Debug, Default)]
struct Acked {
    term: u64,
    /// Term of every entry that must be there.
    entries: BTreeMap<u64, u64>,
    snapshot: Option<u64>,
}

impl Acked {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        match words.first().copied() {
            Some("vote") => self.term = number(1),
            Some("entries") => {
                let term = number(1);
                self.entries
                    .extend((number(2)..=number(3)).map(|index| (index, term)));
            }
            Some("truncate") => drop(self.entries.split_off(&number(1))),
            Some("snapshot") => self.snapshot = Some(number(1)),
            _ => {}
        }
    }
}

/// The arguments that make this binary a child.
const CHILD_ARGS: [&str; 3] = [
    "--exact",
    "child_that_appends_until_it_is_killed",
    "--nocapture",
];

fn spawn(command: &mut Command, dir: &Path, seed: u64) -> Child {
    command
        .env(DIR, dir)
        .env(CHILD_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// Runs one child and kills it `after` it was started; returns what it said.
fn run_and_kill(dir: &Path, seed: u64, after: Duration) -> Vec<String> {
    let me = std::env::current_exe().expect("this binary");
    let mut child = spawn(Command::new(me).args(CHILD_ARGS), dir, seed);
    let stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines();
        lines.map_while(Result::ok).collect::<Vec<_>>()
    });
    let deadline = Instant::now() + after;
    while Instant::now() < deadline {
        if child.try_wait().expect("a child").is_some() {
            let mut why = String::new();
            let mut stderr = child.stderr.take().expect("piped");
            std::io::Read::read_to_string(&mut stderr, &mut why).expect("readable");
            let said = reader.join().expect("no panic");
            panic!("the child ended by itself: {why}\n{said:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let mut said = reader.join().expect("no panic");
    said.retain(|line| line.ends_with('.'));
    said
}

async fn check(dir: &Path, acked: &Acked) {
    let storage = Storage::open_dir(dir, &identity()).expect("the storage opens");
    let mut log = storage.log.clone();
    let vote = log.read_vote().await.expect("readable");
    let term = vote.map_or(0, |v| v.leader_id.term);
    assert!(
        term >= acked.term,
        "vote {term} after {} was saved",
        acked.term
    );
    let state = log.get_log_state().await.expect("readable");
    let purged = state.last_purged_log_id.map(|id| id.index);
    let snapshot = storage.snapshots.load().await.expect("readable");
    let snapshot_index = snapshot
        .as_ref()
        .and_then(|s| s.meta.last_log_id)
        .map(|id| id.index);
    assert!(
        snapshot_index >= acked.snapshot,
        "{snapshot_index:?} {:?}",
        acked.snapshot
    );
    if let Some(snapshot) = &snapshot {
        let byte = snapshot_index.unwrap_or(0) as u8;
        assert!(snapshot.snapshot.iter().all(|b| *b == byte));
    }
    let present = log.try_get_log_entries(..).await.expect("readable");
    for (expected, found) in (purged.map_or(0, |i| i + 1)..).zip(&present) {
        assert_eq!(found.log_id.index, expected, "a hole");
        let term = found.log_id.leader_id.term;
        assert_eq!(*found, entry(term, expected), "content of {expected}");
    }
    for (index, term) in &acked.entries {
        if purged.is_some_and(|purged| *index <= purged) {
            continue;
        }
        let found = present.iter().find(|e| e.log_id.index == *index);
        let found = found.unwrap_or_else(|| panic!("entry {index} was acknowledged and is gone"));
        assert_eq!(found.log_id.leader_id.term, *term, "entry {index}");
    }
    storage.close().await;
}

fn check_blocking(dir: &Path, acked: &Acked) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(check(dir, acked));
}

/// The very first open creates files; being killed in the middle must not spoil the
/// directory for the next one.
#[test]
fn being_killed_while_the_storage_is_created_leaves_it_usable() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..25 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let after = Duration::from_micros(rng.random_range(0..40_000));
        let said = run_and_kill(dir.path(), rng.random(), after);
        let mut acked = Acked::default();
        said.iter().for_each(|line| acked.hear(line));
        check_blocking(dir.path(), &acked);
    }
}

/// A limit on file sizes stands in for a full disk: the process ends with an error, and
/// starts again without loss once there is room.
#[test]
fn a_full_disk_ends_the_process_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = std::env::current_exe().expect("this binary");
    // Without the trap the system would kill the process; here the write has to fail.
    let script = "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    let child = spawn(
        shell.args(["-c", script]).arg(me).args(CHILD_ARGS),
        dir.path(),
        1,
    );
    let output = wait_with_deadline(child, Duration::from_secs(60));
    assert!(!output.status.success(), "it went on without room");
    let mut acked = Acked::default();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let whole = said.lines().filter(|line| line.ends_with('.'));
    whole.for_each(|line| acked.hear(line));
    assert!(!acked.entries.is_empty(), "it never got to write: {said}");
    check_blocking(dir.path(), &acked);
}

fn wait_with_deadline(mut child: Child, patience: Duration) -> Output {
    // Read while it runs, or it would block on a full pipe.
    let mut out = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut said).expect("readable");
        said
    });
    let deadline = Instant::now() + patience;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("killed");
            panic!("the child neither went on nor ended");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = child.wait().expect("ended");
    Output {
        status,
        stdout: reader.join().expect("no panic"),
        stderr: Vec::new(),
    }
}

#[test]
fn what_was_acknowledged_survives_being_killed_at_any_moment() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let rounds = number("MIROIR_KILL_ROUNDS").unwrap_or(30);
    let seed = number("MIROIR_KILL_SEED").unwrap_or_else(|| rand::rng().random());
    println!("MIROIR_KILL_SEED={seed} MIROIR_KILL_ROUNDS={rounds}");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acked = Acked::default();
    let mut lines = 0;
    for round in 0..rounds {
        // Half of them while the child is still opening.
        let limit_ms = if round % 2 == 0 { 60 } else { 600 };
        let after = Duration::from_micros(rng.random_range(0..limit_ms * 1_000));
        let said = run_and_kill(dir.path(), rng.random(), after);
        lines += said.len();
        said.iter().for_each(|line| acked.hear(line));
        check_blocking(dir.path(), &acked);
    }
    println!(
        "{lines} acknowledgements, {} entries live",
        acked.entries.len()
    );
    assert!(
        lines > rounds as usize / 4,
        "the children hardly did anything"
    );
}
