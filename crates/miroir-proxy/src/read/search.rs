//! Searching: one request to each node of a covering set, one answer made of theirs.

use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::search::{MergeError, Plan, SearchQuery, SearchSettings};
use serde_json::Value;

use super::cover::{Gathered, Piece, Scope};
use super::fault::Fault;
use super::{Caller, Reads, choice};
use crate::error::HttpError;

/// Members of a query that say which page of it is wanted.
const PAGING: [&str; 4] = ["offset", "limit", "page", "hitsPerPage"];

impl Reads {
    /// Answers a search of the index `uid`, as JSON.
    ///
    /// # Errors
    /// What a node says to the client; `index_not_found`; `unavailable_shards`.
    pub async fn search(
        &self,
        uid: &str,
        query: SearchQuery,
        caller: &Caller,
    ) -> Result<String, HttpError> {
        let mut begun = self.begin(uid)?;
        let mut settings = SearchSettings::from_settings(&begun.scope.route.settings);
        // The older way of searching, which a feature brings back, caps them whatever the version.
        let legacy = begun.scope.table.registry.feature("legacySearch");
        settings.caps_totals = legacy || self.inner.versions.caps_totals();
        let sole = Plan::new(query.clone(), settings.clone(), 1);
        let several = Plan::new(query, settings, 2);
        begun.scope.key = search_key(uid, &sole)?;
        let scope = &begun.scope;
        let ask = |piece: Piece| {
            let plan = if piece.sole { &sole } else { &several };
            self.search_piece(scope, piece, plan, caller)
        };
        let gathered = scope.gather(self.upstream(), ask).await?;
        let plan = if gathered.is_sole() { &sole } else { &several };
        merge(plan, &gathered).map_err(unreadable)
    }

    async fn search_piece(
        &self,
        scope: &Scope,
        piece: Piece,
        plan: &Plan,
        caller: &Caller,
    ) -> Result<Bytes, Fault> {
        let body = plan
            .body(piece.filter().as_deref())
            .map_err(|e| Fault::Refused(e.into()))?;
        let path = format!("/indexes/{}/search", scope.route.uid);
        self.post(&piece, &path, &body, caller).await
    }
}

fn merge(plan: &Plan, gathered: &Gathered<Bytes>) -> Result<String, MergeError> {
    let bodies: Vec<&[u8]> = gathered
        .answers
        .iter()
        .map(|(_, body)| body.as_ref())
        .collect();
    plan.merge(&bodies, &Default::default())
}

/// The error for a node's answer that cannot be understood.
pub(super) fn unreadable(error: MergeError) -> HttpError {
    ApiError::new(
        Code::RemoteBadResponse,
        format!("A node's answer cannot be used: {error}."),
    )
    .into()
}

/// All pages of one query have the same key.
fn search_key(uid: &str, plan: &Plan) -> Result<u64, ApiError> {
    let mut query = plan.body(None)?;
    if let Value::Object(members) = &mut query {
        members.retain(|name, _| !PAGING.contains(&name.as_str()));
    }
    Ok(choice::key(&[uid.as_bytes(), query.to_string().as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_query_share_a_key() {
        let key = |uid: &str, body: &str| {
            let query = SearchQuery::from_json(body.as_bytes()).expect("valid");
            search_key(uid, &Plan::new(query, SearchSettings::default(), 1)).expect("a key")
        };
        let first = key("a", r#"{"q":"cat","filter":"x = 1"}"#);
        for same in [
            r#"{"q":"cat","filter":"x = 1","offset":20}"#,
            r#"{"limit":3,"q":"cat","filter":"x = 1"}"#,
            r#"{"q":"cat","filter":"x = 1","page":2,"hitsPerPage":7}"#,
        ] {
            assert_eq!(key("a", same), first, "{same}");
        }
        assert_ne!(key("b", r#"{"q":"cat","filter":"x = 1"}"#), first);
        assert_ne!(key("a", r#"{"q":"cat","filter":"x = 2"}"#), first);
    }
}
