//! Several searches in one request.

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::id::IndexUid;
use miroir_core::search::hydrate::Keys;
use miroir_core::search::{
    Federated, IndexAnswers, Missing, MultiQuery, MultiSearch, Pins, SearchSettings,
};
use serde_json::{Value, json};

use super::cover::{Gathered, Piece};
use super::fault::Fault;
use super::hydrate::{keys_of, refuse_foreign};
use super::search::unreadable;
use super::{Answer, Begun, Caller, Reads, choice};
use crate::error::HttpError;

/// How many searches of one request are under way at the same time.
const SEARCHES_AT_ONCE: usize = 8;

const PATH: &str = "/multi-search";

/// One index of a federated search, answered.
struct Answered {
    index: IndexUid,
    settings: SearchSettings,
    gathered: Gathered<Bytes>,
    /// Kept until the answers are merged.
    begun: Begun,
}

impl Reads {
    /// Answers a multi-search.
    ///
    /// # Errors
    /// What the first search that fails is refused with, and its position.
    pub async fn multi_search(
        &self,
        request: MultiSearch,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let answer = match request.federation {
            None => self.each(request.queries, caller).await?,
            Some(federation) => {
                let queries = request.queries.into_iter().collect::<Result<_, _>>()?;
                let federated = Federated::new(queries, federation);
                self.federated(&federated, caller).await?
            }
        };
        Ok(self.counted(answer))
    }

