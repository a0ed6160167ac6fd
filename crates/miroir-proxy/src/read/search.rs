//! Searching: one request to each node of a covering set, one answer made of theirs.

use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::search::{MergeError, NodeAnswer, Pins, Plan, SearchQuery, SearchSettings};
use serde_json::Value;

use super::cover::{Gathered, Piece, Scope};
use super::fault::Fault;
use super::{Answer, Begun, Caller, Reads, choice};
use crate::error::HttpError;

/// Members of a query that say which page of it is wanted.
const PAGING: [&str; 4] = ["offset", "limit", "page", "hitsPerPage"];

impl Reads {
    /// Answers a search of the index `uid`.
    ///
    /// # Errors
    /// What a node says to the client; `index_not_found`; `unavailable_shards`.
    pub async fn search(
        &self,
        uid: &str,
        query: SearchQuery,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let answer = self.search_one(uid, query, caller).await?;
        Ok(self.counted(answer))
    }

    /// Answers a search that is a request of its own or one of several.
    pub(super) async fn search_one(
        &self,
        uid: &str,
        query: SearchQuery,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let mut tries = 1;
        loop {
            let mut begun = self.begin_partial(uid, caller).await?;
            let answer = self.search_begun(&mut begun, query.clone(), caller).await?;
            if self.still_agrees(&begun, tries).await {
                return Ok(answer);
            }
            tries += 1;
        }
    }

    async fn search_begun(
        &self,
        begun: &mut Begun,
        query: SearchQuery,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let mut settings = SearchSettings::from_settings(&begun.scope.route.settings);
        // The older way of searching, which a feature brings back, caps them whatever the version.
        let legacy = begun.scope.table.registry.feature("legacySearch");
        settings.caps_totals = legacy || self.inner.versions.caps_totals();
        settings.orders_all_alike = self.inner.versions.orders_all_facets_alike();
        settings.primary_key = begun.scope.route.primary_key.clone();
        settings.pins = Pins::of(&begun.scope.table.registry, begun.scope.route.uid.as_str());
        settings.alias = begun.scope.route.alias();
        let sole = Plan::new(query.clone(), settings.clone(), 1);
        let several = Plan::new(query, settings, 2);
        let key = search_key(begun.scope.route.uid.as_str(), &sole)?;
        begun.scope.is_of(key, !sole.is_first_page());
        let scope = &begun.scope;
        if let Some(half) = several.first_half()
            && let Some(answer) = self.search_by_words(scope, &half, caller).await?
        {
            return Ok(answer);
        }
        let ask = |piece: Piece| {
            let plan = if piece.sole { &sole } else { &several };
            self.search_piece(scope, piece, plan, caller)
        };
        let gathered = scope.gather(self.upstream(), ask).await?;
        let plan = if gathered.is_sole() { &sole } else { &several };
        Ok(Answer {
            body: merge(plan, &gathered).map_err(unreadable)?,
            missing: gathered.missing,
        })
    }

    /// The answer to a search by words and meaning that the words alone answer well enough. One node
    /// finds that out by itself; several do it together.
    async fn search_by_words(
        &self,
        scope: &Scope,
        half: &Plan,
        caller: &Caller,
    ) -> Result<Option<Answer>, HttpError> {
        let ask = async |piece: Piece| match piece.sole {
            true => Ok(None),
            false => self
                .search_piece(scope, piece, half, caller)
                .await
                .map(Some),
        };
        let gathered = scope.gather(self.upstream(), ask).await?;
        let replies: Vec<&Reply> = gathered
            .answers
            .iter()
            .filter_map(|(_, reply)| reply.as_ref())
            .collect();
        if replies.is_empty() {
            return Ok(None);
        }
        let answers: Vec<NodeAnswer<'_>> = replies.into_iter().map(Reply::view).collect();
        let merged = half.merge_half(&answers).map_err(unreadable)?;
        Ok(merged.map(|body| Answer::without(body, gathered.missing)))
    }

    async fn search_piece(
        &self,
        scope: &Scope,
        piece: Piece,
        plan: &Plan,
        caller: &Caller,
    ) -> Result<Reply, Fault> {
        let asked = |filter: Option<&str>| plan.body(filter).map_err(|e| Fault::Refused(e.into()));
        let path = format!("/indexes/{}/search", scope.route.name);
        let filter = piece.filter();
        let body = asked(filter.as_deref())?;
        let body = match self.post(&piece, &path, &body, caller).await {
            // The text quotes the filter with the node's part of it: without it, it is the client's.
            Err(Fault::Refused(refused)) if filter.is_some() => {
                let own = self.post(&piece, &path, &asked(None)?, caller).await;
                return Err(own.err().unwrap_or(Fault::Refused(refused)));
            }
            answered => answered?,
        };
        let values = self.values(scope, &piece, plan, &body).await?;
        Ok(Reply { body, values })
    }

    /// Reads what the hits do not show and the merge needs.
    async fn values(
        &self,
        scope: &Scope,
        piece: &Piece,
        plan: &Plan,
        body: &[u8],
    ) -> Result<Option<Bytes>, Fault> {
        let unreadable = |error: MergeError| Fault::Failed(error.to_string());
        let Some(request) = plan.values_request(body).map_err(unreadable)? else {
            return Ok(None);
        };
        let path = format!("/indexes/{}/documents/fetch", scope.route.name);
        let values = self.post(piece, &path, &request, &Caller::nobody()).await?;
        Ok(Some(values))
    }
}

/// What one node said.
struct Reply {
    body: Bytes,
    /// Of the documents that its hits are.
    values: Option<Bytes>,
}

impl Reply {
    fn view(&self) -> NodeAnswer<'_> {
        NodeAnswer {
            body: &self.body,
            values: self.values.as_deref(),
        }
    }
}

fn merge(plan: &Plan, gathered: &Gathered<Reply>) -> Result<String, MergeError> {
    let answers: Vec<NodeAnswer<'_>> = gathered
        .answers
        .iter()
        .map(|(_, reply)| reply.view())
        .collect();
    plan.merge_answers(&answers, &gathered.missing.errors())
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
