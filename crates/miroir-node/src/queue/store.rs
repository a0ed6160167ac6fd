//! Tasks, the catalog of indexes and API keys on disk, in one LMDB environment.
//!
//! One environment, so that "the task is finished" and "the index exists" are one commit.

use std::path::Path;

use milli_core::heed::byteorder::BE;
use milli_core::heed::types::{Bytes, SerdeJson, Str, U32};
use milli_core::heed::{Database, Env, RoTxn, RwTxn, WithoutTls};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::task::{Task, TaskId};
use crate::engine::{IndexUpdate, sync_directory};
use crate::error::{ApiError, Code};
use crate::os;

/// Largest size of the environment, bytes. Address space only.
const MAP_BYTES: usize = 20 << 30;

const PREPARED: &str = "prepared";

/// A batch whose outcome is known, but whose index may or may not have been committed.
///
/// Written just before the index commits, when doing the batch again would count differently
/// (a document is deleted only once). After a crash the index itself tells which it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The index written to.
    pub index_uid: String,
    /// The index's `updatedAt` if, and only if, the commit happened; nanoseconds since 1970.
    pub updated_at_ns: i128,
    /// The finished tasks.
    pub tasks: Vec<Task>,
}

/// The node's own database.
pub struct Store {
    env: Env<WithoutTls>,
    tasks: Database<U32<BE>, SerdeJson<Task>>,
    /// Small payloads of open tasks.
    payloads: Database<U32<BE>, Bytes>,
    /// Index uid to directory name.
    catalog: Database<Str, Str>,
    keys: Database<Str, SerdeJson<Value>>,
    meta: Database<Str, SerdeJson<Value>>,
}

impl Store {
    /// Opens or creates the database in a directory.
    pub fn open(directory: &Path) -> Result<Self, ApiError> {
        std::fs::create_dir_all(directory)?;
        let env = os::open_env(directory, MAP_BYTES, 5)?;
        let mut wtxn = env.write_txn()?;
        let tasks = env.create_database(&mut wtxn, Some("tasks"))?;
        let payloads = env.create_database(&mut wtxn, Some("payloads"))?;
        let catalog = env.create_database(&mut wtxn, Some("catalog"))?;
        let keys = env.create_database(&mut wtxn, Some("keys"))?;
        let meta = env.create_database(&mut wtxn, Some("meta"))?;
        wtxn.commit()?;
        sync_directory(directory)?;
        Ok(Self {
            env,
            tasks,
            payloads,
            catalog,
            keys,
            meta,
        })
    }

    /// Calls back with every task, in uid order.
    pub fn for_each_task(&self, mut visit: impl FnMut(Task)) -> Result<(), ApiError> {
        let rtxn = self.env.read_txn()?;
        for entry in self.tasks.iter(&rtxn)? {
            visit(entry?.1);
        }
        Ok(())
    }

    /// One task.
    pub fn task(&self, uid: TaskId) -> Result<Option<Task>, ApiError> {
        let rtxn = self.env.read_txn()?;
        Ok(self.tasks.get(&rtxn, &uid)?)
    }

    /// Stores new tasks, durably, each with the payload that is to be stored beside it.
    pub fn put_tasks(&self, tasks: &[(Task, Option<Vec<u8>>)]) -> Result<(), ApiError> {
        let mut wtxn = self.env.write_txn()?;
        for (task, payload) in tasks {
            self.tasks.put(&mut wtxn, &task.uid, task)?;
            if let Some(payload) = payload {
                self.payloads.put(&mut wtxn, &task.uid, payload)?;
            }
        }
        Ok(wtxn.commit()?)
    }