    /// Each search by itself.
    async fn each(
        &self,
        queries: Vec<Result<MultiQuery, ApiError>>,
        caller: &Caller,
    ) -> Result<Answer, HttpError> {
        let search = |(at, query): (usize, Result<MultiQuery, ApiError>)| async move {
            let MultiQuery { index, query, .. } = query?;
            let answer = Box::pin(self.search_one(index.as_str(), query, caller)).await;
            let answer = answer.map_err(|error| error.inside_query(at))?;
            // The answer is an object that is never empty.
            let members = answer.body.trim_start_matches('{');
            let result = format!(r#"{{"indexUid":"{index}",{members}"#);
            Ok((result, answer.missing))
        };
        let searches = stream::iter(queries.into_iter().enumerate().map(search));
        let mut searches = std::pin::pin!(searches.buffered(SEARCHES_AT_ONCE));
        let mut results = Vec::new();
        let mut missing = Missing::default();
        while let Some(answered) = searches.next().await {
            let answered: Result<(String, Missing), HttpError> = answered;
            let (result, without) = answered?;
            results.push(result);
            missing.add(without);
        }
        // Each result tells itself what it is without.
        let body = format!(r#"{{"results":[{}]}}"#, results.join(","));
        Ok(Answer { body, missing })
    }

    /// All searches merged into one list.
    async fn federated(&self, federated: &Federated, caller: &Caller) -> Result<Answer, HttpError> {
        // As Meilisearch does, indexes that only have facets to check come last.
        let (used, unused): (Vec<_>, Vec<_>) = federated
            .indexes()
            .into_iter()
            .partition(|(_, positions)| !positions.is_empty());
        let asked = used.into_iter().chain(unused);
        let asked = asked.map(|(index, positions)| async move {
            Box::pin(self.ask_index(federated, index, &positions, caller)).await
        });
        let mut asked = std::pin::pin!(stream::iter(asked).buffered(SEARCHES_AT_ONCE));
        let mut answered: Vec<Answered> = Vec::new();
        while let Some(index) = asked.next().await {
            answered.push(index?);
        }
        let rules = answered.iter().map(Answered::ranking_rules);
        federated.check_compatible(&rules.collect())?;
        let answers: Vec<IndexAnswers<'_>> = answered.iter().map(Answered::view).collect();
        let mut merged = federated.merge(&answers).map_err(unreadable)??;
        if answers.is_empty() {
            // No node was asked, so that none named the request.
            merged.pop();
            let uid = uuid::Uuid::now_v7();
            merged.push_str(&format!(r#","requestUid":"{uid}"}}"#));
        }
        let mut missing = Missing::default();
        for index in &answered {
            missing.add(index.gathered.missing.clone());
        }
        let answer = Answer::without(merged, missing);
        let keys = answered.iter();
        let keys: Keys = keys
            .map(|index| (index.index.to_string(), keys_of(&index.begun)))
            .collect();
        match answered.first() {
            // The index that was asked first has the table by which the others are looked up.
            Some(first) => self.hydrate(&first.begun, answer, &keys).await,
            None => Ok(answer),
        }
    }

    async fn ask_index(
        &self,
        federated: &Federated,
        index: IndexUid,
        positions: &[usize],
        caller: &Caller,
    ) -> Result<Answered, HttpError> {
        let mut tries = 1;
        loop {
            let answered = self
                .ask_index_once(federated, index.clone(), positions, caller)
                .await?;
            if self.still_agrees(&answered.begun, tries).await {
                return Ok(answered);
            }
            tries += 1;
        }
    }

    async fn ask_index_once(
        &self,
        federated: &Federated,
        index: IndexUid,
        positions: &[usize],
        caller: &Caller,
    ) -> Result<Answered, HttpError> {
        let place = |error: HttpError| match positions.first() {
            Some(first) => error.inside_query(*first),
            None => error.inside_unused_facets(index.as_str()),
        };
        let begun = self.begin_partial(index.as_str(), caller).await;
        let mut begun = begun.map_err(place)?;
        for position in positions {
            let filter = federated.filter(*position);
            refuse_foreign(filter).map_err(|error| error.inside_query(*position))?;
        }
        let mut settings = SearchSettings::from_settings(&begun.scope.route.settings);
        let legacy = begun.scope.table.registry.feature("legacySearch");
        settings.alias = begun.scope.route.alias();
        settings.caps_totals = legacy || self.inner.versions.caps_totals();
        settings.primary_key = begun.scope.route.primary_key.clone();
        settings.pins = Pins::of(&begun.scope.table.registry, begun.scope.route.uid.as_str());
        let body = |hidden: Option<&str>| {
            let body = federated.body(&index, &settings, hidden);
            body.map_err(|(at, error)| HttpError::from(error).inside_query(at))
        };
        let key = key(&index, body(None)?);
        begun.scope.is_of(key, !federated.is_first_page());
        let ask = |piece: Piece| {
            let filter = piece.filter();
            let (narrowed, own) = (body(filter.as_deref()), body(None));
            async move {
                let narrowed = narrowed.map_err(Fault::Refused)?;
                let asked = match self.post(&piece, PATH, &narrowed, caller).await {
                    // The text quotes the filter with the node's part of it: without it, it is the client's.
                    Err(Fault::Refused(refused)) if filter.is_some() => {
                        let own = own.map_err(Fault::Refused)?;
                        let asked = self.post(&piece, PATH, &own, caller).await;
                        Err(asked.err().unwrap_or(Fault::Refused(refused)))
                    }
                    answered => answered,
                };
                asked.map_err(|fault| placed(fault, positions))
            }
        };
        let gathered = begun.scope.gather(self.upstream(), ask).await;
        let gathered = gathered.map_err(|error| match error.code() {
            "index_not_found" => place(error),
            _ => error,
        })?;
        Ok(Answered {
            settings,
            gathered,
            begun,
            index,
        })
    }
}

/// The ranking rules of an index that sets none. What each rule of relevance does, and so their
/// names in some versions, makes no difference here.
const RANKING_RULES: [&str; 6] = [
    "words",
    "typo",
    "proximity",
    "attribute",
    "sort",
    "exactness",
];

impl Answered {
    fn ranking_rules(&self) -> (IndexUid, Vec<String>) {
        let rules = &self.begun.scope.route.settings["rankingRules"];
        let rules = rules.as_array().map(|rules| {
            let rules = rules.iter().filter_map(Value::as_str);
            rules.map(str::to_owned).collect()
        });
        let default = || RANKING_RULES.map(str::to_owned).to_vec();
        (self.index.clone(), rules.unwrap_or_else(default))
    }

    fn view(&self) -> IndexAnswers<'_> {
        let answers = self.gathered.answers.iter();
        IndexAnswers {
            index: self.index.clone(),
            settings: self.settings.clone(),
            bodies: answers.map(|(_, body)| body.as_ref()).collect(),
        }
    }
}

/// All pages of one request have the same key.
fn key(index: &IndexUid, mut body: Value) -> u64 {
    body["federation"] = json!(null);
    choice::key(&[index.as_str().as_bytes(), body.to_string().as_bytes()])
}

/// A node's fault with the client's position of the query in place of the node's. A node that lacks
/// the index says so in other words than for a single search.
fn placed(fault: Fault, positions: &[usize]) -> Fault {
    match fault {
        Fault::Refused(error) if error.code() == Code::IndexNotFound.name() => Fault::Absent,
        Fault::Refused(error) => Fault::Refused(error.at_queries(positions)),
        Fault::Failed(_) | Fault::Absent => fault,
    }
}
