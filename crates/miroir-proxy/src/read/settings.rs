//! Settings as a node has applied them.

use miroir_core::id::ShardId;
use miroir_core::search::hydrate::FOREIGN_KEYS;
use miroir_core::settings::{FIELDS, SubSetting, foreign_keys, from_node, with_foreign_keys};
use serde_json::Value;

use super::cover::Piece;
use super::search::unreadable;
use super::{Caller, Reads, choice};
use crate::error::HttpError;

impl Reads {
    /// All settings of the index `uid`, in Meilisearch's words.
    ///
    /// # Errors
    /// `index_not_found`; `unavailable_shards`.
    pub async fn settings(&self, uid: &str, caller: &Caller) -> Result<Value, HttpError> {
        let (settings, desired) = self.ask_settings(uid, "", caller).await?;
        let feature = self.guard()?.table.registry.feature(FOREIGN_KEYS);
        let settings = from_node(&settings, &desired);
        Ok(with_foreign_keys(settings, &desired, feature))
    }

    /// One setting of the index `uid`.
    ///
    /// # Errors
    /// `index_not_found`; `unavailable_shards`.
    pub async fn setting(
        &self,
        uid: &str,
        setting: &SubSetting,
        caller: &Caller,
    ) -> Result<Value, HttpError> {
        if setting.name == FOREIGN_KEYS {
            let begun = self.begin(uid, caller).await?;
            return Ok(foreign_keys(&begun.scope.route.settings));
        }
        if FIELDS.contains(&setting.name) {
            let mut settings = self.settings(uid, caller).await?;
            return Ok(settings
                .get_mut(setting.name)
                .map(Value::take)
                .unwrap_or_default());
        }
        // What is not offered has its default, which the object of all settings does not show.
        let (value, _) = self
            .ask_settings(uid, &format!("/{}", setting.path), caller)
            .await?;
        Ok(value)
    }

    /// What a node answers to the settings route, or to one `below` it, and the index's desired settings.
    async fn ask_settings(
        &self,
        uid: &str,
        below: &str,
        caller: &Caller,
    ) -> Result<(Value, Value), HttpError> {
        let mut begun = self.begin(uid, caller).await?;
        // Any node in sync knows them; one shard stands for one.
        begun.scope.only = Some([ShardId(0)].into());
        let key = choice::key(&[uid.as_bytes(), b"settings"]);
        begun.scope.is_of(key, false);
        let path = format!("/indexes/{}/settings{below}", begun.scope.route.name);
        let ask = |piece: Piece| {
            let path = &path;
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
        Ok((settings, begun.scope.route.settings.clone()))
    }
}
