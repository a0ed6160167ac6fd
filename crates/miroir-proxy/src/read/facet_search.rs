//! Searching the values of a facet.

use miroir_core::search::{FacetSearch, SearchSettings};

use super::cover::Piece;
use super::fault::Fault;
use super::search::unreadable;
use super::{Answer, Caller, Reads, choice};
use crate::error::HttpError;

impl Reads {
    /// Answers a facet search of the index `uid`.
    ///
    /// # Errors
    /// What a node says to the client; `index_not_found`; `unavailable_shards`.
    pub async fn facet_search(
        &self,
        uid: &str,
        search: &FacetSearch,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let mut begun = self.begin_partial(uid, caller).await?;
        let settings = SearchSettings::from_settings(&begun.scope.route.settings);
        let query = search.body(None)?.to_string();
        let key = choice::key(&[uid.as_bytes(), query.as_bytes()]);
        begun.scope.is_of(key, false);
        let path = format!("/indexes/{}/facet-search", begun.scope.route.name);
        let ask = |piece: Piece| {
            let path = &path;
            async move {
                let body = search.body(piece.filter().as_deref());
                let body = body.map_err(|error| Fault::Refused(error.into()))?;
                self.post(&piece, path, &body, caller).await
            }
        };
        let gathered = begun.scope.gather(self.upstream(), ask).await?;
        let answers = gathered.answers.iter();
        let answers: Vec<&[u8]> = answers.map(|(_, body)| body.as_ref()).collect();
        let merged = search.merge(&answers, &settings).map_err(unreadable)?;
        Ok(self.counted(Answer::without(merged, gathered.missing)))
    }
}
