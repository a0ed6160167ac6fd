//! Finding documents that are similar to one.

use std::collections::BTreeSet;

use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::hidden_field::shard_of;
use miroir_core::id::ShardId;
use miroir_core::search::{SearchSettings, SimilarQuery};
use serde_json::Value;

use super::cover::{Gathered, Piece, Scope};
use super::documents::total_of;
use super::fault::Fault;
use super::search::unreadable;
use super::{Answer, Caller, DocumentsQuery, Reads, choice};
use crate::error::HttpError;

impl Reads {
    /// Answers a search for documents of the index `uid` that are similar to one.
    ///
    /// The node that holds the document is asked first: it judges the filter and the embedder. Then
    /// the document's vector is searched on the others. `rule` is the filter of a tenant token.
    ///
    /// # Errors
    /// `not_found_similar_id` and what else a node says to the client; `index_not_found`;
    /// `unavailable_shards`.
    pub async fn similar(
        &self,
        uid: &str,
        mut query: SimilarQuery,
        rule: Option<&Value>,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        if let Some(rule) = rule {
            query.narrow(rule)?;
            self.require_visible(uid, &query, rule).await?;
        }
        let query = &query;
        let mut begun = self.begin_partial(uid, caller).await?;
        let settings = SearchSettings::from_settings(&begun.scope.route.settings);
        let mut own = query.own_body();
        if let Value::Object(members) = &mut own {
            // All pages have the same key.
            members.retain(|name, _| name != "offset" && name != "limit");
        }
        let key = choice::key(&[uid.as_bytes(), own.to_string().as_bytes()]);
        begun.scope.is_of(key, !query.is_first_page());
        let owner = ShardId(shard_of(query.id(), begun.scope.route.shard_count()));
        let mut answers = Vec::new();
        let asked = self.ask_owner(&begun.scope, query, owner, caller).await?;
        let mut missing = asked.missing;
        let mut rest: BTreeSet<ShardId> = BTreeSet::new();
        for (piece, answer) in asked.answers {
            match answer {
                Some(answer) => answers.push(answer),
                None => rest.extend(piece.shards),
            }
        }
        if !rest.is_empty()
            && let Some(vector) = self.vector_of(&begun.scope, query, owner).await?
        {
            begun.scope.only = Some(rest);
            let others = self.ask_others(&begun.scope, query, &vector, caller);
            let others = others.await?;
            missing.add(others.missing);
            answers.extend(others.answers.into_iter().map(|(_, body)| body));
        }
        let answers: Vec<&[u8]> = answers.iter().map(AsRef::as_ref).collect();
        let merged = query.merge(&answers, &settings).map_err(unreadable)?;
        Ok(self.counted(Answer::without(merged, missing)))
    }

    /// Refuses a document that the rule of a tenant token does not show, as one that does not exist.
    async fn require_visible(
        &self,
        uid: &str,
        query: &SimilarQuery,
        rule: &Value,
    ) -> Result<(), HttpError> {
        let documents = DocumentsQuery {
            filter: Some(rule.clone()),
            ids: Some(vec![query.id().to_owned()]),
            ..DocumentsQuery::all()
        };
        let found = Box::pin(self.documents(uid, &documents, &Caller::nobody())).await?;
        if total_of(found.body.as_bytes())? > 0 {
            return Ok(());
        }
        let message = format!("Document `{}` not found.", query.id());
        Err(ApiError::new(Code::NotFoundSimilarId, message).into())
    }

    /// The answer of the node that holds the document; `None` beside the pieces of the others.
    async fn ask_owner(
        &self,
        scope: &Scope,
        query: &SimilarQuery,
        owner: ShardId,
        caller: &Caller,
    ) -> Result<Gathered<Option<Bytes>>, HttpError> {
        let path = format!("/indexes/{}/similar", scope.route.name);
        let ask = |piece: Piece| {
            let path = &path;
            async move {
                if !piece.shards.contains(&owner) {
                    return Ok(None);
                }
                let body = query.owner_body(piece.filter().as_deref());
                let body = body.map_err(|error| Fault::Refused(error.into()))?;
                self.post(&piece, path, &body, caller).await.map(Some)
            }
        };
        let gathered = scope.gather(self.upstream(), ask).await?;
        if gathered.missing.contains(&scope.route.uid, owner) {
            // Nobody else knows what to look for.
            let why = "no node that holds the document answers";
            let what = format!("shard {owner}");
            let uid = scope.route.uid.as_str();
            return Err(HttpError::unavailable_shards(uid, &what, why));
        }
        Ok(gathered)
    }

    async fn ask_others(
        &self,
        scope: &Scope,
        query: &SimilarQuery,
        vector: &Value,
        caller: &Caller,
    ) -> Result<Gathered<Bytes>, HttpError> {
        let path = format!("/indexes/{}/search", scope.route.name);
        let ask = |piece: Piece| {
            let path = &path;
            async move {
                let body = query.search_body(vector, piece.filter().as_deref());
                let body = body.map_err(|error| Fault::Refused(error.into()))?;
                self.post(&piece, path, &body, caller).await
            }
        };
        scope.gather(self.upstream(), ask).await
    }

    /// The document's first vector of the embedder; `None` if it has none, and then it is similar to
    /// nothing. The client never sees it.
    async fn vector_of(
        &self,
        scope: &Scope,
        query: &SimilarQuery,
        owner: ShardId,
    ) -> Result<Option<Value>, HttpError> {
        let mut scope = scope.clone();
        scope.only = Some([owner].into());
        let path = format!(
            "/indexes/{}/documents/{}?retrieveVectors=true&fields=_vectors",
            scope.route.name,
            query.id()
        );
        let caller = Caller::nobody();
        let ask = |piece: Piece| {
            let (path, caller) = (&path, &caller);
            async move { self.get(&piece, path, caller).await }
        };
        let gathered = match scope.gather(self.upstream(), ask).await {
            // It was deleted since.
            Err(error) if error.code() == Code::DocumentNotFound.name() => return Ok(None),
            gathered => gathered?,
        };
        let document = gathered.answers.first().map(|(_, body)| body);
        let document: Option<Value> =
            document.and_then(|document| serde_json::from_slice(document).ok());
        let vectors = document.as_ref().map(|document| &document["_vectors"]);
        let vectors = vectors.map(|vectors| &vectors[query.embedder()]["embeddings"]);
        let first = vectors.and_then(|vectors| vectors.get(0));
        Ok(first.cloned())
    }
}
