//! Rendering a template of an embedder, to see what would be embedded.

use miroir_core::api_error::{ApiError, Code};
use miroir_core::body;
use miroir_core::hidden_field::shard_of;
use miroir_core::id::ShardId;
use miroir_core::routing::RoutingTable;
use miroir_core::settings::client_template;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::cover::Piece;
use super::fault::Fault;
use super::{Ask, Caller, Reads, choice};
use crate::error::HttpError;

const PATH: &str = "/render-template";

/// What to render, as far as it decides which node is asked. The node checks the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderQuery {
    body: Value,
    /// The index whose nodes are asked: the document's, else the template's.
    index: Option<String>,
    /// Every index that the body names.
    named: Vec<String>,
    /// The document to render.
    id: Option<String>,
}

impl RenderQuery {
    /// Reads the body.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_json(content: &[u8]) -> Result<Self, ApiError> {
        let members = body::parse_object(content)?;
        let names = ["template", "input"];
        body::only(&members, "", &names, Code::BadRequest)?;
        let missing = || ApiError::new(Code::BadRequest, "Missing field `template`");
        let template = members.get("template").ok_or_else(missing)?.clone();
        let template = body::object(template, ".template", Code::InvalidRenderTemplate)?;
        let input = match members.get("input") {
            None | Some(Value::Null) => Map::new(),
            Some(input) => body::object(input.clone(), ".input", Code::InvalidRenderInput)?,
        };
        let text = |of: &Map<String, Value>, name: &str| {
            of.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let document = text(&input, "indexUid");
        let of_template = text(&template, "indexUid");
        let named = [&document, &of_template].into_iter().flatten().cloned();
        Ok(Self {
            id: document.as_ref().and_then(|_| text(&input, "id")),
            named: named.collect(),
            index: document.or(of_template),
            body: Value::Object(members),
        })
    }

    /// The body with what nodes call the indexes. An index that is not there must not be asked for by a name that
    /// another one may have on nodes.
    fn for_nodes(&self, table: &RoutingTable) -> Result<Value, HttpError> {
        let mut body = self.body.clone();
        for (part, what) in [
            ("input", "Cannot open index"),
            (
                "template",
                "error while fetching template: cannot open index",
            ),
        ] {
            let Some(index) = body.get_mut(part).and_then(|part| part.get_mut("indexUid")) else {
                continue;
            };
            if let Some(uid) = index.as_str() {
                let route = table.index(uid);
                let route = route.ok_or_else(|| {
                    let message = format!("{what} `{uid}`: Index `{uid}` not found.");
                    ApiError::new(Code::IndexNotFound, message)
                })?;
                *index = Value::from(route.name.as_str());
            }
        }
        Ok(body)
    }

    /// Every index whose settings or documents would be seen.
    pub fn indexes(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(String::as_str)
    }
}

impl Reads {
    /// Renders a template on the node that holds the document, or on any.
    ///
    /// # Errors
    /// What a node says to the client; `index_not_found`; `unavailable_shards`.
    pub async fn render(&self, query: &RenderQuery, caller: &Caller) -> Result<Value, HttpError> {
        let answer = match &query.index {
            Some(uid) => self.render_near(uid, query, caller).await?,
            None => self.render_anywhere(query, caller).await?,
        };
        let mut answer: Value = serde_json::from_slice(&answer)
            .map_err(|error| HttpError::internal(format!("A rendering is no JSON: {error}.")))?;
        if let Some(Value::String(template)) = answer.get_mut("template") {
            *template = client_template(template).into_owned();
        }
        Ok(answer)
    }

    async fn render_near(
        &self,
        uid: &str,
        query: &RenderQuery,
        caller: &Caller,
    ) -> Result<bytes::Bytes, HttpError> {
        let mut begun = self.begin(uid, caller).await?;
        let id = query.id.as_deref().unwrap_or_default();
        let shard = ShardId(shard_of(id, begun.scope.route.shard_count()));
        begun.scope.only = Some([shard].into());
        let key = choice::key(&[uid.as_bytes(), id.as_bytes()]);
        begun.scope.is_of(key, false);
        let body = query.for_nodes(&begun.scope.table)?;
        let table = &begun.scope.table;
        let routes: Vec<_> = query.indexes().filter_map(|uid| table.index(uid)).collect();
        let ask = |piece: Piece| {
            let (body, routes) = (&body, &routes);
            async move {
                match self.post(&piece, PATH, body, caller).await {
                    Err(Fault::Refused(error)) => {
                        Ok(Err(error.about(routes.iter().map(|route| route.as_ref()))))
                    }
                    answered => answered.map(Ok),
                }
            }
        };
        let gathered = begun.scope.gather(self.upstream(), ask).await?;
        let answer = gathered.answers.into_iter().next();
        answer.map_or_else(
            || Err(HttpError::index_not_found(uid)),
            |(_, answer)| answer,
        )
    }

    async fn render_anywhere(
        &self,
        query: &RenderQuery,
        caller: &Caller,
    ) -> Result<bytes::Bytes, HttpError> {
        let guard = self.guard()?;
        let deadline = Instant::now() + self.inner.config.timeout;
        for node in guard.table.nodes.keys() {
            let ask = Ask {
                method: axum::http::Method::POST,
                path: PATH,
                body: query.body.to_string().into(),
            };
            match self.send(*node, deadline, ask, caller).await {
                Ok(answer) => return Ok(answer),
                Err(Fault::Refused(error)) => return Err(error),
                Err(Fault::Failed(_) | Fault::Absent) => {}
            }
        }
        let message = "No node answers. Try again.";
        Err(HttpError::unavailable("nodes_unreachable", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<RenderQuery, ApiError> {
        RenderQuery::from_json(body.to_string().as_bytes())
    }

    #[test]
    fn the_documents_index_is_asked_before_the_templates() {
        let table = [
            (
                json!({"template": {"kind": "inlineDocumentTemplate", "inline": "x"}}),
                None,
                None,
            ),
            (
                json!({"template": {"kind": "documentTemplate", "indexUid": "a"}, "input": null}),
                Some("a"),
                None,
            ),
            (
                json!({
                    "template": {"kind": "documentTemplate", "indexUid": "a"},
                    "input": {"kind": "indexDocument", "indexUid": "b", "id": "7"},
                }),
                Some("b"),
                Some("7"),
            ),
        ];
        for (body, index, id) in table {
            let query = read(body).expect("valid");
            assert_eq!((query.index.as_deref(), query.id.as_deref()), (index, id));
        }
        let wrong = [
            (json!({}), Code::BadRequest),
            (json!({"template": 1}), Code::InvalidRenderTemplate),
            (
                json!({"template": {}, "input": 1}),
                Code::InvalidRenderInput,
            ),
            (json!({"template": {}, "foo": 1}), Code::BadRequest),
        ];
        for (body, code) in wrong {
            assert_eq!(read(body).map_err(|error| error.code), Err(code));
        }
    }
}