    /// Calls back with the payload stored beside a task.
    pub fn with_payload<T>(
        &self,
        uid: TaskId,
        read: impl FnOnce(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let rtxn = self.env.read_txn()?;
        let missing = || {
            let message = format!("The documents of task `{uid}` are missing.");
            ApiError::new(Code::Internal, message)
        };
        read(self.payloads.get(&rtxn, &uid)?.ok_or_else(missing)?)
    }

    /// Stores how a batch ended together with what it did to the set of indexes, and drops the
    /// payloads stored beside its tasks.
    pub fn finish(&self, tasks: &[Task], update: &IndexUpdate) -> Result<(), ApiError> {
        let mut wtxn = self.env.write_txn()?;
        for task in tasks {
            self.tasks.put(&mut wtxn, &task.uid, task)?;
            self.payloads.delete(&mut wtxn, &task.uid)?;
        }
        match update {
            IndexUpdate::None => (),
            IndexUpdate::Create { uid, directory } => {
                self.catalog.put(&mut wtxn, uid, directory)?;
            }
            IndexUpdate::Delete { uid } => {
                self.catalog.delete(&mut wtxn, uid)?;
            }
        }
        self.meta.delete(&mut wtxn, PREPARED)?;
        Ok(wtxn.commit()?)
    }

    /// Stores the outcome of a batch whose index is about to be committed.
    pub fn prepare(&self, prepared: &Prepared) -> Result<(), ApiError> {
        let mut wtxn = self.env.write_txn()?;
        self.put_meta(&mut wtxn, PREPARED, prepared)?;
        Ok(wtxn.commit()?)
    }

    /// The prepared batch, if a crash left one.
    pub fn prepared(&self) -> Result<Option<Prepared>, ApiError> {
        let rtxn = self.env.read_txn()?;
        self.get_meta(&rtxn, PREPARED)
    }

    /// Forgets a prepared batch that was not committed.
    pub fn discard_prepared(&self) -> Result<(), ApiError> {
        let mut wtxn = self.env.write_txn()?;
        self.meta.delete(&mut wtxn, PREPARED)?;
        Ok(wtxn.commit()?)
    }

    /// Every index's uid and directory.
    pub fn catalog(&self) -> Result<Vec<(String, String)>, ApiError> {
        let rtxn = self.env.read_txn()?;
        let mut indexes = Vec::new();
        for entry in self.catalog.iter(&rtxn)? {
            let (uid, directory) = entry?;
            indexes.push((uid.to_owned(), directory.to_owned()));
        }
        Ok(indexes)
    }

    /// Bytes the environment takes on disk, and bytes of pages in use.
    pub fn footprint(&self) -> Result<(u64, u64), ApiError> {
        Ok((self.env.real_disk_size()?, self.env.non_free_pages_size()?))
    }

    /// All stored API keys.
    pub fn keys<T: DeserializeOwned>(&self) -> Result<Vec<T>, ApiError> {
        let rtxn = self.env.read_txn()?;
        let mut keys = Vec::new();
        for entry in self.keys.iter(&rtxn)? {
            keys.push(from_value(entry?.1)?);
        }
        Ok(keys)
    }

    /// Stores an API key under its uid.
    pub fn put_key(&self, uid: &str, key: &impl Serialize) -> Result<(), ApiError> {
        let mut wtxn = self.env.write_txn()?;
        self.keys.put(&mut wtxn, uid, &to_value(key)?)?;
        Ok(wtxn.commit()?)
    }

    /// Deletes an API key.
    pub fn delete_key(&self, uid: &str) -> Result<(), ApiError> {
        let mut wtxn = self.env.write_txn()?;
        self.keys.delete(&mut wtxn, uid)?;
        Ok(wtxn.commit()?)
    }

    fn get_meta<T: DeserializeOwned>(
        &self,
        rtxn: &RoTxn<'_>,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        self.meta.get(rtxn, name)?.map(from_value).transpose()
    }

    fn put_meta(
        &self,
        wtxn: &mut RwTxn<'_>,
        name: &str,
        value: &impl Serialize,
    ) -> Result<(), ApiError> {
        Ok(self.meta.put(wtxn, name, &to_value(value)?)?)
    }
}

fn to_value(value: &impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(corrupted)
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(corrupted)
}

fn corrupted(error: serde_json::Error) -> ApiError {
    ApiError::new(
        Code::Internal,
        format!("The node's own database holds a record it cannot read: {error}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepared_batches_and_the_catalog_survive_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = Prepared {
            index_uid: "a".into(),
            updated_at_ns: 1_700_000_000_123_456_789,
            tasks: vec![],
        };
        {
            let store = Store::open(directory.path()).unwrap();
            let create = IndexUpdate::Create {
                uid: "a".into(),
                directory: "d".into(),
            };
            store.finish(&[], &create).unwrap();
            store.prepare(&prepared).unwrap();
        }
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.prepared().unwrap(), Some(prepared));
        assert_eq!(store.catalog().unwrap(), [("a".to_owned(), "d".to_owned())]);
        store
            .finish(&[], &IndexUpdate::Delete { uid: "a".into() })
            .unwrap();
        assert_eq!(store.prepared().unwrap(), None);
        assert_eq!(store.catalog().unwrap(), []);
    }
}
