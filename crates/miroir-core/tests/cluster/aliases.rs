//! Aliases and indexes share one space of names.

use miroir_core::cluster::{Command, IndexSwap, NewIndex, Outcome, Rejection};
use miroir_core::registry::{Alias, Change, Collection, Expected, RegistryError};
use serde_json::json;

use crate::support::{Log, uid};

fn point(name: &str, target: &str) -> Command {
    let change = Change {
        collection: Collection::Aliases,
        name: name.to_owned(),
        expected: Expected::Any,
        value: serde_json::to_value(Alias::new(uid(target), 7)).ok(),
    };
    Command::ChangeRegistry { change }
}

fn assert_refused(log: &mut Log, command: &Command, rejection: Rejection) {
    let before = log.state.clone();
    assert_eq!(
        log.apply(command),
        Outcome::Rejected(rejection),
        "{command:?}"
    );
    assert_eq!(log.state, before);
}

#[test]
fn a_name_is_an_index_or_an_alias() {
    let mut log = Log::with_books(3, 4, 1);
    let no_index = |uid: &str| RegistryError::NoIndex {
        uid: uid.to_owned(),
    };
    let is_index = RegistryError::IsIndex {
        name: "books".to_owned(),
    };
    assert_refused(&mut log, &point("shelf", "films"), no_index("films").into());
    assert_refused(&mut log, &point("books", "books"), is_index.into());

    assert_eq!(log.apply(&point("shelf", "books")), Outcome::Done);
    assert_eq!(log.state.registry.alias("shelf"), Some(uid("books")));
    assert_eq!(log.state.registry.alias("books"), None);
    assert_refused(&mut log, &point("rack", "shelf"), no_index("shelf").into());

    let creation = Command::CreateIndex(NewIndex {
        uid: uid("shelf"),
        primary_key: None,
        shards: None,
        replication_factor: None,
        writer: None,
        task: None,
    });
    assert_refused(&mut log, &creation, Rejection::IndexExists(uid("shelf")));
}

#[test]
fn no_index_is_renamed_to_an_alias() {
    let mut log = Log::with_books(3, 4, 1);
    assert_eq!(log.apply(&point("shelf", "books")), Outcome::Done);
    let before = log.state.indexes.clone();
    let swap = IndexSwap {
        indexes: (uid("books"), uid("shelf")),
        rename: true,
    };
    log.apply(&Command::SwapIndexes {
        swaps: vec![swap],
        idempotency: None,
    });
    let task = log.state.tasks.iter().next_back().expect("a task");
    let code = task.error.as_ref().map(|error| &error["code"]);
    assert_eq!(code, Some(&json!("index_already_exists")));
    assert_eq!(log.state.indexes, before);
}
