//! The engines against a model, and what survives a crash.

use std::collections::BTreeMap;

use miroir_coordinator::storage::kv::{Batch, Kv};
use miroir_coordinator::storage::layout::ROW_BYTES_MAX;
use miroir_coordinator::storage::memory::MemoryDisk;
use miroir_coordinator::storage::sled::SledKv;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Apply(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Sync,
    Reopen,
    Scan(Vec<u8>, Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&[0_u8, 1, b'l', b'm', 255][..]), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::collection::vec(any::<u8>(), 0..200);
    let change = (key(), prop::option::of(value));
    prop_oneof![
        6 => prop::collection::vec(change, 0..12).prop_map(Step::Apply),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        3 => (key(), key()).prop_map(|(from, to)| Step::Scan(from, to)),
    ]
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn scan(kv: &dyn Kv, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    kv.scan(from.to_vec()..to.to_vec(), &mut |k, v| {
        rows.push((k.to_vec(), v.to_vec()));
        Ok(())
    })
    .expect("a healthy engine");
    rows
}

fn run(steps: &[Step], mut open: impl FnMut() -> Box<dyn Kv>) {
    let mut model = Rows::new();
    let mut kv = Some(open());
    for step in steps {
        let engine = kv.as_deref().expect("always reopened");
        match step {
            Step::Apply(changes) => {
                let mut batch = Batch::new();
                for (key, value) in changes {
                    match value {
                        Some(value) => {
                            batch.put(key.clone(), value.clone());
                            model.insert(key.clone(), value.clone());
                        }
                        None => {
                            batch.delete(key.clone());
                            model.remove(key);
                        }
                    }
                }
                engine.apply(&batch).expect("a healthy engine");
            }
            Step::Sync => engine.sync().expect("a healthy engine"),
            Step::Reopen => {
                engine.sync().expect("a healthy engine");
                drop(kv.take());
                kv = Some(open());
            }
            Step::Scan(from, to) => {
                let expected: Vec<_> = if from < to {
                    let rows = model.range(from.clone()..to.clone());
                    rows.map(|(k, v)| (k.clone(), v.clone())).collect()
                } else {
                    Vec::new()
                };
                assert_eq!(scan(engine, from, to), expected);
            }
        }
    }
    let engine = kv.as_deref().expect("always reopened");
    for (key, value) in &model {
        assert_eq!(engine.get(key).expect("healthy").as_ref(), Some(value));
    }
    let all: Vec<_> = model.into_iter().collect();
    assert_eq!(scan(engine, &[0], &[255, 255, 255, 255, 255]), all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sled_behaves_like_a_map(steps in prop::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        run(&steps, || Box::new(SledKv::open(dir.path()).expect("opens")));
    }

    #[test]
    fn memory_behaves_like_a_map(steps in prop::collection::vec(step(), 1..40)) {
        let disk = MemoryDisk::new();
        run(&steps, || Box::new(disk.open()));
    }
}

#[test]
fn memory_loses_what_was_not_synced() {
    let disk = MemoryDisk::new();
    let kv = disk.open();
    let put = |key: &[u8]| {
        let mut batch = Batch::new();
        batch.put(key.to_vec(), b"1".to_vec());
        batch
    };
    kv.apply(&put(b"kept")).expect("healthy");
    kv.sync().expect("healthy");
    kv.apply(&put(b"lost")).expect("healthy");
    assert!(kv.get(b"lost").expect("healthy").is_some());
    disk.crash();
    assert!(kv.get(b"kept").expect("healthy").is_some());
    assert!(kv.get(b"lost").expect("healthy").is_none());
}

#[test]
fn a_second_process_is_refused_while_the_first_runs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = SledKv::open(dir.path()).expect("opens");
    let refused = SledKv::open(dir.path()).expect_err("the directory is in use");
    assert!(refused.to_string().contains("in use"), "{refused}");
    assert!(refused.retryable());
    drop(first);
    SledKv::open(dir.path()).expect("free again");
}

/// Sled never syncs the files it puts large pages in, so there must not be any.
#[test]
fn rows_of_the_largest_size_stay_out_of_unsynced_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kv = SledKv::open(dir.path()).expect("opens");
    let put = |at: u64, bytes: usize| {
        let mut batch = Batch::new();
        batch.put(at.to_be_bytes().to_vec(), vec![at as u8; bytes]);
        kv.apply(&batch).expect("healthy");
        kv.sync().expect("healthy");
    };
    let unsynced_files = || {
        let blobs = std::fs::read_dir(dir.path().join("sled/blobs"));
        blobs.expect("sled made it").count()
    };
    for at in 0..400 {
        put(at, ROW_BYTES_MAX);
    }
    assert_eq!(unsynced_files(), 0);
    // What the limit is there for.
    put(400, 2 << 20);
    assert!(unsynced_files() > 0);
}
