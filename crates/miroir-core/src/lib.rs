//! Pure decisions of Miroir: cluster state, placement, routing, migration, merging.
