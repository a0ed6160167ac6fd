//! Writes of documents, of every kind, in every phase of a move.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use super::race::{Race, in_every_phase};

#[test]
fn cutover_race_insert() -> anyhow::Result<()> {
    in_every_phase("insert", |race: Arc<Race>| async move {
        let new = race.some_ids("new", 3);
        race.put(new.iter().map(|id| race.document(id, "a", 1)).collect())
            .await?;
        let more = race.some_ids("more", 1);
        race.put(more.iter().map(|id| race.document(id, "b", 2)).collect())
            .await
    })
}

#[test]
fn cutover_race_replace() -> anyhow::Result<()> {
    in_every_phase("replace", |race: Arc<Race>| async move {
        let ids = race.some_ids("old", 4);
        for version in [1, 2] {
            let documents = ids.iter().map(|id| race.document(id, "c", version));
            race.put(documents.collect()).await?;
        }
        Ok(())
    })
}

/// Each changes another field, so that one that is left out or comes twice shows.
#[test]
fn cutover_race_partial_update() -> anyhow::Result<()> {
    in_every_phase("partial_update", |race: Arc<Race>| async move {
        let ids = race.some_ids("old", 4);
        race.update(&ids, &json!({"mark": "changed"})).await?;
        race.update(&ids, &json!({"part": {"of": []}})).await?;
        race.update(&ids[1..], &json!({"added": [1, 2]})).await?;
        // One that was not there comes to be with these fields alone.
        let fresh = race.some_ids("fresh", 1);
        race.update(&fresh, &json!({"kind": "b"})).await
    })
}

#[test]
fn cutover_race_delete() -> anyhow::Result<()> {
    in_every_phase("delete", |race: Arc<Race>| async move {
        let ids = race.some_ids("old", 3);
        race.delete(&ids[0]).await?;
        let rest = json!(ids[1..]);
        race.send(Method::POST, "/documents/delete-batch", rest)
            .await?;
        ids.iter().for_each(|id| race.oracle.delete(id));
        // What is not there can be deleted, too.
        race.delete(&ids[0]).await
    })
}

/// What comes after the deletion stays, though the filter would match it.
#[test]
fn cutover_race_delete_by_filter() -> anyhow::Result<()> {
    in_every_phase("delete_by_filter", |race: Arc<Race>| async move {
        let early = race.some_ids("early", 1);
        race.put(early.iter().map(|id| race.document(id, "b", 1)).collect())
            .await?;
        let filter = json!({"filter": "kind = b"});
        race.send(Method::POST, "/documents/delete", filter).await?;
        for (id, fields) in race.oracle.documents() {
            if fields["kind"] == "b" {
                race.oracle.delete(&id);
            }
        }
        let late = race.some_ids("late", 1);
        race.put(late.iter().map(|id| race.document(id, "b", 2)).collect())
            .await
    })
}

#[test]
fn cutover_race_delete_all() -> anyhow::Result<()> {
    in_every_phase("delete_all", |race: Arc<Race>| async move {
        race.send(Method::DELETE, "/documents", json!(null)).await?;
        for id in race.oracle.documents().keys() {
            race.oracle.delete(id);
        }
        let late = race.some_ids("late", 2);
        race.put(late.iter().map(|id| race.document(id, "a", 1)).collect())
            .await
    })
}

#[test]
fn cutover_race_reinsert_after_delete() -> anyhow::Result<()> {
    in_every_phase("reinsert_after_delete", |race: Arc<Race>| async move {
        let ids = race.some_ids("old", 2);
        for version in [1, 2] {
            for id in &ids {
                race.delete(id).await?;
            }
            let documents = ids.iter().map(|id| race.document(id, "d", version));
            race.put(documents.collect()).await?;
        }
        Ok(())
    })
}
