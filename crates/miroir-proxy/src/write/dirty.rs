//! Telling migrations which documents were written behind their copy.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::id::{MigrationId, ShardId};
use miroir_core::routing::IndexRoute;

use super::prepare::Work;
use crate::control::Control;

/// Reports a write to `shards` to the migrations that record it: those of the table it was `sent` by, and
/// those of the newest. A report too many costs a comparison; one too few would lose a document.
pub(super) fn report(control: &Control, work: &Work, shards: &[ShardId], sent: &IndexRoute) {
    let table = control.table();
    let newest = table
        .named(&sent.name)
        .filter(|newest| newest.incarnation == sent.incarnation);
    let mut recording: BTreeMap<MigrationId, BTreeSet<ShardId>> = BTreeMap::new();
    for shard in shards {
        let routes = [Some(sent), newest.map(AsRef::as_ref)];
        for migration in routes
            .into_iter()
            .flatten()
            .filter_map(|route| route.shard(*shard)?.records_dirty())
        {
            recording.entry(migration).or_default().insert(*shard);
        }
    }
    for (migration, shards) in recording {
        match work {
            Work::Documents(documents) => {
                let of_shards = documents
                    .split
                    .documents()
                    .iter()
                    .filter(|d| shards.contains(&ShardId(d.shard)));
                control.report_dirty(migration, of_shards.map(|document| document.id.clone()));
            }
            Work::Ids(ids) => {
                let of_shards = ids.iter().filter(|(shard, _)| shards.contains(shard));
                control.report_dirty(
                    migration,
                    of_shards.flat_map(|(_, ids)| ids.iter().cloned()),
                );
            }
            Work::Filter(_) => control.report_whole_shard(migration),
            Work::Nothing | Work::Settings(_) | Work::DeleteIndex => {}
        }
    }
}
