//! Settings as a node has applied them.

use miroir_core::id::ShardId;
use serde_json::Value;

use super::cover::Piece;
use super::search::unreadable;
use super::{Caller, Reads};
use crate::error::HttpError;

impl Reads {
    /// All settings of the index `uid`, in Meilisearch's words.
    ///
    /// # Errors
    /// `index_not_found`; `unavailable_shards`.
    pub async fn settings(&self, uid: &str) -> Result<Value, HttpError> {
        let caller = Caller::nobody();
        let mut begun = self.begin(uid)?;
        // Any node in sync knows them; one shard stands for one.
        begun.scope.only = Some([ShardId(0)].into());
        let path = format!("/indexes/{uid}/settings");
        let ask = |piece: Piece| {
            let (path, caller) = (&path, &caller);
            async move { self.get(&piece, path, caller).await }
        };
        let gathered = begun.scope.gather(self.upstream(), ask).await?;
        let body = gathered
            .answers
            .first()
            .map(|(_, body)| body.clone())
            .unwrap_or_default();
        let settings: Value = serde_json::from_slice(&body).map_err(|error| {
            unreadable(miroir_core::search::MergeError::Unreadable {
                position: 0,
                detail: error.to_string(),
            })
        })?;
        Ok(miroir_core::settings::from_node(
            &settings,
            &begun.scope.route.settings,
        ))
    }
}
